# Everything one does with this repository.  `make` alone lists it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
STAMP := .venv/.ready
PYTHON_FILES := whatsapp_worker tests scripts
COMPILE := $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header

.PHONY: help setup demo run test test-fast check format coverage docs lock clean

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s  %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## Make .venv with all requirements (the others do it when needed)

# Again whenever the requirements change.
$(STAMP): requirements-dev.lock pyproject.toml scripts/setup
	@scripts/setup
	@touch $@

demo: $(STAMP) ## See it work: real daemon, real RabbitMQ, nothing sent to anybody
	@$(BIN)/whatsapp-worker demo

run: $(STAMP) ## Run the daemon with the settings of the environment or of .env
	@$(BIN)/whatsapp-worker run

test: $(STAMP) ## All tests, on a RabbitMQ of their own
	@$(BIN)/pytest $(ARGS)

test-fast: $(STAMP) ## The tests that need no RabbitMQ (seconds)
	@$(BIN)/pytest -m 'not integration' $(ARGS)

check: $(STAMP) ## Format, lint, types, import rules, lock files, documents
	@$(BIN)/ruff format --check --quiet $(PYTHON_FILES) || { echo 'Run: make format'; exit 1; }
	@$(BIN)/ruff check --quiet $(PYTHON_FILES)
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo
	@scripts/check-locks
	@$(BIN)/python scripts/write_docs.py --check
	@if command -v shellcheck >/dev/null; then shellcheck scripts/setup scripts/check-locks .ci/run; fi
	@echo 'All checks passed.'

format: $(STAMP) ## Format and mend what can be mended
	@$(BIN)/ruff format --quiet $(PYTHON_FILES)
	@$(BIN)/ruff check --quiet --fix $(PYTHON_FILES)

coverage: $(STAMP) ## All tests, with branch coverage (daemons included), and its limits
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
	@$(BIN)/coverage report --include='$(PURE)' --fail-under=100 >/dev/null || \
		{ echo 'These need every branch covered:'; $(BIN)/coverage report --include='$(PURE)'; exit 1; }

# The pure part of the worker: all its branches can be reached without a broker.
comma := ,
space := $(subst ,, )
PURE := $(subst $(space),$(comma),$(addprefix whatsapp_worker/,$(addsuffix .py,\
	pipeline envelope phone content injection outcome retry errors delivery)))

docs: $(STAMP) ## Write the parts of README.md and .env.example that come from the code
	@$(BIN)/python scripts/write_docs.py

lock: $(STAMP) ## Pin the requirements anew (UPGRADE=1: to the newest)
	@$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml -o requirements.lock
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --group dev pyproject.toml -o requirements-dev.lock
	@scripts/check-locks

clean: ## Remove .venv and everything that tools leave behind
	@rm -rf .venv dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find $(PYTHON_FILES) -name __pycache__ -type d -prune -exec rm -rf {} +
