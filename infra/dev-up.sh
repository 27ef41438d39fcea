#!/usr/bin/env bash
# Starts the development signer: enclave-dev behind proxy, on this machine, without an enclave. See --help.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=infra/prerequisites.sh
source "$root/infra/prerequisites.sh"

# Codes of sysexits.h.
readonly EX_USAGE=64 EX_SOFTWARE=70 EX_CONFIG=78
# From the start of both processes until /health is 200: key memory is locked in under a second.
readonly START_PATIENCE_S=20
# Each process drains for 10 s at most; one that takes longer than this has a defect.
readonly STOP_PATIENCE_S=20
# Of locked memory; as in enclave-runtime/src/signer_memory.rs.
readonly BYTES_PER_KEY=92 DEFAULT_MAX_KEYS=262144
# Locked memory that is not keys: the signer itself and the rounding up to pages.
readonly OTHER_LOCKED_BYTES=16384

readonly SECRETS=(INTERNAL_API_KEY TICKET_SIGNING_SECRET SEALING_KEY)
declare -rA DEFAULTS=(
    [INTERNAL_API_KEY]=development-api-key
    [TICKET_SIGNING_SECRET]=development-ticket-signing-secret
    [SEALING_KEY]=00000000000000000000000000000000000000000000000000000000deadbeef
)

usage() {
    cat <<'USAGE'
Builds the signer and starts it for development: no enclave, no TLS, no attestation.

Usage: infra/dev-up.sh [--port PORT] [--help]

  --port PORT  where to listen on 127.0.0.1 (default 7001; 0 takes any free port)

Environment, each with a development default that is named when it is used:
  INTERNAL_API_KEY       what clients send as x-internal-api-key; any text
  TICKET_SIGNING_SECRET  what the API signs tickets with; any text
  SEALING_KEY            what backups are sealed under; 64 hex digits
  CARGO_TARGET_DIR       where to build, as for cargo

Ctrl-C or SIGTERM stops it: first the proxy, which lets its connections finish, then the signer, which wipes its keys.
Keys live in memory only: export a backup of what you want to see again.

Exit status: 0 after Ctrl-C or SIGTERM, 64 wrong command line, 69 something is missing or the port is in use, 70 a
process ended by itself, 78 a secret is not usable, 101 it does not build, 130 or 143 interrupted before it ran.
USAGE
}

main() {
    read_arguments "$@"
    choose_secrets
    check_port
    need_to_build_and_run
    state=$(mktemp -d /tmp/nitro-signer-dev.XXXXXXXX)
    build
    start
    # Told only now, so that the build does not scroll it away.
    warn_of_defaults
    print_example
    wait_for_an_end
}

port=7001 defaulted=()
state='' builder='' enclave='' proxy='' running=

