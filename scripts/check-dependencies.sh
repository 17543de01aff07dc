#!/usr/bin/env bash
# Checks the direction of dependencies (DESIGN.md, section 4). What a crate must not know, it must not be able to name:
# the crates are read from `cargo tree`, the modules of the server, which are one crate, from their sources.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Packages of the workspace that a package may use. `quorate` may use all of them.
readonly ENGINE_USES=""
readonly STORE_USES="quorate-engine"
readonly WORKER_USES="quorate-workflow"
readonly WORKFLOW_USES=""

# Where the sources may name a library: prefixes of paths. `tests/` looks at the whole system from outside and may use
# everything.
readonly AMQP_PLACES="src/queue worker/ tests/"
readonly SQL_PLACES="store/ tests/"
readonly GRPC_PLACES="src/api src/auth src/cli src/client src/proto src/serve/dev.rs build.rs worker/ tests/"

# Packages that nobody may depend on.
readonly NOWHERE="aws-lc-rs openssl-sys"

broken=0

holds() { printf 'holds   %s\n' "$1"; }

# breaks RULE WHY FINDINGS
breaks() {
    printf 'BROKEN  %s\n        why: %s\n' "$1" "$2"
    printf '%s\n' "$3" | sed 's/^/        /'
    broken=$((broken + 1))
}

# verdict RULE WHY FINDINGS
verdict() {
    if [ -z "$3" ]; then holds "$1"; else breaks "$1" "$2" "$3"; fi
}

# Names of all packages that one package is built with, on any system, its tests and build script aside.
packages_of() {
    cargo tree --locked --package "$1" --edges normal --target all --prefix none --format '{p}' | cut -d' ' -f1 | sort -u
}

members=$(cargo tree --locked --workspace --depth 0 --prefix none --format '{p}' | cut -d' ' -f1 | sed '/^$/d' | sort -u)

# The chains that lead from a package to one that it must not have.
chains() {
    cargo tree --locked --package "$1" --edges normal --target all --invert "$2" 2>/dev/null ||
        echo "$2 (several versions: see cargo tree --package $1 --edges normal)"
}

# never_uses PACKAGE WHY NAME...
never_uses() {
    local package=$1 why=$2 found name
    shift 2
    found=$(packages_of "$package")
    verdict "$package is built without $(list "$@")" "$why" "$(
        for name in "$@"; do
            if grep -qxF "$name" <<<"$found"; then chains "$package" "$name"; fi
        done
    )"
}

# uses_only PACKAGE ALLOWED WHY
uses_only() {
    local package=$1 allowed=$2 why=$3 found name
    found=$(packages_of "$package")
    # shellcheck disable=SC2086 # a list of names
    verdict "of the workspace, $package uses $(list ${allowed:-nothing})" "$why" "$(
        for name in $members; do
            case " $package $allowed " in *" $name "*) continue ;; esac
            if grep -qxF "$name" <<<"$found"; then chains "$package" "$name"; fi
        done
    )"
}

# named_only_in PLACES WHY CRATE... (a mention in a comment does no harm)
named_only_in() {
    local places=$1 why=$2 pattern file
    local -a allowed
    shift 2
    read -ra allowed <<<"$places"
    pattern="(^|[^[:alnum:]_])($(IFS='|'; echo "$*"))(::|;| as )"
    verdict "only $(list "${allowed[@]}") name $(list "$@")" "$why" "$(
        sources | while read -r file; do
            if ! begins_with_any "$file" "${allowed[@]}"; then
                grep -nE "$pattern" "$file" | grep -vE '^[0-9]+:[[:space:]]*//' | sed "s|^|$file:|" || true
            fi
        done
    )"
}

sources() { find . \( -name target -o -name '.?*' \) -prune -o -name '*.rs' -print | sed 's|^\./||' | sort; }

begins_with_any() {
    local text=$1 prefix
    shift
    for prefix in "$@"; do
        case $text in "$prefix"*) return 0 ;; esac
    done
    return 1
}

list() {
    local text
    text=$(printf ', %s' "$@")
    echo "${text:2}"
}

uses_only quorate-engine "$ENGINE_USES" \
    "the rules must be usable, and testable, without the rest of the system"
never_uses quorate-engine \
    "the engine decides from its arguments alone: no I/O, clock or randomness, so that a replay gives the same events" \
    tokio tonic prost lapin tokio-postgres rusqlite rand
uses_only quorate-store "$STORE_USES" \
    "the store keeps what the engine says; it does not know who asks"
never_uses quorate-store \
    "messages and transport stop at the server's edge: the store is handed values, and its schema outlives the API" \
    tonic lapin prost
uses_only quorate-worker "$WORKER_USES" \
    "a worker knows the queue contract, and declarative flows, only, so that workers in other languages can do all that this one can"
uses_only quorate-workflow "$WORKFLOW_USES" \
    "a declarative flow is checked by the server and run by the worker: what both use knows neither"
never_uses quorate-workflow \
    "the interpreter asks the world through one trait: tests need neither network nor time" \
    tokio tonic prost hyper
never_uses quorate-worker \
    "a worker never touches the database: only lanes change submissions" \
    tokio-postgres rusqlite

named_only_in "$AMQP_PLACES" "the broker can be exchanged, or be absent, only while one place knows it" \
    lapin
named_only_in "$SQL_PLACES" "there is one write path, and it goes through the store" \
    tokio_postgres deadpool_postgres rusqlite
named_only_in "$GRPC_PLACES" "wire types stop at the edge: what is behind it survives a change of protocol" \
    tonic

everything=$(cargo tree --locked --workspace --edges normal,build,dev --target all --prefix none --format '{p}' | cut -d' ' -f1 | sort -u)
# shellcheck disable=SC2086 # a list of names
verdict "nobody depends on $(list $NOWHERE)" \
    "a C library that takes a minute to compile, or that the system must bring along; TLS is done with ring" "$(
        for name in $NOWHERE; do
            if grep -qxF "$name" <<<"$everything"; then
                cargo tree --locked --workspace --edges normal,build,dev --target all --invert "$name"
            fi
        done
    )"

if [ "$broken" -gt 0 ]; then
    echo "$broken of the rules broken" >&2
    exit 1
fi
