"""Sphinx settings of the documentation."""

import sys
from pathlib import Path

import cxr_sklearn

sys.path.insert(0, str(Path(__file__).parent))
from arrange_pages import group_parameters, shorten_signature
from offline_inventories import write_inventory

project = "cxr_sklearn"
author = "the cxr_sklearn developers"
copyright = author
version = release = cxr_sklearn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "literal"
smartquotes = False  # they would turn those of code in the docstrings' types
toc_object_entries_show_parents = "hide"

# -- references -----------------------------------------------------------------------------------

nitpicky = True
_WEBSITES = {
    "python": "https://docs.python.org/3",
    "numpy": "https://numpy.org/doc/stable",
    "sklearn": "https://scikit-learn.org/stable",
    "skorch": "https://skorch.readthedocs.io/en/stable",
    "torch": "https://docs.pytorch.org/docs/stable",
}
# The inventory of the website if there is a network, and otherwise a small one of our own.
_INVENTORIES = Path(__file__).parent / "_build" / "inventories"
intersphinx_mapping = {
    project: (website, (None, write_inventory(project, _INVENTORIES)))
    for project, website in _WEBSITES.items()
}
intersphinx_timeout = 5  # seconds

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# -- API ------------------------------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings name types, with shapes
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the template lists them
python_maximum_signature_line_length = 60

# -- examples -------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "auto_examples/backreferences",
    "doc_module": ("cxr_sklearn",),
    "reference_url": {"cxr_sklearn": None},
    "subsection_order": [
        f"../examples/{section}" for section in ("data", "models", "imbalance", "trust")
    ],
    "within_subsection_order": "FileNameSortKey",
    # Figures of two panels must be legible as thumbnails, which are shown at 260 pixels or more.
    "thumbnail_size": (640, 420),
    "reset_modules": ("matplotlib", "seaborn", "arrange_pages.enlarge_text"),
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "image_srcset": ["2x"],
}

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# -- pages ----------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "cxr_sklearn"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_copy_source = False
html_use_index = False  # the API page lists every name
html_theme_options = {
    "logo": {"text": "cxr_sklearn"},
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
# pages without pages below them have nothing to put there
html_sidebars = {
    name: []
    for name in ("get_started", "design", "whats_new", "comparison", "contributing")
}


def setup(app):
    """Connect the functions that arrange the API pages."""
    # numpydoc turns docstrings into reStructuredText with priority 500.
    app.connect("autodoc-process-docstring", group_parameters, priority=600)
    app.connect("autodoc-process-signature", shorten_signature, priority=600)
