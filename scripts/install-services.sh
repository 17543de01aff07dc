#!/usr/bin/env bash
# Installs PostgreSQL and RabbitMQ where they are missing. Only their programs are wanted, for scripts/services.sh: no
# server of the system is started, now or at the next boot, and one that ran before goes on as it was.

set -euo pipefail

readonly POLICY=/usr/sbin/policy-rc.d
self=$(basename "${BASH_SOURCE[0]}")
say() { printf '%s: %s\n' "$self" "$*" >&2; }

has_postgres() {
    local program
    for program in "$(command -v postgres || true)" /usr/lib/postgresql/*/bin/postgres; do
        [ -x "$program" ] && return 0
    done
    return 1
}

has_rabbitmq() { [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null; }

packages=()
units=()
has_postgres || { packages+=(postgresql); units+=(postgresql); }
has_rabbitmq || { packages+=(rabbitmq-server); units+=(rabbitmq-server); }
# Erlang comes with the broker, and systemd gives its port mapper a service of its own.
[ -e /usr/bin/epmd ] || units+=(epmd.socket epmd)

if [ "${#packages[@]}" -eq 0 ]; then
    exit 0
fi

if ! command -v apt-get >/dev/null; then
    say "missing: ${packages[*]}. Install PostgreSQL 14 or later (postgres, initdb, psql, pg_isready) and" \
        "RabbitMQ 3.10 or later (rabbitmq-server, rabbitmqctl, with Erlang's epmd) from your system's packages," \
        "so that they are in PATH; they need not be started."
    exit 1
fi

root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { say "missing: ${packages[*]}. Install them as root: apt-get install ${packages[*]}"; exit 1; }
    root=(sudo)
fi

has_systemd() { [ -d /run/systemd/system ]; }

is_active() {
    if has_systemd; then
        systemctl --quiet is-active "$1"
    else
        case $1 in *.socket) return 1 ;; esac
        [ -x "/etc/init.d/$1" ] && "${root[@]}" service "$1" status >/dev/null 2>&1
    fi
}

# Without systemd, any look at the broker's state, the package's own included, leaves Erlang's port mapper (port 4369)
# running.
has_port_mapper() { (exec 3<>/dev/tcp/127.0.0.1/4369) 2>/dev/null; }

port_mapper_before=false
! has_port_mapper || port_mapper_before=true
active_before=" "
for unit in "${units[@]}"; do
    ! is_active "$unit" || active_before="$active_before$unit "
done

# Debian's packages start their servers when they are installed, unless this file answers 101 (invoke-rc.d(8)). An
# existing one is the administrator's and is left alone; what it lets start is stopped below.
policy_written=false
remove_policy() {
    if [ "$policy_written" = true ]; then
        "${root[@]}" rm -f "$POLICY"
    fi
}
trap remove_policy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ ! -e "$POLICY" ]; then
    policy_written=true
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$POLICY" >/dev/null
    "${root[@]}" chmod 0755 "$POLICY"
fi

say "installing ${packages[*]}"
"${root[@]}" apt-get update -q
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${packages[@]}"

for unit in "${units[@]}"; do
    case $active_before in *" $unit "*) continue ;; esac
    if has_systemd; then
        "${root[@]}" systemctl --quiet disable --now "$unit" 2>/dev/null || true
    elif is_active "$unit"; then
        "${root[@]}" service "$unit" stop >/dev/null
    fi
done

# It refuses to end while a node is registered with it.
if [ "$port_mapper_before" = false ] && has_port_mapper; then
    epmd -kill >/dev/null || true
fi

if ! has_postgres || ! has_rabbitmq; then
    say "the packages are installed, but their programs are not found"
    exit 1
fi
say "installed ${packages[*]}; their system services are not running"
