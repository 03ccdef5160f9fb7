# Run `make` for the list of targets.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh

PYTHON ?=
ARGS ?=
BIN := .venv/bin
LOCK := UV_NO_CONFIG=1 $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--custom-compile-command "make lock"

export PYTHON

.PHONY: help
help: ## Show this list
	@echo 'make TARGET [ARGS="..."] [PYTHON=python3.11]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-17s%s\n", $$1, $$2 }'

.PHONY: install
install: ## Install the locked requirements and Xinhuo into .venv
	@tools/install.sh runtime

.PHONY: install-otel
install-otel: ## The same with OpenTelemetry, for traces (OTEL_EXPORTER_OTLP_ENDPOINT)
	@tools/install.sh otel

.PHONY: install-threads
install-threads: ## The same without nameko and eventlet, into .venv-threads (for XINHUO_ADAPTER=threads)
	@tools/install.sh threads .venv-threads

.PHONY: install-dev
install-dev:
	@tools/install.sh dev

.PHONY: run
run: ## Run all services here, with sample data (ARGS="--once --json", "--help")
	@tools/install.sh runtime
	@exec $(BIN)/xinhuo up $(ARGS)

.PHONY: test
test: ## Run all tests with servers of their own (ARGS="--quick", "--stage unit", "-k hours")
	@tools/install.sh dev
	@exec $(BIN)/python -m tests.run $(ARGS)

.PHONY: check
check: ## Check format, style, types, import rules, generated files, and deploy/ without checkov
	@tools/install.sh dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.generate --check
	$(BIN)/python -m tools.deploy_check --skip checkov

.PHONY: format
format: ## Format the code and put right what ruff can
	@tools/install.sh dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: deploy-check
deploy-check: ## Check what is under deploy/: manifests, image, rules, dashboards, settings (ARGS="--only kustomize")
	@tools/install.sh dev
	@exec $(BIN)/python -m tools.deploy_check $(ARGS)

.PHONY: bench
bench: ## Measure beside plain nameko, FastStream and the machine's limits (ARGS="--quick --json")
	@tools/install.sh bench
	@exec $(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-growth
bench-growth: ## Measure beside ten thousand, a million and ten million records; hours (ARGS="--rows 10000,1000000")
	@tools/install.sh bench
	@exec $(BIN)/python -m benchmarks.growth $(ARGS)

.PHONY: bench-replicas
bench-replicas: ## Measure one, two and four workers of each service, and two api processes
	@tools/install.sh bench
	@exec $(BIN)/python -m benchmarks.replicas $(ARGS)

.PHONY: prove
prove: ## Prove under faults that nothing is lost or doubled (ARGS="--seconds 90 --seed 7 --json")
	@tools/install.sh dev
	@exec $(BIN)/python -m tests.faults $(ARGS)

.PHONY: fuzz
fuzz: ## Send thousands of requests to each route of each service (ARGS="--requests 5000 --seed 7 --json")
	@tools/install.sh dev
	@exec $(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: nightly
nightly: ## Run the long tests: all on threads, ten seeds, power cuts, a cluster (ARGS="-k cluster")
	@tools/install.sh dev
	@exec $(BIN)/python -m tests.run --stage threads-all --stage other-versions-all --stage nightly $(ARGS)

.PHONY: lock
lock: ## Resolve the requirements anew into requirements/*.txt, with hashes (ARGS="--upgrade")
	@tools/install.sh dev
	$(LOCK) $(ARGS) --extra nameko pyproject.toml requirements/build.in -o requirements/runtime.txt
	$(LOCK) $(ARGS) --extra nameko --extra otel -c requirements/runtime.txt pyproject.toml requirements/build.in \
		-o requirements/otel.txt
	$(LOCK) $(ARGS) --extra nameko --extra otel --extra dev --extra deploy -c requirements/otel.txt pyproject.toml \
		requirements/build.in -o requirements/dev.txt
	$(LOCK) --extra nameko --extra otel --extra dev --extra deploy --extra bench -c requirements/dev.txt pyproject.toml \
		requirements/build.in -o requirements/bench.txt
	$(LOCK) -c requirements/runtime.txt pyproject.toml requirements/build.in -o requirements/threads.txt
	$(LOCK) --extra otel --extra dev -c requirements/dev.txt pyproject.toml requirements/build.in -o requirements/threads-dev.txt
	$(LOCK) $(ARGS) requirements/checkov.in -o requirements/checkov.txt

.PHONY: audit-deps
audit-deps: ## Ask for known vulnerabilities in what is locked (ARGS="--osv-url URL")
	@tools/install.sh dev
	@exec $(BIN)/python -m tools.audit_deps $(ARGS)

.PHONY: sbom
sbom: ## Print what an installation consists of, with hashes and licences, as CycloneDX JSON
	@tools/install.sh dev
	@exec $(BIN)/python -m tools.sbom

.PHONY: image
image: ## Build the image with docker, podman or buildah, and its bill of materials (ARGS="--offline", "--help")
	@tools/install.sh dev
	@exec $(BIN)/python -m tools.image $(ARGS)

.PHONY: docs
docs: ## Write the generated pages and files anew
	@tools/install.sh dev
	$(BIN)/python -m tools.generate

.PHONY: clean
clean: ## Remove the environments and caches (data folders stay)
	rm -rf .venv .venv.lock .venv-3.13 .venv-3.13.lock .venv-threads .venv-threads.lock .venv-checkov .venv-checkov.lock .cache .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache .hypothesis .coverage build dist xinhuo.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
