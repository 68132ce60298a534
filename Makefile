# `make help` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
KIND ?= noida
PORT ?= 9092
SEEDS ?= 20000
FIRST ?= 1
DATA ?= ../shared/data
RUNS ?= 1000000
PROCESSES ?= 2
SEED ?= 1

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: .venv/.installed ## make .venv with the command streamapp in it (PYTHON=python3.12 to choose)

.venv/.installed: deploy/requirements.lock deploy/setup.sh pyproject.toml
	@deploy/setup.sh

.PHONY: demo
demo: setup ## run everything on recorded traffic, stop it all again (REPORT=out.json writes figures, CONSOLE=1 opens the console)
	@$(BIN)/streamapp demo $(if $(CONSOLE),--console) $(if $(REPORT),--report "$(REPORT)")

.PHONY: train
train: setup ## make the shipped model again from the sample data (ARGS="--help" for options)
	@$(BIN)/streamapp train $(ARGS)

.PHONY: broker-start
broker-start: setup ## start a local broker (KIND=noida|kafka|redpanda PORT=9092)
	@$(BIN)/streamapp broker start --kind $(KIND) --port $(PORT)

.PHONY: broker-stop
broker-stop: setup ## stop the local broker
	@$(BIN)/streamapp broker stop

.PHONY: test-servers
test-servers: ## install what integration tests talk to: Java, Kafka, PostgreSQL, Redis
	@bash deploy/install-test-servers.sh

# Test brokers live for minutes: Java's second compiler costs more than it gives back.
.PHONY: test
test: export JAVA_TOOL_OPTIONS := $(JAVA_TOOL_OPTIONS) -XX:TieredStopAtLevel=1
test: setup test-servers ## run all tests, those against real servers too (ARGS="-k name", PROCESSES=0: in one process)
	@$(BIN)/pytest -m "not campaign" -n $(PROCESSES) --dist worksteal $(ARGS)

.PHONY: test-fast
test-fast: setup ## run the tests that need no server
	@$(BIN)/pytest -m "not integration and not campaign" $(ARGS)

.PHONY: lint
lint: setup ## check style, types, layers and the Dockerfile
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/hadolint Dockerfile

.PHONY: format
format: setup ## mend what the formatter and the linter can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: check
check: lint test ## lint and test: what has to pass before a commit

.PHONY: contract
contract: setup ## write docs/contract/*.json again from the code
	@$(BIN)/streamapp contract --write docs/contract

.PHONY: openapi
openapi: setup ## write docs/openapi.json again from the code
	@$(BIN)/streamapp api --openapi > docs/openapi.json

.PHONY: settings-reference
settings-reference: setup ## write docs/settings.md again from the code
	@$(BIN)/python -m tests.deploy.settings_reference

.PHONY: lock
lock: ## write the lock files again (ARGS=--upgrade takes the newest versions)
	@deploy/lock.sh $(ARGS)

.PHONY: clean
clean: ## remove what builds, tests and local runs leave behind, .venv included
	@if [ -x $(BIN)/streamapp ]; then $(BIN)/streamapp broker stop || true; fi
	@rm -rf .venv .streamapp build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	@rm -rf .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What they take so that all of it ends within half an hour; alone they run longer by default.
BENCH_MICRO := $(if $(QUICK),--rounds 1 --output .streamapp/bench/micro.json)
BENCH_PEERS := $(if $(QUICK),--runs 1 --rows-max 20000 --output .streamapp/bench/peers.json)

.PHONY: bench
bench: setup test-servers ## run every benchmark, about half an hour, and write its tables and plots (QUICK=1: a first look)
	@benchmarks/peers/environments.sh
	@$(BIN)/python -m benchmarks.micro $(BENCH_MICRO)
	@$(BIN)/python -m benchmarks.suite $(if $(QUICK),--quick)
	@$(BIN)/python -m benchmarks.peers $(BENCH_PEERS)
	@$(if $(QUICK),,$(MAKE) --no-print-directory tables)

.PHONY: tables
tables: setup ## write the tables of README and docs, and docs/plots, again from benchmarks/results
	@$(BIN)/python -m benchmarks.plots
	@$(BIN)/python -m benchmarks.tables

.PHONY: bench-throughput
bench-throughput: setup test-servers ## measure sustained throughput, a minute a run (ARGS="--quick" or "--users 1000000")
	@$(BIN)/python -m benchmarks.throughput $(ARGS)

.PHONY: bench-latency
bench-latency: setup test-servers ## measure latency at given rates (ARGS="--quick" or "--rate 5000 --seconds 300 --runs 1")
	@$(BIN)/python -m benchmarks.latency $(ARGS)

.PHONY: bench-latency-long
bench-latency-long: setup test-servers ## measure five minutes at 5,000 a second under each guarantee, of worker and relay
	@$(BIN)/python -m benchmarks.latency --rate 5000 --seconds 300 --runs 1 --output benchmarks/results/latency_long.json
	@$(MAKE) --no-print-directory tables

