#!/usr/bin/env bash
# Private PostgreSQL and RabbitMQ servers for trying Quorate out and for its tests. They listen on 127.0.0.1 only, on
# free ports, and keep everything in one folder: the servers of the system are neither used nor touched.
# Needs Linux, bash and util-linux; scripts/install-services.sh installs the two servers.

set -euo pipefail
# Assigned by reading DIR/state.
declare OWNER POSTGRES_PORT POSTGRES_PASSWORD RABBITMQ_PORT RABBITMQ_PASSWORD RABBITMQ_NODE RABBITMQ_DIST_PORT \
    EPMD_PORT ERLANG_COOKIE

usage() {
    cat <<'TEXT'
usage: scripts/services.sh COMMAND [--dir DIR]        (DIR: .services in the project root when not given)

  up                          start both servers, print the variables that Quorate reads, and write them to DIR/env
  down                        stop both servers and remove their data
  status                      say what runs; exit code 3 unless both do
  env                         print DIR/env
  start  postgres|rabbitmq    start one server again: same port, same data
  stop   postgres|rabbitmq    stop one server in good order
  kill   postgres|rabbitmq    stop one server as a power cut would
  wipe   postgres|rabbitmq    stop one server and delete its data: the next start begins empty
  psql [ARGUMENT...]          psql in the database of the private server
  rabbitmqctl ARGUMENT...     rabbitmqctl on the private node
TEXT
}

# A loaded machine needs up to 20 s to boot RabbitMQ; six times that means that it will never come.
readonly READY_TRIES_MAX=600
# PostgreSQL writes a checkpoint when it stops: long enough for a slow disk, after which it is killed.
readonly STOP_TRIES_MAX=150
readonly TRY_INTERVAL_SECONDS=0.2
# Below the range from which the system gives ports to outgoing connections (32768 and up), so that a port is still
# free when a stopped server starts again.
readonly PORT_MIN=20000
readonly PORT_COUNT=10000
readonly PORT_TRIES_MAX=100
# PostgreSQL refuses a unix socket whose whole path is longer than 107 bytes; the name of the socket takes 20.
readonly DATA_PATH_BYTES_MAX=80

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
self=$(basename "${BASH_SOURCE[0]}")

say() { printf '%s: %s\n' "$self" "$*" >&2; }
fail() { say "$*"; exit 1; }

# --- Commands ---------------------------------------------------------------------------------------------------------

up() {
    if [ -f "$dir/state" ]; then
        load_state
        if is_running postgres && is_running rabbitmq; then
            say "already running in $dir"
            cat "$dir/env"
            return
        fi
    else
        find_programs
        create_state
    fi
    # Whatever interrupts the start, nothing half started is left behind.
    trap down EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start_postgres
    start_rabbitmq
    write_env
    trap - EXIT
    cat "$dir/env"
}

