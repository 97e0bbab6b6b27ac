#!/bin/sh
# make demo: ppnext as a user installs it, and one example that shows what it is for.
cd "$(dirname "$0")/.." || exit 1
unset PYTHONPATH PYTHONHOME

# It says itself what went wrong.
sh scripts/venv.sh demo installed || exit 1
echo "ppnext: make demo: running examples/stdlib_census.py --demo"
if .venv/demo/bin/python examples/stdlib_census.py --demo </dev/null; then
    echo "ppnext: make demo: done"
else
    echo "ppnext: make demo: FAILED: examples/stdlib_census.py --demo ended with status $?"
    exit 1
fi