.PHONY: bench-api
bench-api: setup test-servers ## measure the HTTP API, and what 1,000 requests a second cost the stream (ARGS="--quick")
	@$(BIN)/python -m benchmarks.api_latency $(ARGS)
	@$(MAKE) --no-print-directory tables

.PHONY: bench-exactly-once
bench-exactly-once: setup test-servers ## measure what exactly-once costs, throughput and latency (ARGS="--quick")
	@$(BIN)/python -m benchmarks.exactly_once $(ARGS)

.PHONY: bench-restart
bench-restart: setup test-servers ## measure recovery and first verdict with a million users, as root (ARGS="--quick")
	@$(BIN)/python -m benchmarks.restart $(ARGS)

.PHONY: bench-scale
bench-scale: setup test-servers ## measure more workers, more users, skew and growth of state (ARGS="--quick")
	@$(BIN)/python -m benchmarks.scale $(ARGS)

.PHONY: bench-labels
bench-labels: setup test-servers ## measure throughput with and without labels and reasons (ARGS="--quick")
	@$(BIN)/python -m benchmarks.labels_throughput $(ARGS)

.PHONY: bench-micro
bench-micro: setup ## measure each stage alone beside the library it replaces (ARGS="--rounds 9")
	@$(BIN)/python -m benchmarks.micro $(ARGS)

.PHONY: bench-peers
bench-peers: setup ## measure streamapp beside Faust, Quix Streams and PyFlink (ARGS="--only quix")
	@benchmarks/peers/environments.sh
	@$(BIN)/python -m benchmarks.peers $(ARGS)

.PHONY: crash
crash: setup test-servers ## break a real Kafka and its workers for half an hour (QUICK=1: 5 minutes; REPORT=out.json ARGS="--only zombie")
	@$(BIN)/python -m tests.crash.campaign $(if $(QUICK),--quick) $(if $(REPORT),--report "$(REPORT)") $(ARGS)

.PHONY: simulate
simulate: setup ## simulate crashes of the checkpoint protocol (SEEDS=20000 FIRST=1 REPORT=out.json)
	@$(BIN)/python -m tests.simulation.campaign --seeds $(SEEDS) --first $(FIRST) $(if $(REPORT),--report "$(REPORT)")

.PHONY: quality
quality: setup ## measure detection on both development sets, some half an hour; ARGS="--label-days 0" five minutes (DATA=directory)
	@$(BIN)/streamapp evaluate --test "$(DATA)/handbook_dev.parquet" --from 2018-06-05 $(ARGS)
	@$(BIN)/streamapp evaluate --test "$(DATA)/sparkov_dev.parquet" --from 2020-01-01 $(ARGS)
	@$(BIN)/streamapp evaluate --test "$(DATA)/handbook_dev.parquet" --from 2018-07-25 --protocol handbook $(ARGS)

.PHONY: quality-results
quality-results: setup ## the same into benchmarks/results, also without labels, and the tables of docs made of it (DATA=directory)
	@$(BIN)/streamapp evaluate --json --test "$(DATA)/handbook_dev.parquet" --from 2018-06-05 > benchmarks/results/quality_handbook.json
	@$(BIN)/streamapp evaluate --json --test "$(DATA)/sparkov_dev.parquet" --from 2020-01-01 > benchmarks/results/quality_sparkov.json
	@$(BIN)/streamapp evaluate --json --test "$(DATA)/handbook_dev.parquet" --from 2018-07-25 --protocol handbook > benchmarks/results/quality_book.json
	@$(BIN)/streamapp evaluate --json --test "$(DATA)/handbook_dev.parquet" --from 2018-06-05 --label-days 0 > benchmarks/results/quality_handbook_unlabelled.json
	@$(BIN)/streamapp evaluate --json --test "$(DATA)/sparkov_dev.parquet" --from 2020-01-01 --label-days 0 > benchmarks/results/quality_sparkov_unlabelled.json
	@$(MAKE) --no-print-directory tables

.PHONY: drift
drift: setup ## join both opinions on generated traffic whose fraud turns, some 5 minutes (TRAFFICS=2)
	@$(BIN)/python -m tests.drift.replay --seeds $(or $(TRAFFICS),2) --report benchmarks/results/drift.json
	@$(MAKE) --no-print-directory tables

.PHONY: attack
attack: setup ## replay packed frauds against the half-space trees, guards off and on (ARGS="--sample handbook")
	@$(BIN)/python -m tests.attack.replay $(ARGS)

.PHONY: fuzz
fuzz: setup ## fuzz the decoder, guided by coverage (RUNS=1000000 SEED=1)
	@$(BIN)/python -m tests.stress.fuzz --runs $(RUNS) --seed $(SEED) $(ARGS)

.PHONY: stress
stress: setup test-servers ## poison, floods, overload, full disk, failing sinks, clocks (REPORT=out.json ARGS="--only disk")
	@$(BIN)/python -m tests.stress.campaign $(if $(REPORT),--report "$(REPORT)") $(ARGS)
