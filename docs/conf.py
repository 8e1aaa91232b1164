"""The site: `make site` builds it from these pages and our docstrings, strictly and offline, into `outputs/site`."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import unet_exp  # noqa: E402

project = "unet-exp"
author = project_copyright = "the unet-exp authors"
version = release = unet_exp.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_static"]
nitpicky = True
default_role = "name"

# Anchors as GitHub makes them, for headings of any level.
myst_heading_anchors = 6

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"unet-exp {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"


def setup(app: Sphinx) -> None:
    """Adds what our pages need beside the extensions."""
    from website.names import add_names
    from website.pages import add_pages

    add_names(app)
    add_pages(app)
