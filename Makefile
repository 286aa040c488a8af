# The two commands of the README are `make up` and `make test`; the rest is for developers.
PYTHON ?= python3
BIN = .venv/bin
# In the locale C neither Java nor Python's own start can read a path with a letter beyond ASCII.
export LC_ALL = C.UTF-8

.PHONY: up test test-inputs test-faults test-mutants check bench generate pictures reference docs lock format

## up: set up and run everything on this machine until Ctrl-C; CHECK=1 exits after the first rows
up:
	@$(PYTHON) -m local.setup run
	@exec $(BIN)/ugc-up $(if $(CHECK),--check)

## test: set up and run every test, against real servers
test:
	@$(PYTHON) -m local.setup test
	@exec $(BIN)/python -m pytest $(ARGS)

## test-inputs: 10,000 requests by schemathesis, a million mutated bodies and a million Protobuf messages, of which
## `make test` sends 2,000, a tenth and 30,000
test-inputs:
	@$(PYTHON) -m local.setup test
	@UGC_TEST_SCHEMATHESIS=$(or $(REQUESTS),10000) UGC_TEST_MUTATIONS=$(or $(BODIES),500000) UGC_TEST_MESSAGES=$(or $(MESSAGES),1000000) \
	  $(BIN)/python -m pytest tests/integration/test_schemathesis.py tests/properties $(ARGS)

## test-faults: break everything that can break, each with 10 seeds, and ten minutes of kill -9; an hour and a half.
## Writes architecture/faults.md
test-faults:
	@$(PYTHON) -m local.setup test
	@rm -f .local/fault-results.jsonl
	@FAULT_SEEDS=$(or $(SEEDS),0-9) $(BIN)/python -m pytest tests/faults $(ARGS); status=$$?; \
	  $(BIN)/python -m tests.faults.table && exit $$status

## test-mutants: break each claim of the guarantee in a copy of the code, and see its tests fail; part of test-faults
test-mutants:
	@$(PYTHON) -m local.setup test
	@FAULT_SEEDS=0-0 $(BIN)/python -m pytest tests/faults/test_mutants.py $(ARGS)

## bench: what things cost on this machine, one table after the other; or one: ONLY=etl_backlog ARGS='--events 200000'
bench:
	@$(PYTHON) -m local.setup test
	@set -e; for name in $(or $(ONLY),$(basename $(notdir $(wildcard tests/benchmarks/*.py)))); do \
	  echo "== $$name"; $(BIN)/python -m tests.benchmarks.$$name $(ARGS); done

## check: everything CI checks besides the tests
check:
	@$(PYTHON) -m local.setup test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code --path proto/ugc
	@if git rev-parse --verify --quiet HEAD~1 >/dev/null; then \
	  $(BIN)/buf breaking --against '.git#ref=HEAD~1'; else echo 'buf breaking: no commit to compare with'; fi
	$(BIN)/python proto/generate.py --check
	$(BIN)/python architecture/pictures.py --check
	$(BIN)/python docs/generate.py --check

## generate: compile the protos
generate:
	$(BIN)/python proto/generate.py

## pictures: draw architecture/*.svg
pictures:
	$(BIN)/python architecture/pictures.py

## reference: write what the documentation takes from the code: pages of docs/reference, and excerpts of files
reference:
	$(BIN)/python docs/generate.py

## docs: build the documentation as a browsable site in .local/site; a broken link fails
docs:
	@$(PYTHON) local/setup.py test
	@$(BIN)/python docs/build_site.py

## lock: pin every package again, with hashes
lock:
	$(BIN)/uv pip compile $(LOCK_FLAGS) --group setup -o locks/uv.txt
	$(BIN)/uv pip compile $(LOCK_FLAGS) --group build pyproject.toml -o locks/run.txt
	$(BIN)/uv pip compile $(LOCK_FLAGS) --group build --group dev -c locks/run.txt -c locks/uv.txt pyproject.toml -o locks/dev.txt

LOCK_FLAGS = --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
  --no-emit-index-url --no-emit-find-links

## format: lay the code out
format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format --write --path proto/ugc
