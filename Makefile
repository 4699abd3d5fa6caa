# Everything one does with this repository.  `make` alone lists it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
STAMP := .venv/.ready
BENCH := .tools/bench/.ready
PYTHON_FILES := whatsapp_worker tests scripts scripts/repeat-acceptance examples benchmarks
COMPILE := $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header

.PHONY: help setup demo run test test-fast acceptance chaos soak bench bench-quick bench-footprint bench-scaling bench-whatsapp verify image-check sbom check format coverage docs lock clean

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s  %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## Make .venv with all requirements (the others do it when needed)

# Again whenever the requirements change.
$(STAMP): requirements-dev.lock pyproject.toml scripts/setup
	@scripts/setup
	@touch $@

demo: $(STAMP) ## See it work: real daemon, real RabbitMQ, nothing sent to anybody
	@$(BIN)/whatsapp-worker demo

run: $(STAMP) ## Run the daemon with the settings of the environment or of .env
	@$(BIN)/whatsapp-worker run

test: $(STAMP) ## All tests but the long ones, on a RabbitMQ of their own
	@$(BIN)/pytest -m 'not long and not verify' $(ARGS)

test-fast: $(STAMP) ## The tests that need no RabbitMQ (seconds)
	@$(BIN)/pytest -m 'not integration and not verify' $(ARGS)

# They wait far more than they work: the library's own limits are 75 s and more.
acceptance: $(STAMP) ## The real neonize library against a WhatsApp server of our own (minutes)
	@scripts/offline $(BIN)/pytest tests/acceptance -n 10 --maxschedchunk 1 $(ARGS)

chaos: $(STAMP) ## Break everything under load and count what was lost (ARGS=--list; 25 minutes)
	@scripts/offline $(BIN)/python -m tests.chaos $(ARGS)

soak: $(STAMP) ## A random fault every few seconds for half an hour, and what grows meanwhile
	@scripts/offline $(BIN)/python -m tests.chaos.soak $(ARGS)

check: $(STAMP) ## Format, lint, types, import rules, lock files, documents
	@$(BIN)/ruff format --check --quiet $(PYTHON_FILES) || { echo 'Run: make format'; exit 1; }
	@$(BIN)/ruff check --quiet $(PYTHON_FILES)
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo
	@scripts/check-locks
	@$(BIN)/python scripts/write_docs.py --check
	@$(BIN)/python scripts/write_prometheusrule.py --check
	@$(BIN)/python scripts/write_contracts.py --check
	@echo 'All checks passed.'

format: $(STAMP) ## Format and mend what can be mended
	@$(BIN)/ruff format --quiet $(PYTHON_FILES)
	@$(BIN)/ruff check --quiet --fix $(PYTHON_FILES)

coverage: $(STAMP) ## All tests, with branch coverage (daemons included), and its limits
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -m 'not long and not verify' $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
	@$(BIN)/coverage report --include='$(PURE)' --fail-under=100 >/dev/null || \
		{ echo 'These need every branch covered:'; $(BIN)/coverage report --include='$(PURE)'; exit 1; }

# The pure part of the worker: all its branches can be reached without a broker.
comma := ,
space := $(subst ,, )
PURE := $(subst $(space),$(comma),$(addprefix whatsapp_worker/,$(addsuffix .py,\
	pipeline envelope phone content injection outcome retry errors delivery)))

bench: $(BENCH) ## What a message costs, here and in the frameworks one would take instead (two hours)
	@$(BENCH_BIN)/python -m benchmarks.compare $(ARGS)

bench-quick: $(BENCH) ## The same with few messages, under 3 minutes; writes no file
	@$(BENCH_BIN)/python -m benchmarks.compare --quick $(ARGS)

# The peers' own environment: nobody else needs them.
BENCH_BIN := .tools/bench/bin
$(BENCH): requirements-bench.lock | $(STAMP)
	@echo 'Installing what the benchmarks compare with ...'
	@mkdir -p .tools && echo '*' >.tools/.gitignore
	@$(BIN)/uv venv -q --clear --python $(BIN)/python .tools/bench
	@$(BIN)/uv pip sync -q --python .tools/bench --require-hashes $<
	@touch $@

bench-footprint: $(STAMP) ## What the daemon holds, and how long it takes to start (half an hour)
	@$(BIN)/python -m benchmarks.footprint $(ARGS)

bench-scaling: $(STAMP) ## What a job costs before a million messages and five million ledger rows (half an hour)
	@$(BIN)/python -m benchmarks.scaling $(ARGS)

bench-whatsapp: $(STAMP) ## How fast messages go through the real library (six minutes)
	@$(BIN)/python -m benchmarks.real_library $(ARGS)

verify: $(STAMP) ## What other tools say of manifests, rules, image, contracts and secrets (minutes)
	@scripts/verify $(ARGS)

image-check: $(STAMP) ## Build the container image, run it and prove what it promises (minutes)
	@scripts/image-check

sbom: $(STAMP) ## Write what the worker is made of (CycloneDX) to dist/; never commit it
	@mkdir -p dist
	@$(BIN)/uv tool run -q --from cyclonedx-bom==7.5.0 cyclonedx-py requirements requirements.lock \
		--pyproject pyproject.toml --sv 1.6 -o dist/whatsapp-worker.cdx.json

docs: $(STAMP) ## Write the documents and manifests that come from the code
	@$(BIN)/python scripts/write_docs.py
	@$(BIN)/python scripts/write_prometheusrule.py
	@$(BIN)/python scripts/write_contracts.py

lock: $(STAMP) ## Pin the requirements anew (UPGRADE=1: to the newest)
	@$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml -o requirements.lock
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --group dev pyproject.toml -o requirements-dev.lock
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' | \
		$(COMPILE) --no-annotate --python-version 3.11 -c requirements-dev.lock - -o requirements-build.lock
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --python-version 3.11 requirements-verify.in -o requirements-verify.lock
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --python-version 3.11 -c requirements.lock requirements-bench.in pyproject.toml -o requirements-bench.lock
	@scripts/check-locks

clean: ## Remove .venv and everything that tools leave behind
	@rm -rf .venv .tools scripts/verify-node/node_modules dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find $(PYTHON_FILES) -name __pycache__ -type d -prune -exec rm -rf {} +
