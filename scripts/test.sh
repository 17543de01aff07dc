#!/usr/bin/env bash
# All checks, in one command: formatting, dependency direction, lints, documentation, and the tests against real
# PostgreSQL and RabbitMQ servers that are private to this run. It leaves nothing running.

set -euo pipefail

usage() {
    cat <<'TEXT'
usage: scripts/test.sh [--fast] [--long] [ARGUMENT...]

  --fast      leave out lints and documentation
  --long      run the long tests too (QUORATE_LONG=1)
  ARGUMENT    passed to `cargo test --workspace`: the name of a test, --test NAME, -- --nocapture, ...

The tests find the servers by
  QUORATE_TEST_DATABASE_URL   postgres://..., whose user may create databases
  QUORATE_TEST_AMQP_URL       amqp://...
  QUORATE_TEST_SERVICES       the DIR for scripts/services.sh start|stop|kill|wipe ... --dir DIR
TEXT
}

# How long a phase may take to end after it was told to.
readonly END_TRIES_MAX=50
readonly TRY_INTERVAL_SECONDS=0.2

fast=false
long=false
while [ $# -gt 0 ]; do
    case $1 in
        --fast) fast=true ;;
        --long) long=true ;;
        -h | --help) usage; exit 0 ;;
        *) break ;;
    esac
    shift
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
services=$(mktemp -d "${TMPDIR:-/tmp}/quorate-test.XXXXXX")
summary=()
phase_name=
phase_started=0
phase_process=

# Runs a command as a phase. It gets a process group of its own (job control does that, and keeps Ctrl-C's signal
# working in it), so that on an interrupt it ends whole: cargo does not end the tests that it started.
phase() {
    local code=0
    phase_name=$1
    phase_started=$SECONDS
    shift
    printf '\n=== %s\n' "$phase_name"
    set -m
    "$@" </dev/null &
    phase_process=$!
    set +m
    wait "$phase_process" || code=$?
    phase_process=
    if [ "$code" -ne 0 ]; then
        exit "$code"
    fi
    summary+=("$(printf '%-16s passed  %4d s' "$phase_name" "$((SECONDS - phase_started))")")
    printf '=== %s: %d s\n' "$phase_name" "$((SECONDS - phase_started))"
    phase_name=
}

end_phase() {
    local tries
    [ -n "$phase_process" ] || return 0
    kill -TERM -- "-$phase_process" 2>/dev/null || return 0
    for ((tries = 0; tries < END_TRIES_MAX; tries++)); do
        kill -0 -- "-$phase_process" 2>/dev/null || return 0
        sleep "$TRY_INTERVAL_SECONDS"
    done
    kill -KILL -- "-$phase_process" 2>/dev/null || true
}

finish() {
    local code=$?
    trap - EXIT
    # A second interrupt must not leave servers behind.
    trap '' INT TERM HUP
    end_phase
    bash scripts/services.sh down --dir "$services" >/dev/null 2>&1 || code=$((code == 0 ? 1 : code))
    rm -rf "$services"
    if [ -n "$phase_name" ]; then
        summary+=("$(printf '%-16s FAILED  %4d s' "$phase_name" "$((SECONDS - phase_started))")")
    fi
    printf '\n=== summary\n'
    [ "${#summary[@]}" -eq 0 ] || printf '%s\n' "${summary[@]}"
    if [ "$code" -eq 0 ]; then
        printf 'all checks passed in %d s\n' "$SECONDS"
    else
        printf 'FAILED: %s (exit code %d)\n' "${phase_name:-while cleaning up}" "$code"
    fi
    exit "$code"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

run_tests() {
    # shellcheck disable=SC1091 # written by services.sh
    . "$services/env"
    export QUORATE_TEST_DATABASE_URL=$QUORATE_DATABASE_URL
    export QUORATE_TEST_AMQP_URL=$QUORATE_AMQP_URL
    export QUORATE_TEST_SERVICES=$services
    # What the server and its commands read is for each test to set: nothing must come from outside.
    unset QUORATE_DATABASE_URL QUORATE_AMQP_URL
    if [ "$long" = true ]; then
        export QUORATE_LONG=1
    fi
    cargo test --workspace --locked "$@"
}

# Not as a phase, which has no terminal: sudo may ask for a password.
phase_name=install
bash scripts/install-services.sh
phase_name=
phase 'format' cargo fmt --all --check
phase 'dependencies' bash scripts/check-dependencies.sh
if [ "$fast" = false ]; then
    phase 'lints' cargo clippy --workspace --all-targets --locked -- -D warnings
    phase 'documentation' env RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
fi
# Tests of the whole system start the programs from target/debug.
phase 'build' cargo build --workspace --bins --locked
# Declarative flows send mails to a real server.
phase 'mail' bash scripts/install-mail.sh
# The example workers in other languages are tested too.
phase 'workers' bash scripts/install-workers.sh
phase 'services' bash scripts/services.sh up --dir "$services"
phase 'tests' run_tests "$@"
