# The targets that people and .ci/run call; docs/contract.md says what they promise.

GOVULNCHECK := go tool -modfile=tools.mod govulncheck
FUZZTIME    ?= 20000x
ROUNDS      ?= 1000
TEST        ?= $(MAKE) test

.DEFAULT_GOAL := help
.PHONY: help demo test check bench chaos build deps fmt vet lint cross fuzz vuln clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: deps build ## the main job from end to end, on a software card
	@go run ./test/demo

# Tests that run side by side wait more than they compute. What go test vets is a part of vet. And the race detector has each
# of some fifty programs sleep for a second at its end; races are reported when they are seen.
# -timeout ends a package that hangs.
test: export GORACE ?= atexit_sleep_ms=50
test: deps ## all tests, with the race detector; says at the end what was skipped and why
	@go run ./test/gotest -race -shuffle=on -parallel=4 -vet=off -timeout=30m ./...

check: deps fmt vet lint cross fuzz ## what continuous integration runs: all but bench and vuln
	$(TEST)
	$(MAKE) demo

bench: deps build ## the figures, against their limits; writes build/bench.json
	@go run ./test/bench

chaos: deps ## kill agent, broker and sandbox 1,000 times while a card counts; ROUNDS=100 for fewer
	CARDBROKER_CHAOS=$(ROUNDS) go test -count=1 -timeout 60m -v -run '^TestChaos$$' ./test/integration

build: deps ## the programs, into build/; only the one that reaches the cards has cgo
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o build/ ./cmd/cardbroker
	CGO_ENABLED=1 go build -trimpath -ldflags '-s -w' -o build/ ./cmd/cardsandbox

deps: ## install what the others need and is missing
	@scripts/deps

fmt: ## find files that gofmt would change
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi

vet: ## go vet, for each system
	go vet ./...
	CGO_ENABLED=0 GOOS=windows GOARCH=amd64 go vet ./...

lint: ## staticcheck, for each system
	staticcheck=$$(go tool -modfile=tools.mod -n staticcheck) && $$staticcheck ./... && GOOS=windows $$staticcheck -tests=false ./...

# The first has the flags of build, and the last those of vet, so that no package is compiled twice.
cross: ## build everything without cgo, for each system
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath ./...
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build ./...
	CGO_ENABLED=0 GOOS=windows GOARCH=amd64 go build ./...

fuzz: ## every fuzz target for a short while; FUZZTIME=1m for longer
	@scripts/fuzz $(FUZZTIME)

vuln: ## govulncheck; asks vuln.go.dev, so it is no part of check
	$(GOVULNCHECK) ./...

clean: ## remove build/
	rm -rf build
