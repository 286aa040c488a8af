# `make up` and `make test` are the two commands of the README; the other targets are for developers.
PYTHON ?= python3
BIN = .venv/bin
# In the locale C, Java and the start of Python cannot read a path that has a letter beyond ASCII.
export LC_ALL = C.UTF-8
# The set-up is a package of this folder, which Python does not search with this variable.
unexport PYTHONSAFEPATH

.PHONY: up test test-inputs test-faults test-mutants test-cluster test-security test-kubernetes check bench profile generate
.PHONY: pictures dashboards chart reference docs lock format

## up: set up, and run everything on this machine until Ctrl-C; CHECK=1 exits once the first events are rows
up:
	@$(PYTHON) -m local.setup run
	@exec $(BIN)/ugc-up $(if $(CHECK),--check)

## test: set up, and run every test against real servers, in several processes; ARGS=-n0 runs them in one
test:
	@$(PYTHON) -m local.setup test
	@exec $(BIN)/python -m pytest -n auto --durations 20 $(ARGS)

## test-inputs: send 10,000 requests of schemathesis, a million mutated bodies and a million Protobuf messages;
## `make test` sends 2,000, 100,000 and 30,000 of them
test-inputs:
	@$(PYTHON) -m local.setup test
	@UGC_TEST_SCHEMATHESIS=$(or $(REQUESTS),10000) UGC_TEST_MUTATIONS=$(or $(BODIES),500000) UGC_TEST_MESSAGES=$(or $(MESSAGES),1000000) \
	  $(BIN)/python -m pytest tests/integration/test_schemathesis.py tests/properties $(ARGS)

## test-faults: every fault with 10 seeds, and ten minutes of kill -9, in an hour and a half; writes architecture/faults.md
test-faults:
	@$(PYTHON) -m local.setup test
	@rm -f .local/fault-results.jsonl
	@FAULT_SEEDS=$(or $(SEEDS),0-9) $(BIN)/python -m pytest tests/faults $(ARGS); status=$$?; \
	  $(BIN)/python -m tests.faults.table && exit $$status

## test-mutants: break each claim of the guarantee in a copy of the code, where its tests must fail; part of test-faults
test-mutants:
	@$(PYTHON) -m local.setup test
	@FAULT_SEEDS=0-0 $(BIN)/python -m pytest tests/faults/test_mutants.py $(ARGS)

## test-cluster: three brokers, three keepers, ClickHouse with 2 shards of 2 replicas, and every fault of tests/cluster, in
## 25 minutes; TABLE=1 writes architecture/cluster.md, ARGS='-k brokers' runs some of the tests
test-cluster:
	@$(PYTHON) -m local.setup cluster
	@rm -f .local/cluster-results.jsonl
	@UGC_TEST_CLUSTER=1 $(BIN)/python -m pytest -n0 tests/cluster $(ARGS); status=$$?; \
	  if [ -n "$(TABLE)" ]; then $(BIN)/python -m tests.cluster.table || exit 1; fi; exit $$status

## test-security: each permission in Kafka, and each kind of refused connection, on a broker with TLS, SASL and an authorizer
test-security:
	@$(PYTHON) -m local.setup test
	@UGC_TEST_SECURITY=1 $(BIN)/python -m pytest -n0 tests/security $(ARGS)

## test-kubernetes: apply the Helm chart to the real API server of Kubernetes; builds it with Go, in ten minutes of CPU
test-kubernetes:
	@$(PYTHON) -m local.setup kubernetes
	@UGC_TEST_KUBERNETES=1 $(BIN)/python -m pytest -n0 tests/kubernetes $(ARGS)

## bench: measure the costs on this machine; ONLY=etl_backlog ARGS='--events 200000' runs one benchmark, KEEP=1 keeps the
## results in tests/benchmarks/results and writes docs/reference/costs.md
bench:
	@$(PYTHON) -m local.setup bench
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m tests.benchmarks.$$name $(ARGS); done
	@if [ -n "$(KEEP)" ]; then $(BIN)/python -m tests.support.benchmarks.keep $(BENCHMARKS) && $(BIN)/python docs/generate.py; fi

BENCHMARKS = $(or $(ONLY),$(basename $(notdir $(wildcard tests/benchmarks/*.py))))

## profile: profile a process under a load, as in PROCESS=gateway LOAD=rest-one ARGS=--native; see tests/benchmarks/README.md
profile:
	@$(PYTHON) -m local.setup bench
	@$(BIN)/python -m tests.support.benchmarks.profile $(PROCESS) $(LOAD) $(ARGS)

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
	  $(BIN)/buf breaking --against '.git#ref=HEAD~1'; else echo 'buf breaking: there is no earlier commit to compare with'; fi
	$(BIN)/python proto/generate.py --check
	$(BIN)/python architecture/pictures.py --check
	$(BIN)/python docs/generate.py --check
	$(BIN)/python -m deploy.grafana --check
	$(BIN)/python -m deploy.helm --check

## generate: compile the proto files
generate:
	$(BIN)/python proto/generate.py

## pictures: draw architecture/*.svg
pictures:
	$(BIN)/python architecture/pictures.py

## dashboards: write deploy/grafana/dashboards
dashboards:
	$(BIN)/python -m deploy.grafana

## chart: write what is generated of deploy/helm: the schema of its values, and tests/golden/helm
chart:
	@$(PYTHON) -m local.setup test
	$(BIN)/python -m deploy.helm

## reference: write what the documentation takes from the code: pages of docs/reference, and excerpts of files
reference:
	$(BIN)/python docs/generate.py

## docs: build the documentation as a browsable site in .local/site; a broken link fails
docs:
	@$(PYTHON) -m local.setup test
	@$(BIN)/python docs/build_site.py

## lock: pin every Python package again, with its hashes
lock:
	$(BIN)/uv pip compile $(LOCK_FLAGS) --group setup -o locks/uv.txt
	$(BIN)/uv pip compile $(LOCK_FLAGS) --group build pyproject.toml -o locks/run.txt
	$(BIN)/uv pip compile $(LOCK_FLAGS) --group build --extra traces -c locks/run.txt pyproject.toml -o locks/traces.txt
	$(BIN)/uv pip compile $(LOCK_FLAGS) --group build --group dev --extra traces -c locks/traces.txt -c locks/uv.txt pyproject.toml -o locks/dev.txt
	$(BIN)/uv pip compile $(LOCK_FLAGS) --group bench -c locks/run.txt -c locks/uv.txt -o locks/bench.txt

LOCK_FLAGS = --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
  --no-emit-index-url --no-emit-find-links

## format: format the code
format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format --write --path proto/ugc
