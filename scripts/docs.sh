#!/bin/sh
# make docs: the documentation as HTML, warnings are errors.
cd "$(dirname "$0")/.." || exit 1
. scripts/steps.sh

begin docs
step "sphinx" "$bin/python" -m sphinx -q -W --keep-going -b html docs docs/_build/html
echo "ppnext: see docs/_build/html/index.html"
finish
