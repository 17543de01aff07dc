#!/usr/bin/env bash
# What a worker adds to a job that does nothing: processor time of the worker for each job, and how many jobs a second go through,
# for each kind of worker in turn, against one server on private PostgreSQL and RabbitMQ servers. It leaves nothing running.

set -euo pipefail

usage() {
    cat <<'TEXT'
usage: scripts/bench-workers.sh [--seconds N] [--concurrency N] [WORKER...]

  --seconds N       how long each worker is measured (15)
  --concurrency N   submissions of ten jobs in sequence that are under way at a time (16)
  WORKER            rust-amqp rust-grpc python-amqp python-grpc typescript-amqp typescript-grpc (all of them)

One line for each worker: jobs a second, milliseconds of the worker's processor time (user and system) for each job, and the median latency of
ten jobs in sequence. Compare lines of one run: the machine is shared by worker, server, broker and database.
TEXT
}

fail() {
    printf 'bench-workers: %s\n' "$1" >&2
    exit 2
}

seconds=15
concurrency=16
workers=()
while [ $# -gt 0 ]; do
    case $1 in
        --seconds) seconds=${2:?}; shift ;;
        --concurrency) concurrency=${2:?}; shift ;;
        -h | --help) usage; exit 0 ;;
        -*) usage >&2; exit 2 ;;
        *) workers+=("$1") ;;
    esac
    shift
done
[ "${#workers[@]}" -gt 0 ] || workers=(rust-amqp rust-grpc python-amqp python-grpc typescript-amqp typescript-grpc)

readonly FLOW=quorate-bench-noop
readonly TASK_QUEUE=quorate-bench
# How many jobs a worker holds: more than are under way, so that it never waits for its own bound.
readonly HELD=64
readonly TRIES_MAX=150
readonly TRY_INTERVAL_SECONDS=0.2

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
folder=$(mktemp -d "${TMPDIR:-/tmp}/quorate-bench.XXXXXX")
server=
worker=

# Ends a process of ours and waits for it.
end() {
    [ -n "$1" ] || return 0
    kill -TERM "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

finish() {
    local code=$?
    trap - EXIT
    end "$worker"
    end "$server"
    bash scripts/services.sh down --dir "$folder/services" >/dev/null 2>&1 || true
    rm -rf "$folder"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Waits until a line of a log says something.
said() {
    local tries
    for ((tries = 0; tries < TRIES_MAX; tries++)); do
        grep -q -- "$2" "$1" && return 0
        sleep "$TRY_INTERVAL_SECONDS"
    done
    cat "$1" >&2
    fail "nothing said '$2'"
}

# Processor time of a process so far, in clock ticks.
ticks() { awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }

token() { "$quorate" token create --user "$1" --role "$2" | tr -d '[:space:]'; }

start_worker() {
    local log=$folder/$1.log
    export QUORATE_TASK_QUEUE=$TASK_QUEUE QUORATE_CONCURRENCY=$HELD QUORATE_AMQP_URL=$amqp
    export QUORATE_SERVER=http://$address QUORATE_TOKEN=$worker_token
    case $1 in
        rust-amqp) env -u QUORATE_SERVER -u QUORATE_TOKEN "$release/quorate-worker" --serve "$FLOW=ok" >"$log" 2>&1 & ;;
        rust-grpc) env -u QUORATE_AMQP_URL "$release/quorate-worker" --serve "$FLOW=ok" >"$log" 2>&1 & ;;
        python-*)
            PYTHONPATH=$root/examples/workers/python PYTHONUNBUFFERED=1 "$root/target/workers/python/bin/python" -c "
import runpy, flows
flows.FLOWS['$FLOW'] = lambda job: {}
runpy.run_path('$root/examples/workers/python/${1#python-}_worker.py', run_name='__main__')" >"$log" 2>&1 &
            ;;
        typescript-*)
            # As deep in a folder as in the project: it looks for proto/ from there.
            local copy=$folder/examples/workers/typescript
            rm -rf "$copy"
            mkdir -p "$copy"
            cp -r target/workers/typescript/{dist,package.json} "$copy"
            ln -sfn "$root/target/workers/typescript/node_modules" "$copy/node_modules"
            ln -sfn "$root/proto" "$folder/proto"
            printf 'FLOWS.set("%s", async () => ({}));\n' "$FLOW" >>"$copy/dist/flows.js"
            node "$copy/dist/${1#typescript-}_worker.js" >"$log" 2>&1 &
            ;;
        *) fail "there is no worker $1" ;;
    esac
    worker=$!
}

# How many consumers the task queue has.
consumers() {
    QUORATE_SERVER=http://$address QUORATE_TOKEN=$admin_token "$quorate" list task-queues --all -o json |
        python3 -c "import json, sys; print(sum(q.get('consumers', 0) for q in json.load(sys.stdin) if q['name'] == '$TASK_QUEUE'))"
}

until_consumers() {
    local tries
    for ((tries = 0; tries < TRIES_MAX; tries++)); do
        [ "$(consumers)" "$@" ] && return 0
        sleep "$TRY_INTERVAL_SECONDS"
    done
    fail "the task queue's consumers did not come to be: $*"
}

bench() {
    QUORATE_SERVER=http://$address QUORATE_TOKEN=$admin_token "$quorate" bench --workload w3 --concurrency "$concurrency" "$@" -o json
}

bash scripts/install-services.sh
bash scripts/install-workers.sh
cargo build --release --workspace --bins --locked
release=$root/target/release
quorate=$release/quorate

bash scripts/services.sh up --dir "$folder/services" >/dev/null
# shellcheck disable=SC1091 # written by services.sh
. "$folder/services/env"
amqp=$QUORATE_AMQP_URL
"$quorate" migrate >/dev/null
admin_token=$(token bench administrator)
worker_token=$(token bench-worker worker)
"$quorate" serve --listen 127.0.0.1:0 >"$folder/server.log" 2>&1 &
server=$!
said "$folder/server.log" 'serving'
address=$(sed 's/\x1b\[[0-9;]*m//g' "$folder/server.log" | sed -n 's/.*listen=\([0-9.:]*\).*/\1/p' | head -n 1)

printf '%-18s %10s %14s %16s\n' worker jobs/s 'CPU ms/job' 'p50 ms, 10 jobs'
for name in "${workers[@]}"; do
    start_worker "$name"
    # This stores the definitions, and warms everything up.
    bench --warmup 1s --duration 3s >"$folder/warmup.log" 2>&1 || { cat "$folder/warmup.log" >&2; fail "$name does not carry out jobs"; }
    until_consumers -gt 0
    before=$(ticks "$worker")
    bench --warmup 0s --duration "${seconds}s" >"$folder/$name.json"
    after=$(ticks "$worker")
    python3 - "$folder/$name.json" "$name" "$((after - before))" "$(getconf CLK_TCK)" <<'PYTHON'
import json
import sys

path, name, ticks, hertz = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with open(path, encoding="utf-8") as file:
    report = json.load(file)
jobs = report["completed"] * 10
cpu = ticks / hertz * 1000 / jobs if jobs else float("nan")
print(f"{name:18} {report['completed_per_second'] * 10:10.0f} {cpu:14.3f} {report['latency_ms']['p50']:16.1f}")
PYTHON
    end "$worker"
    worker=
    until_consumers -eq 0
done
