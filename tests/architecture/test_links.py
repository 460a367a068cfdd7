"""Every link of a page leads somewhere: to a file that git keeps, to a heading on it, or to a well-formed address."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tree import ROOT, files, place

KEPT = frozenset(files())
PAGES = [
    path
    for path in sorted(KEPT)
    if path.parent in {ROOT, ROOT / "docs", ROOT / "tests"} or path.parent.parent == ROOT / "packages"
    if path.suffix in {".md", ".txt"} and path.name != "CHANGELOG.md"
]
INSIDE = re.compile(r"\]\(\s*<?([^)>\s]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
OUTSIDE = re.compile(r"""https?://[^\s)>\]"'`|,;]*""")
LOCAL = {"localhost", "127.0.0.1"}


def prose(page: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`(?!\]\()", "", re.sub(r"\[`([^`\n]*)`\]", r"[\1]", text))


def links(page: Path) -> Sequence[str]:
    return [first or second for first, second in INSIDE.findall(prose(page))]


def headings(page: Path) -> Iterator[str]:
    """The anchors that both GitHub and the built pages give to the headings of a page."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    seen = dict[str, int]()
    for title in re.findall(r"^#{1,3} +(.*)$", text, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        slug = re.sub(r"[^\w\- ]", "", shown).strip().replace(" ", "-")
        again = seen[slug] = seen.get(slug, -1) + 1
        yield f"{slug}-{again}" if again else slug


def is_address(link: str) -> bool:
    """Whether a link has the scheme and the host that a public site has, or leads to a server on this machine."""
    parts = urlsplit(link)
    return parts.hostname in LOCAL or (parts.scheme == "https" and "." in (parts.hostname or ""))


def leads_nowhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    if target.is_dir():
        return not any(path.is_relative_to(target) for path in KEPT)
    if target not in KEPT:
        return True
    return bool(anchor) and anchor not in headings(target)


def test_every_link_inside_the_repository_leads_somewhere() -> None:
    inside = [(page, link) for page in PAGES for link in links(page) if not re.match(r"[a-z]+:", link)]

    assert [(place(page), link) for page, link in inside if leads_nowhere(page, link)] == []
    assert len({page for page, _ in inside}) > len(PAGES) / 2


def test_every_link_to_another_site_is_an_address() -> None:
    outside = [(page, link) for page in PAGES for link in links(page) if re.match(r"[a-z]+:", link)]
    outside += [(page, address) for page in PAGES for address in OUTSIDE.findall(prose(page))]

    assert [(place(page), link) for page, link in outside if not is_address(link)] == []
    assert outside


def test_the_first_page_of_the_documentation_lists_every_page() -> None:
    """Sphinx makes its menu from this list."""
    listed = re.findall(r"^- \[[^\]]+\]\((\S+)\): ", (ROOT / "docs/index.md").read_text(), re.MULTILINE)

    assert sorted(listed) == sorted({page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"})


@pytest.mark.parametrize("link", ["docs/missing.md", "docs/tour.md#missing", "missing/", "#missing"])
def test_a_link_that_leads_nowhere_is_found(link: str) -> None:
    assert leads_nowhere(ROOT / "README.md", link)
    assert not leads_nowhere(ROOT / "README.md", "docs/glossary.md")
