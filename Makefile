# SPDX-License-Identifier: GPL-2.0
#
# What people call; `make help` lists it. Kbuild says what the module is made of.

# fstests runs on both kernels unless one was asked for.
FSTESTS_VM := $(VM)
export FSTESTS_VM
# xfstests runs without debugging unless that was asked for.
XFSTESTS_CONFIG := $(or $(CONFIG),release)
VM	?= um
CONFIG	?= debug
export VM

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

.DEFAULT_GOAL := modules
.PHONY: help modules modules_install install uninstall clean distclean demo check kunit fstests xfstests model bench soak shell mutants peers rustdoc rust-analyzer FORCE

ifdef KDIR
# A kernel of one's own: as any out-of-tree module, in this directory unless MO= names another.
KBUILD := $(MAKE) -C $(KDIR) M=$(CURDIR) $(if $(MO),MO=$(MO)) $(if $(LLVM),LLVM=$(LLVM))

modules modules_install: FORCE
	@scripts/build $(KDIR) $@ $(if $(MO),MO=$(abspath $(MO))) $(if $(LLVM),LLVM=$(LLVM)) \
		$(if $(TESTS),TESTS=$(TESTS)) $(if $(CLIPPY),CLIPPY=$(CLIPPY)) $(if $(INSTALL_MOD_PATH),INSTALL_MOD_PATH=$(INSTALL_MOD_PATH))
clean: FORCE
	@$(KBUILD) clean
else
modules:
	@echo "$$(scripts/module $(VM) $(CONFIG))/mod/toyfs.ko"
modules_install:
	@echo "modules_install needs KDIR=, the build directory of the kernel that is to get the module" >&2; exit 1
clean:
	@scripts/clean
endif

# The tools and the man pages. With KDIR= the tools are those that were built with the module.
install:
	@$(for_install) scripts/install
uninstall:
	@$(for_install) scripts/install --remove
for_install = KDIR='$(KDIR)' MO='$(MO)' LLVM='$(LLVM)' DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' sbindir='$(sbindir)' mandir='$(mandir)'

help:
	@sed '1,2d; s/^# \?//' scripts/help.txt

distclean:
	@scripts/clean --all
demo:
	@scripts/demo
check:
	@scripts/check
kunit:
	@scripts/kunit $(VM)
fstests:
	@scripts/fstests
xfstests:
	@CONFIG='$(XFSTESTS_CONFIG)' scripts/xfstests '$(XFSTESTS)' $(ARGS)
model:
	@scripts/model
mutants:
	@tests/mutants.sh
bench:
	@scripts/bench
peers:
	@scripts/peers
soak:
	@scripts/soak
shell:
	@scripts/vm --config $(CONFIG) --tty --timeout 86400 -- bash -i
rustdoc:
	@echo "$$(DOC=1 scripts/module $(VM) $(CONFIG))/mod/rust/doc"
rust-analyzer:
	@scripts/rust-analyzer
