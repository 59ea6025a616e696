# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0

VENV ?= .venv
# An existing environment keeps its Python until PYTHON= names another one.
PYTHON ?= $(shell $(VENV)/bin/python -S -c '' 2>/dev/null && echo $(VENV)/bin/python || echo python3)
WORKSPACE ?= .
PYTEST_ARGS ?=
TEST_PROCESSES ?= 2
OUT ?= adcp_work/demo
CAMPAIGN_MINUTES ?= 30
# What reads files, messages and arguments, by the libraries whose oldest versions are tried.
OLDEST_TESTS := $(addprefix test/, analysis core data driving image launch_support messages metrics monitor nodes onnx_graph \
	packing report tasks workspace backends/test_backends.py compression/test_compress.py \
	cli/test_cli.py::test_errors_are_one_line_and_status_1)
BIN := $(VENV)/bin
# Run by this Python also where colcon belongs to the system.
COLCON := $(BIN)/python -c "import sys; from colcon_core.command import main; sys.exit(main())"
export PYTHONUNBUFFERED := 1
# The model server that tests of the backend "remote" start; empty without make setup-all.
export ADCP_MLSERVER_PYTHON ?= $(wildcard $(abspath $(VENV))/mlserver/bin/python)

.DEFAULT_GOAL := help
.PHONY: help setup setup-train setup-all demo test oldest lint format schemas campaign benchmark benchmark-hot-path colcon-test docs sbom clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '|' 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1  \2/p' $(firstword $(MAKEFILE_LIST))
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) WORKSPACE=$(WORKSPACE) PYTEST_ARGS= TEST_PROCESSES= BAG= MODELS= OUT= SEED= CAMPAIGN_MINUTES="

setup: ## Create the virtual environment and build the package (a no-op when nothing changed)
	@$(PYTHON) -S dev/setup_env.py --venv "$(VENV)" --workspace "$(WORKSPACE)"

setup-train: setup ## Add torch for the passes that train, and LiteRT (PIP_ARGS= for another index, such as one of CPU builds)
	@$(BIN)/python -m pip install -qq -c dev/constraints.txt -r dev/requirements-train.txt $(PIP_ARGS)

setup-all: setup ## Add every CPU runtime and what makes its files, and a model server in an environment beside it (PIP_ARGS=)
	@$(BIN)/python -m dev.setup_all --venv "$(VENV)" -- $(PIP_ARGS)

demo: setup ## Run all steps on the built-in road camera, report in OUT=; BAG= replays a recorded drive instead; MODELS=
	@$(BIN)/python -m ad_road_simulation.demo \
		$(if $(BAG),--bag "$(BAG)") $(if $(MODELS),--models "$(MODELS)") --out "$(OUT)"

test: setup ## Run all tests, a file at a time in each of TEST_PROCESSES= (2): PYTEST_ARGS= are passed on
	@$(BIN)/python -m pytest -n "$(TEST_PROCESSES)" --dist loadfile $(PYTEST_ARGS)

oldest: setup ## Run the quick tests with the oldest versions that setup.py allows
	@$(BIN)/python -c "import sys; sys.exit(sys.version_info >= (3, 12))" \
		|| { echo "skipped: the oldest versions have no wheels for this Python, but for 3.10 and 3.11"; exit 0; }; \
	test -x "$(VENV)/oldest/bin/python" || $(BIN)/python -m venv "$(VENV)/oldest"; \
	"$(VENV)/oldest/bin/python" -m pip install -qq --only-binary :all: -r dev/constraints-oldest.txt "scipy>=1.15" $(PIP_ARGS) \
	&& old=$$("$(VENV)/oldest/bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))") \
	&& PYTHONPATH="$$old$${PYTHONPATH:+:$$PYTHONPATH}" $(BIN)/python -m pytest -q -m "not ros and not shared and not slow" \
		--deselect test/report/test_result_documents.py::test_schema_and_page_are_current $(OLDEST_TESTS) $(PYTEST_ARGS)

lint: setup ## Check style, docstrings, types, XML and copyright headers
	@$(BIN)/python dev/lint.py

format: setup ## Format the code
	@$(BIN)/python -m ruff check --fix . ; $(BIN)/python -m ruff format .

schemas: setup ## Write the JSON schemas of all result documents, and their pages, into docs/reference/schemas
	@$(BIN)/python -m ad_compressed_perception.report.schema_docs docs/reference/schemas ad_road_simulation.demo.schema_pages benchmark.schema_pages

campaign: setup ## Fuzz and fault campaign of CAMPAIGN_MINUTES= (30): prints its SEED=, keeps failing inputs in OUT=
	@$(BIN)/python -m dev.campaign --minutes "$(CAMPAIGN_MINUTES)" $(if $(SEED),--seed "$(SEED)") \
		$(if $(filter-out file,$(origin OUT)),--out "$(OUT)")

benchmark: benchmark-hot-path ## Measure the figures of docs/measurements/index.md, after those of the hot path
	@$(BIN)/python benchmark/run.py

benchmark-hot-path: setup ## Measure the time of a frame through the nodes: HOT_PATH_ARGS=--quick takes a minute
	@$(BIN)/python -m benchmark.hot_path $(HOT_PATH_ARGS)

colcon-test: setup ## Run the tests as colcon runs them
	@$(COLCON) --log-base "$(WORKSPACE)/log" test --base-paths . --packages-select ad_compressed_perception \
		--build-base "$(WORKSPACE)/build" --install-base "$(WORKSPACE)/install" \
		--event-handlers console_direct+ --return-code-on-test-failure \
		$(if $(PYTEST_ARGS),--pytest-args $(PYTEST_ARGS))
	@$(COLCON) --log-base "$(WORKSPACE)/log" test-result --test-result-base "$(WORKSPACE)/build" --verbose

docs: setup ## Build the documentation as HTML in build/docs; warnings are errors
	@$(BIN)/python -c "import sys; sys.exit(sys.version_info < (3, 11))" \
		|| { echo "skipped: Sphinx needs Python 3.11 or newer"; exit 0; }; \
	$(BIN)/python -m pip install -qq -c dev/constraints.txt -r dev/requirements-docs.txt $(PIP_ARGS) \
	&& $(BIN)/python -m sphinx -W --keep-going -q -d "$(WORKSPACE)/build/doctrees" docs "$(WORKSPACE)/build/docs" \
	&& echo "$(WORKSPACE)/build/docs/index.html"

sbom: setup ## Write sbom.cdx.json, the CycloneDX bill of what the package needs to run (EXTRAS=openvino adds an extra's)
	@test -x "$(VENV)/sbom/bin/cyclonedx-py" || { $(BIN)/python -m venv "$(VENV)/sbom" && \
		"$(VENV)/sbom/bin/python" -m pip install -qq -c dev/constraints.txt -r dev/requirements-sbom.txt $(PIP_ARGS); }
	@$(BIN)/python dev/sbom.py "$(VENV)/sbom/bin/cyclonedx-py" sbom.cdx.json $(EXTRAS)

clean: ## Remove the virtual environment and everything built
	rm -rf "$(VENV)" "$(WORKSPACE)/build" "$(WORKSPACE)/install" "$(WORKSPACE)/log" ./*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
