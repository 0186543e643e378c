# Everything sets itself up: on a machine with Python 3.11 and pip, `make demo` and `make test` work.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Two workers, of one thread each (tests/conftest.py), are faster than one of two. The threads of
# OpenMP and BLAS of two workers would wait for each other, for longer than they compute.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

.PHONY: demo test test-all coverage bench-smoke lint format clean

demo: $(INSTALLED)
	$(BIN)/python examples/table.py

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

# Lines of flowkit that `make test` runs, but for those that run in processes of their own.
coverage: $(INSTALLED)
	$(PYTEST) -m "not slow" --cov=flowkit --cov-report=term:skip-covered

# Small fits, scores and samples beside stored ratios: two minutes. `SMOKE=--store` renews them.
bench-smoke: $(INSTALLED)
	$(BIN)/python benchmarks/smoke.py $(SMOKE)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev]"
	touch $@
