#!/usr/bin/env bash
# Builds every fuzz target once and runs each for a while from its seeds.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: fuzz/smoke.sh SECONDS_PER_TARGET [TARGET...]

Runs each fuzz target (all of them by default) through its seeds and then on for so many seconds, one target for each
core. Seeds are read and never written: what the run finds goes to a temporary folder. Stops with status 1 after the
first target that fails, and names its input.

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

# A relative CARGO_TARGET_DIR is relative to the folder we were called from.
[[ ${CARGO_TARGET_DIR:-/} == /* ]] || export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR"
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly TRIPLE=x86_64-unknown-linux-gnu
# The flags that libFuzzer needs for each crate (https://clang.llvm.org/docs/SanitizerCoverage.html): counters of edges, comparisons,
# the depth of the stack. And AddressSanitizer, for the unsafe code of dependencies.
readonly COVERAGE=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-sanitizer-coverage-stack-depth
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0 --cfg=fuzzing -Zsanitizer=address)

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
    [parent_commands]=4096
    [policy]=8192
    [policy_template]=8192
    [proxy_header]=600
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

# Sanitizers are flags of the compiler that a stable one only takes when told so.
RUSTC_BOOTSTRAP=1 RUSTFLAGS="${COVERAGE[*]}" cargo build --locked --release --target "$TRIPLE" --timings

corpora=$(mktemp -d)
trap 'rm -rf "$corpora"' EXIT

# Runs the target $1 from its seeds, with inputs of at most $2 bytes.
run_target() {
    local target=$1 max_len=$2 options=() runs
    mkdir -p "$corpora/$target" "artifacts/$target"
    [[ ! -e dictionaries/$target.dict ]] || options+=("-dict=dictionaries/$target.dict")
    if ! "${CARGO_TARGET_DIR:-target}/$TRIPLE/release/$target" -max_total_time="$seconds" -max_len="$max_len" \
        -timeout=20 -artifact_prefix="artifacts/$target/" "${options[@]}" "$corpora/$target" "seeds/$target" \
        2>"$corpora/$target.log"; then
        cat "$corpora/$target.log" >&2
        echo "smoke: $target failed; libFuzzer names the input above, which is below fuzz/artifacts/$target" >&2
        return 1
    fi
    runs=$(grep '^Done ' "$corpora/$target.log") || { echo "smoke: $target did not say how often it ran" >&2; return 1; }
    echo "ok: $target: $runs"
}

export -f run_target
export corpora seconds TRIPLE
# One for each core. xargs ends with a status of its own when one fails.
for target in "$@"; do
    printf '%s %s\n' "$target" "${max_len[$target]}"
done | xargs --max-lines=1 --max-procs="$(nproc)" bash -c 'set -euo pipefail; run_target "$@" || exit 255' smoke \
    || exit 1
echo "smoke: all passed"
