# Shortcuts. Nothing needs make: `python check.py` is the same check.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)

.PHONY: check test format

check:  ## What CI runs: format, lint, types, examples, tests, doctests, the README's code
	$(PYTHON) check.py

test:  ## Only the tests, doctests and the README's code
	$(PYTHON) check.py tests

format:  ## Bring the code into shape
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .
