# Every target makes the virtual environment it needs under .venv/.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
export PYTHON

# Options of python -m benchmarks, such as --quick or --peers.
BENCH ?=
export BENCH

.PHONY: help demo test check bench docs clean

help:
	@echo "make demo    spread real work over this machine and two ppservers, one of which is killed"
	@echo "make test    everything: make check, the test suite, and coverage of the pure packages"
	@echo "make check   style, types, import contracts, documentation, distribution files"
	@echo "make bench   ppnext and its peers, side by side; make bench BENCH=--quick takes minutes"
	@echo "make docs    the documentation, in docs/_build/html"
	@echo "make clean   remove what the other targets made"
	@echo "Needs Python 3.10 or newer; this one is used: PYTHON=$(PYTHON)"

demo:
	@sh scripts/demo.sh

test:
	@sh scripts/test.sh

check:
	@sh scripts/check.sh

bench:
	@sh scripts/bench.sh

docs:
	@sh scripts/docs.sh

clean:
	@sh scripts/clean.sh
