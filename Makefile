# What a person and the continuous integration run. `make help` lists it.

# Debian's own Python will do; name another with PYTHON=/path/to/python3.11.
PYTHON ?= $(shell python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null || echo python3)
BIN := .venv/bin
# Words handed on to the program: make demo ARGS=--stay
ARGS ?=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup setup-dev test-parts demo up test check lint types contracts fast process soak fix lock docs bench gauntlet clean

help: ## List what there is to make
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Create .venv with the pinned packages (quick when it is there)
	@$(PYTHON) tools/packages.py install

setup-dev: ## The same, with the tools and packages the tests need
	@$(PYTHON) tools/packages.py install --dev

test-parts: ## Install the Debian packages the tests need, or say which
	@$(PYTHON) tools/packages.py test-parts

demo: setup ## Tell the whole story of a model on real data (two minutes)
	$(BIN)/lockgate demo $(ARGS)

up: setup ## Start the platform on this machine; Ctrl-C stops it
	$(BIN)/lockgate up $(ARGS)

test: setup-dev test-parts check fast process ## Everything: lint, types, import contracts, all tests

check: lint types contracts ## All that is checked without running anything

lint: setup-dev ## Style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup-dev ## Types, strictly, tests included
	$(BIN)/pyright

contracts: setup-dev ## Which part may import which
	$(BIN)/lint-imports

fast: setup-dev ## Tests that start no process, in parallel
	$(BIN)/pytest -n auto -m "not process" $(ARGS)

process: setup-dev ## Tests that start real processes, one after another
	$(BIN)/pytest -m process $(ARGS)

soak: setup-dev ## The tests of faults in their long form (an hour)
	$(BIN)/pytest tests/faults --soak -o timeout=3600 $(ARGS)

fix: setup-dev ## Repair style and formatting where a tool can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: ## Write the requirements locks anew from pyproject.toml
	@$(PYTHON) tools/packages.py lock

docs: setup-dev ## Write docs/reference anew from the code
	$(BIN)/python tools/generate_reference.py

bench: ## List the benchmarks; make bench-NAME runs one
	@for file in $(wildcard benchmarks/bench_*.py); do \
		name=$${file#benchmarks/bench_}; \
		printf '  make bench-%-10s %s\n' "$${name%.py}" "$$(sed -n '1s/"""//gp' $$file)"; \
	done

bench-%: setup-dev
	$(BIN)/python -m benchmarks.bench_$* $(ARGS)

gauntlet: setup-dev ## Judge faulty and sound candidates on real data (ten minutes)
	$(BIN)/python -m benchmarks.gauntlet $(ARGS)

clean: ## Remove .venv and what tools left behind (a platform's home is not touched)
	rm -rf .venv .venv-clients .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
