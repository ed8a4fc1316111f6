# The operator's image for a builder with Docker; `make image` makes one without. For the same digest each time:
#   docker buildx build --platform linux/amd64,linux/arm64 \
#     --build-arg VERSION=... --build-arg COMMIT=... --build-arg DATE=... \
#     --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" --provenance=false \
#     --output type=oci,dest=image.tar,rewrite-timestamp=true .
#
# GO_VERSION is the builder's; another one gives another digest.
ARG GO_VERSION=1.26.8

# build runs on the machine's own platform: Go compiles for the others, and nothing is emulated.
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ARG COMMIT=unknown
ARG DATE=unknown
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} GOTOOLCHAIN=local \
    go build -trimpath -buildvcs=false -ldflags "-s -w \
      -X github.com/calyptia-agent-operator/operator/internal/version.Version=${VERSION} \
      -X github.com/calyptia-agent-operator/operator/internal/version.Commit=${COMMIT} \
      -X github.com/calyptia-agent-operator/operator/internal/version.Date=${DATE}" \
    -o /out/calyptia-agent-operator .

# Nothing but one static file: root certificates are in it, and it writes nowhere.
FROM scratch
ARG VERSION=dev
ARG COMMIT=unknown
ARG DATE=unknown
LABEL org.opencontainers.image.title="calyptia-agent-operator" \
      org.opencontainers.image.description="Declares the agents of Calyptia Cloud projects as Kubernetes objects." \
      org.opencontainers.image.source="https://github.com/calyptia-agent-operator/operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.created="${DATE}"
COPY --from=build /out/calyptia-agent-operator /calyptia-agent-operator
# A number: with runAsNonRoot, Kubernetes cannot check a name.
USER 65532:65532
ENTRYPOINT ["/calyptia-agent-operator"]
