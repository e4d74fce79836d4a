# The images of the lab: `registry`, `producer`, `consumer` and `lab`, one target each, all FROM scratch.
#
# The static binaries come from one of two stages: `compiled` builds them here (the default); `prebuilt` takes what
# ./images.sh built on the host, for where the rust image cannot be had. All that follows is the same for both.
#
# No `# syntax=` line: it would pull an image.

ARG BINARIES=compiled

FROM rust:1.95-slim-bookworm AS compiled
WORKDIR /source
COPY . .
# Crates and compiled code stay in caches, so that a second build compiles only what changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,sharing=locked \
    images/fill-roots /roots

# The build context of ./images.sh is the folder that images/fill-roots made on the host.
FROM scratch AS prebuilt
COPY . /roots

FROM ${BINARIES} AS binaries

FROM scratch AS registry
COPY --from=binaries /roots/registry /
# A named volume takes its owner from here.
COPY --from=binaries --chown=65532:65532 /roots/empty /var/lib/registry
USER 65532:65532
VOLUME /var/lib/registry
EXPOSE 5001 5002
ENTRYPOINT ["/registry"]
CMD ["serve", "/config/registry/complete.yaml"]

# What the tools share: as-owner, certificate authorities for https sources, the client's configuration, the fixture image.
FROM scratch AS tool
COPY --from=binaries /roots/tool /
ENV HOME=/tmp \
    REFERRERS_LAB_CONFIG=/config/client/compose.json \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
WORKDIR /work
USER 65532:65532

FROM tool AS producer
COPY --from=binaries /roots/producer /
ENTRYPOINT ["/as-owner", "/producer"]

FROM tool AS consumer
COPY --from=binaries /roots/consumer /
ENTRYPOINT ["/as-owner", "/consumer"]

FROM tool AS lab
COPY --from=binaries /roots/lab /
EXPOSE 5003
ENTRYPOINT ["/as-owner", "/lab"]
