# Every target sets up what it needs; a second call re-uses what stands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find qsparse callbacks recipes tflite_export \
	\( -name '*.py' -o -name '*.cc' -o -name '*.h' -o -name '*.inc' -o -name 'CMakeLists.txt' -o -name '*.cmake' \
	-o -name '*.map' \))

.PHONY: demo test lint bench clean
.DEFAULT_GOAL := test

$(VENV)/requirements: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "qsparse needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "could not create $(VENV); on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	@touch $@

# The editable install maps the four top-level folders into one package and
# builds the delegate; it is incremental, so it may run whenever a file changes.
$(VENV)/installed: $(VENV)/requirements pyproject.toml $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-build-isolation --no-deps --editable .
	@touch $@

demo: $(VENV)/installed
	$(BIN)/qsparse demo --output demo

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed
	$(BIN)/python -m qsparse.tflite_export.bench_layers --output bench

clean:
	rm -rf build dist demo bench $(VENV)
