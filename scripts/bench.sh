#!/bin/sh
# make bench: ppnext and its peers, in one run, each system in an environment of its own.
# $BENCH has options of python -m benchmarks.
cd "$(dirname "$0")/.." || exit 1
unset PYTHONPATH PYTHONHOME

# It says itself what went wrong.
sh scripts/venv.sh bench installed || exit 1
echo "ppnext: make bench: running python -m benchmarks${BENCH:+ $BENCH}"
# The options are words.
# shellcheck disable=SC2086
if .venv/bench/bin/python -m benchmarks ${BENCH:-} </dev/null; then
    echo "ppnext: make bench: done"
else
    echo "ppnext: make bench: FAILED: python -m benchmarks ended with status $?"
    exit 1
fi
