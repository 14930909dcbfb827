PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.installed
DEMO_READY = $(VENV)/.installed-for-demo
# The oldest Python and the oldest packages that pyproject.toml allows.
MIN_PYTHON ?= python3.11
MIN_VENV ?= .venv-min
MIN_READY = $(MIN_VENV)/.installed
# Where `make test-slow` searches for tests.
SLOW ?= tests
# Folder of the unpacked wheel. It precedes the sources on the path when the wheel is tested.
WHEEL = $(CURDIR)/build/wheel
# The tests that find files missing in a wheel: modules, and what workers and pickles import.
WHEEL_TESTS = tests/_workflow tests/_models/test_persistence.py tests/_images/test_images.py

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-min coverage wheel docs lint format bench clean

help:  ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY)  ## Make the virtual environment .venv and install the package with all tools

# Each install leaves a file, so that it runs once. The demo needs only the package itself.
$(DEMO_READY): pyproject.toml
	@echo "Installing the package into $(VENV): about 2 minutes. The demo then takes about 1 minute."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[plot]'
	@touch $@

$(READY): $(DEMO_READY)
	@echo "Installing the tools for tests, lint and documentation: about 1 minute."
	$(BIN)/python -m pip install --quiet --editable '.[plot,test,docs,lint,build]'
	@touch $@

demo: $(DEMO_READY)  ## Train ResNetOvO on synthetic X-rays; CXR_DATA=<folder of class folders> uses yours
	@echo "Training and testing a model $(if $(CXR_DATA),on $(CXR_DATA),on synthetic X-rays: about 1 minute on two cores)."
	$(BIN)/python -m cxr_sklearn demo $(if $(CXR_DATA),"$(CXR_DATA)")

# Each core runs one process with tests. More threads in a process would wait for each other.
test: $(READY)  ## Run the tests that take seconds, and the doctests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --doctest-modules tests src $(if $(COVERAGE),--cov)

coverage:  ## Run the same, and fail where fewer than 95 % of lines and branches are run
	$(MAKE) test COVERAGE=1

test-slow: $(READY)  ## Run the tests marked slow: the real ResNet50, minutes of training
	$(BIN)/python -m pytest -m slow $(SLOW)

$(MIN_READY): pyproject.toml .ci/lower_bounds.py
	$(MIN_PYTHON) -m venv $(MIN_VENV)
	$(MIN_PYTHON) .ci/lower_bounds.py > $(MIN_VENV)/constraints.txt
	$(MIN_VENV)/bin/python -m pip install --quiet --constraint $(MIN_VENV)/constraints.txt \
		--editable '.[plot,test]'
	@touch $@

test-min: $(MIN_READY)  ## Run the tests that take seconds with the oldest allowed packages
	$(MIN_VENV)/bin/python -m pip check
	$(MIN_VENV)/bin/python -m pytest -n auto --doctest-modules tests src

wheel: $(READY)  ## Build the distributions, check what they hold, and test the built wheel
	rm -rf dist "$(WHEEL)"
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python .ci/check_dist.py
	$(BIN)/python -m pip install --quiet --no-deps --target "$(WHEEL)" dist/*.whl
	PYTHONPATH="$(WHEEL)" $(BIN)/python -c "import cxr_sklearn as c; print(c.__file__); \
		assert c.__file__.startswith('$(WHEEL)')"
	PYTHONPATH="$(WHEEL)" $(BIN)/python -m cxr_sklearn --help
	PYTHONPATH="$(WHEEL)" $(BIN)/python -m pytest -n auto $(WHEEL_TESTS)

docs: $(READY)  ## Build the pages into docs/_build/html, running the examples, and check their links
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

lint: $(READY)  ## Check style, formatting, spelling, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell --dictionary - --dictionary .ci/words.txt
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## Run the benchmarks whose ratios the documentation quotes, in a short form
	$(BIN)/python benchmarks/trunk.py --repeats 3
	$(BIN)/python benchmarks/tails.py --repeats 3
	$(BIN)/python benchmarks/tuning.py --repeats 1

clean:  ## Remove the virtual environment and everything made
	rm -rf $(VENV) $(MIN_VENV) demo_output build dist htmlcov .coverage* src/*.egg-info
	rm -rf docs/_build docs/auto_examples docs/generated
