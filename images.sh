#!/usr/bin/env bash
# Builds the images on this machine's own Rust, for where no image registry can be reached.
#
# They are the images that `docker compose build` makes, with the same names; only the compiler runs outside. Afterwards
# `docker compose up registries` and all the rest find them and build nothing.
#
#     ./images.sh
#     CARGO_PROFILE=release ./images.sh    with symbols
set -euo pipefail
cd "$(dirname "$0")"

readonly roots=target/image-roots
rm -rf "$roots"
images/fill-roots "$roots"

for target in registry producer consumer lab; do
    DOCKER_BUILDKIT=1 docker build --quiet --file Dockerfile --target "$target" \
        --build-arg BINARIES=prebuilt --tag "referrers-lab/$target:dev" "$roots" >/dev/null
    docker image inspect --format '{{index .RepoTags 0}}  {{.Size}} bytes' "referrers-lab/$target:dev"
done
