# Chancel: every habit of the repository is one target; `make` alone lists them. Whatever a target
# needs is set up on the way: first `make test` in a fresh clone also builds .venv. No root needed,
# except where the list says so.
#
#   PYTHON=/path/to/python3.12   the interpreter for .venv (3.11 or later, with venv)
#   PYPY=/path/to/pypy3          where the simulated day is to run (make sim): it needs half the time
#   ARGS="-k window -x"          handed to pytest (test, test-root, interop, docs, sim) or to the bench

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready
CODE := src tests benchmarks fuzz

# The accelerator is built where there is a cargo, once and whenever its sources change.
CARGO := $(firstword $(shell command -v cargo) $(wildcard $(HOME)/.cargo/bin/cargo))
BOTH := $(VENV)/.accelerator $(VENV)/.no-cargo
ACCEL := $(if $(CARGO),$(firstword $(BOTH)),$(lastword $(BOTH)))

# Kept apart from `make test`: they need root, or a reference build, or an hour.
APART := tests/root tests/interop

export SANCTUM KYRKA SANCTUM_0920 AMBRY WIREGUARD_GO

.DEFAULT_GOAL := help
.PHONY: help setup accel demo test test-root interop lint docs bench bench-full bulk sim scale soak fuzz fuzz-setup lock nat-matrix nat-lab

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(READY) ## only the .venv; afterwards .venv/bin/chancel exists
	@echo "ready: $(VENV)/bin/chancel"

accel: $(LOCKED) ## the accelerator again (needs cargo; setup has built it, if it could)
	@packaging/accelerator $(CURDIR)/$(PY)
	@rm -f $(BOTH) && touch $(ACCEL)

demo: $(READY) ## two devices behind NATs, two cathedrals, a tunnel that outlives them; draws out/demo.svg
	@$(PY) -m chancel.cli.main demo

test: $(READY) ## the whole test suite
	@$(PY) -m pytest -n auto --dist loadfile $(APART:%=--ignore=%) $(ARGS)

test-root: $(READY) ## the tests on the host itself, outside the lab (root)
	@test "$$(id -u)" = 0 || { echo "make test-root: needs root: sudo make test-root" >&2; exit 1; }
	@$(PY) -m pytest tests/root $(ARGS)

interop: $(READY) ## against a reference build: make interop SANCTUM=/path/to/sanctum (root)
	@$(PY) -m pytest tests/interop $(ARGS)

lint: $(READY) ## ruff, formatting, mypy --strict, the import floors
	@$(PY) -m ruff check $(CODE) examples
	@$(PY) -m ruff format --check $(CODE) examples
	@$(PY) -m mypy $(CODE)
	@$(VENV)/bin/lint-imports
	@if $(PY) -c 'import chancel_accel' 2>/dev/null && \
	    "$(CARGO)" fmt --version >/dev/null 2>&1 && "$(CARGO)" clippy --version >/dev/null 2>&1; then \
	    "$(CARGO)" fmt --check --manifest-path accel/Cargo.toml && \
	    "$(CARGO)" clippy --quiet --release --locked --offline --manifest-path accel/Cargo.toml \
	        --target-dir accel/target -- --deny warnings; \
	else echo "make lint: accel/ is left out (it wants a built accelerator, cargo fmt and clippy)"; fi

docs: $(READY) ## run the examples in the documentation, follow its links
	@$(PY) -m pytest tests/docs $(ARGS)

bulk: $(READY) ## 100 MB through a tunnel over each kind of link
	@CHANCEL_BULK_MB=100 $(PY) -m pytest tests/links -k "much or missing" $(ARGS)

bench: $(READY) ## all figures, 20 minutes; writes docs/benchmarks.md (ARGS="--json exchange": one section)
	@$(PY) -m benchmarks $(ARGS)

bench-full: $(READY) ## the same with more and longer rounds, and what is mostly waiting; hours
	@$(PY) -m benchmarks --full $(ARGS)

sim: $(READY) ## the long simulations: a year of rekeys, 200 seeds of a day, networks with faults, 1,000 devices
	@$(PY) -m chancel.cli.main sim suite $(ARGS)
	@$(PY) -m chancel.cli.main sim long hour -o docs
	@$(PY) -m chancel.cli.main sim long day -o docs $(if $(PYPY),--python $(PYPY))
	@$(PY) -m chancel.sim.network_scale_page docs

