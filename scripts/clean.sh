#!/bin/sh
# make clean: remove what the other targets made, and nothing else.
set -eu
cd "$(dirname "$0")/.."
rm -rf .venv build dist ppnext.egg-info docs/_build .coverage .coverage.pure .hypothesis
rm -rf .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
echo "ppnext: make clean: done"
