#!/usr/bin/env bash
# Installs the mail server of the tests into target/mail. Does nothing when it is there already. Needs python3 with the module
# venv, and the package registry of pip.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$PWD/target/mail
wanted=tests/system/mail_server.txt

fail() {
    printf 'install-mail: %s\n' "$1" >&2
    exit 1
}

mkdir -p "$folder"
# Tests of several programs may come here at once.
exec {lock}>"$folder/lock"
flock "$lock"
if cmp -s "$wanted" "$folder/installed"; then
    exit 0
fi
python3 -c 'import venv, ensurepip' 2>/dev/null || fail 'python3 with the module venv is needed (apt-get install python3-venv)'
rm -rf "$folder/python" "$folder/installed"
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" \
    || fail 'the Python packages could not be installed: is the package registry of pip reachable?'
cp "$wanted" "$folder/installed"
