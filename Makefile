# Every target does its own set-up. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := schemas producers processors connectors infra tests
JARS := .rosterhub/jars/.complete

.PHONY: help setup run test test-unit test-integration lint fmt bench lock clean

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.complete $(JARS) ## Prepare the virtual environment and the Kafka and registry jars

$(VENV)/.complete: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: install it, or name it with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another with PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(JARS): infra/embedded/pom.xml | $(VENV)/.complete
	@command -v java >/dev/null || { echo "Java 17 or newer is needed for the embedded Kafka: install a JRE and put 'java' on the PATH" >&2; exit 1; }
	@v=$$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p;' | head -n 1); test "$${v:-0}" -ge 17 || { echo "Java 17 or newer is needed for the embedded Kafka; 'java' is version $${v:-unknown}" >&2; exit 1; }
	@command -v mvn >/dev/null || { echo "Maven is needed to fetch the Kafka and registry jars: install it and put 'mvn' on the PATH" >&2; exit 1; }
	$(BIN)/python -m infra.embedded.jars

run: setup ## Run the whole hub on embedded services with seeded data (ONCE=1 ends after the summary)
	$(BIN)/hub demo $(if $(ONCE),--once)

test: setup ## Run all tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-unit: $(VENV)/.complete ## Run the tests that need no service
	$(BIN)/python -m pytest -m "not integration and not faults"

test-integration: setup ## Run the tests on the real broker, registry and PostgreSQL
	$(BIN)/python -m pytest -m "integration or faults"

lint: $(VENV)/.complete ## Check style, formatting, types and import rules
	$(BIN)/ruff check $(PACKAGES)
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture

fmt: $(VENV)/.complete ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only $(PACKAGES)
	$(BIN)/ruff format $(PACKAGES)

bench: setup ## Measure engine, intake and sink; prints the table of docs/benchmarks.md
	$(BIN)/python -m tests.bench

lock: $(VENV)/.complete ## Pin all dependencies anew (needs uv on the PATH)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --upgrade --no-header --no-emit-index-url --no-emit-find-links -q -o requirements.lock

clean: ## Stop the embedded services and remove everything that was made here
	@test ! -x $(BIN)/hub || $(BIN)/hub dev down
	rm -rf $(VENV) .rosterhub .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
