"""``python -m ppnext.server`` is the ``ppserver`` command."""

from __future__ import annotations

import sys

from ppnext.server.cli import main

__all__: list[str] = []

sys.exit(main())
