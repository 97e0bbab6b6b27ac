"""Sphinx settings. Nothing here needs the network."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "_ext"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppnext.version import VERSION

project = "ppnext"
author = "the ppnext developers"
copyright = author  # the name that Sphinx reads
release = version = VERSION

extensions = ["generated", "sphinx.ext.autodoc", "sphinx.ext.doctest", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_ext"]
default_role = "code"
html_theme = "furo"
html_title = f"ppnext {release}"
html_show_sourcelink = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
