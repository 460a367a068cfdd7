// Keeps a page up to date: fetches it again every five seconds, while it is visible and nobody works in it.
"use strict";

const INTERVAL = 5000;

function isBusy(main) {
  const active = document.activeElement;
  if (active && main.contains(active) && /^(INPUT|SELECT|TEXTAREA|BUTTON|A|SUMMARY)$/.test(active.tagName)) return true;
  return !document.getSelection().isCollapsed || main.querySelector("details[open]") !== null;
}

let seen = null; // The tag of the page as it is shown.

async function refresh() {
  const main = document.querySelector("main[data-live]");
  if (!main || document.hidden || isBusy(main)) return;
  const headers = seen ? { accept: "text/html", "if-none-match": seen } : { accept: "text/html" };
  const response = await fetch(location.href, { cache: "no-store", headers });
  if (!response.ok) return; // Also if nothing has changed.
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const next = page.querySelector("main[data-live]");
  if (!next || isBusy(main)) return;
  if (next.innerHTML !== main.innerHTML) main.replaceChildren(...next.childNodes);
  seen = response.headers.get("etag");
}

setInterval(() => refresh().catch(() => {}), INTERVAL);
