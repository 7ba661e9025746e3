# Everything a person or a CI runner calls. `make` alone prints the list.
#
# make turns every failure into its own exit code 2. kpv's exit code (0 pass, 1 fail, 2 usage, 3 infrastructure,
# 4 inconclusive) is printed as the last line, `kpv exit code: N`; call .venv/bin/kpv itself where a script needs it.

STUDY ?= patches/madvise-free-mthp/study.toml
ARGS ?=
PYTEST_ARGS ?=
RUN ?= last
OLD ?= last~1
NEW ?= last
KIND ?=
NAME ?=
WORD ?=

PYTHON := .venv/bin/python
KPV := .venv/bin/kpv
# Two processes: one takes the system tests, most of whose time the other has a CPU to itself (tests/conftest.py).
PYTEST := $(PYTHON) -m pytest -n 2 --dist loadscope
# kpv with what stands behind: make kpv's exit code the last line, see above.
define kpv
@$(KPV) $(1) $(ARGS) || $(call tell_exit_code,kpv)
endef
# Which exit code it was, then the same code to make. $(1) is the name of the program.
define tell_exit_code
{ code=$$?; echo "$(1) exit code: $$code" >&2; exit $$code; }
endef

.DEFAULT_GOAL := help
.PHONY: help setup validate test unit system browser setup-tests pictures lint lock doctor reference clean \
	init build boot run judge report compare list show explain history clean-cache

help: ## this list
	@echo "usage: make <target> [VARIABLE=value]"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14
	@echo
	@echo "examples:"
	@echo "  make validate                            the shipped study: MADV_FREE on mTHP and cont-PTE"
	@echo "  make validate STUDY=patches/my-series/study.toml"
	@echo "  make validate ARGS=--explain             say why each thing was made again"
	@echo "  make init DIR=my-series SERIES=v1.mbox   a study to start from"
	@echo "  make run SCENARIO=full_cover.64k ARGS='-k merged -m max'"
	@echo "  make boot ARGS='-k v2 -m max'            a shell in the kernel"
	@echo "  make compare OLD=last~1 NEW=last"
	@echo "  make unit PYTEST_ARGS='-k doctor -x'"
	@echo "  make setup V=1                           show what apt-get and pip say"

setup: ## system packages and .venv; does nothing when all is there
	@V='$(V)' sh setup/bootstrap.sh

validate: setup ## run a study: STUDY=path ARGS='options of kpv validate'
	$(call kpv,validate '$(STUDY)')

init: setup ## a study to start from: DIR=folder SERIES=mbox
	$(call kpv,init $(if $(DIR),'$(DIR)') $(if $(SERIES),--series '$(SERIES)'))

build: setup ## build a study's kernels: STUDY=path
	$(call kpv,build '$(STUDY)')

boot: setup ## a shell in a kernel of a study: STUDY=path ARGS='-k v2 -m max -- command'
	$(call kpv,boot '$(STUDY)')

run: setup ## some scenarios of a study, shown in the terminal: SCENARIO=pattern STUDY=path
	$(call kpv,run '$(SCENARIO)' '$(STUDY)')

judge: setup ## judge a run anew: RUN=last
	$(call kpv,judge '$(RUN)')

report: setup ## report a run again: RUN=last ARGS='--format text'
	$(call kpv,report '$(RUN)')

compare: setup ## what changed between two runs: OLD=last~1 NEW=last
	$(call kpv,compare '$(OLD)' '$(NEW)')

list: setup ## what there is: KIND=studies, kernels, machines, scenarios, claims, invariants or runs
	$(call kpv,list '$(KIND)')

show: setup ## one thing whole: KIND=scenario NAME=full_cover
	$(call kpv,show '$(KIND)' $(if $(NAME),'$(NAME)'))

explain: setup ## what a word of a report means: WORD=INCONCLUSIVE
	$(call kpv,explain $(if $(WORD),'$(WORD)'))

history: setup ## verdicts over the runs of this machine: ARGS='--plot history.html'
	$(call kpv,history)

clean-cache: setup ## what the cache has not used for a while: ARGS='--max-size 4 --really'
	$(call kpv,clean)

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
	$(call kpv,doctor)

lock: setup ## pin requirements.lock anew from pyproject.toml
	@sh setup/lock.sh

reference: setup ## write docs/study-reference.md anew from the program's models
	@$(PYTHON) -m pipeline.reference > docs/study-reference.md.new && mv docs/study-reference.md.new docs/study-reference.md

clean: ## remove .venv and what tests and builds left in the checkout (not the cache, not runs/)
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
