"""The site: `make site` builds it from these pages and our docstrings, strictly and offline, into `outputs/site`.

Sphinx with MyST and Furo, of three that were tried on these pages in December 2026. The last release of MkDocs is of
August 2024, and its theme Material announces its end for May 2027. Zensical (0.0.73), their successor, calls itself
alpha, and builds pages with a missing picture and pages outside the navigation without a word. For a search without a
server both load a script from another host. Sphinx stops at each such mistake, and at a docstring that it cannot read.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import unet_exp  # noqa: E402

project = "unet-exp"
author = project_copyright = "the unet-exp authors"
version = release = unet_exp.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "website.hooks"]
exclude_patterns = ["_static"]
nitpicky = True
smartquotes_action = "D"  # dashes alone: quotes stay as they are typed
default_role = "name"
highlight_language = "none"

# Anchors as GitHub makes them, for headings of any level.
myst_heading_anchors = 6

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
python_maximum_signature_line_length = 50

html_theme = "furo"
html_title = f"unet-exp {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["copy.js"]
html_copy_source = False
html_use_index = False
html_domain_indices = False
html_theme_options = {"top_of_page_buttons": []}
