# Every verb sets up what it needs in .venv; a second run finds it there.
PYTHON ?= python3
BIN := .venv/bin

# How long `make soak` plays.
MINUTES ?= 30
# The Autobahn suite runs on nothing newer.
PYTHON27 ?= python2.7

.PHONY: help demo test style types check install bench bench-actors bench-containers soak autobahn clean

help:
	@echo "make demo    play one Orchard episode: game, four players, a reporter, a grader"
	@echo "make test    style, types and the whole test suite"
	@echo "make check   style and types only"
	@echo "make bench   websockets, tap, codec and whole episodes, into docs/benchmarks.md (half an hour)"
	@echo "make autobahn PYTHON27=...   the public websocket test suite, into docs/conformance.md"
	@echo "make bench-actors   the actor core beside its rivals, with ratios"
	@echo "make bench-containers   episodes from images beside the public reference's, into docs/benchmarks.md (four minutes)"
	@echo "make soak    half an hour of episodes with crashes: memory and descriptors (MINUTES=30)"
	@echo "make clean   remove what the other verbs made"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "coworld-actors needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 3; }
	$(PYTHON) -m venv .venv

# One stamp per set of extras, so that `demo` does not wait for the test tools.
.venv/.examples: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[examples]'
	@touch $@

.venv/.dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ .venv/.examples

install: .venv/.dev

demo: .venv/.examples
	$(BIN)/coworld-actors run examples/orchard/coworld_manifest.json

style: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

check: style types

test: check
	$(BIN)/python -m pytest

bench: .venv/.dev
	$(BIN)/coworld-actors bench ws --docs docs/benchmarks.md --save docs/bench-ws.json
	$(BIN)/coworld-actors bench tap --docs docs/benchmarks.md
	$(BIN)/coworld-actors bench codec --docs docs/benchmarks.md
	$(BIN)/coworld-actors bench episodes --docs docs/benchmarks.md

autobahn: .venv/.dev
	$(BIN)/python bench/autobahn/run.py --python27 $(PYTHON27)

bench-actors: .venv/.dev
	$(BIN)/python bench/actors.py

bench-containers: .venv/.dev
	$(BIN)/coworld-actors bench containers --docs docs/benchmarks.md

soak: .venv/.dev
	$(BIN)/python bench/soak.py --minutes $(MINUTES)

clean:
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist runs
