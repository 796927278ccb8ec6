# Everything happens in .venv: `make demo` and `make test` need nothing but Python 3.11-3.13.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-oldest soak format clean

demo: .venv/ready
	$(BIN)/hybrid demo

test: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest --cov --cov-report=term --cov-fail-under=90

# The oldest scikit-learn that is supported, in front of the one that is installed.
test-oldest: .venv/ready
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .venv/oldest scikit-learn==1.6.1
	PYTHONPATH=$(CURDIR)/.venv/oldest $(BIN)/pytest tests/test_conformance.py tests/test_featurizer.py \
		tests/test_pipeline.py tests/test_bundle.py tests/test_normalise.py

soak: .venv/ready
	$(BIN)/pytest -m soak

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv
