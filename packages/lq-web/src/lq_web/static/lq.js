// Keeps a page up to date: fetches it again every five seconds, while it is visible and nobody works in it.
"use strict";

const INTERVAL = 5000;

function isBusy(main) {
  const active = document.activeElement;
  if (active && main.contains(active) && /^(INPUT|SELECT|TEXTAREA|BUTTON|A|SUMMARY)$/.test(active.tagName)) return true;
  return !document.getSelection().isCollapsed || main.querySelector("details[open]") !== null;
}

async function refresh() {
  const main = document.querySelector("main[data-live]");
  if (!main || document.hidden || isBusy(main)) return;
  const response = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const next = page.querySelector("main[data-live]");
  if (next && !isBusy(main) && next.innerHTML !== main.innerHTML) main.replaceChildren(...next.childNodes);
}

setInterval(() => refresh().catch(() => {}), INTERVAL);
