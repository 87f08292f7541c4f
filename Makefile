# make study      install into .venv and run two studies, each ending with its table and HTML report
# make studies    the same for all studies that need no data
# make test       install into .venv; lint, types and the tests that are not slow
# make test-all   install into .venv; lint, types and all tests
# make check      lint, types and the fast tests, without compilation and checks of shapes
# make docs       install into .venv and build the documentation into site/
# make audit      vulnerabilities and list of the dependencies that are installed into .venv
# make matrix     the fast tests on each supported Python of this machine, and on the oldest torch
# make clean      remove the environments; results in runs/ stay

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUDIES := numerals_terms own_network digits_detection digits_segmentation
PYTEST := $(BIN)/pytest -n 2 --dist loadgroup

# Shapes in signatures are checked at run time: those of operators, modules and models in their own
# tests only, for the sake of time; those of tasks in all other tests.
UNITS := tests/ops tests/nn tests/models
SHAPES := --jaxtyping-packages=quatrain.ops,quatrain.nn,quatrain.models,beartype.beartype
TASK_SHAPES := --jaxtyping-packages=quatrain.tasks,beartype.beartype
# Collecting all tests takes as long as running the few of compiled graphs.
COMPILED := $(shell grep -rl "mark\.compile" tests --include="*.py")

.PHONY: study studies $(STUDIES) test test-all check lint compiled docs audit matrix clean

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# One after the other, even with -j: each takes all cores.
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif

# The whole designs of numerals take more than an hour.
study: NUMERALS := encoder-decoder/0010 encoder-decoder/0110 encoder-decoder/1000 self/0110 self/1111
study: numerals_terms own_network
studies: $(STUDIES)
NUMERALS := encoder-decoder/* self/*
numerals_terms: CELLS = $(NUMERALS:%=--cells "%")
$(STUDIES): $(BIN)/.installed
	$(BIN)/quatrain study run studies/$@.py $(CELLS) --out $(abspath runs/$@)

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# Two processes with a thread each: with more they wait for one another's threads.
test test-all check: export OMP_NUM_THREADS = 1

# Compiled graphs go apart: they cannot hold checks of shapes. The few of `make test` run in one
# process beside the lint.
test: SELECTED := and not slow
test-all: PROCESSES := -n 2
test test-all: $(BIN)/.installed
	$(MAKE) --no-print-directory -j 2 SIDE_BY_SIDE=1 SELECTED="$(SELECTED)" PROCESSES="$(PROCESSES)" lint compiled
	$(PYTEST) -m "not compile $(SELECTED)" $(UNITS) $(SHAPES)
	$(PYTEST) -m "not compile $(SELECTED)" tests $(UNITS:%=--ignore=%) $(TASK_SHAPES)

compiled: $(BIN)/.installed
	$(BIN)/pytest $(PROCESSES) -m "compile $(SELECTED)" $(COMPILED)

check: lint
	$(PYTEST) -m "not compile and not slow"

docs: $(BIN)/.installed
	$(BIN)/python docs/build.py

audit: $(BIN)/.installed
	$(BIN)/python .ci/audit.py

matrix:
	.ci/matrix

clean:
	rm -rf $(VENV) $(VENV)-matrix $(VENV)-audit
