PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# every install leaves this file, so that it runs once
READY = $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow lint format clean

help:  ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY)  ## Make the virtual environment .venv and install the package with its tools

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[plot,test,lint]'
	@touch $@

demo: $(READY)  ## Train ResNetOvO on synthetic X-rays; CXR_DATA=<folder of class folders> uses yours
	$(BIN)/python -m cxr_sklearn demo $(if $(CXR_DATA),"$(CXR_DATA)")

test: $(READY)  ## Run the tests that take seconds, and the doctests
	$(BIN)/python -m pytest -n auto --doctest-modules tests src

test-slow: $(READY)  ## Run the tests marked slow: the real ResNet50, minutes of training
	$(BIN)/python -m pytest -m slow tests

lint: $(READY)  ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the virtual environment and everything made
	rm -rf $(VENV) demo_output build dist src/*.egg-info
