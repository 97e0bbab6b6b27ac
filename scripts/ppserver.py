#!/usr/bin/env python3
from ppnext.server.cli import main

raise SystemExit(main())
