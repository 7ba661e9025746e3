# Everything a person or a CI runner calls. `make` alone prints the list.
#
# make turns every failure into its own exit code 2. kpv's exit code (0 pass, 1 fail, 2 usage, 3 infrastructure,
# 4 inconclusive) is printed as the last line, `kpv exit code: N`; call .venv/bin/kpv itself where a script needs it.

STUDY ?= patches/madvise-free-mthp/study.toml
ARGS ?=
RUN ?=
PYTEST_ARGS ?=

PYTHON := .venv/bin/python
KPV := .venv/bin/kpv
# Two processes: one takes the system tests, most of whose time the other has a CPU to itself (tests/conftest.py).
PYTEST := $(PYTHON) -m pytest -n 2 --dist loadgroup
# Which exit code it was, then the same code to make. $(1) is the name of the program.
define tell_exit_code
{ code=$$?; echo "$(1) exit code: $$code" >&2; exit $$code; }
endef

.DEFAULT_GOAL := help
.PHONY: help setup validate test unit system browser setup-tests pictures lint lock doctor reference clean

help: ## this list
	@echo "usage: make <target> [VARIABLE=value]"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14
	@echo
	@echo "examples:"
	@echo "  make validate                            the shipped study: MADV_FREE on mTHP and cont-PTE"
	@echo "  make validate STUDY=patches/my-series/study.toml"
	@echo "  make validate ARGS=--explain             say why each thing was made again"
	@echo "  make unit PYTEST_ARGS='-k doctor -x'"
	@echo "  make setup V=1                           show what apt-get and pip say"

setup: ## system packages and .venv; does nothing when all is there
	@V='$(V)' sh setup/bootstrap.sh

validate: setup ## run a study: STUDY=path ARGS='options of kpv validate'
	@$(KPV) validate '$(STUDY)' $(ARGS) || $(call tell_exit_code,kpv)

setup-tests: ## what set-up does, and what only the tests need: a browser
	@V='$(V)' sh setup/bootstrap.sh --tests

test: setup-tests ## all tests; builds and boots real kernels
	@$(PYTEST) --all $(PYTEST_ARGS) || $(call tell_exit_code,pytest)

unit: setup ## unit tests only (seconds)
	@$(PYTEST) $(PYTEST_ARGS) || $(call tell_exit_code,pytest)

system: setup ## system tests only
	@$(PYTHON) -m pytest --all -m system $(PYTEST_ARGS) || $(call tell_exit_code,pytest)

browser: setup-tests ## tests that look at the report in a browser; screenshots below build/
	@$(PYTHON) -m pytest --all -m browser $(PYTEST_ARGS) || $(call tell_exit_code,pytest)

pictures: setup-tests ## the pictures of the docs from a run: RUN=runs/<id>
	@$(PYTHON) docs/pictures.py '$(RUN)'

lint: setup ## ruff, and shellcheck where it is installed
	@$(PYTHON) -m ruff check .
	@if command -v shellcheck >/dev/null; then shellcheck setup/bootstrap.sh .ci/run; \
	else echo "lint: shellcheck is not installed: shell scripts not looked at" >&2; fi

doctor: setup ## what this machine has and lacks
	@$(KPV) doctor $(ARGS) || $(call tell_exit_code,kpv)

lock: setup ## pin requirements.lock anew from pyproject.toml
	@sh setup/lock.sh

reference: setup ## write docs/study-reference.md anew from the program's models
	@$(PYTHON) -m pipeline.reference > docs/study-reference.md.new && mv docs/study-reference.md.new docs/study-reference.md

clean: ## remove .venv and what tests and builds left in the checkout (not the cache, not runs/)
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