read_arguments() {
    while (($#)); do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --port) (($# > 1)) || die "$EX_USAGE" '--port needs a number'; port=$2; shift 2 ;;
            --port=*) port=${1#*=}; shift ;;
            *) die "$EX_USAGE" "unknown argument '$1'; --help lists them" ;;
        esac
    done
    [[ $port =~ ^(0|[1-9][0-9]{0,4})$ && $port -le 65535 ]] \
        || die "$EX_USAGE" '--port takes a number from 0 to 65535'
}

choose_secrets() {
    local name
    for name in "${SECRETS[@]}"; do
        [[ -v $name ]] || { defaulted+=("$name"); printf -v "$name" %s "${DEFAULTS[$name]}"; }
        # The processes refuse these too, but only after the build.
        [[ -n ${!name} ]] || die "$EX_CONFIG" "$name is empty"
        # shellcheck disable=SC2163 # The variable of that name is meant.
        export "$name"
    done
    [[ $SEALING_KEY =~ ^[0-9a-fA-F]{64}$ ]] || die "$EX_CONFIG" 'SEALING_KEY must be 64 hex digits'
}

# A friendly answer before the build; the proxy's bind is what decides.
check_port() {
    if ((port != 0)) && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        die "$EX_UNAVAILABLE" "port $port is in use; stop what listens there or choose another with --port"
    fi
}

# Runs a command as a child that a terminal's Ctrl-C does not reach, so that only we stop it, and that the kernel
# stops should we be killed. $! is its process id.
detached() {
    exec setsid setpriv --pdeathsig TERM -- "$@"
}

# Cargo is asked where it put them: that depends on CARGO_TARGET_DIR and on configuration files.
build() {
    # A relative CARGO_TARGET_DIR is relative to the folder we were called from.
    [[ ${CARGO_TARGET_DIR:-/} == /* ]] || export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR"
    cd "$root"
    detached cargo build --locked -p proxy -p enclave-runtime --features enclave-runtime/dev \
        --bin proxy --bin enclave-dev --message-format=json-render-diagnostics >"$state/artifacts" &
    builder=$!
    local code=0
    wait "$builder" || code=$?
    builder=''
    ((code == 0)) || die "$code" 'it does not build'
    enclave_dev_binary=$(built enclave-dev)
    proxy_binary=$(built proxy)
}

built() {
    python3 - "$1" "$state/artifacts" <<'PYTHON'
import json, sys
name, artifacts = sys.argv[1:]
for line in open(artifacts):
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == name:
        print(message["executable"])
PYTHON
}

start() {
    deadline=$((SECONDS + START_PATIENCE_S))
    # Root may lock what it wants; anybody else as much as the hard limit allows.
    ulimit -S -l "$(ulimit -H -l)"
    local max_keys
    max_keys=$(affordable_keys)
    detached "$enclave_dev_binary" --listen "unix:$state/enclave.sock" --max-keys "$max_keys" >"$state/enclave.out" &
    enclave=$!
    until grep -q '^enclave-dev: listening on ' "$state/enclave.out"; do
        wait_a_moment
    done

    # Secrets are none of the proxy's business.
    detached env -u INTERNAL_API_KEY -u TICKET_SIGNING_SECRET -u SEALING_KEY "$proxy_binary" \
        --route "tcp:127.0.0.1:$port=unix:$state/enclave.sock" >"$state/proxy.out" &
    proxy=$!
    local address=''
    while [[ -z $address ]]; do
        wait_a_moment
        address=$(sed -n 's/^proxy: listening on tcp:\([^,]*\),.*/\1/p' "$state/proxy.out")
    done
    base_url="http://$address"
    until curl --silent --fail --noproxy '*' --max-time 2 --output /dev/null "$base_url/health"; do
        wait_a_moment
    done
    running=yes
}

# Between two looks at whether it is ready.
wait_a_moment() {
    sleep 0.1
    refuse_if_ended
    ((SECONDS < deadline)) || die "$EX_SOFTWARE" "not ready after $START_PATIENCE_S s"
}

# How many keys fit into the memory that this process may lock (RLIMIT_MEMLOCK).
affordable_keys() {
    local limit_kib capabilities most
    limit_kib=$(ulimit -l)
    capabilities=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
    # CAP_IPC_LOCK, bit 14, is above the limit.
    if [[ $limit_kib == unlimited ]] || ((0x$capabilities >> 14 & 1)); then
        echo "$DEFAULT_MAX_KEYS"
        return
    fi
    most=$(((limit_kib * 1024 - OTHER_LOCKED_BYTES) / BYTES_PER_KEY))
    if ((most >= DEFAULT_MAX_KEYS || most < 1)); then
        # With less than one key's memory, the signer says best what is wrong.
        echo "$DEFAULT_MAX_KEYS"
    else
        echo "dev-up.sh: this user may lock $limit_kib KiB of memory (ulimit -l), so the signer holds $most keys" \
            "and not $DEFAULT_MAX_KEYS" >&2
        echo "$most"
    fi
}

warn_of_defaults() {
    ((${#defaulted[@]})) || return 0
    local name bar
    bar=$(printf '!%.0s' {1..100})
    {
        printf '\n%s\n' "$bar"
        printf '!! DEVELOPMENT SECRETS, known to everybody. Never use them with keys that matter. Not set, so chosen:\n'
        for name in "${defaulted[@]}"; do
            printf '!!   %s=%s\n' "$name" "${!name}"
        done
        printf '%s\n' "$bar"
    } >&2
}

# The lines are tested as they are printed, by dev-up.test.sh.
print_example() {
    local name
    printf '\nThe signer is ready: %s (Ctrl-C stops it)\n\n' "$base_url"
    printf '# --- Paste this into another terminal (bash):\n'
    printf 'export ENCLAVE_BASE_URL=%s\n' "$base_url"
    for name in INTERNAL_API_KEY TICKET_SIGNING_SECRET; do
        if [[ " ${defaulted[*]} " == *" $name "* ]]; then
            printf 'export %s=%s\n' "$name" "${!name}"
        else
            (umask 077 && printf 'export %s=%q\n' "$name" "${!name}" >>"$state/secrets.sh")
        fi
    done
    if [[ -e $state/secrets.sh ]]; then
        printf '. %s  # the secrets that were set, which are not shown here\n' "$state/secrets.sh"
    fi
    printf 'examples=%q\n' "$root/infra/examples"
    cat <<'EXAMPLE'

# Everything at once: generate, ticket, sign, verify, replay refused.
python3 "$examples/sign_and_verify.py"

# The same by hand.
post() { curl -sS --noproxy '*' -H 'content-type: application/json' -H "x-internal-api-key: $INTERNAL_API_KEY" "$ENCLAVE_BASE_URL$1" -d "$2"; }
b64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
identity=$(cat /proc/sys/kernel/random/uuid)
digest=$(openssl rand -hex 32)
generated=$(post /internal/generate "{\"identity_id\":\"$identity\",\"alg\":\"secp256k1\"}"); echo "$generated"
digest_hash=$(printf '%b' "$(echo "$digest" | sed 's/../\\x&/g')" | sha256sum | cut -d ' ' -f 1)
claims="{\"scope\":\"sign\",\"identity_id\":\"$identity\",\"digest_hash\":\"$digest_hash\",\"nonce\":\"$(openssl rand -hex 16)\",\"exp\":$(($(date +%s) + 90))}"
unsigned="$(printf '{"alg":"HS256"}' | b64url).$(printf %s "$claims" | b64url)"
ticket="$unsigned.$(printf %s "$unsigned" | openssl dgst -sha256 -hmac "$TICKET_SIGNING_SECRET" -binary | b64url)"
signed=$(post /internal/sign "{\"identity_id\":\"$identity\",\"digest\":\"$digest\",\"ticket\":\"$ticket\"}"); echo "$signed"
python3 "$examples/bip340.py" "$(echo "$generated" | cut -d '"' -f 4)" "$digest" "$(echo "$signed" | cut -d '"' -f 4)"
# --- To here.

EXAMPLE
}

wait_for_an_end() {
    # Interrupted by a signal's trap, which exits.
    wait -n "$enclave" "$proxy" || true
    refuse_if_ended
}

# Ends the script, naming the process, if one of the two has ended by itself.
refuse_if_ended() {
    local code=0
    if ! is_alive "$enclave"; then
        wait "$enclave" || code=$?
        enclave=''
        end_as "$code" enclave-dev
    elif ! is_alive "$proxy"; then
        wait "$proxy" || code=$?
        proxy=''
        ((code != EX_UNAVAILABLE)) \
            || die "$EX_UNAVAILABLE" "port $port cannot be listened on; choose another with --port"
        end_as "$code" proxy
    fi
}

# Whether process $1 has not ended; one that was not started yet has not.
is_alive() {
    [[ -z $1 ]] || kill -0 "$1" 2>/dev/null
}

# A process that never ran has said why, and its code is ours; one that ran and ended is a defect.
end_as() {
    if [[ -z $running ]] && (($1 > 0 && $1 < 128)); then
        die "$1" "$2 did not start (exit status $1)"
    fi
    die "$EX_SOFTWARE" "$2 ended by itself (exit status $1); the rest is stopped"
}

# On every way out: the proxy first, so that no client is cut off while the signer could still answer.
clean_up() {
    local code=$?
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    # Cargo and its compilers; its group is its own (setsid).
    [[ -z $builder ]] || { kill -TERM -- "-$builder"; wait "$builder"; } 2>/dev/null
    stop "$proxy" proxy || code=$EX_SOFTWARE
    stop "$enclave" enclave-dev || code=$EX_SOFTWARE
    [[ -z $state ]] || rm -rf -- "$state"
    exit "$code"
}

# Sends one SIGTERM to process $1 and waits until it is gone; $2 is its name.
stop() {
    [[ -n $1 ]] || return 0
    # It may have ended in this moment.
    kill -TERM "$1" 2>/dev/null
    local deadline=$((SECONDS + STOP_PATIENCE_S)) code=0
    while kill -0 "$1" 2>/dev/null; do
        if ((SECONDS >= deadline)); then
            echo "dev-up.sh: $2 does not stop; killing it" >&2
            kill -KILL "$1"
        fi
        sleep 0.05
    done
    wait "$1" || code=$?
    ((code == 0)) || { echo "dev-up.sh: $2 stopped with exit status $code" >&2; return 1; }
}

# A signal while it runs is how it is meant to end; before that it is an interruption.
on_signal() {
    if [[ $running ]]; then
        echo "dev-up.sh: stopping" >&2
        exit 0
    fi
    exit "$1"
}

trap clean_up EXIT
trap 'on_signal 130' INT
trap 'on_signal 143' TERM
trap 'on_signal 129' HUP
main "$@"
