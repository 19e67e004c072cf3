# Two commands do all the set-up on Debian 12 or Ubuntu 24.04, as root or with sudo:
#   make mount    system packages, virtual environment, agentfs, a mount of the embedded store
#   make test     what the tests need as well, then all of them
# Settings: MNT, AGENT_USER, STORE, PYTHON, VENV, e.g. `make mount MNT=/mnt/agent AGENT_USER=u1`.

MNT ?= $(HOME)/agentfs
AGENT_USER ?= $(shell id -un)
STORE ?=
VENV ?= .venv
PYTHON ?=
TESTS ?= tests
MARKS ?= not long
WORKERS ?= 3
TEST_WORKERS ?= 3

BIN := $(VENV)/bin
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev
SERVERS := .venv-ministack/.installed .venv-swift/.installed
QUIETLY := -m pip --disable-pip-version-check --quiet --no-input
PIP := $(BIN)/python $(QUIETLY)
export PYTHON

# Owners, device nodes and what other users may do can only be tested by root; nothing of root's is left in the tree.
ifneq ($(shell id -u),0)
GIVEN := AGENTFS_TEST_S3,AGENTFS_TEST_S3_BUCKET,AGENTFS_TEST_S3_REGION,AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY
AS_ROOT := sudo $(if $(AGENTFS_TEST_S3),--preserve-env=$(GIVEN)) env "PATH=$$PATH" PYTHONDONTWRITEBYTECODE=1 PYTEST_ADDOPTS=-pno:cacheprovider \
	HYPOTHESIS_STORAGE_DIRECTORY=/tmp/agentfs-hypothesis
endif

# Where bytecode is not kept, each worker compiles everything anew, 2 s of work, and so do processes that tests start.
RECOMPILING_NOTHING := env -u PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help mount umount test test-long test-rgw check fix install servers lock clean fuse-device
.SILENT:

help:
	echo 'make mount     set everything up and mount at $(MNT) as user $(AGENT_USER) (MNT=... AGENT_USER=... STORE=...)'
	echo 'make umount    unmount $(MNT)'
	echo 'make test      set everything up and run all tests (TESTS=tests/unit for some)'
	echo 'make test-rgw  what speaks S3 against Ceph, too: installs ceph-mon, ceph-osd and radosgw'
	echo 'make test-long the few that take minutes and show little more'
	echo 'make check     ruff, mypy, import-linter, unit and contract tests: before every commit'
	echo 'make fix       let ruff format the code and mend what it can'
	echo 'make install   set everything up and leave the command at $(BIN)/agentfs'
	echo 'make servers   install the S3 servers of the tests (make check and make test do it themselves)'
	echo 'make lock      renew the lock files in requirements/ from pyproject.toml (UPGRADE=--upgrade for the newest)'
	echo 'make clean     remove caches and the virtual environments'

mount: $(RUN)
	VENV='$(VENV)' deploy/mount-default.sh '$(MNT)' '$(AGENT_USER)' '$(STORE)'

umount: $(RUN)
	$(BIN)/agentfs umount '$(MNT)'

install: $(RUN)
	echo 'agentfs is at $(BIN)/agentfs'

servers: $(SERVERS)

check: $(DEV) $(SERVERS)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(RECOMPILING_NOTHING) $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m quick tests/contract tests/unit

test: $(DEV) $(SERVERS) fuse-device
	deploy/system-packages.sh test
	[ "$$(id -u)" = 0 ] || command -v sudo >/dev/null || { echo 'These tests need root: run make test as root, or install sudo.' >&2; exit 1; }
	$(AS_ROOT) $(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist worksteal -m '$(MARKS)' $(TESTS)

test-long:
	$(MAKE) test MARKS=long

test-rgw: $(DEV) $(SERVERS) fuse-device
	deploy/system-packages.sh test rgw
	$(AS_ROOT) env AGENTFS_TEST_S3=rgw $(BIN)/python -m pytest -q --timeout 60 -k 's3 and not swift' tests/contract tests/fuse

fix: $(DEV)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

fuse-device:
	[ -c /dev/fuse ] || { echo 'No /dev/fuse, and these tests mount: run "modprobe fuse", or start the container with "--device /dev/fuse --cap-add SYS_ADMIN".' >&2; exit 1; }

# The stamps are newer than what they were made from, so a second run costs nothing.
$(RUN): requirements/build.txt requirements/run.txt pyproject.toml
	deploy/system-packages.sh run
	$(BIN)/python -c '' 2>/dev/null || { echo 'Making the virtual environment $(VENV)'; "$$(deploy/find-python.sh)" -m venv --clear '$(VENV)'; }
	echo 'Installing agentfs and what it needs'
	$(PIP) install --require-hashes -r requirements/build.txt
	$(PIP) install --require-hashes --no-build-isolation -r requirements/run.txt
	$(PIP) install --no-build-isolation --no-deps -e .
	touch $@

$(DEV): $(RUN) requirements/dev.txt
	echo 'Installing what the checks and tests need'
	$(PIP) install --require-hashes -r requirements/dev.txt
	touch $@

# Each server pins other versions of what agentfs needs too.
$(SERVERS): .venv-%/.installed: requirements/%.txt | $(RUN)
	echo 'Installing the S3 server $*'
	$(BIN)/python -m venv --clear .venv-$*
	.venv-$*/bin/python $(QUIETLY) install --require-hashes --only-binary :all: -r requirements/$*.txt
	touch $@

lock: $(DEV)
	requirements/compile.sh $(BIN)/uv $(UPGRADE)

clean:
	rm -rf $(VENV) $(dir $(SERVERS)) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
