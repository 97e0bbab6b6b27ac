# Every target makes the virtual environment it needs under .venv/.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
export PYTHON

# Options of python -m benchmarks, such as --quick or --peers.
BENCH ?=
export BENCH

# Options of python -m tests.chaos, such as --minutes 5, and which lives to simulate.
CHAOS ?=
SEEDS ?=
PROCESSES ?=
export CHAOS SEEDS PROCESSES

.PHONY: help demo test check bench chaos simulate docs clean

help:
	@echo "make demo    spread real work over this machine and two ppservers, one of which is killed"
	@echo "make test    everything: make check, the test suite, and coverage of the pure packages"
	@echo "make check   style, types, import contracts, documentation, distribution files"
	@echo "make bench   ppnext and its peers, side by side; make bench BENCH=--quick takes minutes"
	@echo "make chaos   real daemons under real faults; make chaos CHAOS='--minutes 5' for a short one"
	@echo "make simulate   many lives of a simulated cluster; make simulate SEEDS=0..99999"
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

chaos:
	@sh scripts/chaos.sh

simulate:
	@sh scripts/simulate.sh

docs:
	@sh scripts/docs.sh

clean:
	@sh scripts/clean.sh
