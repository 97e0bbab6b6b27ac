#!/bin/sh
# make bench: ppnext as a user installs it, and its peers, in one run. Peers that are installed
# have environments of their own.
cd "$(dirname "$0")/.." || exit 1
unset PYTHONPATH PYTHONHOME

# It says itself what went wrong.
sh scripts/venv.sh bench installed || exit 1
echo "ppnext: make bench: running python -m benchmarks"
if .venv/bench/bin/python -m benchmarks </dev/null; then
    echo "ppnext: make bench: done"
else
    echo "ppnext: make bench: FAILED: python -m benchmarks ended with status $?"
    exit 1
fi
