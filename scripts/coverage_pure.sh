#!/bin/sh
# wire/ and sched/ must be covered, branches too, by tests/wire and tests/sched alone, and without
# the simulation, which runs everything and names nothing.
# $PPNEXT_BIN names the environment's bin directory (default .venv/test/bin).
set -eu
cd "$(dirname "$0")/.."
python=${PPNEXT_BIN:-.venv/test/bin}/python
COVERAGE_FILE=.coverage.pure
export COVERAGE_FILE

"$python" -m coverage erase
"$python" -m coverage run --branch --source=ppnext/wire,ppnext/sched \
    -m pytest -q -p no:xdist --ignore=tests/sched/test_simulation.py tests/wire tests/sched
"$python" -m coverage report --fail-under=100
