#!/bin/sh
# make chaos: mixed jobs on real daemons, with a fault every second; see docs/internals/chaos.rst.
# $CHAOS has options of python -m tests.chaos.
cd "$(dirname "$0")/.." || exit 1
unset PYTHONPATH PYTHONHOME

# It says itself what went wrong.
sh scripts/venv.sh test editable test,check,docs || exit 1
echo "ppnext: make chaos: running python -m tests.chaos${CHAOS:+ $CHAOS}"
# The options are words.
# shellcheck disable=SC2086
if .venv/test/bin/python -m tests.chaos ${CHAOS:-} </dev/null; then
    echo "ppnext: make chaos: done"
else
    echo "ppnext: make chaos: FAILED: python -m tests.chaos ended with status $?"
    exit 1
fi
