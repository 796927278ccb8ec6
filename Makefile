# Everything happens in .venv: `make demo` and `make test` need nothing but Python 3.11-3.13.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test soak format clean

demo: .venv/ready
	$(BIN)/hybrid demo

test: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest --cov --cov-report=term --cov-fail-under=90

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
