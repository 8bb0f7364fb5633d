# `make help` lists the targets. `make demo` and `make test` install what they
# need, once, and say so; see scripts/deps.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

TOOLS := $(CURDIR)/.tools/bin
export PATH := $(TOOLS):$(PATH)

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOLANGCI_LINT_VERSION := v2.12.0
VERSITYGW_VERSION := v1.8.0

# Packages to test, and further flags of go test: make test PKG=./fs TESTFLAGS='-run Mount'
PKG ?= ./...
TESTFLAGS ?=

.PHONY: build
build: ## Build the static binary bin/kingpin
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/kingpin ./cmd/kingpin

.PHONY: test
test: deps ## Test everything with the race detector on; a skipped test fails
	scripts/test -timeout 25m -p 2 -parallel 4 $(TESTFLAGS) $(PKG)

.PHONY: test-systemd
test-systemd: deps deps-systemd ## Boot two versions of systemd in containers and test the units there (five minutes)
	scripts/test-systemd

# Both mount, which takes root: for anybody else scripts/as-root uses sudo.
MOUNTING_RUN = go run $(if $(filter-out 0,$(shell id -u)),-exec '$(CURDIR)/scripts/as-root')

# make bench BENCHFLAGS='--quick --only reads,updates'
BENCHFLAGS ?=
# make soak SOAK=1h
SOAK ?= 10m

.PHONY: bench
bench: deps build ## Measure the monitor against baselines (five minutes); see docs/benchmarks.md
	$(MOUNTING_RUN) ./scripts/bench $(BENCHFLAGS)

.PHONY: soak
soak: deps build ## Run a monitor under kills and restarts for SOAK=10m, and look for what grows
	$(MOUNTING_RUN) ./scripts/soak --for '$(SOAK)'

.PHONY: bench-go
bench-go: deps ## Run the benchmarks of the packages
	go test -run '^$$' -bench . -benchmem -p 1 $$(scripts/benchmarks)

.PHONY: generate
generate: deps-generate ## Generate the code of the Thrift files anew
	go generate ./examples/thrift ./internal/ledger ./thriftpool/internal/probe

.PHONY: lint
# A cache shared with other clones reports their files.
lint: export GOLANGCI_LINT_CACHE := $(CURDIR)/.tools/golangci-lint-cache
lint: deps-lint ## Run the linters, and check that each go.mod is tidy
	golangci-lint run ./...
	go mod tidy -diff
	@# A module of its own, for what it compares with.
	cd scripts/poolbench && golangci-lint run --config ../../.golangci.yml ./...
	go -C scripts/poolbench mod tidy -diff

.PHONY: demo
demo: deps-demo build ## Start ZooKeeper, S3 and a monitor here and walk through what it does
	bin/kingpin dev --walk

.PHONY: deps-demo deps deps-systemd deps-generate deps-lint
deps-demo: ## Install what the demo needs: Debian's zookeeper and fuse3
	@scripts/deps zookeeper fuse3
deps: deps-demo .tools/versitygw-$(VERSITYGW_VERSION) ## Install what the tests need: the demo's, a C compiler, programs that watch and write files, systemd-analyze, Thrift's compiler and its library for Python, an S3 server
	@scripts/deps gcc inotify-tools python3 python3-kazoo python3-thrift python3-watchdog rsync systemd thrift-compiler vim-tiny
deps-systemd: ## Install what test-systemd needs: Debian's debootstrap and systemd-container
	@scripts/deps debootstrap systemd-container
deps-generate: ## Install what generate needs: Debian's thrift-compiler
	@scripts/deps thrift-compiler
deps-lint: .tools/golangci-lint-$(GOLANGCI_LINT_VERSION) ## Install the linters

# The stamps name the version, so that a new one is installed over the old.
.tools/versitygw-$(VERSITYGW_VERSION):
	@echo "Installing versitygw $(VERSITYGW_VERSION), an S3 server, to .tools/bin (takes a minute)"
	GOBIN='$(TOOLS)' go install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW_VERSION)
	touch $@
.tools/golangci-lint-$(GOLANGCI_LINT_VERSION):
	@echo "Installing golangci-lint $(GOLANGCI_LINT_VERSION) to .tools/bin (takes two minutes)"
	GOBIN='$(TOOLS)' go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	touch $@

.PHONY: clean
clean: ## Remove what was built, and the tools in .tools
	@# The trees of test-systemd are root's.
	rm -rf bin .tools 2>/dev/null || sudo rm -rf --one-file-system .tools

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
