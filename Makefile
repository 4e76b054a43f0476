# Shortcuts. Nothing needs make: `python check.py` is the same check.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)

.PHONY: check test torture slow format

check:  ## What CI runs: format, lint, types, examples, tests, doctests, the README's code
	$(PYTHON) check.py

test:  ## Only the tests, doctests and the README's code
	$(PYTHON) check.py tests

torture:  ## Kills, interrupts and damage, TIMES as often as the tests do them
	TABLEVAULT_TORTURE=$(or $(TIMES),20) $(PYTHON) -m pytest -q -n auto --dist worksteal tests/torture

slow:  ## Also all oracles and random tests, TIMES as often as the tests do them
	TABLEVAULT_TORTURE=$(or $(TIMES),20) $(PYTHON) -m pytest -q -m slow

format:  ## Bring the code into shape
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .
