"""The site's settings for Sphinx; see `make docs`. Pages of the whole repository are in it, so that links between them
are checked. Nothing is loaded from a network, neither when the site is built nor when it is read."""

from synalign import __version__

project = "SynAlign"
author = "The SynAlign authors"
release = __version__

extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "README.md",
    "CHANGELOG.md",
    "benchmarks/RESULTS.md",
    "examples/**/README.md",
    "examples/README.md",
    "fixtures/README.md",
]
# What is not looked into: environments, caches and workspaces in the repository's root.
exclude_patterns = [".*", "**/.*", "build", "dist", "synalign", "tests", "**/workspaces", "*-workspace", "shared"]

# Links such as page.md#some-heading are to the anchors that GitHub makes, too.
myst_heading_anchors = 4
# Options of commands keep their two dashes.
smartquotes = False

html_theme = "furo"
html_title = f"SynAlign {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_root"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "default"
