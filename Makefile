# Two commands do everything on a fresh machine with Python >= 3.11: `make demo` and `make test`.
# Each sets up .venv first (with uv where it is installed, with pip otherwise).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
MINUTES ?= 20

.DEFAULT_GOAL := help
.PHONY: help demo test check setup setup-dev lint types contracts pure bench soak real clean

help:
	@echo "make demo    a make-believe Integrator, an embedded Postgres and the archiver, all in one (ARGS=--once)"
	@echo "make test    every check and test that needs only Python"
	@echo "make check   lint, types, architecture, pure tests with few examples: about a minute"
	@echo "make bench   the archiver beside what else would do it, measured (ARGS=--quick; docs/benchmarks.md)"
	@echo "make soak    the figures of the fault suite, then the daemon among faults, kills and restarts for the rest of MINUTES=20"
	@echo "make real    software that is not ours reads the archive (ARGS='psql jdbc odbc frames dbt duckdb s3 superset browser')"

$(VENV)/.user: pyproject.toml constraints.txt
	@sh tools/setup.sh "$(PYTHON)" "$(VENV)" all && touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	@sh tools/setup.sh "$(PYTHON)" "$(VENV)" dev && touch $@ $(VENV)/.user

setup: $(VENV)/.user
setup-dev: $(VENV)/.dev

demo: $(VENV)/.user
	@$(BIN)/archiver demo $(ARGS)

lint: $(VENV)/.dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev
	@$(BIN)/mypy

contracts: $(VENV)/.dev
	@$(BIN)/lint-imports --no-cache

# The rooms without input or output, and that their own tests go through every line and branch of them. A tenth of the
# examples does for that; `make test` tries them all.
PURE := window detail messages redact logs sheets errors
pure: $(VENV)/.dev
	@ARCHIVER_SEEDS=2 ARCHIVER_EXAMPLES=0.1 $(BIN)/pytest -q -n 2 --hypothesis-seed 0 --cov-branch \
	    $(PURE:%=--cov archiver.%) --cov-report term-missing:skip-covered --cov-fail-under 100 \
	    tests/test_logs.py tests/test_window.py tests/test_detail.py tests/test_detail_documents.py \
	    tests/test_messages.py tests/test_redact.py tests/test_sheets.py tests/test_columns.py

check: lint types contracts pure

test: lint types contracts
	@$(BIN)/pytest -n 3 --dist worksteal

bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks.race $(ARGS)

# Four kill -9 and two restarts of Postgres a minute, from 20 minutes on no fewer than 40 and 20, unless ARGS says otherwise.
soak: $(VENV)/.dev
	@$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) $(ARGS)

# Installs what it needs, into build/real and with apt-get; what cannot be had here is skipped with its reason.
real: $(VENV)/.dev
	@$(BIN)/python -m tests.real $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
