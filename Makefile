# `make` alone lists the targets. Everything builds without a C compiler.
export CGO_ENABLED ?= 0

GO      ?= go
TOOL    := $(GO) tool -modfile=tools/go.mod
BIN     := bin
BUILD   := $(GO) build -trimpath -ldflags "-s -w"
# What handles released keys erases what it leaves on stack and heap (docs/agent.md).
ERASING := GOEXPERIMENT=runtimesecret $(BUILD)
FUZZTIME ?= 10s
# Makers of initrds look below /usr, so that is where the programs are.
prefix  ?= /usr

.DEFAULT_GOAL := help
.PHONY: help demo test interop e2e-boot bench build install install-agent canary fmt lint policy-test fuzz race golden

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## a key released to a TPM, refused to a tampered one, checked by an auditor; TEE=snp, tdx, azure, nitro: simulated
	@start=$$(date +%s); $(MAKE) --no-print-directory deps build && echo "set up and built in $$(($$(date +%s) - start)) s" && $(BIN)/openskr demo $(if $(TEE),--tee $(TEE))

test: deps ## every test; needs Go and swtpm, no C compiler
	$(GO) test ./...

interop: ## Azure's own clients, unchanged, against a broker: Go, JavaScript, Python, Azure CLI, the SKR clients; blobs in Azure and S3
	@scripts/deps.sh interop
	cd interop && $(GO) vet ./... && $(GO) tool -modfile=../tools/go.mod staticcheck ./... && $(GO) test -count 1 -timeout 20m ./...

e2e-boot: ## whole machines in qemu: a Debian on LUKS2 that boots unattended, and those that are refused; needs root
	@scripts/deps.sh e2e
	$(BUILD) -o $(BIN)/ ./cmd/openskr
	$(ERASING) -o $(BIN)/ ./cmd/openskr-agent ./cmd/openskr-workload
	OPENSKR_E2E=boot OPENSKR_BIN=$(abspath $(BIN)) $(GO) test -count 1 -timeout 20m -v ./internal/e2e/boot

canary: deps build ## scan the memory of programs that had a key, in every mode; needs root
	OPENSKR_BIN=$(abspath $(BIN)) $(GO) test -count 1 -run '^TestMode' ./internal/canary
	GOEXPERIMENT=runtimesecret $(GO) test -count 1 -run '^TestCanary|^TestServeHoldsNothing$$' ./enclave-agent ./attest/tpm/guest ./cmd/openskr-workload

bench: build ## measure a release against the cryptography it cannot do without
	OPENSKR_BENCH=1 $(GO) test -count 1 -v -timeout 20m -run '^TestReport$$' ./cmd/openskr
	$(GO) test -run '^$$' -bench Verify -benchtime 1s ./attest/snp ./attest/tdx
	OPENSKR_BENCH=1 $(GO) test -count 1 -v -run '^TestRatios$$' ./enclave-agent/cse

build: ## the three programs, static, into bin/
	$(BUILD) -o $(BIN)/ ./cmd/openskr
	$(ERASING) -o $(BIN)/ ./cmd/openskr-agent ./cmd/openskr-workload

install: install-agent ## what `make build` made, below DESTDIR
	install -m 755 $(BIN)/openskr $(BIN)/openskr-workload $(DESTDIR)$(prefix)/bin/
	ln -sf openskr-workload $(DESTDIR)$(prefix)/bin/age-plugin-openskr
	install -m 644 deploy/systemd/openskr-workload.socket deploy/systemd/openskr-workload.service $(DESTDIR)$(prefix)/lib/systemd/system/
	install -D -m 644 deploy/systemd/openskr-workload.sysusers.conf $(DESTDIR)$(prefix)/lib/sysusers.d/openskr-workload.conf
	install -D -m 644 deploy/udev/60-openskr.rules $(DESTDIR)$(prefix)/lib/udev/rules.d/60-openskr.rules

install-agent: ## openskr-agent and its boot files alone: what a machine's image needs (deploy/README.md)
	install -d $(DESTDIR)$(prefix)/bin $(DESTDIR)$(prefix)/lib/dracut/modules.d/90openskr \
		$(DESTDIR)$(prefix)/lib/systemd/system/systemd-cryptsetup@.service.d \
		$(DESTDIR)$(prefix)/share/initramfs-tools/hooks $(DESTDIR)$(prefix)/share/initramfs-tools/scripts/local-top
	install -m 755 $(BIN)/openskr-agent $(DESTDIR)$(prefix)/bin/
	install -m 644 deploy/systemd/openskr-agent.* deploy/systemd/openskr-*@.service $(DESTDIR)$(prefix)/lib/systemd/system/
	install -m 644 deploy/systemd/systemd-cryptsetup@.service.d/openskr.conf $(DESTDIR)$(prefix)/lib/systemd/system/systemd-cryptsetup@.service.d/
	install -m 755 deploy/dracut/90openskr/module-setup.sh $(DESTDIR)$(prefix)/lib/dracut/modules.d/90openskr/
	install -m 644 deploy/dracut/90openskr/dhcp.network $(DESTDIR)$(prefix)/lib/dracut/modules.d/90openskr/
	install -m 755 deploy/initramfs-tools/hooks/openskr $(DESTDIR)$(prefix)/share/initramfs-tools/hooks/
	install -m 755 deploy/initramfs-tools/scripts/local-top/openskr $(DESTDIR)$(prefix)/share/initramfs-tools/scripts/local-top/

fmt: ## format the code
	$(TOOL) gofumpt -l -w .

lint: ## go vet, staticcheck and the format
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	@out=$$($(TOOL) gofumpt -l .) && test -z "$$out" || { echo "not formatted, run make fmt:"; echo "$$out"; exit 1; }

policy-test: build ## the tests of the policy library
	$(BIN)/openskr policy test policies/

fuzz: ## every fuzz target for FUZZTIME (10s)
	@scripts/fuzz.sh $(FUZZTIME)

race: ## the tests with the race detector, without load tests; needs gcc
	@scripts/deps.sh race
	@scripts/race.sh

golden: ## write the golden files again; read the diff before you commit it
	$(GO) test ./cmd/openskr ./attest/tpm ./policies -update
	git diff --stat

.PHONY: deps
deps:
	@scripts/deps.sh
