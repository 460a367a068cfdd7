"""The configuration of Sphinx for the documentation."""

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
