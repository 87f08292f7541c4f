# make study   install into .venv and run the default studies, each ending with its table and HTML report
# make test    install into .venv and run every check and test
# make check   lint, types and the fast tests
# make clean   remove .venv; results in runs/ stay

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHAPED := quatrain.ops,quatrain.nn,quatrain.models,quatrain.tasks
STUDIES := numerals_terms digits_detection digits_segmentation

.PHONY: study $(STUDIES) test check lint clean

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

study: $(STUDIES)

# One after the other, even with -j: each takes all cores.
.NOTPARALLEL:
# The whole designs of numerals take more than an hour.
numerals_terms: CELLS := --cells "self/*" --cells "encoder-decoder/*"
$(STUDIES): $(BIN)/.installed
	$(BIN)/quatrain study run studies/$@.py $(CELLS) --out $(abspath runs/$@)

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# Two processes with a thread each: with more they wait for one another's threads.
test check: export OMP_NUM_THREADS = 1

# Shapes in signatures are checked at run time, which cannot be compiled: compiled graphs go apart.
test: lint
	$(BIN)/pytest -n 2 --dist loadgroup -m "not compile" --jaxtyping-packages=$(SHAPED),beartype.beartype
	$(BIN)/pytest -n 2 -m compile

check: lint
	$(BIN)/pytest -n 2 --dist loadgroup -m "not compile and not slow"

clean:
	rm -rf $(VENV)
