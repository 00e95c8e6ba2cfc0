# Everything a person does here, by name. `make` alone lists it. Only Python 3.11+ and make are needed.
#
# PYTHON  the interpreter that virtual environments are made with.
# TORCH   what pip installs as PyTorch, for training only; serving and `make demo` never need it. On Linux the default
#         index has the CUDA build, which is gigabytes. For the CPU build set PIP_EXTRA_INDEX_URL to PyTorch's index
#         of CPU wheels and say: make setup TORCH=torch==2.13.0+cpu. For another version change it here and `make lock`.
# PYTRITON_PYTHON  the interpreter of PyTriton's environment: its server was built for a Python with a shared library,
#         as Debian's is and many others are not.
# EXTRA   which build of ONNX Runtime `make setup` installs: cpu or gpu. To change it: make clean setup EXTRA=gpu
# SIDE_BY_SIDE  how many tests run at once: a process for each core, at most 4; each file is one process's. Empty: one
#         at a time, as a debugger needs it.
# DATA    where the files of a public data set are, for the targets that read one.
# USERS   users of Taobao Ad that are read: 50,000 have about as many lists as MovieLens-1M.
# RUNBOOK the address at which docs/runbook.md can be read, for the links in alerts.
# ARGS    more options for the command of a target: make loadtest ARGS="--users 8 --mix default"

PYTHON ?= python3
TORCH ?= torch==2.13.0
PYTRITON_PYTHON ?= /usr/bin/python3
EXTRA ?= cpu
SIDE_BY_SIDE ?= --numprocesses logical --maxprocesses 4 --dist loadfile
ARGS ?=
RUNBOOK ?=
DATA ?=
USERS ?= 50000

VENV := .venv
DEMO_VENV := .venv-demo
RAY_VENV := .venv-ray
PEERS_VENV := .venv-peers
PYTRITON_VENV := .venv-pytriton
LOCK_VENV := .venv-lock
TOOLS_VENV := .venv-tools
BIN := $(VENV)/bin
INSTALL := pip install --quiet --constraint constraints.txt
DEMO_BUNDLE := models/embedded/demo
DEMO_VERSION := 1
DEMO_CATALOGUE := models/embedded/catalogue

# Where `coverage` is asked for, the tests are measured.
ifeq ($(filter coverage,$(MAKECMDGOALS)),)
FORGET :=
PYTEST := $(BIN)/python -m pytest $(SIDE_BY_SIDE)
else
FORGET := $(BIN)/coverage erase
PYTEST := $(BIN)/coverage run -m pytest $(SIDE_BY_SIDE)
endif

.DEFAULT_GOAL := help
.PHONY: help setup lock demo test test-long test-ray coverage release-test lint typecheck train-demo loadtest bench overhead goodput \
	cost-growth paired peers peers-setup truth overload lifecycle fuzz chaos soak alerts alerts-test clients gpu-check degre-movielens \
	degre-taobao wheel sbom audit digests manifests clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '%-12s %s\n' "$$name" "$$text"; done

# A virtual environment is complete when its stamp is there, and is brought up to date when pyproject.toml or
# constraints.txt changes.
define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Listwright needs Python 3.11 or newer, and '$(PYTHON)' is not that. Say which one: make PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "'$(PYTHON)' has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(1)
endef

setup: $(VENV)/.complete ## install everything for development and training into .venv

$(VENV)/.complete: pyproject.toml constraints.txt
	$(call make_venv,$(VENV))
	$(BIN)/$(INSTALL) $(TORCH)
	$(BIN)/$(INSTALL) --editable '.[$(EXTRA),train,redis,otel,store,load,dev]'
	@touch $@

