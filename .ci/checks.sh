# A harness of a few functions for tests in bash. To be sourced, not run.
# shellcheck shell=bash

passed=0
failed=0
# Where checks run, and how long one may take.
check_folder=.
check_seconds=1500

# check SENTENCE COMMAND…: the command runs in a subshell of its own that ends at the first error, with nothing on its
# standard input. What it printed is shown only where it failed. One that hangs is ended with all its processes.
check() {
    local sentence=$1 began=$SECONDS code=0 log job
    log=$(mktemp)
    shift
    # Started with & and waited for, since bash forgets `set -e` inside of `if` and `||`; with job control, so that it
    # has a process group of its own.
    set -m
    (
        set +m
        set -euo pipefail
        cd "$check_folder"
        "$@"
    ) >"$log" 2>&1 </dev/null &
    job=$!
    set +m
    while kill -0 "$job" 2>/dev/null; do
        if ((SECONDS - began > check_seconds)); then
            echo "ended after $check_seconds s" >>"$log"
            kill -KILL -- "-$job"
        fi
        sleep 0.1
    done
    wait "$job" || code=$?
    if ((code == 0)); then
        passed=$((passed + 1))
        printf 'ok     %4d s  %s\n' $((SECONDS - began)) "$sentence"
    else
        failed=$((failed + 1))
        printf 'FAILED %4d s  %s (exit code %d)\n' $((SECONDS - began)) "$sentence" "$code"
        tail --lines 60 "$log" | sed 's/^/    | /'
    fi
    rm -f "$log"
}

# say_counts NAME: the closing line; fails if a check failed or if there was none.
say_counts() {
    printf '\n%s: %d passed, %d failed\n' "$1" "$passed" "$failed"
    ((failed == 0 && passed > 0))
}

# expect_equal EXPECTED SEEN
expect_equal() {
    if [[ $2 != "$1" ]]; then
        printf 'expected: %s\nseen:     %s\n' "$1" "$2" >&2
        return 1
    fi
}

# wait_until SECONDS COMMAND…: asks again until the command says yes.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            echo "still not true: $*" >&2
            return 1
        fi
        sleep 0.2
    done
}
