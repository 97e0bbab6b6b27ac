#!/bin/sh
# make simulate: many lives of the simulated world; docs/internals/simulation.rst.
# $SEEDS has the seeds, such as 0..9999; $PROCESSES says in how many processes.
cd "$(dirname "$0")/.." || exit 1
unset PYTHONPATH PYTHONHOME

# It says itself what went wrong.
sh scripts/venv.sh test editable test,check,docs || exit 1
if .venv/test/bin/python -m tests.simulation --seeds "${SEEDS:-0..9999}" \
    --processes "${PROCESSES:-2}" </dev/null; then
    echo "ppnext: make simulate: done"
else
    echo "ppnext: make simulate: FAILED: the lines above say how to see it again"
    exit 1
fi
