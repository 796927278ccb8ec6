# Everything happens in .venv: `make demo` and `make test` need nothing but Python 3.11-3.13.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-oldest test-browser soak docs format clean

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

# Needs Debian's chromium, which it installs where it may.
test-browser: .venv/browser
	$(BIN)/pytest tests/browser

# 20,000 mutated bundles, 5,000 mutated images, 1,000 kills, 500 damaged stores, every network: hours. It prints counts
# and seeds; HYBRID_SEED and HYBRID_FUZZ_SEED set them.
soak: .venv/ready
	$(BIN)/pytest -s -v -m soak

# Needs no network. Its first page is docs/site/index.html.
docs: .venv/ready
	$(BIN)/python -m sphinx -q -W --keep-going -c docs . docs/site

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv/browser: .venv/ready
	command -v chromium >/dev/null || (apt-get update && apt-get install -y chromium)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	npm install --silent --no-save --prefix .venv axe-core@4.14.1
	touch $@

clean:
	rm -rf .venv docs/site docs/generated
