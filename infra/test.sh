#!/usr/bin/env bash
# Runs every check of the project, installing what is missing. See --help.
set -euo pipefail

# A relative CARGO_TARGET_DIR is relative to the folder we were called from.
[[ ${CARGO_TARGET_DIR:-/} == /* ]] || export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=infra/prerequisites.sh
source infra/prerequisites.sh

# The program that runs the steps takes 0.2 GiB to build.
readonly MIN_FREE_KIB=$((1024 * 1024))

usage() {
    cat <<'USAGE'
Runs the checks of the project side by side and stops at the first that fails.

Usage: infra/test.sh [--quick | --thorough] [--help]

  --quick     leaves out what takes long to build: the image in QEMU, the image beside AWS's builder, the search for
              development parts, fuzzing, benchmarks and instruction counts, the core in its release form, cargo-deny;
              and policies and templates, and clippy and rustdoc without the development parts
  --thorough  also runs the long forms: minutes of fuzzing for each target, a million comparisons with libsecp256k1,
              a soak of 60 s, the contract's whole table over TLS and against the release, Miri, each package alone

It installs what is missing. As root it installs packages from Debian; it tells any other user which are missing. Tools
from crates.io and PyPI, and the kernel and QEMU that it builds, go below ${XDG_CACHE_HOME:-$HOME/.cache}/nitro-signer.
The output of each step is kept in target/suite/logs.

Exit status: 0 all passed, 1 a check failed, 64 wrong command line, 69 something is missing, 73 a file cannot be
written, 75 another run uses this target folder, 101 infra/tests/suite does not build, 129, 130, 131 or 143 stopped by a signal.
USAGE
}

main() {
    local depth=default
    case $# in
        0) ;;
        1)
            case $1 in
                --quick | --thorough) depth=${1#--} ;;
                --help | -h) usage; exit 0 ;;
                *) die 64 "unknown argument '$1'; --help lists them" ;;
            esac
            ;;
        *) die 64 "one argument at most; --help lists them" ;;
    esac
    need_some_space
    install_what_is_missing
    # From here on Rust: it starts the steps, and ends them when it is interrupted.
    exec cargo run --locked --quiet -p suite -- "$depth"
}

# The program that runs the steps asks for all that they take. This is for what comes before it.
need_some_space() {
    local folder=${CARGO_TARGET_DIR:-$PWD/target} free_kib
    while [[ ! -e $folder ]]; do
        folder=$(dirname "$folder")
    done
    free_kib=$(df --output=avail -k -- "$folder" | tail -n 1)
    ((free_kib >= MIN_FREE_KIB)) || die "$EX_UNAVAILABLE" \
        "the disk of $folder has $((free_kib / 1024)) MiB free; make room, or choose another folder with CARGO_TARGET_DIR"
}

# All at once, so that no step waits for an installation, and so that a user who is not root hears of all of it.
install_what_is_missing() {
    local needs=("${BUILD_AND_RUN_NEEDS[@]}" c++:g++ cpio:cpio git:git jq:jq pebble:pebble shellcheck:shellcheck
        systemd-analyze:systemd xxd:xxd)
    need_rust
    # The tests make virtual environments; Debian's Python comes without what that needs.
    python3 -c 'import ensurepip, venv' 2>/dev/null || needs+=(python3-that-makes-environments:python3-venv)
    { node_is_recent && command -v npm >/dev/null; } || needs+=(node:nodejs npm:npm)
    if [[ $depth != quick ]]; then
        needs+=("${KERNEL_NEEDS[@]}" "${IMAGE_BUILDER_NEEDS[@]}" valgrind:valgrind)
        # One that is cached needs its libraries only; qemu.sh notices if these are gone.
        compgen -G "$nitro_signer_cache/qemu-*" >/dev/null || needs+=("${QEMU_NEEDS[@]}")
    fi
    need_debian_packages "${needs[@]}"
    need_node
    need_rust_target x86_64-unknown-none
    [[ $depth == quick ]] || need_rust_target x86_64-unknown-linux-musl
    fetch_crates Cargo.toml
    [[ $depth == quick ]] || fetch_crates fuzz/Cargo.toml
}

fetch_crates() {
    cargo fetch --locked --quiet --manifest-path "$1" \
        || die "$EX_UNAVAILABLE" "cannot fetch the crates of $1; is crates.io reachable, and does its Cargo.lock fit it?"
}

main "$@"