# The CUDA libraries are in a file of their own, for the image: here PyTorch may be another build, which says itself which
# ones it needs.
lock: ## renew constraints.txt and constraints-gpu.txt: the newest versions that pyproject.toml allows
	$(call make_venv,$(LOCK_VENV))
	$(LOCK_VENV)/bin/pip install --quiet 'uv>=0.9,<1'
	mkdir -p build
	echo '$(TORCH)' | sed 's/+.*//' | $(LOCK_VENV)/bin/uv pip compile - pyproject.toml --quiet --upgrade \
		--universal --fork-strategy fewest --python-version 3.11 --extra cpu --extra gpu --extra train --extra ray --extra redis --extra otel --extra store --extra load --extra dev \
		--no-header --no-annotate --output-file build/constraints.txt
	echo '# Exact versions of what the extras cpu, gpu, train, ray, redis, otel, store, load and dev install; `make lock` renews them.' > constraints.txt
	grep -vE '^(nvidia|cuda|triton)\b' build/constraints.txt >> constraints.txt
	echo "# Exact versions of the CUDA libraries that the extra gpu and PyTorch's CUDA build install; \`make lock\` renews them." > constraints-gpu.txt
	grep -E '^(nvidia|cuda|triton)\b' build/constraints.txt >> constraints-gpu.txt

$(DEMO_VENV)/.complete: pyproject.toml constraints.txt
	$(call make_venv,$(DEMO_VENV))
	$(DEMO_VENV)/bin/$(INSTALL) --editable '.[cpu]'
	@touch $@

demo: $(DEMO_VENV)/.complete ## serve the embedded bundle, re-rank a few requests, show what changed and how fast
	$(DEMO_VENV)/bin/python -m loadtest.demo $(ARGS)

test: lint typecheck ## lint, types and all tests but those that take long
	$(FORGET)
	$(PYTEST) $(ARGS)

test-long: setup ## the tests with whole services, browsers or trainings, some seconds to a minute each
	$(PYTEST) -m long $(ARGS)

# Ray stays out of the environment of the other tests, which are to pass without it.
$(RAY_VENV)/.complete: pyproject.toml constraints.txt
	$(call make_venv,$(RAY_VENV))
	$(RAY_VENV)/bin/$(INSTALL) $(TORCH)
	$(RAY_VENV)/bin/$(INSTALL) --editable '.[$(EXTRA),train,ray,dev]'
	@touch $@

# Each of them puts what it starts into a network namespace, so that none runs where others could reach Ray's ports.
test-ray: $(RAY_VENV)/.complete ## the tests that start Ray, many minutes; skipped, and why, where `unshare` is not allowed
	$(RAY_VENV)/bin/python -m pytest -m ray -rs $(ARGS)

coverage: test test-long ## branch coverage of both and of what they start, each against its least
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='service/*' --format=total --precision=1 --fail-under=90
	$(BIN)/coverage report --include='models/contract/*' --format=total --precision=1 --fail-under=98
	$(BIN)/coverage report --format=total --precision=1 --fail-under=93

clients: setup ## make a TypeScript and a Python client, compile both, send README's request through each
	$(BIN)/python -m tests.clients $(ARGS)

release-test: setup ## build the wheel, install it in an environment elsewhere, serve, ask, run the demo
	RELEASE_TEST=required $(BIN)/python -m pytest -m slow tests/release $(ARGS)

lint: setup ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: setup ## mypy, strict
	$(BIN)/mypy

train-demo: setup ## make the embedded demo bundle and its catalogue again, from the simulator
	$(BIN)/listwright data simulator --lists 100000 --candidates 20 --seed 7 --output data/demo.parquet
	rm -rf runs/demo
	$(BIN)/listwright train sort-gen --data data/demo.parquet --out runs/demo --threads 1 --seed 7 \
		--epochs 14
	rm -rf build/bundles/demo
	$(BIN)/listwright export --checkpoint runs/demo/checkpoint.pt --name demo --version $(DEMO_VERSION) --out build/bundles
	rm -rf $(DEMO_BUNDLE) && mv build/bundles/demo $(DEMO_BUNDLE)
	$(BIN)/python -m loadtest.demo_requests data/demo.parquet
	$(BIN)/listwright data items data/demo.parquet --output data/demo-items.parquet
	rm -rf $(DEMO_CATALOGUE)
	$(BIN)/listwright catalogue build --items data/demo-items.parquet --spec $(DEMO_BUNDLE)/$(DEMO_VERSION) --out $(DEMO_CATALOGUE)
	$(BIN)/python -m loadtest.demo_undated $(DEMO_CATALOGUE)

