#!/bin/sh
# make test: make check, the whole suite, and the coverage of the pure packages by their own tests.
cd "$(dirname "$0")/.." || exit 1
. scripts/steps.sh

begin test
step "check" sh scripts/check.sh
step "pytest" "$bin/python" -m pytest -n 2
step "pure coverage" sh scripts/coverage_pure.sh
finish
