# `make` alone lists the targets. Everything builds without a C compiler.
export CGO_ENABLED ?= 0

GO      ?= go
TOOL    := $(GO) tool -modfile=tools/go.mod
BIN     := bin
BUILD   := $(GO) build -trimpath -ldflags "-s -w"
FUZZTIME ?= 10s

.DEFAULT_GOAL := help
.PHONY: help demo test interop bench build fmt lint policy-test fuzz race golden

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## a key released to a TPM, refused to a tampered one, checked by an auditor; TEE=snp, tdx, azure, nitro: simulated
	@start=$$(date +%s); $(MAKE) --no-print-directory deps build && echo "set up and built in $$(($$(date +%s) - start)) s" && $(BIN)/openskr demo $(if $(TEE),--tee $(TEE))

test: deps ## every test; needs Go and swtpm, no C compiler
	$(GO) test ./...

interop: ## Azure's own clients, unchanged, against a broker: Go, JavaScript, Python, Azure CLI, the SKR clients
	@scripts/deps.sh interop
	cd interop && $(GO) vet ./... && $(GO) tool -modfile=../tools/go.mod staticcheck ./... && $(GO) test -count 1 -timeout 20m ./...

bench: build ## measure a release against the cryptography it cannot do without
	OPENSKR_BENCH=1 $(GO) test -count 1 -v -timeout 20m -run '^TestReport$$' ./cmd/openskr
	$(GO) test -run '^$$' -bench Verify -benchtime 1s ./attest/snp ./attest/tdx

build: ## the two programs, static, into bin/
	$(BUILD) -o $(BIN)/ ./cmd/...

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
	CGO_ENABLED=1 $(GO) test -race -short ./...

golden: ## write the golden files again; read the diff before you commit it
	$(GO) test ./cmd/openskr ./attest/tpm ./policies -update
	git diff --stat

.PHONY: deps
deps:
	@scripts/deps.sh
