# Two commands do everything: `make demo` and `make test`. They need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-workspace
# Processes that share out the tests: as many as there are cores. A plain `.venv/bin/python -m pytest PATH` uses one.
WORKERS ?= auto

.PHONY: demo test test-long bench docs clean

demo: $(VENV)/.installed
	@rm -rf $(DEMO)
	@echo '$$ synalign run fixtures/demo.toml'
	@$(BIN)/synalign run fixtures/demo.toml
	@echo
	@echo '$$ synalign sql $(DEMO) "select label, count(*), sum(weight) from synthetic_weighted group by label"'
	@$(BIN)/synalign sql $(DEMO) "select label, count(*) as records, sum(weight) as weight from synthetic_weighted group by label order by label"
	@echo
	@echo 'Some of what the model wrote, and of what was refused:'
	@$(BIN)/synalign sql $(DEMO) "select label, text from synthetic order by md5(id) limit 6"
	@$(BIN)/synalign sql $(DEMO) "select reason, detail, text from rejections limit 4"
	@echo
	@echo 'How far from real messages that the weights were not fitted to (squared MMD; floor: real against real):'
	@$(BIN)/synalign sql $(DEMO) "select stratum, heldout_before, heldout_after, floor, effective_share from alignment_summary where is_current"
	@echo
	@echo 'The weighted records are in $(DEMO)/. Next, try:'
	@echo "  $(BIN)/synalign sample $(DEMO) 10 --seed 7"
	@echo "  $(BIN)/synalign search $(DEMO) 'where is my parcel'"
	@echo "  $(BIN)/synalign sql $(DEMO) 'select * from cluster_coverage'"
	@echo "  $(BIN)/synalign export $(DEMO) drawn.parquet --n 500"

# Bytecode is kept also where the environment says no: each process that a test starts would compile the package anew,
# and each test run all of its tests.
test test-long: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-long: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m long -n $(WORKERS) --dist worksteal

bench: $(VENV)/.installed-test
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/embedding.py
	$(BIN)/python benchmarks/end_to_end.py
	$(BIN)/python benchmarks/alignment.py
	$(BIN)/python benchmarks/strength.py
	$(BIN)/python benchmarks/selection.py
	$(BIN)/python benchmarks/exploration.py
	$(BIN)/python benchmarks/llm.py
	$(BIN)/python benchmarks/sql.py
	$(BIN)/python benchmarks/utility.py
	$(BIN)/python benchmarks/retrieval.py

# The site, in build/site: what is generated from the code, then all pages, strictly. Open build/site/index.html.
docs: $(VENV)/.installed-docs
	$(BIN)/python -m tools.docs

clean:
	rm -rf $(VENV) $(DEMO) build dist .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.created:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed, this is ' + sys.version.split()[0])"
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo 'Installing into $(VENV) (a minute or two) ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test,docs]"
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[docs]"
	@touch $@
