"""``.. generated:: NAME``: a table that ``scripts/docs_tables.py`` makes from the code."""

from __future__ import annotations

import sys
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from docs_tables import TABLES

__all__ = ["Generated", "setup"]


class Generated(SphinxDirective):
    """Puts the table in place of the directive."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return what the table consists of."""
        name = self.arguments[0]
        if name not in TABLES:
            raise self.error(f"there is no table {name!r}; there are {', '.join(TABLES)}")
        # The code decides what is in it, so a page with a table is read anew each time.
        self.env.note_reread()
        lines = StringList(TABLES[name]().splitlines(), source=f"generated {name}")
        parent = nodes.Element()
        self.state.nested_parse(lines, self.content_offset, parent)
        return parent.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("generated", Generated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
