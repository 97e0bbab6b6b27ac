#!/bin/sh
# make bench: ppnext and its peers in one run. The peers get environments of their own.
cd "$(dirname "$0")/.." || exit 1
unset PYTHONPATH PYTHONHOME

# It says itself what went wrong.
sh scripts/venv.sh bench editable || exit 1
echo "ppnext: make bench: running python -m benchmarks"
if .venv/bench/bin/python -m benchmarks </dev/null; then
    echo "ppnext: make bench: done"
else
    echo "ppnext: make bench: FAILED: python -m benchmarks ended with status $?"
    exit 1
fi
