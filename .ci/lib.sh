# Small functions that the scripts of this folder share. To be sourced, not run.
# shellcheck shell=bash

# retry TIMES COMMAND…: for what fails now and then only because of the network. Waits longer each time.
retry() {
    local times=$1 attempt
    shift
    for ((attempt = 1; ; attempt++)); do
        "$@" && return 0
        if ((attempt == times)); then
            echo "failed $times times: $*" >&2
            return 1
        fi
        sleep $((attempt * 5))
    done
}

# True if a container engine answers.
docker_answers() { command -v docker >/dev/null && timeout 20 docker version >/dev/null 2>&1; }

# cargo_tool NAME VERSION WITHOUT [FLAG…]: makes the program cargo-NAME where there is none, below target/ and without
# optimisation. Where it cannot be made, CI fails; elsewhere the script ends well and says what it has left out.
cargo_tool() {
    local name=cargo-$1 version=$2 without=$3 tools=$PWD/target/tools
    shift 3
    PATH=$tools/bin:$PATH
    if command -v "$name" >/dev/null; then
        return 0
    fi
    if ! retry 2 cargo install --quiet --locked --debug --root "$tools" \
        --target-dir "$tools/build" "$@" "$name@$version"; then
        if [[ ${CI:-} == true ]]; then
            echo "$name cannot be installed, and CI is not to go without it" >&2
            exit 1
        fi
        echo "skipped: $without, as $name is not there and cannot be installed"
        exit 0
    fi
    rm -rf "$tools/build"
}

# invent_advisory ID FOLDER: a database whose one advisory says that every version of serde, which is in Cargo.lock, is at fault.
invent_advisory() {
    mkdir -p "$2/crates/serde"
    cat >"$2/crates/serde/$1.md" <<END
\`\`\`toml
[advisory]
id = "$1"
package = "serde"
date = "2000-01-01"

[versions]
patched = []
\`\`\`

# An invented fault

To see that a fault is found.
END
}
