# Everything a developer or CI does here; `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Any Python from 3.11 on: make env PYTHON=python3.13
PYTHON ?= python3
# Extra words for pytest: make test ARGS="-k schedule -x"
ARGS ?=
# The tests wait as much as they work.
WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
# Set to let `make lock` take newer versions instead of keeping the ones it finds.
UPGRADE ?=

UV_VERSION := 0.13.9
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: env
env: $(READY) ## Make .venv with everything pinned, and fetch kubectl and helm for the tests

# Older than a file it was made from, it is brought up to date; else this takes no time.
$(READY): pyproject.toml requirements/dev.txt requirements/tools.txt requirements/chart.txt \
  tests/kubectl.py tests/helm.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make env needs Python 3.11 or newer, and $(PYTHON) is not: name one with PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m tests.kubectl
	$(BIN)/python -m tests.helm
	@touch $@

.PHONY: lint
lint: $(READY) ## Check style, types, import contracts and the Dockerfile
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

.PHONY: format
format: $(READY) ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

.PHONY: package
package: $(READY) ## Write the generated part of the Salesforce package after a change to objects.py
	$(BIN)/python -m tests.package.generate

.PHONY: chart
chart: $(READY) ## Write the generated parts of the Helm chart and its golden files again
	$(BIN)/python -m tests.chart.generate

.PHONY: test
test: $(READY) ## Run the tests; needs nothing but this machine
	$(BIN)/python -m pytest -m "not (cluster or package or browser or image or monitoring)" -n $(WORKERS) --dist loadfile --ignore=tests/benchmarks --ignore=tests/chart --ignore=tests/sandbox $(ARGS)

.PHONY: test-sandbox
test-sandbox: $(READY) ## Run the tests of the emulated Metronome, Salesforce and Kubernetes
	$(BIN)/python -m pytest -m "not (cluster or package)" -n $(WORKERS) --dist loadfile tests/sandbox $(ARGS)

.PHONY: test-chart
test-chart: $(READY) ## Run the tests of the Helm chart, with Helm 3 and 4
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile tests/chart $(ARGS)

# A given cluster is not ours to kill or restart, which is all that test_own.py does, nor to install
# roles or the chart in, and its audit log, which test_rights.py reads, is out of reach.
OWN_CLUSTER := test_own.py test_rights.py test_helm.py test_two_operators.py test_outages.py \
  test_silence.py test_load.py
CLUSTER_ARGS := $(if $(filter 1,$(TEST_USE_KUBECONFIG)),$(addprefix --ignore=tests/controlplane/,$(OWN_CLUSTER)))

.PHONY: test-cluster
test-cluster: $(READY) ## Run the tests that need a real kube-apiserver; builds one with Go the first time
	$(BIN)/python -m tests.controlplane.build
	$(BIN)/python -m pytest -m cluster -p tests.controlplane.strict -n 2 --dist loadfile --ignore=tests/benchmarks --ignore=tests/controlplane/test_load.py $(CLUSTER_ARGS) $(ARGS)

.PHONY: test-load
test-load: $(READY) ## Measure an operator with 200 MetronomeSyncs and 2,000 CustomerLinks, with limits; needs an idle machine
	$(BIN)/python -m tests.controlplane.build
	$(BIN)/python -m pytest -m cluster -p tests.controlplane.strict tests/controlplane/test_load.py $(ARGS)

.PHONY: test-package
test-package: $(READY) ## Run the tests that deploy with the Salesforce CLI; installs it with npm the first time
	$(BIN)/python -m tests.salesforce_cli.install
	$(BIN)/python -m pytest -m package -p tests.controlplane.strict -n $(WORKERS) --dist loadfile tests/cli_package $(ARGS)

.PHONY: test-image
test-image: $(READY) ## Carry out the Dockerfile's steps and run the operator as the image does; needs pip's index
	$(BIN)/python -m pytest -m image -p tests.controlplane.strict tests/image $(ARGS)

.PHONY: test-browser
test-browser: $(READY) ## Run the tests of the sandbox's web pages; needs Chromium
	$(BIN)/python -m tests.pages.chromium
	$(BIN)/python -m pytest -m browser -p tests.controlplane.strict tests/pages $(ARGS)

.PHONY: test-monitoring
test-monitoring: $(READY) ## Run the tests of alerts and dashboard on a real Prometheus, which must be installed
	$(BIN)/python -m tests.monitoring.tools
	$(BIN)/python -m pytest -m monitoring -p tests.controlplane.strict -n $(WORKERS) --dist loadfile tests/monitoring $(ARGS)

.PHONY: screenshots
screenshots: $(READY) ## Take the README's screenshots of the sandbox's web pages again; needs Chromium
	$(BIN)/python -m tests.pages.screenshots docs/images

.PHONY: demo
demo: $(READY) ## Show a sync from start to end, on emulated services
	$(BIN)/metronome-salesforce demo

.PHONY: sandbox
sandbox: $(READY) ## The same, but stay up for kubectl, curl and sync -f
	$(BIN)/metronome-salesforce sandbox --folder .sandbox

.PHONY: bench
bench: $(READY) ## Measure the operator syncing many customers, or linking them (ARGS=links)
	$(BIN)/python -m tests.benchmarks $(ARGS)

# Each file is resolved within the one before it, so that the image runs what the tests ran.
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
	--no-annotate --no-emit-index-url --no-header $(if $(UPGRADE),--upgrade)

.PHONY: lock
lock: ## Pin the dependencies again after a change to pyproject.toml (UPGRADE=1: newest versions)
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv "$$folder"; \
	"$$folder/bin/python" -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	PATH="$$folder/bin:$$PATH"; set -x; \
	$(LOCK) --extra otel pyproject.toml -o requirements/runtime.txt; \
	$(LOCK) --extra otel --extra sandbox pyproject.toml requirements/dev.in -c requirements/runtime.txt -o requirements/dev.txt; \
	$(LOCK) requirements/build.in -c requirements/dev.txt -o requirements/build.txt
	@! grep -nE '[a-z]+://|--(extra-)?index-url|--find-links' requirements/*.txt || { \
	  echo "requirements/ must name versions and hashes, and no addresses" >&2; exit 1; }

.PHONY: clean
clean: ## Remove what builds, tests and the sandbox leave here (not .venv)
	rm -rf dist build .sandbox .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find operator tests -name __pycache__ -type d -prune -exec rm -rf {} +
