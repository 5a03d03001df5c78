# The one entry: people, the pre-commit hook and CI call these. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := protos/sightline/v1/*.proto protos/sightline/inference/*.proto
BUF := npx --yes @bufbuild/buf@1.75.0
MODELS := models
IMAGENET := efficientnet-lite0
DEMO := $(IMAGENET) cifar10-resnet camvid-fcn8s nuclei-yolo shakespeare-transformer
.DEFAULT_GOAL := help

DISTRIBUTIONS := . service export
.PHONY: help setup models demo serve test check format lint type protos protos-current twins twins-current build bench

help: ## What there is.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/ready ## Make the environment: everything pinned by constraints.txt.

# torch first and exactly: any looser request may pull gigabytes of CUDA libraries. Of stardist only
# the photograph in its wheel is used (recipe nuclei-yolo), of silero-vad the ONNX file (tests of
# adoption), so none of what they need.
$(VENV)/ready: $(DISTRIBUTIONS:%=%/pyproject.toml) constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt pip
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --group dev -e ".[batch]" -e "./service[cpu]" -e ./export
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps stardist silero-vad
	@touch $@

models: setup ## Export the models of the demonstration, two at once.
	@$(MAKE) --no-print-directory --jobs=2 --output-sync $(DEMO:%=$(MODELS)/%/1/manifest.json)

$(MODELS)/$(IMAGENET)/1/manifest.json: | setup
	$(BIN)/sightline export $(IMAGENET) --factory examples.efficientnet_lite0:factory --version 1 --output $(MODELS)

$(MODELS)/%/1/manifest.json: | setup
	$(BIN)/sightline export $* --version 1 --output $(MODELS)

demo: models ## From nothing to answers of all four tasks for real inputs: a table, and a picture in out/.
	$(BIN)/python -m examples.demo --models $(MODELS) --output out

serve: models ## Serve models/ on ports 8001 (gRPC) and 8002 (probes, metrics).
	$(BIN)/sightline serve --models $(MODELS)

test: setup ## The tests, two files at a time; `make test ARGS="-m slow"` for others.
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: lint type protos-current twins-current ## Everything that is no test.

format: setup ## Write the code as ruff wants it.
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lint: setup ## Style, and which package may import which.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: setup ## Types; strict in service/ and sightline/.
	$(BIN)/pyright

protos: setup ## Generate sightline/v1 and sightline/inference from protos/.
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=. --pyi_out=. --grpc_python_out=. $(PROTOS)

protos-current: setup ## The protos are in order, and the packages are what they generate.
	$(BUF) lint protos
	$(BUF) format --exit-code --diff protos > /dev/null
	rm -rf build/protos && mkdir -p build/protos
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=build/protos --pyi_out=build/protos --grpc_python_out=build/protos $(PROTOS)
	diff -r -x __init__.py -x __pycache__ build/protos/sightline/v1 sightline/v1
	diff -r -x __init__.py -x __pycache__ build/protos/sightline/inference sightline/inference

twins: setup ## Generate the threaded client, sightline/_sync, from sightline/_async.
	$(BIN)/python -m tools.twins

twins-current: setup ## The threaded client is what twins generates.
	$(BIN)/python -m tools.twins --check

build: setup ## Build the three distributions into dist/: client, server, exporter.
	rm -rf dist
	@for each in $(DISTRIBUTIONS); do $(BIN)/python -P -m build --no-isolation --outdir dist $$each || exit; done

bench: models ## Measure against the ceilings and the baseline; needs h2load (Debian: nghttp2-client).
	$(BIN)/python -m bench $(ARGS)
	$(BIN)/python -m bench.decoding