# Runs as an exit trap too, where a bare `return` would repeat the exit code from before the trap: hence `return 0`.
down() {
    trap - EXIT
    if [ ! -f "$dir/state" ]; then
        rm -f "$dir/lock"
        say "nothing runs in $dir"
        return 0
    fi
    load_state
    stop_process rabbitmq TERM
    # The port mapper goes last: a broker that misses it starts another one, which nobody would stop.
    stop_process epmd TERM
    stop_process postgres INT
    rm -rf "$data"
    rm -rf "$dir/data" "$dir/state" "$dir/env" "$dir"/*.pid "$dir/lock"
    rmdir "$dir" 2>/dev/null || true
    say "stopped, and removed the data"
}

status() {
    local name port all=0
    for name in postgres rabbitmq; do
        if [ -f "$dir/state" ] && load_state && is_running "$name"; then
            port=$POSTGRES_PORT
            [ "$name" = postgres ] || port=$RABBITMQ_PORT
            echo "$name: running, 127.0.0.1:$port, process $(pid_of "$name")"
        else
            echo "$name: stopped"
            all=3
        fi
    done
    return "$all"
}

print_env() {
    [ -f "$dir/env" ] || fail "nothing runs in $dir: start it with 'scripts/services.sh up'"
    cat "$dir/env"
}

start_one() {
    load_state
    if is_running "$1"; then
        say "$1 is already running"
        return
    fi
    "start_$1"
}

# PostgreSQL takes SIGINT as "end the sessions and stop"; on SIGTERM it would wait for its clients to leave.
stop_one() {
    load_state
    case $1 in
        postgres) stop_process postgres INT ;;
        rabbitmq) stop_process rabbitmq TERM ;;
    esac
}

kill_one() {
    load_state
    stop_process "$1" KILL
}

wipe_one() {
    stop_one "$1"
    case $1 in
        postgres) rm -rf "$data/postgres" ;;
        rabbitmq) rm -rf "$data/rabbitmq/mnesia" ;;
    esac
}

# --- PostgreSQL -------------------------------------------------------------------------------------------------------

start_postgres() {
    is_running postgres && return
    find_programs
    if [ ! -f "$data/postgres/PG_VERSION" ]; then
        init_postgres
    fi
    spawn postgres "$postgres_bin/postgres" -D "$data/postgres"
    await postgres "$postgres_bin/pg_isready" -q -h 127.0.0.1 -p "$POSTGRES_PORT"
    # A server that was killed between its first start and this line has no database yet.
    if [ "$(psql_as_owner postgres -Atc "SELECT 1 FROM pg_database WHERE datname = 'quorate'")" != 1 ]; then
        psql_as_owner postgres -qc 'CREATE DATABASE quorate'
    fi
}

# Only writing the empty cluster skips the flush to disk: there is nothing in it to lose. The server itself keeps
# PostgreSQL's defaults (fsync on), because the tests are about what survives.
init_postgres() {
    rm -rf "$data/postgres"
    as_owner mkdir -p "$data/socket"
    printf '%s\n' "$POSTGRES_PASSWORD" >"$data/password"
    chown "$OWNER" "$data/password"
    as_owner "$postgres_bin/initdb" -D "$data/postgres" --username=quorate --pwfile="$data/password" \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync >"$data/initdb.log" 2>&1 ||
        { tail -n 20 "$data/initdb.log" >&2; fail "initdb failed"; }
    rm "$data/password"
    cat >>"$data/postgres/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $POSTGRES_PORT
unix_socket_directories = '$data/socket'
max_connections = 200
CONF
}

psql_as_owner() {
    local database=$1
    shift
    as_owner env PGPASSWORD="$POSTGRES_PASSWORD" "$postgres_bin/psql" -X -v ON_ERROR_STOP=1 \
        -h 127.0.0.1 -p "$POSTGRES_PORT" -U quorate -d "$database" "$@"
}

# --- RabbitMQ ---------------------------------------------------------------------------------------------------------

start_rabbitmq() {
    is_running rabbitmq && return
    find_programs
    if [ ! -f "$data/rabbitmq/rabbitmq.conf" ]; then
        init_rabbitmq
    fi
    # Erlang nodes find each other through a port mapper that is shared by all nodes of a machine, and that a node
    # starts when there is none. This node gets its own, so that it can be stopped with it.
    if ! is_running epmd; then
        spawn epmd "$epmd" -port "$EPMD_PORT" -address 127.0.0.1
        await epmd is_accepting "$EPMD_PORT"
    fi
    set_rabbitmq_env
    spawn rabbitmq env "${rabbitmq_env[@]}" "$rabbitmq_bin/rabbitmq-server"
    # The broker opens its port when all else is ready.
    await rabbitmq is_accepting "$RABBITMQ_PORT"
}

init_rabbitmq() {
    local home=$data/rabbitmq
    mkdir -p "$home/conf.d" "$home/log"
    printf '%s' "$ERLANG_COOKIE" >"$home/.erlang.cookie"
    chmod 0400 "$home/.erlang.cookie"
    printf '[].\n' >"$home/enabled_plugins"
    printf '[].\n' >"$home/advanced.config"
    : >"$home/rabbitmq-env.conf"
    cat >"$home/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$RABBITMQ_PORT
default_user = quorate
default_pass = $RABBITMQ_PASSWORD
CONF
    chown -R "$OWNER" "$home"
}

# Every file that RabbitMQ would otherwise take from the system is named, so that it reads none of the system's.
set_rabbitmq_env() {
    local home=$data/rabbitmq
    rabbitmq_env=(
        HOME="$home"
        ERL_EPMD_PORT="$EPMD_PORT"
        ERL_EPMD_ADDRESS=127.0.0.1
        ERL_CRASH_DUMP="$home/log/erl_crash.dump"
        RABBITMQ_NODENAME="$RABBITMQ_NODE"
        RABBITMQ_DIST_PORT="$RABBITMQ_DIST_PORT"
        RABBITMQ_MNESIA_BASE="$home/mnesia"
        RABBITMQ_LOG_BASE="$home/log"
        RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf"
        RABBITMQ_CONFIG_FILES="$home/conf.d"
        RABBITMQ_ADVANCED_CONFIG_FILE="$home/advanced.config"
        RABBITMQ_CONF_ENV_FILE="$home/rabbitmq-env.conf"
        RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins"
        RABBITMQ_GENERATED_CONFIG_DIR="$home/generated"
        RABBITMQ_SCHEMA_DIR="$home/schema"
        RABBITMQ_PID_FILE="$home/beam.pid"
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
        RABBITMQ_CTL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
    )
}

rabbitmqctl_as_owner() {
    set_rabbitmq_env
    as_owner env "${rabbitmq_env[@]}" "$rabbitmq_bin/rabbitmqctl" "$@"
}

# --- Processes --------------------------------------------------------------------------------------------------------

# Runs a command as the user that the servers run as, in their folder and without the caller's environment: a PGPORT or
# RABBITMQ_NODENAME that is set for other work must not reach them.
as_owner() {
    (cd "$data" && exec "${owner_prefix[@]}" env -i PATH="$PATH" LANG=C.UTF-8 HOME="$data" "$@")
}

# Starts a server in a session of its own: an interrupt from the terminal must reach the test run, not its servers.
# The lock (descriptor 9) is not passed on, nor are the caller's pipes.
spawn() {
    local name=$1
    shift
    (cd "$data" && exec setsid "${owner_prefix[@]}" env -i PATH="$PATH" LANG=C.UTF-8 HOME="$data" "$@") \
        </dev/null >>"$data/$name.log" 2>&1 9>&- &
    echo "$! $(start_time "$!")" >"$dir/$name.pid"
}

await() {
    local name=$1 tries
    shift
    for ((tries = 0; tries < READY_TRIES_MAX; tries++)); do
        if ! is_running "$name"; then
            tail -n 20 "$data/$name.log" >&2
            fail "$name ended while it started"
        fi
        "$@" && return
        sleep "$TRY_INTERVAL_SECONDS"
    done
    tail -n 20 "$data/$name.log" >&2
    fail "$name was not ready after $READY_TRIES_MAX tries"
}

# Waits for the helper processes too: PostgreSQL does not start again while one of them holds its shared memory.
stop_process() {
    local name=$1 signal=$2 pid tries
    local -a all
    if ! pid=$(pid_of "$name"); then
        rm -f "$dir/$name.pid"
        return 0
    fi
    mapfile -t all < <(echo "$pid"; descendants "$pid")
    if [ "$signal" = KILL ]; then
        kill -KILL "${all[@]}" 2>/dev/null || true
    else
        kill "-$signal" "$pid"
    fi
    for ((tries = 0; tries < STOP_TRIES_MAX; tries++)); do
        any_lives "${all[@]}" || break
        sleep "$TRY_INTERVAL_SECONDS"
    done
    if any_lives "${all[@]}"; then
        say "$name did not stop after $STOP_TRIES_MAX tries: killing it"
        kill -KILL "${all[@]}" 2>/dev/null || true
    fi
    rm -f "$dir/$name.pid"
    # PostgreSQL would take a dead process whose exit code nobody has asked for (common in containers, where process 1
    # may never ask) for a living server, and not start again.
    [ "$name" != postgres ] || rm -f "$data/postgres/postmaster.pid" "$data/socket/.s.PGSQL."*
}

any_lives() {
    local pid
    for pid in "$@"; do
        start_time "$pid" >/dev/null && return 0
    done
    return 1
}

is_running() { pid_of "$1" >/dev/null; }

# The id of a server that this script started. After a restart of the machine the same id may be somebody else's, so
# the start time must be the recorded one.
pid_of() {
    local pid started
    [ -f "$dir/$1.pid" ] || return 1
    read -r pid started <"$dir/$1.pid"
    [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ] && echo "$pid"
}

# Ticks from the boot of the machine to the start of a process (proc(5), field 22); fails when the process has ended,
# also when its parent has not asked for its exit code yet.
start_time() {
    local stat
    local -a field
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The second field, the name in parentheses, may hold spaces: what follows it begins with the third.
    read -ra field <<<"${stat##*) }"
    [ "${field[0]}" != Z ] && echo "${field[19]}"
}

descendants() {
    local child
    # shellcheck disable=SC2013 # the file is one line of ids
    for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
        echo "$child"
        descendants "$child"
    done
}

is_accepting() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# --- The folder -------------------------------------------------------------------------------------------------------

# DIR/state holds what stays the same over stops and starts; DIR/data belongs to the user that the servers run as.
create_state() {
    local -a ports
    mkdir -p "$dir"
    mapfile -t ports < <(free_ports 4)
    [ "${#ports[@]}" -eq 4 ] || fail "found no free ports"
    (
        umask 077
        cat >"$dir/state" <<STATE
OWNER=$(choose_owner)
POSTGRES_PORT=${ports[0]}
POSTGRES_PASSWORD=$(random_hex 16)
RABBITMQ_PORT=${ports[1]}
RABBITMQ_PASSWORD=$(random_hex 16)
RABBITMQ_NODE=quorate-$(random_hex 4)@localhost
RABBITMQ_DIST_PORT=${ports[2]}
EPMD_PORT=${ports[3]}
ERLANG_COOKIE=$(random_hex 16)
STATE
    )
    load_state
}

load_state() {
    [ -f "$dir/state" ] || fail "nothing runs in $dir: start it with 'scripts/services.sh up'"
    # shellcheck disable=SC1091 # written by create_state
    . "$dir/state"
    owner_prefix=()
    if [ "$(id -u)" -eq 0 ]; then
        owner_prefix=(setpriv --reuid="$OWNER" --regid="$(id -g "$OWNER")" --clear-groups)
    elif [ "$(id -un)" != "$OWNER" ]; then
        fail "the servers in $dir belong to $OWNER"
    fi
    [ -e "$dir/data" ] || create_data
    data=$(readlink -f "$dir/data")
}

# The data are in DIR, unless the servers' user cannot get there (a checkout below a private home directory, used by
# root) or the path is too long for a unix socket: then DIR/data is a link to a temporary folder.
create_data() {
    local place
    mkdir -m 0700 "$dir/data"
    if [ "$(id -u)" -eq 0 ]; then
        chmod go+x "$dir"
        chown "$OWNER" "$dir/data"
    fi
    if [ "${#dir}" -gt "$DATA_PATH_BYTES_MAX" ] || ! reaches "$dir/data"; then
        rmdir "$dir/data"
        place=$(mktemp -d /tmp/quorate-services.XXXXXX)
        [ "$(id -u)" -ne 0 ] || chown "$OWNER" "$place"
        ln -s "$place" "$dir/data"
    fi
}

reaches() { (cd / && "${owner_prefix[@]}" test -w "$1"); }

write_env() {
    (
        umask 077
        cat >"$dir/env" <<ENV
export QUORATE_DATABASE_URL=postgres://quorate:$POSTGRES_PASSWORD@127.0.0.1:$POSTGRES_PORT/quorate
export QUORATE_AMQP_URL=amqp://quorate:$RABBITMQ_PASSWORD@127.0.0.1:$RABBITMQ_PORT/%2f
ENV
    )
}

# PostgreSQL refuses to run as root.
choose_owner() {
    if [ "$(id -u)" -ne 0 ]; then
        id -un
    elif id postgres >/dev/null 2>&1; then
        echo postgres
    else
        echo nobody
    fi
}

free_ports() {
    local count=$1 tries port
    local taken=" "
    for ((tries = 0; tries < PORT_TRIES_MAX && count > 0; tries++)); do
        port=$((PORT_MIN + RANDOM % PORT_COUNT))
        case $taken in *" $port "*) continue ;; esac
        is_accepting "$port" && continue
        taken="$taken$port "
        echo "$port"
        count=$((count - 1))
    done
}

random_hex() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

# The directories of the programs, where packages put them; the wrappers of RabbitMQ in Debian's PATH insist on a user
# of their own, so the scripts behind them come first.
find_programs() {
    local place
    postgres_bin='' rabbitmq_bin='' epmd=''
    for place in "$(dirname "$(command -v postgres || true)")" $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
        if [ -x "$place/postgres" ] && [ -x "$place/initdb" ] && [ -x "$place/psql" ] && [ -x "$place/pg_isready" ]; then
            postgres_bin=$place
            break
        fi
    done
    for place in /usr/lib/rabbitmq/bin "$(dirname "$(command -v rabbitmq-server || true)")"; do
        if [ -x "$place/rabbitmq-server" ]; then
            rabbitmq_bin=$place
            break
        fi
    done
    for place in "$(command -v epmd || true)" /usr/lib/erlang/bin/epmd; do
        if [ -x "$place" ]; then
            epmd=$place
            break
        fi
    done
    [ -n "$postgres_bin" ] || fail "PostgreSQL is not installed: run scripts/install-services.sh"
    [ -n "$rabbitmq_bin" ] || fail "RabbitMQ is not installed: run scripts/install-services.sh"
    [ -n "$epmd" ] || fail "Erlang's port mapper (epmd) is not installed: run scripts/install-services.sh"
}

# One command at a time on a folder: tests may stop and start the servers while others look.
lock() {
    exec 9>"$dir/lock"
    flock 9
}

# --- Arguments --------------------------------------------------------------------------------------------------------

command=${1:-}
[ $# -gt 0 ] && shift
dir=$root/.services
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
        --dir)
            [ -n "${2:-}" ] || fail "--dir needs a folder"
            dir=$2
            shift 2
            ;;
        *)
            arguments+=("$1")
            shift
            ;;
    esac
done
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac

case $command in
    up | down | status | env) [ "${#arguments[@]}" -eq 0 ] || { usage >&2; exit 2; } ;;
    start | stop | kill | wipe)
        case ${arguments[*]} in
            postgres | rabbitmq) ;;
            *) usage >&2; exit 2 ;;
        esac
        ;;
esac

case $command in
    up) mkdir -p "$dir"; lock; up ;;
    down) [ ! -d "$dir" ] || lock; down ;;
    status) status ;;
    env) print_env ;;
    start | stop | kill | wipe) load_state; lock; "${command}_one" "${arguments[0]}" ;;
    psql) load_state; find_programs; psql_as_owner quorate "${arguments[@]}" ;;
    rabbitmqctl) load_state; find_programs; rabbitmqctl_as_owner "${arguments[@]}" ;;
    help | -h | --help) usage ;;
    *) usage >&2; exit 2 ;;
esac
