# The one entry: people, the pre-commit hook and CI call these.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUF := npx --yes @bufbuild/buf@1.75.0
SOURCES := sightline service export examples bench tests

protos: ## Generate sightline/v1 from protos/.
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=. --pyi_out=. --grpc_python_out=. protos/sightline/v1/*.proto

