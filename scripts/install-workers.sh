#!/usr/bin/env bash
# Installs what the example workers in other languages need into target/workers, where the tests find it, and compiles
# those that are compiled. Does nothing when that is done already. Needs python3 with the module venv, and Node.js 20 or
# later with npm; and the package registries of pip and npm.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$PWD/target/workers
python=examples/workers/python
typescript=examples/workers/typescript
NODE_MAJOR_MIN=20

fail() {
    printf 'install-workers: %s\n' "$1" >&2
    exit 1
}

install_python() {
    if cmp -s "$python/requirements.txt" "$folder/python.installed"; then
        return
    fi
    python3 -c 'import venv, ensurepip' 2>/dev/null || fail 'python3 with the module venv is needed (apt-get install python3-venv)'
    rm -rf "$folder/python" "$folder/python.installed"
    python3 -m venv "$folder/python"
    "$folder/python/bin/pip" install --quiet --disable-pip-version-check --requirement "$python/requirements.txt" \
        || fail 'the Python packages could not be installed: is the package registry of pip reachable?'
    cp "$python/requirements.txt" "$folder/python.installed"
}

install_typescript() {
    local major
    if cmp -s "$typescript/package-lock.json" "$folder/typescript.installed"; then
        return
    fi
    major=$(node --print 'process.versions.node.split(".")[0]' 2>/dev/null) || major=0
    if [ "$major" -lt "$NODE_MAJOR_MIN" ] || ! command -v npm >/dev/null; then
        fail "Node.js $NODE_MAJOR_MIN or later with npm is needed (apt-get install nodejs npm, or nodejs.org)"
    fi
    rm -rf "$folder/typescript" "$folder/typescript.installed" "$folder/typescript.compiled"
    mkdir -p "$folder/typescript"
    cp "$typescript"/{package.json,package-lock.json,.npmrc} "$folder/typescript"
    (cd "$folder/typescript" && npm ci --silent --no-audit --no-fund) \
        || fail 'the packages for TypeScript could not be installed: is the package registry of npm reachable?'
    cp "$typescript/package-lock.json" "$folder/typescript.installed"
}

# Fails where a type is wrong: then nothing is written.
compile_typescript() {
    local sources
    sources=$(cat "$typescript"/*.ts "$typescript/tsconfig.json" | cksum)
    if [ "$sources" = "$(cat "$folder/typescript.compiled" 2>/dev/null)" ]; then
        return
    fi
    rm -rf "$folder/typescript/dist" "$folder/typescript.compiled" "$folder/typescript"/*.ts
    cp "$typescript"/*.ts "$typescript"/{package.json,tsconfig.json} "$folder/typescript"
    (cd "$folder/typescript" && node_modules/.bin/tsc 1>&2) || fail 'the workers in TypeScript do not compile'
    printf '%s\n' "$sources" >"$folder/typescript.compiled"
}

mkdir -p "$folder"
# Tests of several programs may come here at once.
exec {lock}>"$folder/lock"
flock "$lock"
install_python
install_typescript
compile_typescript
