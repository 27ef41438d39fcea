#!/usr/bin/env bash
# Runs every check of the project, installing what is missing. See --help.
set -euo pipefail

# A relative CARGO_TARGET_DIR is relative to the folder we were called from.
[[ ${CARGO_TARGET_DIR:-/} == /* ]] || export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=infra/prerequisites.sh
source infra/prerequisites.sh

readonly CARGO_DENY_VERSION=0.20.2 CARGO_FUZZ_VERSION=0.13.2 EIF_BUILD_VERSION=0.2.1
# Long enough to go through the committed seeds and some way beyond.
readonly FUZZ_SECONDS_PER_TARGET=12
# A database that is not fetched by then is taken for unreachable.
readonly ADVISORIES_PATIENCE_S=120

usage() {
    cat <<'USAGE'
Runs every check of the project and stops at the first that fails.

Usage: infra/test.sh [--quick] [--help]

  --quick  leaves out cargo-deny, fuzzing, instruction counts, Miri, the core as it ships, and the image in QEMU

What is missing is installed: as root from Debian, for anybody tools from crates.io and PyPI, and a kernel and QEMU that
are built, below ${XDG_CACHE_HOME:-$HOME/.cache}/nitro-signer. Who is not root is told what is missing.

Exit status: 0 all passed, 64 wrong command line, 69 something is missing, otherwise that of what failed.
USAGE
}

main() {
    local quick=
    case ${1:-} in
        '') ;;
        --quick) quick=yes ;;
        --help | -h) usage; exit 0 ;;
        *) die 64 "unknown argument '$1'; --help lists them" ;;
    esac
    trap summarize EXIT

    step 'prerequisites' prerequisites
    # Its time is spent waiting, for deadlines: others compile meanwhile.
    in_background 'parent scripts and units' infra/parent.test.sh
    step 'format' check_format
    step 'clippy' check_clippy
    step 'rustdoc' check_rustdoc
    local package
    for package in enclave-core transport proxy attestation verification kms-emulator signerctl; do
        step "test $package" cargo test --locked -p "$package"
    done
    # All of the production code and the development parts too.
    step 'test enclave-runtime' cargo test --locked -p enclave-runtime --features dev
    step 'test acceptance' cargo test --locked -p acceptance
    step 'enclave-core on bare metal' check_bare_metal
    step 'no development parts in production' check_production
    if [[ -z $quick ]]; then
        step 'cargo-deny' check_dependencies
        # An interpreter has use for one core only, and so has most of what follows.
        in_background 'enclave-core under Miri' check_under_miri
        step 'fuzz' check_fuzz
    fi
    step 'benches, once each' cargo bench --locked -p benches --bench signer -- --test
    if [[ -z $quick ]]; then
        step 'instruction counts' benches/instructions.sh
        step 'enclave-core as it ships' check_core_as_it_ships
    fi
    step 'shellcheck' check_scripts
    step 'policies and templates' infra/policies.test.sh
    join_background 'parent scripts and units'
    step 'dev-up.sh, and the contract against it' infra/dev-up.test.sh
    if [[ -z $quick ]]; then
        join_background 'enclave-core under Miri'
        step 'images beside those of AWS'"'"'s builder' check_images
        step 'the image, and the contract against it in QEMU' check_image_in_qemu
    fi
    current=''
}

current='' started_at=0 durations=()

# Runs a command under a heading. Never as a condition, which would turn `set -e` off inside it.
step() {
    current=$1 started_at=$SECONDS
    shift
    printf '\n==> %s\n' "$current"
    "$@"
    durations+=("$(printf '%6d s  %s' $((SECONDS - started_at)) "$current")")
}

# Of what runs in the background, by its name.
declare -A background=() background_output=()

# Starts a command whose output and end `join_background` is there for.
in_background() {
    local name=$1
    shift
    background_output[$name]=$(mktemp)
    # As a process group, so that what it has started can be ended with it.
    set -m
    "$@" >"${background_output[$name]}" 2>&1 </dev/null &
    set +m
    background[$name]=$!
}

# Waits for the end of one, as a step of its own: the time is what was still to be waited for.
join_background() {
    step "$1" await_background "$1"
}

await_background() {
    local code=0
    wait "${background[$1]}" || code=$?
    unset "background[$1]"
    cat "${background_output[$1]}"
    return "$code"
}

summarize() {
    local code=$?
    local name
    for name in "${!background[@]}"; do
        kill -- "-${background[$name]}" 2>/dev/null || true
        wait "${background[$name]}" || true
    done
    rm -f -- "${background_output[@]}"
    # Out of the way of the folders that are removed.
    [[ -z ${scratch:-} ]] || rm -rf -- "$scratch"
    printf '\n'
    ((${#durations[@]} == 0)) || printf '%s\n' "${durations[@]}"
    if [[ -n $current || $code != 0 ]]; then
        printf '%6d s  %s\n\nFAILED: %s (exit status %d)\n' $((SECONDS - started_at)) "$current" "$current" "$code"
        exit $((code == 0 ? 1 : code))
    fi
    printf '%6d s  in all\n\nAll checks passed.\n' "$SECONDS"
}

prerequisites() {
    need_to_build_and_run
    need_debian_packages c++:g++ cpio:cpio git:git jq:jq pebble:pebble shellcheck:shellcheck systemd-analyze:systemd
    # The acceptance tests make a virtual environment; Debian's Python comes without what that needs.
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_debian_packages python3-venv
    need_node
    need_rust_target x86_64-unknown-none
    if [[ -z $quick ]]; then
        need_cargo_tool cargo-deny "$CARGO_DENY_VERSION"
        need_cargo_tool cargo-fuzz "$CARGO_FUZZ_VERSION"
        need_to_count_instructions
    fi
    rustc --version
}

check_format() {
    cargo fmt --all --check
    cargo fmt --manifest-path fuzz/Cargo.toml --check
}

# All at once: that each package builds without the features of the others is shown by its tests, which are built alone.
check_clippy() {
    cargo clippy --locked --workspace --all-targets --features enclave-runtime/dev -- --deny warnings
    # Without its development parts.
    cargo clippy --locked --all-targets -p enclave-runtime -- --deny warnings
}

check_rustdoc() {
    export RUSTDOCFLAGS='--deny warnings'
    cargo doc --locked --no-deps --workspace
    cargo doc --locked --no-deps -p enclave-runtime --features dev
    unset RUSTDOCFLAGS
}

# Proves that it needs no operating system and no allocator: there is neither.
check_bare_metal() {
    cargo build --locked -p enclave-core --target x86_64-unknown-none
}

# Undefined behaviour would be in a dependency: the core has no unsafe code of its own.
check_under_miri() {
    if ! (need_miri); then
        echo 'Miri: SKIPPED, because no nightly toolchain that has it can be fetched'
        return
    fi
    # Proptest looks for its files; and a case takes seconds here.
    MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=2 cargo +nightly miri test --locked -p enclave-core --lib
}

# The release's code, under valgrind where time must tell nothing, and against libsecp256k1 a million times.
check_core_as_it_ships() {
    cargo test --locked --profile bench -p enclave-core
    cargo test --locked --profile bench -p enclave-core --test public_api -- --ignored
}

# Names that only the development signer has. With symbols, so that functions show too and not only texts.
readonly DEVELOPMENT_NAMES=(SEALING_KEY local_sealer LocalSealer 'development signer' 'enclave-dev: ' SoftwareNsm \
    software-nsm-root root-key.pem)

check_production() {
    scratch=$(mktemp -d)
    local target_folder name
    target_folder=$(cargo metadata --locked --no-deps --format-version 1 \
        | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    cargo rustc --locked --release -p enclave-runtime --bin enclave -- -C strip=none
    cp "$target_folder/release/enclave" "$scratch/enclave with symbols"
    cargo rustc --locked --release -p enclave-runtime --bin enclave-dev --features dev -- -C strip=none
    cp "$target_folder/release/enclave-dev" "$scratch/enclave-dev with symbols"
    cargo build --locked --release -p enclave-runtime --bin enclave
    cp "$target_folder/release/enclave" "$scratch/enclave"

    for name in "${DEVELOPMENT_NAMES[@]}"; do
        contains "$scratch/enclave-dev with symbols" "$name" || die 1 "the check is blind: '$name' is not in enclave-dev"
        ! contains "$scratch/enclave with symbols" "$name" || die 1 "'$name' is in enclave"
        ! contains "$scratch/enclave" "$name" || die 1 "'$name' is in enclave as it ships"
    done
    # And it looked at our code at all.
    contains "$scratch/enclave with symbols" enclave_runtime || contains "$scratch/enclave" 'enclave: ' \
        || die 1 'the check is blind: enclave holds nothing of ours'
    printf 'absent from enclave, present in enclave-dev:'
    printf " '%s'" "${DEVELOPMENT_NAMES[@]}"
    printf '\n'
    rm -rf -- "$scratch"
    printf 'enclave: %s crates, %s bytes stripped\n' "$(production_crates)" "$(stat -c %s "$target_folder/release/enclave")"
}

# Every crate that is linked into the production binary, its own included.
production_crates() {
    cargo tree --locked -p enclave-runtime --edges normal,no-proc-macro --target x86_64-unknown-linux-gnu --prefix none \
        --format '{p}' | sed 's/ (.*//' | sort -u | wc -l
}

contains() {
    LC_ALL=C grep --text --quiet --fixed-strings -- "$2" "$1"
}

check_dependencies() {
    local advisories='' workspace
    if timeout "$ADVISORIES_PATIENCE_S" cargo deny --config deny.toml fetch db; then
        advisories=advisories
    fi
    for workspace in Cargo.toml fuzz/Cargo.toml; do
        echo "$workspace:"
        # One configuration serves both workspaces, so each leaves a part of it unused.
        # shellcheck disable=SC2086 # Empty is no argument.
        cargo deny --locked --manifest-path "$workspace" --config deny.toml check \
            --allow license-exception-not-encountered --allow unmatched-skip --allow license-not-encountered \
            bans licenses sources $advisories
    done
    if [[ -z $advisories ]]; then
        echo 'advisories: SKIPPED, database not reachable (https://github.com/RustSec/advisory-db)'
    fi
}

# AWS's own builder makes the same of the same parts.
check_images() {
    need_debian_packages /usr/include/openssl/ssl.h:libssl-dev pkg-config:pkg-config
    need_cargo_tool eif_build "$EIF_BUILD_VERSION"
    cargo test --locked -p signerctl --test eif -- --ignored
}

# The kernel is of the pinned source where Debian still has that, so that the measurements are those of everybody else.
check_image_in_qemu() {
    local code=0
    infra/emulator/kernel.sh >/dev/null || code=$?
    if ((code == 0)); then
        infra/emulator/image.test.sh
    else
        # Anything but a source that is not to be had is a failure.
        ((code == EX_UNAVAILABLE)) || exit "$code"
        echo 'kernel: the pinned source is gone from here; with what there is, the measurements are of this machine only'
        infra/emulator/image.test.sh --any-kernel-version
    fi
}

check_fuzz() {
    cargo clippy --locked --manifest-path fuzz/Cargo.toml --all-targets -- --deny warnings
    fuzz/smoke.sh "$FUZZ_SECONDS_PER_TARGET"
}

check_scripts() {
    local scripts=()
    readarray -d '' scripts < <(find . \( -name target -o -name node_modules -o -name .git \) -prune \
        -o -type f \( -name '*.sh' -o -path './.ci/run' \) -print0)
    shellcheck --external-sources --source-path=. "${scripts[@]}"
    printf '%s\n' "${scripts[@]}"
}

main "$@"
