# Every target sets up what it needs, once: `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
SETUP := $(VENV)/.complete
# A file of tests is one process's; each process has a PyTorch of one thread.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile
# For the tests of encoders. With what it depends on, torchvision may bring another PyTorch along, and where it does not
# load beside this one, Lightning fails too. So these lie in a folder of their own, which no other test or command sees.
ENCODERS := timm torchvision huggingface_hub httpx2 httpcore2 truststore

# A warning is a broken link or anchor, a missing picture, a page outside the navigation, a name that does not exist.
SITE := --quiet --fail-on-warning --keep-going --fresh-env

# Dozens of processes import the same files.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint types contract format docs notebook site lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(SETUP)  ## Make the virtual environment, with every version pinned

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	@echo 'Installing into $(VENV): some minutes, 3 GB or more'
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[dev,sweep,postgres,tensorboard,mlflow,onnx,nifti,dicom,hdf5,zarr,coco,reference,notebook,site]'
	$(RUN) -m pip install --quiet --constraint constraints.txt --no-deps --upgrade --target $(VENV)/encoders $(ENCODERS)
	@touch $@
	@echo 'Ready; type: source $(VENV)/bin/activate'

demo: $(SETUP)  ## Train on generated images, test, and draw: under three minutes on two cores
	$(RUN) scripts/train.py experiment=demo

test: $(SETUP)  ## Run the tests
	$(RUN) -m pytest $(SIDE_BY_SIDE) -m "not slow"

test-all: $(SETUP)  ## Run the tests, the slow ones too, and with more random examples
	HYPOTHESIS_PROFILE=many $(RUN) -m pytest $(SIDE_BY_SIDE)

lint: $(SETUP)  ## Check style
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	@if [ -x $(VENV)/bin/hadolint ]; then echo hadolint Dockerfile; $(VENV)/bin/hadolint Dockerfile; \
	else echo "hadolint has no build for this machine: Dockerfile is not checked"; fi

types: $(SETUP)  ## Check types
	$(VENV)/bin/mypy --strict unet_exp scripts

contract: $(SETUP)  ## Check that each room imports only from rooms below it
	$(VENV)/bin/lint-imports

format: $(SETUP)  ## Format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(SETUP)  ## Draw the pictures of README and docs again, and write the pages of data sets and of keys
	$(RUN) scripts/draw_docs.py
	$(RUN) scripts/make_replica.py page
	$(RUN) scripts/make_reference.py

notebook: $(SETUP)  ## Run docs/notebook.ipynb again, and keep what it prints
	$(RUN) scripts/run_notebook.py

site: $(SETUP)  ## Build docs/ and the docstrings as a site, outputs/site; any warning is an error
	rm -rf outputs/site
	$(VENV)/bin/sphinx-build $(SITE) docs outputs/site
	@! grep --recursive --include '*.html' --extended-regexp '<(script|link|img|iframe)[^>]*(src|href)="(https?:)?//' outputs/site || \
		{ echo "error: these pages of the site load something from another host"; exit 1; }

lock:  ## Resolve the versions anew, with pip-compile (pip install pip-tools)
	pip-compile --quiet --all-extras --strip-extras --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --output-file constraints.txt pyproject.toml
	sed -i.bak 's/+cpu$$//' constraints.txt && rm constraints.txt.bak

clean:  ## Remove the environment and caches; runs in outputs/ stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
