# Everything a newcomer needs; each target does its own set-up. `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 3000
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install serve test check bench format clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/installed ## create .venv and install everything, pinned by constraints.txt

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,dev]'
	touch $@

serve: install ## serve on http://127.0.0.1:$(PORT); trains on the demo catalogue first if there is no bundle
	$(BIN)/winnow serve --port $(PORT) --train-demo-if-empty

check: install ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check ## every check and every test
	$(BIN)/pytest $(PYTEST_FLAGS)

BENCH  := classify latency members bulk
bench: install ## the tables of docs/benchmarks.md, on the bundle that is served; makes the peers' environments first
	for table in $(BENCH); do $(BIN)/python -m benchmarks.$$table $(CATALOGUE) || exit 1; done
	$(BIN)/python -m benchmarks.training_cost

format: install ## rewrite the code in its one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what the other targets made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
