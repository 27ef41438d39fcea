#!/usr/bin/env bash
# Builds every fuzz target once and runs each for a while from its seeds.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: fuzz/smoke.sh SECONDS_PER_TARGET [TARGET...]

Runs each fuzz target (all of them by default) for so many seconds. Seeds are read and never written: what the run
finds goes to a temporary folder. Stops with status 1 after the first target that fails, and says where its input is.

CARGO_TARGET_DIR is respected.
USAGE
}

case "${1:-}" in
    -h | --help)
        usage
        exit 0
        ;;
    '' | *[!0-9]*)
        usage >&2
        exit 2
        ;;
esac
seconds=$1
shift

cd "$(dirname "${BASH_SOURCE[0]}")"
# Sanitizers are flags of the compiler that a stable one only takes when told so.
export RUSTC_BOOTSTRAP=1

# Longest input by target: enough for what the target reads, and short enough to mutate well.
declare -A max_len=(
    [acme_answer]=2048
    [address]=256
    [attestation]=6144
    [attestation_reply]=8192
    [backup_table]=2048
    [envelope]=1024
    [boot_file]=1024
    [certificate_chain]=6144
    [configuration]=2048
    [eif]=4096
    [generator]=96
    [http_head]=2048
    [measurements]=2048
    [operations]=200
    [policy]=8192
    [policy_template]=8192
    [ramdisk]=4096
    [replacement]=512
    [request_body]=8192
    [sealed_certificate]=2048
    [reseal_journal]=1024
    [sealed_key]=512
    [sealed_key_v1]=1024
    [signature]=96
    [ticket]=2048
)

if (($# == 0)); then
    readarray -t targets < <(printf '%s\n' "${!max_len[@]}" | sort)
    set -- "${targets[@]}"
fi
for target in "$@"; do
    if [[ -z ${max_len[$target]:-} ]]; then
        echo "smoke: no such target: $target" >&2
        exit 2
    fi
done

cargo fuzz build

corpora=$(mktemp -d)
trap 'rm -rf "$corpora"' EXIT
for target in "$@"; do
    echo "smoke: $target for $seconds s"
    mkdir -p "$corpora/$target" "artifacts/$target"
    touch "$corpora/$target.start"
    dictionary=()
    [[ ! -e dictionaries/$target.dict ]] || dictionary=("-dict=dictionaries/$target.dict")
    if ! cargo fuzz run "$target" "$corpora/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -max_len="${max_len[$target]}" "${dictionary[@]}" \
        -timeout=20 2>"$corpora/$target.log"; then
        cat "$corpora/$target.log" >&2
        reproducer=$(find "$PWD/artifacts/$target" -type f -newer "$corpora/$target.start" | head -n 1)
        echo "smoke: $target failed; its input: ${reproducer:-see above}" >&2
        exit 1
    fi
    grep '^Done ' "$corpora/$target.log"
done
echo "smoke: ok"
