#!/bin/sh
# make check: style, types, import contracts, documentation, distribution files.
cd "$(dirname "$0")/.." || exit 1
. scripts/steps.sh

begin check
step "ruff check" "$bin/python" -m ruff check .
step "ruff format" "$bin/python" -m ruff format --check .
step "mypy" "$bin/python" -m mypy --strict ppnext
step "import contracts" "$bin/python" "$bin/lint-imports" --no-cache
step "docs" "$bin/python" -m sphinx -q -W --keep-going -E -b html docs docs/_build/html
step "distribution" "$bin/python" scripts/check_dist.py
finish
