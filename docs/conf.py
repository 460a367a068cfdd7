"""The configuration of Sphinx for the documentation."""

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "lq"
author = "the lq authors"
copyright = "2026, the lq authors"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "examples"]
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_extra_path = ["llms.txt"]
html_theme = "shibuya"
html_title = "lq"
html_theme_options = {"accent_color": "cyan"}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}


def add_menu(_: Sphinx, page: str, source: list[str]) -> None:
    """Make the menu from the lists of links on the first page, which GitHub shows as well."""
    if page == "index":
        for title, links in re.findall(r"^### (.*)\n\n((?:- .*\n)+)", source[0], re.MULTILINE):
            names = "\n".join(re.findall(r"\]\((\S+)\.md\)", links))
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{names}\n```\n"


MENDED = (
    (r"<link [^>]*fonts\.g[^>]*>", ""),  # A page asks no other site for anything.
    (r'(<article [^>]*) role="main"', r"\1"),  # It stands in <main>.
    (r'<nav class="sy-head-links"></nav>', ""),
    (r'<div class="sy-head">', '<div class="sy-head" role="banner">'),
    (r'<aside id="lside"', '<aside id="lside" aria-label="All pages"'),
    (r'<aside id="rside"', '<aside id="rside" aria-label="This page"'),
    (r"<pre>", '<pre tabindex="0">'),  # The keyboard has to scroll what is wider than the page.
)
"""What the theme leaves in the way of people who use a keyboard or a screen reader."""


def mend_pages(app: Sphinx, error: Exception | None) -> None:
    """Mend the HTML of the theme, so that everyone can use the pages."""
    if error is None and app.builder.format == "html":
        for page in Path(app.outdir).glob("*.html"):
            text = page.read_text()
            for pattern, replacement in MENDED:
                text = re.sub(pattern, replacement, text)
            page.write_text(text)


def setup(app: Sphinx) -> None:
    """Connect the functions above; Sphinx calls this."""
    app.connect("source-read", add_menu)
    app.connect("build-finished", mend_pages)
