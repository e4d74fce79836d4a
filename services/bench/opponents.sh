#!/bin/sh
# Starts the servers that a Debian machine can have, runs the benchmark against all of them, prints the README's table.
# Usage: services/bench/opponents.sh [options of bench, as --rounds 5 --workload NAME]
# Needs a release build: cargo build --release -p registry -p bench --bins
# Leaves a JSON file with all samples beside the table; ends what it started and removes what it stored.
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
bin=${BENCH_BIN:-$here/target/release}
work=$(mktemp -d "${TMPDIR:-/tmp}/bench-opponents.XXXXXX")
results=${BENCH_RESULTS:-$here/target/bench}
mkdir -p "$results"
started=""
ports=""

finish() {
    for pid in $started; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in $started; do
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

for program in bench bare limit registry; do
    if [ ! -x "$bin/$program" ]; then
        echo "opponents: $bin/$program is missing; cargo build --release -p registry -p bench --bins" >&2
        exit 2
    fi
done

# The arguments of bench, one target after the other.
set -- --json "$results/results.json" --markdown "$results/table.md" "$@"
note() { echo "opponents: $*" >&2; }

# is_started PORT: notes the process that was put in the background last, and where it will listen.
is_started() {
    pid=$!
    started="$started $pid"
    ports="$ports $1"
}

# ours NAME PORT DURABILITY
ours() {
    mkdir -p "$work/$1"
    REGISTRY_HTTP_ADDR=127.0.0.1:$2 REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=$work/$1 \
        REGISTRY_STORAGE_FILESYSTEM_DURABILITY=$3 \
        "$bin/registry" serve "$work/ours.yaml" >"$work/$1.log" 2>&1 &
    is_started "$2"
}

cat >"$work/ours.yaml" <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/unused}, delete: {enabled: true}}
http: {addr: "127.0.0.1:0"}
extensions: {oci: {ext: [discover], artifacts: [referrers]}}
YAML
start_ours="REGISTRY_HTTP_ADDR=127.0.0.1:{port} REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY={dir} $bin/registry serve $work/ours.yaml"

ours full 17401 full
set -- "$@" full=127.0.0.1:17401 --pid "full=$pid" --start "full=$start_ours"
ours none 17402 none
set -- "$@" none=127.0.0.1:17402 --pid "none=$pid" --start "none=REGISTRY_STORAGE_FILESYSTEM_DURABILITY=none $start_ours"

if command -v docker-registry >/dev/null; then
    cat >"$work/distribution.yaml" <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/distribution}, delete: {enabled: true}}
http: {addr: "127.0.0.1:17403"}
YAML
    mkdir -p "$work/distribution"
    docker-registry serve "$work/distribution.yaml" >"$work/distribution.log" 2>&1 &
    is_started 17403
    start="REGISTRY_HTTP_ADDR=127.0.0.1:{port} REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY={dir} docker-registry serve $work/distribution.yaml"
    set -- "$@" distribution=127.0.0.1:17403 --pid "distribution=$pid" --start "distribution=$start"
else
    note "docker-registry is not installed: left out"
fi

PATH=$PATH:/usr/sbin
if command -v nginx >/dev/null; then
    "$bin/bench" files "$work/static"
    chmod -R a+rX "$work"
    cat >"$work/nginx.conf" <<CONF
daemon off;
worker_processes auto;
pid $work/nginx.pid;
error_log $work/nginx.log;
events { worker_connections 4096; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=4096;
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    client_body_temp_path $work/nginx-body;
    proxy_temp_path $work/nginx-proxy;
    fastcgi_temp_path $work/nginx-fastcgi;
    uwsgi_temp_path $work/nginx-uwsgi;
    scgi_temp_path $work/nginx-scgi;
    server {
        listen 127.0.0.1:NGINX_PORT;
        root $work/static;
        location = /v2/ { return 200 "{}"; }
    }
}
CONF
    sed "s/NGINX_PORT/17404/" "$work/nginx.conf" >"$work/nginx-running.conf"
    nginx -c "$work/nginx-running.conf" 2>/dev/null &
    is_started 17404
    set -- "$@" --files nginx=127.0.0.1:17404 --pid "nginx=$pid"
else
    note "nginx is not installed: left out"
fi

"$bin/bare" 127.0.0.1:17405 >/dev/null &
is_started 17405
set -- "$@" --files bare=127.0.0.1:17405 --pid "bare=$pid" --start "bare=$bin/bare 127.0.0.1:{port} --empty"

"$bin/limit" 127.0.0.1:17406 --folder "$work/limit" >/dev/null &
is_started 17406
set -- "$@" --sink limit=127.0.0.1:17406 --pid "limit=$pid"

"$bin/limit" 127.0.0.1:17407 --folder "$work/limit-sync" --sync >/dev/null &
is_started 17407
set -- "$@" --sink limit-sync=127.0.0.1:17407 --pid "limit-sync=$pid"

# Until all listen; a server that ended has said why in its log.
for port in $ports; do
    tries=0
    until "$bin/bench" reach "127.0.0.1:$port" 2>/dev/null; do
        tries=$((tries + 1))
        if [ "$tries" -ge 100 ]; then
            note "nothing listens on port $port"
            tail -n 5 "$work"/*.log >&2 || true
            exit 1
        fi
        sleep 0.1
    done
done

failed=0
TMPDIR=$work "$bin/bench" "$@" || failed=$?
echo
cat "$results/table.md"
note "all samples are in $results/results.json"
exit "$failed"
