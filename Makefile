# holdfast: run, test, bench, check. Each makes its own .venv first; nothing else is needed
# but Python 3.11+ and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready-dev
BENCH  := $(VENV)/.ready-bench
LOWEST := $(VENV)-lowest/.ready
LOWEST_TEST = $(VENV)-lowest/bin/python -m pytest tests/real/test_ride_through.py -p no:cacheprovider
LOWEST_PIP = $(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check
WORKERS ?= 2
ROUNDS  ?= 100

.PHONY: run test unit real crash bench check format lowest clean help

help:  ## Say what can be made
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

run: $(READY)  ## Start the demo: a shop, its PostgreSQL, and a button that stops it
	@exec $(BIN)/holdfast demo

test: check  ## Check, then run every test against real servers
	$(BIN)/python -m pytest -n $(WORKERS) tests/unit tests/property
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile tests/real
	$(BIN)/python -m pytest -n $(WORKERS) tests/crash

unit: $(READY)  ## The fast tests only
	$(BIN)/python -m pytest tests/unit tests/property

real: $(READY)  ## Real servers, real faults only
	$(BIN)/python -m pytest tests/real

crash: $(READY)  ## Kill, cut and fill at random: ROUNDS=100, SEED= to see a run again
	$(BIN)/python tests/crash/loop.py --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

bench: $(BENCH)  ## Measure against the peers and write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

check: $(READY)  ## Lint, format, types, floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## Format in place
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove everything that was made
	rm -rf $(VENV) $(VENV)-lowest dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing holdfast and its development tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(BENCH): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

lowest: $(LOWEST)  ## The restarts again, on the lowest versions promised
	$(LOWEST_PIP) 'sqlalchemy==2.0.0'
	$(LOWEST_TEST) -k 'restart and (asyncpg or psycopg or litestar or key)'
	$(LOWEST_PIP) 'sqlalchemy==2.0.14'  # SQLModel for pydantic 2 imports what earlier ones lack
	$(LOWEST_TEST) -k 'restart and not (asyncpg or psycopg or litestar or key)'

$(LOWEST): pyproject.toml constraints-lowest.txt
	@test -x $(VENV)-lowest/bin/python || $(PYTHON) -m venv $(VENV)-lowest
	@$(LOWEST_PIP) -c constraints-lowest.txt -e '.[demo,psycopg]' \
	    psycopg-binary sqlalchemy sqlmodel litestar aiohttp hypothesis pytest pytest-asyncio pytest-timeout
	@touch $@