SOAK := CHANCEL_SOAK_LOSSY_MB=$${CHANCEL_SOAK_LOSSY_MB:-2000} CHANCEL_SOAK_MB=$${CHANCEL_SOAK_MB:-20000} \
    CHANCEL_OVERLOAD_S=$${CHANCEL_OVERLOAD_S:-60} CHANCEL_SOAK_JOINS=$${CHANCEL_SOAK_JOINS:-1000}

soak: $(READY) ## gigabytes through a tunnel, a minute of overload, 1,000 joins; CHANCEL_SOAK_MB=500 for less
	@$(SOAK) $(PY) -m pytest -s tests/soak tests/e2e/test_overload.py $(ARGS)

scale: $(READY) ## how many devices a network bears, from simulations; writes docs/scale.md
	@$(PY) -m chancel.sim.network_scale_page docs

nat-matrix: $(READY) ## every pair of NATs, 20 simulated meetings each; writes docs/nat.md
	@$(PY) -m chancel.cli.main sim nat-matrix -o docs/nat.md $(ARGS)

nat-lab: $(READY) ## the same with real daemons, once each; writes docs/nat-lab.md (SANCTUM=..., root)
	@$(PY) -m chancel.cli.main lab nat-matrix -o docs/nat-lab.md $(ARGS)

fuzz: $(READY) ## look for input that breaks something (ARGS="offer --seconds 600", ARGS=campaign)
	@$(PY) -m fuzz $(ARGS)

fuzz-setup: $(READY) ## add atheris to .venv: make fuzz is then guided by coverage
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
	    --only-binary :all: -r requirements-fuzz.lock

# pip-compile of today knows no dependency groups, so it is handed the list itself.
PROJECT := import tomllib; t = tomllib.load(open("pyproject.toml", "rb"));
INPUTS := $(PROJECT) print(*t["project"]["dependencies"], *t["dependency-groups"]["dev"], sep="\n")
FUZZ_INPUTS := $(PROJECT) print(*t["dependency-groups"]["fuzz"], sep="\n")
COMPILE = "$$tools/bin/pip-compile" - --quiet --generate-hashes --allow-unsafe --strip-extras \
    --no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links $(UPGRADE)

lock: ## bring requirements*.lock up to pyproject.toml (network; UPGRADE=--upgrade for newer ones)
	@tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && $(PYTHON) -m venv "$$tools" && \
	"$$tools/bin/pip" install --quiet --disable-pip-version-check pip-tools && \
	$(PYTHON) -c '$(INPUTS)' | $(COMPILE) --output-file requirements.lock && \
	$(PYTHON) -c '$(FUZZ_INPUTS)' | $(COMPILE) --output-file requirements-fuzz.lock

# Two stamps, so that an edit of pyproject.toml installs only Chancel anew. A stamp is written last:
# whatever was interrupted starts over. --only-binary: nothing a stranger wrote runs while installing.

# A .venv that was copied, moved or left behind by another Python doesn't import this clone.
ifneq ($(shell $(PY) -c 'import chancel, os; print(os.path.samefile(chancel.__path__[0], "src/chancel"))' 2>/dev/null),True)
.PHONY: $(LOCKED)
endif

define NO_PYTHON
make setup: '$(PYTHON)' is not Python 3.11 or later with venv: sudo apt-get install python3 python3-venv
endef

define NOT_OURS
make setup: $(CURDIR) is not writable for you: clone the repository into a folder of your own
endef

$(LOCKED): requirements.lock
	@test -w . || { echo "$(NOT_OURS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { echo "$(NO_PYTHON)" >&2; exit 1; }
	@echo "Setting up $(VENV) from requirements.lock"
	@rm -f $(LOCKED) $(READY)
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes \
	    --only-binary :all: -r requirements.lock
	@touch $(LOCKED)

# Never a failed setup: without the accelerator everything works.
$(ACCEL): $(LOCKED) packaging/accelerator $(wildcard accel/*.toml accel/*.lock accel/src/*)
	@packaging/accelerator $(CURDIR)/$(PY) || true
	@rm -f $(BOTH) && touch $(ACCEL)

$(READY): $(LOCKED) pyproject.toml | $(ACCEL)
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	    --editable .
	@touch $(READY)
