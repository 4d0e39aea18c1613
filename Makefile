# What people type. ARGS goes to the command behind it: make up ARGS='--ports auto'
SHELL := /bin/sh
# Where rustup puts cargo, also in a shell that has not heard of it yet.
export PATH := $(HOME)/.cargo/bin:$(PATH)
# One download of the parts, for `up` and for every stack of the tests.
export POSTHORN_PARTS_DIR ?= $(CURDIR)/.posthorn/parts

POSTHORN := target/release/posthorn
ARGS ?=
# Tests say themselves where their stack is: what `. .posthorn/environment` left in a shell is not it.
UNSET := env $(shell env | sed -n 's/^\(POSTHORN_[A-Z0-9_]*\)=.*/-u \1/p' | grep -v POSTHORN_PARTS_DIR)

.DEFAULT_GOAL := help
.PHONY: help up test bench cost crash-test fuzz simulate jaeger status fmt build prerequisites clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

up: build ## Build, and run everything on this machine until Ctrl-C
	@# Should make be killed, `up` is told to stop.
	@exec $(POSTHORN) exec --signal TERM -- $(POSTHORN) up $(ARGS)

test: ## Format, lints, every test on the real parts
	@scripts/prerequisites test
	cargo fmt --all --check
	@# A project of its own, which the workspace does not see.
	rustfmt --check --edition 2024 docs/verify/rust/receive.rs
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@# The end-to-end tests run target/debug/posthorn.
	cargo build --workspace --locked
	$(UNSET) cargo test --workspace --locked

bench: build ## Load against the `make up` that runs, such as ARGS="--rate 200 --seconds 30"
	@test -r .posthorn/environment || { echo 'Run make up first, in another terminal.'; exit 1; }
	@set -a; . .posthorn/environment; set +a; exec $(POSTHORN) bench $(ARGS)

cost: prerequisites ## What signing and the guard cost an attempt; fails when it is more than 50 µs
	cargo build --release --locked --package posthorn-delivery --example cost
	@target/release/examples/cost

crash-test: build ## A part killed with -9 under load, beside the old design; ARGS="--kill kafka --payments 1000"
	@# A stack of its own, unless one runs already.
	@if $(POSTHORN) status >/dev/null 2>&1; then exec $(POSTHORN) crash-test $(ARGS); \
		else exec $(POSTHORN) crash-test --start --dir .posthorn/crash-test $(ARGS); fi

status: build ## What `make up` runs
	@$(POSTHORN) status $(ARGS)

jaeger: ## Build Jaeger itself into the parts folder, once: `make up` then uses it
	@scripts/jaeger

fuzz: ## A minute of random URLs and addresses for the guard's parsers, from the corpus that is kept
	POSTHORN_FUZZ_SECONDS=60 cargo test --workspace --test fuzz

simulate: build ## The rules under a virtual clock, with everything around them that can break
	@$(POSTHORN) simulate $(ARGS)

fmt: ## Format everything
	cargo fmt --all
	rustfmt --edition 2024 docs/verify/rust/receive.rs

build: prerequisites
	cargo build --release --locked --package posthorn

prerequisites:
	@scripts/prerequisites

clean: ## Remove what was built, what was fetched, and all data of `make up`
	@if [ -x $(POSTHORN) ] && $(POSTHORN) status >/dev/null 2>&1; then \
		echo 'posthorn up is running: stop it first.'; exit 1; fi
	@# PostgreSQL's data lies elsewhere when its user may not come in here.
	@if [ -s .posthorn/postgres-home ]; then rm -rf "/var/lib/posthorn/$$(cat .posthorn/postgres-home)"; fi
	rm -rf .posthorn target
