#!/usr/bin/env bash
# Tests dev-up.sh as a person uses it, and the API contract against what it starts. The arguments are test programs of
# infra/tests/acceptance that speak to the signer of ENCLAVE_BASE_URL; without any, cargo builds `routes`, `state` and `clients`.
set -euo pipefail
# Each job is a process group of its own, as in a terminal, so that Ctrl-C can be sent to one.
set -m

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
scratch=$(mktemp -d)
dev_up="$root/infra/dev-up.sh"
# The first start builds.
readonly START_PATIENCE_S=1800 STOP_PATIENCE_S=40
started=() contract_tests=("$@")

main() {
    if ((${#contract_tests[@]} == 0)); then build_contract_tests; fi
    unset INTERNAL_API_KEY TICKET_SIGNING_SECRET SEALING_KEY ENCLAVE_BASE_URL
    # As another user's shell would call it.
    cd /

    a_wrong_command_line_is_refused
    a_bad_secret_is_refused
    the_defaults_are_named_and_the_printed_example_works
    it_runs_from_a_path_with_spaces_and_beside_another
    a_port_in_use_is_named
    ctrl_c_stops_each_process_once
    the_end_of_either_process_is_the_end_of_both
    killed_outright_it_leaves_no_process
    given_secrets_are_not_shown_and_the_contract_holds
    echo "dev-up.test.sh: all passed"
}

build_contract_tests() {
    local built
    built=$(cd "$root" && cargo test --locked -p acceptance --no-run --test routes --test state --test clients \
        --message-format=json-render-diagnostics | jq -r 'select(.executable and .profile.test).executable')
    readarray -t contract_tests <<<"$built"
    ((${#contract_tests[@]} == 3)) || fail "cargo built ${#contract_tests[@]} test programs instead of 3"
}

a_wrong_command_line_is_refused() {
    "$dev_up" --help | grep -q '^Usage: '
    exits_with 64 --nonsense
    exits_with 64 --port
    exits_with 64 --port 65536
    exits_with 64 --port 08
    passed
}

a_bad_secret_is_refused() {
    SEALING_KEY=beef exits_with 78 --port 0
    says 'SEALING_KEY must be 64 hex digits'
    TICKET_SIGNING_SECRET='' exits_with 78 --port 0
    says 'TICKET_SIGNING_SECRET is empty'
    passed
}

the_defaults_are_named_and_the_printed_example_works() {
    up defaults --port 0
    local name
    for name in INTERNAL_API_KEY TICKET_SIGNING_SECRET SEALING_KEY; do
        grep -q "^!!   $name=" "$scratch/defaults.err" || fail "$name is not in the warning"
    done
    example_works defaults
    down defaults TERM 0
    passed
}

it_runs_from_a_path_with_spaces_and_beside_another() {
    ln -s "$root" "$scratch/a path with spaces"
    up beside --port 0
    dev_up="$scratch/a path with spaces/infra/dev-up.sh" up spaced --port 0
    example_works spaced
    example_works beside
    down spaced TERM 0
    example_works beside
    down beside TERM 0
    passed
}

a_port_in_use_is_named() {
    local port
    up first --port 0
    port=$(port_of first)
    exits_with 69 --port "$port"
    says "port $port is in use"
    down first TERM 0

    # Bound, but without an answer: only the proxy can find out.
    python3 -c 'import socket, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True); time.sleep(600)' \
        >"$scratch/bound" &
    local holder=$!
    started+=("$holder")
    until [[ -s $scratch/bound ]]; do sleep 0.1; done
    port=$(<"$scratch/bound")
    exits_with 69 --port "$port"
    says "port $port cannot be listened on"
    kill "$holder"
    wait "$holder" 2>/dev/null || true
    passed
}

# A second signal would cut the connection that the proxy waits for, and show in the exit code.
ctrl_c_stops_each_process_once() {
    up interrupted --port 0
    exec 9<>"/dev/tcp/127.0.0.1/$(port_of interrupted)"
    printf 'GET /health HTTP/1.1\r\nHost: a\r\n' >&9
    sleep 0.2
    kill -INT -- "-$(pid_of interrupted)"
    sleep 1
    alive interrupted || fail "it did not wait for the open connection"
    printf '\r\n' >&9
    local status
    read -r status <&9
    [[ $status == 'HTTP/1.1 '[25]* ]] || fail "the connection was cut while draining: '$status'"
    exec 9<&- 9>&-
    is_down interrupted 0
    [[ $(grep -c draining "$scratch/interrupted.err") == 1 ]] || fail 'the proxy was told more than once'
    passed
}

the_end_of_either_process_is_the_end_of_both() {
    local victim
    for victim in enclave-dev proxy; do
        up "without-$victim" --port 0
        kill -KILL "$(child_of "without-$victim" "$victim")"
        is_down "without-$victim" 70
        grep -q "$victim ended by itself" "$scratch/without-$victim.err" || fail "$victim is not named"
    done
    passed
}

killed_outright_it_leaves_no_process() {
    up killed --port 0
    kill -KILL "$(pid_of killed)"
    wait "$(pid_of killed)" 2>/dev/null || true
    children_are_gone killed
    rm -rf "$(<"$scratch/killed.state")"
    passed
}

given_secrets_are_not_shown_and_the_contract_holds() {
    export INTERNAL_API_KEY TICKET_SIGNING_SECRET SEALING_KEY
    INTERNAL_API_KEY="key'with\$1-$(openssl rand -hex 16)"
    TICKET_SIGNING_SECRET="a secret with \$1 $(openssl rand -hex 16)"
    SEALING_KEY=$(openssl rand -hex 32)
    up given --port 0
    local secret
    for secret in "$INTERNAL_API_KEY" "$TICKET_SIGNING_SECRET" "$SEALING_KEY"; do
        ! grep -qF -- "${secret: -16}" "$scratch/given.out" "$scratch/given.err" || fail 'a given secret is shown'
    done
    example_works given
    # Tests that need an empty signer, or one with options, start their own.
    local test
    for test in "${contract_tests[@]}"; do
        (cd "$root/infra/tests/acceptance" && ENCLAVE_BASE_URL="http://127.0.0.1:$(port_of given)" "$test")
    done
    down given TERM 0
    passed
}

# Starts dev-up.sh under the name $1 with the arguments that follow, and waits until it has printed its example.
up() {
    local name=$1 deadline=$((SECONDS + START_PATIENCE_S))
    shift
    # A process in the background ignores SIGINT, and bash cannot undo that for its children.
    env --default-signal=INT "$dev_up" "$@" >"$scratch/$name.out" 2>"$scratch/$name.err" &
    echo $! >"$scratch/$name.pid"
    started+=("$!")
    until grep -q '^# --- To here' "$scratch/$name.out"; do
        alive "$name" || fail "$name did not start: $(tail -n 5 "$scratch/$name.err")"
        ((SECONDS < deadline)) || fail "$name is not up after $START_PATIENCE_S s"
        sleep 0.1
    done
    cat "/proc/$!/task/$!/children" >"$scratch/$name.children"
    tr '\0' '\n' <"/proc/$(child_of "$name" enclave-dev)/cmdline" | sed -n 's,^unix:\(.*\)/enclave.sock$,\1,p' \
        >"$scratch/$name.state"
    [[ -d $(<"$scratch/$name.state") ]] || fail 'the folder of the socket is not where it was thought'
}

# Sends the signal $2 to $1 alone and checks that all of it ends, with the exit code $3.
down() {
    kill "-$2" "$(pid_of "$1")"
    is_down "$1" "$3"
}

is_down() {
    local deadline=$((SECONDS + STOP_PATIENCE_S)) code=0 port
    while alive "$1"; do
        ((SECONDS < deadline)) || fail "$1 still runs"
        sleep 0.1
    done
    wait "$(pid_of "$1")" || code=$?
    [[ $code == "$2" ]] || fail "$1 ended with $code and not $2: $(tail -n 5 "$scratch/$1.err")"
    children_are_gone "$1"
    [[ ! -e $(<"$scratch/$1.state") ]] || fail "$1 left its folder"
    port=$(port_of "$1")
    ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port still answers"
}

children_are_gone() {
    local child deadline=$((SECONDS + STOP_PATIENCE_S))
    for child in $(<"$scratch/$1.children"); do
        while kill -0 "$child" 2>/dev/null; do
            ((SECONDS < deadline)) || fail "$1 left process $child running"
            sleep 0.1
        done
    done
}

# Pasted into a shell that knows nothing.
example_works() {
    sed -n '/^# --- Paste/,/^# --- To here/p' "$scratch/$1.out" >"$scratch/$1.example"
    env -i PATH="$PATH" HOME="$HOME" bash -e "$scratch/$1.example" >"$scratch/$1.run" 2>&1 \
        || fail "the example failed: $(cat "$scratch/$1.run")"
    [[ $(tail -n 1 "$scratch/$1.run") == valid ]] || fail "the example's signature: $(tail -n 1 "$scratch/$1.run")"
    grep -q '^ok: the same ticket again is refused: 409 ' "$scratch/$1.run" || fail 'the example shows no replay'
}

# Runs dev-up.sh to its end with the arguments that follow, which must come with the exit code $1.
exits_with() {
    local expected=$1 code=0
    shift
    "$dev_up" "$@" >"$scratch/refused" 2>&1 || code=$?
    [[ $code == "$expected" ]] || fail "dev-up.sh $*: exit code $code and not $expected: $(tail -n 5 "$scratch/refused")"
}

says() {
    grep -qF -- "$1" "$scratch/refused" || fail "does not say '$1': $(tail -n 5 "$scratch/refused")"
}

pid_of() { cat "$scratch/$1.pid"; }
alive() { kill -0 "$(pid_of "$1")" 2>/dev/null; }
port_of() { sed -n 's,^export ENCLAVE_BASE_URL=http://127\.0\.0\.1:,,p' "$scratch/$1.out"; }

# The process of the program $2 below the instance $1.
child_of() {
    local child
    for child in $(<"$scratch/$1.children"); do
        [[ $(readlink "/proc/$child/exe") != */"$2" ]] || echo "$child"
    done
}

passed() {
    echo "ok: ${FUNCNAME[1]//_/ }"
}

fail() {
    echo "FAILED: ${FUNCNAME[1]//_/ }: $*" >&2
    exit 1
}

clean_up() {
    local code=$? pid
    trap - EXIT
    for pid in "${started[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf -- "$scratch"
    exit "$code"
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
main
