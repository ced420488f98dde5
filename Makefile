# The contributor's guide: `make help` prints it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/embedding-operator
# The images' Python where there is one: what distributions and Docker publish is optimized by profile, and what pyenv
# compiles is not: plain Python runs at two thirds of the speed there.
PYTHON ?= $(shell for python in /usr/local/bin/python3.11 /usr/bin/python3.11; do \
  $$python -c 'import venv, ensurepip' 2>/dev/null && echo $$python && exit; done; echo python3)
PYTHON := $(PYTHON)
LOCK_HASH := $(shell { cat requirements/test.txt; echo $(PYTHON); $(PYTHON) -VV; } | sha256sum | cut -c1-12)
VENV := $(CACHE)/venv-$(LOCK_HASH)
PY := $(VENV)/bin/python
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/serving:$(CURDIR)/tests

##@ Try it
demo: env ## A cluster if none is given, the images, the operator, a model, 20,000 real texts, questions to them, and another model while they are searched
	@$(PY) -m demo

cluster: env ## Bring up a local Kubernetes node, or repair it; prints the kubeconfig
	@$(PY) -m cluster up

cluster-down: env ## Take the local node down and leave nothing behind
	@$(PY) -m cluster down

images: env ## Build the operator, serving and model images, where their inputs changed
	@$(PY) -m images build

image-torch: env ## Build the serving image with torch (GPU pods; 7 GB) and test it
	@$(PY) -m images build torch
	@$(PY) -m pytest tests -m torch_image --override-ini addopts="-ra --import-mode=importlib"

##@ Work on it
test: lint parts ## Everything: lint, unit, integration, and the real cluster
	@$(PY) -m pytest

test-unit: env ## What needs no cluster, no server and no network, in under a minute
	@$(PY) -m pytest tests/unit -q

test-integration: env ## Real processes on loopback: servers, Redis, official clients
	@$(PY) -m pytest tests/integration

test-e2e: env ## The real cluster alone
	@$(PY) -m pytest tests/e2e

test-faults: env ## For hours: 100,000 simulated rebuilds, power cuts, kills, bad disks, the shard's model, deaths at every moment of a switch; FAULTS_SEED=n, SIMULATION_SEED=n repeat one, SIMULATION_FIRST=n goes on from there
	@FAULTS=long $(PY) -m pytest tests/simulation tests/integration/faults tests/unit/store/test_model.py tests/e2e/test_rebuild.py -o timeout=3600 -s

lint: env ## Style, types, and what may import what
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --quiet --check .
	@$(PY) -m mypy operator/embedding_operator serving/embedding_serving tests benchmarks
	@$(VENV)/bin/lint-imports --no-logo >/dev/null || $(VENV)/bin/lint-imports --no-logo

format: env ## Rewrite the sources as lint wants them
	@$(PY) -m ruff check --quiet --fix . ; $(PY) -m ruff format --quiet .

generate: env ## Write crds/, docs/reference.md and docs/settings.md from the models
	@$(PY) -m embedding_operator crds
	@$(PY) -m embedding_operator docs

bench: env ## Side by side with peers, in one run, as ratios
	@$(PY) -m benchmarks

lock: ## Resolve pyproject.toml into requirements/, pinned by hash
	@requirements/lock

##@ Underneath
# Built before the tests begin: on a bare machine it takes longer than any test may.
parts: env ## What the end-to-end tests stand on, built once: the node, unless EO_CONTEXT names one, and the images
	@test -n "$${EO_CONTEXT:-}" || $(PY) -m cluster up
	@$(PY) -m images build

env: $(VENV)/complete .cache ## The Python environment, cached by the hash of its lock and its interpreter

# A killed installation leaves no `complete` and is made anew; two at once wait for each other.
$(VENV)/complete:
	@mkdir -p $(CACHE)
	@exec 9>$(CACHE)/venv.lock; flock 9; test -e $@ || { \
	  echo "installing the Python environment (about 7 GB with torch, once) …"; \
	  rm -rf $(VENV); $(PYTHON) -m venv $(VENV); \
	  $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/test.txt; \
	  touch $@; }

.cache:
	@ln -sfn $(CACHE) .cache

help: ## This text
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo cluster cluster-down images image-torch test test-unit test-integration test-e2e test-faults lint format generate bench lock parts env help
