# Requires only Go, make and git: every other tool is built from a pinned module under hack/.

# Image for the manifests of deploy and build-installer.
IMG ?= $(DEFAULT_IMG)
DEFAULT_IMG := ghcr.io/calyptia-agent-operator/calyptia-agent-operator:latest

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c

# The same settings everywhere; otherwise the go command compiles every package once for each of them.
export CGO_ENABLED ?= 0
export GOFLAGS := $(filter-out -mod=% -modfile=% -trimpath -buildvcs=%,$(shell go env GOFLAGS)) -trimpath -buildvcs=false
export GOWORK := off

MODULE := github.com/calyptia-agent-operator/operator
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
DATE ?= $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X $(MODULE)/internal/version.Version=$(VERSION) \
	-X $(MODULE)/internal/version.Commit=$(COMMIT) -X $(MODULE)/internal/version.Date=$(DATE)

# Platforms of image and push, such as linux/amd64. Default: all.
PLATFORMS ?=

# Output directory of build-installer.
DIST ?= dist

BINARY := bin/calyptia-agent-operator
TOOL := go tool -modfile=$(CURDIR)/hack/tools/go.mod
CONTROLLER_GEN := $(TOOL) controller-gen
KUSTOMIZE := $(TOOL) kustomize
# Run directly: `go tool` exits with 0 when its tool is killed, such as for want of memory.
GOTESTSUM = "$$($(TOOL) -n gotestsum)"
GOLANGCI_LINT = "$$(go tool -modfile=$(CURDIR)/hack/golangci/go.mod -n golangci-lint)"

API_LINT = "$$(go tool -modfile=$(CURDIR)/hack/apilint/go.mod -n golangci-lint-kube-api-linter)"

# kubectl from the PATH, or else from the control plane for tests.
BUILT_KUBECTL := bin/controlplane/current/kubectl
KUBECTL ?= $(shell command -v kubectl || echo $(BUILT_KUBECTL))
KUBECTL_NEEDS := $(if $(filter $(BUILT_KUBECTL),$(KUBECTL)),control-plane)

# Packages and further flags of `make test`, as in: make test PKG=./internal/cloud/... TESTFLAGS=-v
PKG ?= ./...
TESTFLAGS ?=
# Number of packages with a control plane that are tested in parallel. Their tests wait most of the time.
TEST_PACKAGES ?= 3
# Tests with heavy dependencies are separate modules, so that the operator does not depend on them. The go command
# does not see that files outside of such a module changed: -count=1.
TEST_MODULES := test/docs test/gitops test/olm test/openapi
# The modules that PKG is in: all of them, one of those above, or the operator's.
TESTED := $(if $(filter ./...,$(PKG)),. $(TEST_MODULES),$(or $(strip $(foreach m,$(TEST_MODULES),$(if $(filter ./$(m) ./$(m)/%,$(PKG)),$(m)))),.))

.DEFAULT_GOAL := help

##@ General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*##"; printf "\nUsage:\n  make \033[36m<target>\033[0m\n"} \
		/^[a-zA-Z_0-9-]+:.*?##/ { printf "  \033[36m%-16s\033[0m %s\n", $$1, $$2 } \
		/^##@/ { printf "\n\033[1m%s\033[0m\n", substr($$0, 5) }' $(MAKEFILE_LIST)

##@ Development

.PHONY: generate
generate: ## Generate the DeepCopy methods.
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt paths=./api/...

.PHONY: manifests
manifests: ## Generate the CRDs and the operator's role.
	$(CONTROLLER_GEN) crd rbac:roleName=manager-role paths=./api/... paths=./internal/controller/... \
		output:crd:artifacts:config=config/crd/bases output:rbac:artifacts:config=config/rbac

.PHONY: docs
docs: ## Generate the reference under docs/.
	@mkdir -p docs/reference
	$(TOOL) crd-ref-docs --source-path=api/v1alpha1 --log-level=ERROR \
		--config=<(sed "s/KUBERNETES/$$(go list -m -f '{{.Version}}' k8s.io/api | sed 's/^v0\.\([0-9]*\).*/1.\1/')/" hack/docs/crd-ref-docs.yaml) \
		--templates-dir=hack/docs/templates --renderer=markdown --output-path=docs/reference/api.md
	go test . -run '^TestThePageOfTheFlagsIsUpToDate$$' -count=1 -update
	go test ./internal/registration -run '^TestPage_IsGeneratedFromTheTable$$' -count=1 -update
	go run ./hack/reasons

