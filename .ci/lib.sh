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