# A run that was stopped goes on where it was.
define degre_tables
	test -n '$(DATA)' || { echo 'say where the files are: make $@ DATA=folder' >&2; exit 1; }
	mkdir -p data runs
	test -f data/$@.parquet || $(BIN)/listwright data $(1) --path '$(DATA)' -o data/$@.parquet
	$(BIN)/listwright evaluate degre --data data/$@.parquet --out runs/$@ --profile table --jobs 2 $(ARGS)
endef

degre-movielens: setup ## DeGRe's tables on MovieLens-1M, hours on two cores; DATA=folder of its files
	$(call degre_tables,movielens)

degre-taobao: setup ## the same on Taobao Ad (Tianchi 56), of USERS users; DATA=folder of its three files
	$(call degre_tables,taobao-ad --users $(USERS))

loadtest: setup ## serve and run locust for 60 s; p50, p95, p99 and the verdict against 19 ms
	$(BIN)/python -m loadtest.run --bundle $(DEMO_BUNDLE)/$(DEMO_VERSION) $(ARGS)

bench: setup ## time the engine, and what the service adds to it
	$(BIN)/listwright bench $(ARGS)
	$(BIN)/python -m loadtest.cost.overhead --bundle $(DEMO_BUNDLE)/$(DEMO_VERSION)

overhead: setup ## what the service adds to the engine, by form of requests: make overhead ARGS="--columns --catalogue"
	$(BIN)/python -m loadtest.cost.overhead $(ARGS)

goodput: setup ## search the requests/s of one worker within 19 ms, and workers for a rate: make goodput ARGS="--rate 2000"
	$(BIN)/python -m loadtest.goodput $(ARGS)

cost-growth: setup ## latency of engine and service against list length, width, candidates and batch
	$(BIN)/python -m loadtest.cost.growth --json reports/cost-growth.json $(ARGS)

paired: setup ## two settings of the service in turn: make paired ARGS='--b "--log-level warning"'
	$(BIN)/python -m loadtest.cost.paired $(ARGS)

# Without constraints: BentoML allows older versions only of packages that the service takes newer ones of.
$(PEERS_VENV)/.complete: pyproject.toml
	$(call make_venv,$(PEERS_VENV))
	$(PEERS_VENV)/bin/pip install --quiet --editable '.[cpu,peers]'
	@touch $@

$(PYTRITON_VENV)/.complete: pyproject.toml
	$(PYTRITON_PYTHON) -m venv $(PYTRITON_VENV)
	$(PYTRITON_VENV)/bin/pip install --quiet 'nvidia-pytriton>=0.7,<1' 'onnxruntime>=1.20,<2' 'msgspec>=0.20,<1' 'xxhash>=3.5,<5' packaging
	@touch $@

# PyTriton needs NumPy 1, so it takes what the peers share from this folder instead of installing it. Where it cannot be
# installed the comparison goes on without it, and says so.
peers-setup: setup $(PEERS_VENV)/.complete ## install what the service is compared with, each in an environment of its own
	-$(MAKE) $(PYTRITON_VENV)/.complete

peers: peers-setup build/bench/bench/1 ## the same bundle behind other servers, side by side: latency, goodput, memory
	$(BIN)/python -m loadtest.peers --out reports/peers $(ARGS)

# The bundle that docs/performance.md is about; its weights are random, since time does not depend on them.
build/bench/bench/1: | setup
	$(BIN)/python -m export.bench.bundle

truth: setup ## every method of both papers where list values are known; without sweeps: make truth ARGS="--points main"
	$(BIN)/listwright evaluate truth --profile medium --out runs/truth $(ARGS)

gpu-check: setup ## GPU against CPU: same lists, times of engine and service (first: make clean setup EXTRA=gpu)
	$(BIN)/python -m loadtest.gpu_check $(ARGS)