.PHONY: charts
charts: ## Generate the parts of the charts that come from config: CRDs, roles, the schema of the values.
	go run ./hack/charts

.PHONY: fmt
fmt: ## Format the code.
	go fmt ./...

.PHONY: vet
vet: ## Run go vet.
	@set -e; for module in . $(TEST_MODULES); do (cd $$module && go vet ./...); done

.PHONY: lint
lint: ## Run the linters.
	@set -e; for module in . $(TEST_MODULES) test/e2e; do (cd $$module && $(GOLANGCI_LINT) run); done
	$(API_LINT) run --config hack/apilint/config.yml ./api/...
	go run ./hack/words

.PHONY: lint-fix
lint-fix: ## Run the linters and fix what they can fix.
	$(GOLANGCI_LINT) run --fix

.PHONY: verify
verify: ## Check that generated files and every go.mod are up to date.
	@sum() { { cat api/*/zz_generated.*.go config/crd/bases/*.yaml config/rbac/role.yaml docs/reference/*.md charts/*/values.schema.json || true; \
		find charts/*/files -type f | LC_ALL=C sort | while read -r file; do echo "$$file"; cat "$$file"; done; } 2>/dev/null | git hash-object --stdin; }; \
		before=$$(sum); $(MAKE) --no-print-directory generate manifests charts docs; \
		if [ "$$before" != "$$(sum)" ]; then \
			echo "verify: the generated files were out of date; commit what 'make generate manifests charts docs' wrote" >&2; exit 1; \
		fi
	@for mod in $$(git ls-files -- go.mod '*/go.mod'); do \
		echo "verify: $$mod"; (cd "$$(dirname "$$mod")" && go mod tidy -diff); \
	done

##@ Test

.PHONY: control-plane
control-plane: ## Build etcd, kube-apiserver, kube-controller-manager and kubectl for tests (once, some minutes).
	@hack/controlplane/build.sh

.PHONY: crds
crds: ## Download the CRDs of Argo CD, Flux and the Prometheus operator, to validate examples in docs and charts.
	@hack/crds/fetch.sh

# hack/tests.sh lists the packages whose tests need a control plane. Those that use separate namespaces share one.
RUN_TESTS = $(GOTESTSUM) --format pkgname --format-hide-empty-pkg -- $(TESTFLAGS)
# in-modules runs a command with the packages of this kind, in each of these modules.
in-modules = set -e; for module in $(3); do packages="./..."; [ $$module != . ] || packages="$(PKG)"; \
	(cd $$module && $(CURDIR)/hack/tests.sh $(1) $$packages | xargs -r $(2) $$([ $$module = . ] || echo -count=1)); done

.PHONY: unit
unit: ## Run the tests that need no control plane (under a minute once built).
	@export OPERATOR_TEST_CONTROL_PLANE=none; $(call in-modules,unit,$(RUN_TESTS),$(TESTED))

.PHONY: test
test: unit control-plane crds ## Run all tests: those of unit, then those against a real control plane, with a minute of torture.
	@go build ./... && go build -o bin/withplane ./hack/withplane
	@for helm in helm helm3; do go tool -modfile=$(CURDIR)/hack/$$helm/go.mod -n helm >/dev/null; done # Built now, which takes minutes once, not within a test.
	@$(MAKE) --no-print-directory --jobs=2 test-main test-modules

.PHONY: test-main test-modules
test-main test-modules: in = $(if $(filter test-main,$@),$(filter .,$(TESTED)),$(filter-out .,$(TESTED)))
test-main test-modules: # Of test, against a control plane each: the modules' tests wait, too.
	@$(call in-modules,plane,$(CURDIR)/bin/withplane $(RUN_TESTS) -p $(TEST_PACKAGES) -timeout 30m,$(in))

# The go command does not see which control plane a TestMain starts: without -count=1 it would repeat results of the newest.
.PHONY: test-oldest
test-oldest: ## Run the tests of CRDs and reconciliation on the oldest supported Kubernetes.
	@export KUBEBUILDER_ASSETS="$$(hack/oldest/build.sh)"; \
		$(GOTESTSUM) --format pkgname --format-hide-empty-pkg -- -p 1 -count=1 -timeout 30m $(TESTFLAGS) ./api/... ./test/story ./test/publish

.PHONY: fuzz
fuzz: ## Fuzz the parsers of external input (FUZZTIME=5s for each).
	@FUZZTIME=$(or $(FUZZTIME),5s) hack/fuzz.sh

.PHONY: test-race
test-race: control-plane crds ## Run all tests with the race detector (needs a C compiler).
	CGO_ENABLED=1 $(GOTESTSUM) --format pkgname --format-hide-empty-pkg -- -race -timeout 40m $(TESTFLAGS) $(PKG)

.PHONY: torture
torture: control-plane ## Kill the operator repeatedly for 10 minutes, with 300 Agents (DURATION=, AGENTS=; SEED= repeats a run).
	go test ./test/torture -run TestExactlyOneThroughKills -count=1 -v -timeout 120m -real-times \
		-duration=$(or $(DURATION),10m) -agents=$(or $(AGENTS),300) $(if $(SEED),-seed=$(SEED))

.PHONY: churn
churn: control-plane ## Replace a tenth of the 1,000 nodes of an AgentSet each minute, for 10 minutes (DURATION=, NODES=; SEED= repeats a run).
	go test ./test/torture -run TestNodesAreReplaced -count=1 -v -timeout 120m -real-times \
		-duration=$(or $(DURATION),10m) -nodes=$(or $(NODES),1000) $(if $(SEED),-seed=$(SEED))

# A failure names its seed and number of moves: SEED= and MOVES= repeat it, with SEEDS=1.
.PHONY: moves
moves: control-plane ## Make random moves of a tenant against another team, from 40 seeds (SEEDS=, MOVES=; SEED= is the first).
	go test ./test/tenancy -run TestRandomMovesOfATenantCrossNoTeam -count=1 -v -timeout 120m \
		-moves=$(or $(MOVES),32) -moves-seeds=$(or $(SEEDS),40) -moves-seed=$(or $(SEED),0)

comma := ,

.PHONY: bench
bench: control-plane build ## Measure the operator against a bare client (N=, LATENCY=, RATE=, REPEAT=, BENCHFLAGS=; OLD= for benchstat).
	@go build -o bin/bench ./hack/bench
	bin/bench -n $(or $(N),100$(comma)1000) -latency $(or $(LATENCY),0$(comma)50ms) -rate-limit $(or $(RATE),0) -repeat $(or $(REPEAT),1) \
		-json dist/bench.json -benchstat dist/bench.txt $(BENCHFLAGS)
	$(if $(OLD),$(TOOL) benchstat $(OLD) dist/bench.txt)

.PHONY: bench-go
bench-go: ## Benchmark the code of each reconciliation, with allocations (OLD=dist/old.txt compares with an earlier run).
	@mkdir -p dist
	go test -run '^$$' -bench . -benchmem -count $(or $(REPEAT),6) ./internal/... | tee dist/bench-go.txt
	$(TOOL) benchstat $(OLD) dist/bench-go.txt

.PHONY: test-image
test-image: ## Lint the Dockerfile, build the image twice, and check its content.
	go -C hack/image test -count=1 -timeout 60m ./...

.PHONY: e2e
e2e: ## Test the image in pods, on a local node as root on Linux (E2E_KUBECONFIG= for your cluster; RUN= for some tests).
	@$(if $(E2E_KUBECONFIG),,hack/node/build.sh)
	@hack/controlplane/build.sh
	@go -C hack/image run . -version "$(VERSION)" -commit "$(COMMIT)" -date "$(DATE)" \
		-platforms "$(or $(PLATFORMS),linux/$(shell go env GOARCH))" -out "$(CURDIR)/bin/e2e-image"
	@go tool -modfile=$(CURDIR)/hack/helm/go.mod -n helm >/dev/null
	go -C test/e2e test -p 1 -count=1 -v -timeout 60m $(if $(RUN),-run '$(RUN)') . $(if $(E2E_KUBECONFIG)$(RUN),,./node)

# FRESH=1 ignores existing control planes, as on a new machine; DOWNLOAD=no builds one instead of downloading it.
.PHONY: demo
demo: ## Show the operator at work on a throwaway control plane and a fake cloud (ONCE=1: then exit; PICTURE=docs/demo.svg: and draw it).
	@go list -deps . ./hack/demo >/dev/null 2>&1 & go build -o bin/prepare ./hack/prepare # Modules arrive while this compiles.
	@bin/prepare -ldflags "$(LDFLAGS)" $(if $(filter no,$(DOWNLOAD)),-download=false) $(if $(FRESH),-fresh)
	@KUBEBUILDER_ASSETS=$(CURDIR)/bin/controlplane/for-demo exec $(if $(PICTURE),go run ./hack/picture -out $(PICTURE)) bin/demo $(if $(ONCE)$(PICTURE),--once)

##@ Build

.PHONY: build
build: ## Build the operator.
	go build -ldflags "$(LDFLAGS)" -o $(BINARY) .

.PHONY: image
image: ## Build the image, without Docker, into the OCI layout bin/image, and print its digest (PLATFORMS=linux/amd64 for one only).
	@go -C hack/image run . -version "$(VERSION)" -commit "$(COMMIT)" -date "$(DATE)" -platforms "$(PLATFORMS)" -out "$(CURDIR)/bin/image"

.PHONY: push
push: ## Build the image for all platforms, without Docker, and push it to IMG=registry/name:tag.
	@test "$(IMG)" != "$(DEFAULT_IMG)" || { echo "push: name where to, as in: make push IMG=registry.example.com/operator:v1" >&2; exit 1; }
	@go -C hack/image run . -version "$(VERSION)" -commit "$(COMMIT)" -date "$(DATE)" -platforms "$(PLATFORMS)" -out "$(CURDIR)/bin/image" -push "$(IMG)"

.PHONY: release
release: ## Make and publish the release VERSION=v0.1.0 (DRY_RUN=1: to a registry on loopback; PLATFORMS= for some only).
	@go -C hack/release run . -version "$(VERSION)" -commit "$(COMMIT)" -date "$(DATE)" -out "$(CURDIR)/dist/release" \
		$(if $(DRY_RUN),-dry-run) $(if $(PLATFORMS),-platforms "$(PLATFORMS)")

.PHONY: test-release
test-release: ## Make a release for this platform in a registry on loopback, and check that faults in it are found.
	go -C hack/release test -count=1 -timeout 60m ./...

.PHONY: run
run: build ## Run the operator locally against the current kubeconfig (ARGS=... for its flags).
	@exec $(BINARY) $(ARGS)

.PHONY: build-installer
build-installer: ## Write the manifests of deploy to $(DIST)/install.yaml.
	@mkdir -p $(DIST)
	$(KUSTOMIZE) build config/default | sed 's#$(DEFAULT_IMG)#$(IMG)#' > $(DIST)/install.yaml

.PHONY: bundle
bundle: ## Write the bundle of the Operator Lifecycle Manager, for VERSION= and IMG=, to $(DIST)/bundle.
	go run ./hack/bundle -version "$(VERSION)" -image "$(IMG)" -created "$(DATE)" -out $(DIST)/bundle

.PHONY: clean
clean: ## Remove everything that was built, including the control plane.
	rm -rf bin dist cover.out .demo

##@ Deployment

.PHONY: install
install: $(KUBECTL_NEEDS) ## Install the CRDs into the current cluster.
	$(KUSTOMIZE) build config/crd | $(KUBECTL) apply --server-side -f -

.PHONY: unused
unused: $(KUBECTL_NEEDS)
	@kinds=$$($(KUBECTL) get crd agents.cloud.calyptia.com agentsets.cloud.calyptia.com cloudprojects.cloud.calyptia.com --ignore-not-found --output=name | \
		sed 's#.*/##' | paste -sd, -); \
	left=$$(test -z "$$kinds" || $(KUBECTL) get "$$kinds" --all-namespaces --ignore-not-found --output=name | wc -l); \
	if [ "$${left:-0}" -gt 0 ]; then \
		echo "There are $$left Agents and CloudProjects. The operator has to delete their remote agents first, while it runs:" >&2; \
		echo "  kubectl delete agentsets.cloud.calyptia.com,agents.cloud.calyptia.com,cloudprojects.cloud.calyptia.com --all --all-namespaces" >&2; exit 1; \
	fi

.PHONY: uninstall
uninstall: unused ## Remove the CRDs from the current cluster, once no Agent and no CloudProject is left.
	$(KUSTOMIZE) build config/crd | $(KUBECTL) delete --ignore-not-found -f -

.PHONY: named
named:
	@test "$(IMG)" != "$(DEFAULT_IMG)" || { \
		echo "deploy: no image is published: name the one that you pushed, as in: make deploy IMG=registry.example.com/operator:v1" >&2; exit 1; }

.PHONY: deploy
deploy: named $(KUBECTL_NEEDS) build-installer ## Install CRDs and operator (IMG=...) into the current cluster.
	$(KUBECTL) apply --server-side -f $(DIST)/install.yaml

.PHONY: undeploy
undeploy: unused build-installer ## Remove operator and CRDs from the current cluster, once no Agent and no CloudProject is left.
	$(KUBECTL) delete --ignore-not-found -f $(DIST)/install.yaml
