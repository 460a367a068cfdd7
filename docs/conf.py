"""The configuration of Sphinx for the documentation."""

import re

from sphinx.application import Sphinx

project = "lq"
author = "the lq authors"
copyright = "2026, the lq authors"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib.mermaid",
]
exclude_patterns = ["_build", "examples"]
html_extra_path = ["llms.txt"]
html_theme = "shibuya"
html_title = "lq"
html_theme_options = {"accent_color": "cyan"}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_fence_as_directive = ["mermaid"]  # The same fence is a diagram on GitHub.
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


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_menu)
