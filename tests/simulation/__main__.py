"""``python -m tests.simulation``: live through many seeds, or through one with a trace."""

from __future__ import annotations

import sys

from tests.simulation.command import main

if __name__ == "__main__":
    sys.exit(main())