overload: build/bench/bench/1 ## offer three times the goodput for a minute: answers, refusals, recovery, each against its target
	$(BIN)/python -m loadtest.resilience.overload --bundles build/bench \
		--json reports/overload/overload.json $(ARGS)

lifecycle: build/bench/bench/1 ## reload and SIGTERM 20 times each under load: is any request lost, and what do reloads cost
	$(BIN)/python -m loadtest.resilience.lifecycle --bundles build/bench --json reports/lifecycle/lifecycle.json $(ARGS)

fuzz: setup ## 25,000 requests, most of them wrong, to both ports: anything unexpected? make fuzz ARGS="--replay FILE" sends one again
	$(BIN)/python -m loadtest.resilience.fuzz $(ARGS)

chaos: setup ## inject every fault that a process can: what clients saw, what was lost, each against what is right
	$(BIN)/python -m loadtest.resilience.chaos --json reports/chaos/chaos.json $(ARGS)

manifests: setup ## render deploy/kubernetes with Kustomize and validate it for Kubernetes 1.29 to the newest; needs kubectl
	$(BIN)/python -m tests.deploy.manifests

soak: build/bench/bench/1 ## 20 minutes at 70% of the goodput, one process and then two: growth of memory, files and threads
	$(BIN)/python -m loadtest.resilience.soak --bundles build/bench --json reports/soak/soak.json $(ARGS)

# Apart from what they look at, so that they are not in it themselves.
$(TOOLS_VENV)/.complete: constraints.txt
	$(call make_venv,$(TOOLS_VENV))
	$(TOOLS_VENV)/bin/$(INSTALL) 'build>=1.3,<2' 'cyclonedx-bom>=7.5,<8' 'license-expression>=30,<31' 'pip-audit>=2.10,<3' 'setuptools>=77'
	@touch $@

wheel: $(TOOLS_VENV)/.complete ## build the wheel and the sdist of the commit in dist/, the same bytes each time
	$(TOOLS_VENV)/bin/python deploy/supply/release.py $(ARGS)

sbom: setup $(DEMO_VENV)/.complete $(TOOLS_VENV)/.complete ## what serving and development install, as CycloneDX, and its licences against the policy
	$(TOOLS_VENV)/bin/python deploy/supply/sbom.py $(DEMO_VENV)/bin/python build/sbom/serving.cdx.json
	$(TOOLS_VENV)/bin/python deploy/supply/sbom.py $(BIN)/python build/sbom/everything.cdx.json
	$(TOOLS_VENV)/bin/python deploy/supply/licences.py build/sbom/serving.cdx.json --serving --out build/sbom/serving-licences.md
	$(TOOLS_VENV)/bin/python deploy/supply/licences.py build/sbom/everything.cdx.json --out build/sbom/everything-licences.md

audit: $(TOOLS_VENV)/.complete ## known vulnerabilities of the versions in constraints.txt and constraints-gpu.txt; status 3 (make: 2) where they cannot be looked up
	$(TOOLS_VENV)/bin/python deploy/supply/audit.py constraints.txt --requirement constraints-gpu.txt $(ARGS)

digests: ## compare the digests of Compose's images with the registry's, and write new ones; needs docker, crane or skopeo
	$(PYTHON) deploy/supply/digests.py $(wildcard docker-compose*.yml)

alerts: setup ## write Prometheus' rules and Kubernetes' from deploy/alerts; RUNBOOK=URL of the page that they link to
	$(BIN)/python -m deploy.alerts $(if $(RUNBOOK),--runbook '$(RUNBOOK)') $(ARGS)

alerts-test: setup ## unit tests of the alerts, then each made to fire by a live service: make alerts-test ARGS="--only hang"
	promtool test rules deploy/prometheus/tests/*.yml
	$(BIN)/python -m deploy.alerts.live --json reports/alerts/alerts.json $(ARGS)

clean: ## remove environments, caches and reports; data/, runs/ and bundles stay
	rm -rf $(VENV) $(DEMO_VENV) $(RAY_VENV) $(PEERS_VENV) $(PYTRITON_VENV) $(LOCK_VENV) $(TOOLS_VENV) build dist reports *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
