#!/usr/bin/env bash
# Tests the enclave image: what it is made of, that it can be made again bit for bit, and that it boots and signs in
# QEMU. See --help.
set -euo pipefail

# A relative CARGO_TARGET_DIR is relative to the folder we were called from.
[[ ${CARGO_TARGET_DIR:-/} == /* ]] || export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=infra/prerequisites.sh
source infra/prerequisites.sh

# The size that the image has to stay below.
readonly MAX_IMAGE_BYTES=$((8 * 1024 * 1024))

usage() {
    cat <<'USAGE'
Tests the enclave image, all of it or one part.

Usage: infra/emulator/image.test.sh [PART [TEST_PROGRAM]...] [--help]

  kernel    builds the kernel
  build     builds the image, one that ends TLS and one for bring-up, below target/emulator
  look      checks the size of the image, how its signer is linked, and that no path of this machine is in it
  again     builds the image from another clone and compares the two
  boot      boots these images in QEMU; TEST_PROGRAM is the test `image` of infra/tests/acceptance
  contract  starts the image as a user does; each TEST_PROGRAM is a table of the contract in infra/tests/acceptance
  hardened  builds the hardened kernel and an image with it, and boots that; TEST_PROGRAM as for boot

Without a PART, all of them but `hardened`. Without a TEST_PROGRAM, cargo builds what is needed. The parts after `build`
need what it made.

Exit status: 0 passed, 64 wrong command line, 69 something is missing, otherwise that of what failed.
USAGE
}

options=()
target_folder=${CARGO_TARGET_DIR:-$PWD/target}
emulated=$target_folder/emulator
scratch='' up=''

main() {
    local part=${1:-all}
    shift $(($# ? 1 : 0))
    trap clean_up EXIT
    scratch=$(mktemp -d)
    case $part in
        kernel) choose_kernel ;;
        build)
            choose_kernel
            build
            ;;
        look) look ;;
        again)
            choose_kernel
            another_clone_makes_the_same_image
            ;;
        boot) the_images_boot_and_sign "$@" ;;
        contract) the_contract_holds_against_the_image "$@" ;;
        hardened)
            choose_kernel --hardened
            an_image_with_the_hardened_kernel_boots "$@"
            ;;
        all)
            choose_kernel
            build
            look
            another_clone_makes_the_same_image
            the_images_boot_and_sign
            the_contract_holds_against_the_image
            ;;
        --help | -h) usage ;;
        *) die 64 "unknown part '$part'; --help lists them" ;;
    esac
}

clean_up() {
    local code=$?
    if [[ $up ]]; then
        kill -TERM "$up" 2>/dev/null || true
        wait "$up" 2>/dev/null || true
    fi
    [[ -z $scratch ]] || rm -rf -- "$scratch"
    exit "$code"
}

passed() {
    printf 'ok: %s\n' "$*"
}

# The kernel is of the pinned source where Debian still has that, so that the measurements are the published ones. The
# arguments go to kernel.sh.
choose_kernel() {
    local code=0
    infra/emulator/kernel.sh "$@" >/dev/null || code=$?
    ((code != 0)) || return 0
    # Anything but a missing source is a failure.
    ((code == EX_UNAVAILABLE)) || exit "$code"
    echo 'kernel: SKIPPED the pinned source, which cannot be fetched; the measurements are of this machine only'
    infra/emulator/kernel.sh "$@" --any-version >/dev/null
    options=(--any-kernel-version)
}

build() {
    infra/emulator/up.sh --prepare "${options[@]}"
    an_image_that_ends_tls
    infra/build-eif.sh --bring-up --nitro-toml "$emulated/nitro.toml" --output "$emulated/bring-up" \
        --accept kms.trust_anchors "${options[@]}" >/dev/null
}

# Another folder with an image whose signer ends TLS. It differs in nothing else.
an_image_that_ends_tls() {
    emulated_image_beside tls
    sed 's/^mode = "off"$/mode = "self-signed"/' "$emulated/nitro.toml" >"$emulated/tls/nitro.toml"
    ! cmp -s "$emulated/nitro.toml" "$emulated/tls/nitro.toml" || die 1 'nitro.toml has no tls.mode that is off'
    infra/build-eif.sh --nitro-toml "$emulated/tls/nitro.toml" --output "$emulated/tls/image" \
        --accept kms.trust_anchors "${options[@]}" >/dev/null
}

# Makes the folder $1 in the folder of the emulated image. Only nitro.toml and an image are missing there.
emulated_image_beside() {
    mkdir -p "$emulated/$1"
    cp "$emulated"/{kms-state.json,qemu,vhost-device-vsock} "$emulated/$1/"
}

an_image_with_the_hardened_kernel_boots() {
    local programs=("$@")
    if (($# == 0)); then build_test_programs image; fi
    emulated_image_beside hardened
    cp "$emulated/nitro.toml" "$emulated/hardened/nitro.toml"
    infra/build-eif.sh --hardened --nitro-toml "$emulated/hardened/nitro.toml" --output "$emulated/hardened/image" \
        --accept kms.trust_anchors "${options[@]}" >/dev/null
    (
        cd infra/tests/acceptance
        NITRO_EMULATED_IMAGE=$emulated/hardened "${programs[0]}" --ignored --nocapture --exact \
            the_image_signs_and_its_measurements_are_the_builds
    )
}

look() {
    need_debian_packages readelf:binutils
    the_image_is_small
    the_signer_is_static_and_hardened
    no_path_of_this_machine_is_in_it
}

# Sets `programs` to the test programs of infra/tests/acceptance that are named by the arguments, as cargo builds them.
build_test_programs() {
    need_debian_packages jq:jq
    local built
    built=$(cargo test --locked -p acceptance --no-run "${@/#/--test=}" --message-format=json-render-diagnostics \
        | jq -r 'select(.executable and .profile.test).executable')
    readarray -t programs <<<"$built"
    ((${#programs[@]} == $#)) || die 1 "cargo built ${#programs[@]} test programs instead of $#"
}

the_image_is_small() {
    local bytes
    bytes=$(stat -c %s "$emulated/image/nitro-signer.eif")
    ((bytes <= MAX_IMAGE_BYTES)) || die 1 "the image has $bytes bytes, more than $MAX_IMAGE_BYTES"
    passed "the image has $bytes bytes"
}

the_signer_is_static_and_hardened() {
    local signer=$target_folder/image-build/x86_64-unknown-linux-gnu/release/enclave headers
    headers=$(readelf --wide --file-header --program-headers --dynamic "$signer")
    has 'position-independent' 'Type: +DYN' "$headers"
    has 'relocations read-only' 'GNU_RELRO' "$headers"
    has 'relocations done at once' 'FLAGS.*(NOW|BIND_NOW)' "$headers"
    has 'no executable stack' 'GNU_STACK +[^E]*$' "$headers"
    if grep -E 'INTERP|NEEDED' <<<"$headers"; then die 1 'the signer is not static'; fi
    if readelf --wide --sections "$signer" | grep -F .symtab; then die 1 'the signer has symbols'; fi
    if grep -E 'LOAD.*RWE' <<<"$headers"; then die 1 'the signer has memory to write and execute'; fi
    passed 'the signer is static, stripped and hardened'
}

has() {
    grep --quiet --extended-regexp "$2" <<<"$3" || die 1 "the signer is not $1"
}

no_path_of_this_machine_is_in_it() {
    local binary path
    for binary in "$target_folder/image-build/x86_64-unknown-linux-gnu/release/enclave" "$emulated/image/proxy"; do
        for path in "$PWD" "$target_folder" "${CARGO_HOME:-$HOME/.cargo}" "$(rustc --print sysroot)"; do
            if LC_ALL=C grep --text --quiet --fixed-strings -- "$path" "$binary"; then
                die 1 "$binary holds the path $path"
            fi
        done
    done
    passed 'no path of this machine is in it'
}

# In another folder, with another home, umask, time zone and language, by another number of jobs.
another_clone_makes_the_same_image() {
    local clone="$scratch/another-clone" cargo_home="$scratch/another-home/.cargo" file
    mkdir -p "$clone" "$cargo_home"
    git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from=- --file=- \
        | tar --extract --file=- --directory="$clone"
    # Cargo's downloads, under another path, so that it need not fetch them again.
    if [[ -d ${CARGO_HOME:-$HOME/.cargo}/registry ]]; then
        cp -a "${CARGO_HOME:-$HOME/.cargo}/registry" "$cargo_home/registry"
    fi
    for file in config.toml config; do
        [[ ! -e ${CARGO_HOME:-$HOME/.cargo}/$file ]] || cp "${CARGO_HOME:-$HOME/.cargo}/$file" "$cargo_home/$file"
    done
    (
        umask 077
        cp "$emulated/nitro.toml" "$scratch/nitro.toml"
        # rustup's and the caches' places are told by the home that we have.
        env RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}" XDG_CACHE_HOME="${XDG_CACHE_HOME:-$HOME/.cache}" \
            HOME="$scratch/another-home" CARGO_HOME="$cargo_home" CARGO_TARGET_DIR="$scratch/another-target" \
            CARGO_BUILD_JOBS=3 TZ=Asia/Tokyo LANG=de_DE.UTF-8 LC_ALL=C USER=somebody LOGNAME=somebody \
            RUSTFLAGS='-C debuginfo=1' CFLAGS=-O0 \
            "$clone/infra/build-eif.sh" --nitro-toml "$scratch/nitro.toml" --output "$scratch/image" \
            --accept kms.trust_anchors "${options[@]}" >/dev/null
    )
    cmp "$emulated/image/nitro-signer.eif" "$scratch/image/nitro-signer.eif" \
        || die 1 'another clone makes another image'
    cmp "$emulated/image/measurements.json" "$scratch/image/measurements.json"
    cmp "$emulated/image/proxy" "$scratch/image/proxy" || die 1 'another clone makes another proxy'
    passed "another clone makes the same image, bit for bit: sha256 $(sha256sum <"$scratch/image/nitro-signer.eif")"
    rm -rf -- "${scratch:?}/another-clone" "$scratch/another-home" "$scratch/another-target"
}

# The arguments: the test program `image`, which cargo builds if it is not named.
the_images_boot_and_sign() {
    local programs=("$@")
    if (($# == 0)); then build_test_programs image; fi
    (
        cd infra/tests/acceptance
        NITRO_EMULATED_IMAGE=$emulated NITRO_EMULATED_TLS_IMAGE=$emulated/tls \
            NITRO_BRING_UP_IMAGE=$emulated/bring-up/nitro-signer-bring-up.eif \
            "${programs[0]}" --ignored --nocapture --test-threads=1
    )
}

# The contract's own tests, against an enclave that was started as a user starts one. The arguments are tables of it.
#
# Left out is what QEMU and its vsock device are not up to: they end a half-closed connection, which each row of two
# tests waits for. And QEMU's security module tells whole seconds, so the enclave's clock may be one behind: tickets
# that are good, or expire, from this very second on are for signers with the same clock.
the_contract_holds_against_the_image() {
    local programs=("$@") program line
    if (($# == 0)); then build_test_programs routes before_the_body body ticket; fi
    mkfifo "$scratch/said"
    infra/emulator/up.sh --port 0 --folder "$emulated" --built >"$scratch/said" &
    up=$!
    while read -r line; do
        [[ $line != export* ]] || eval "$line"
        [[ $line != 'export TICKET_SIGNING_SECRET='* ]] || break
    done <"$scratch/said"
    [[ ${ENCLAVE_BASE_URL:-} ]] || die 1 'up.sh does not print where the enclave is'
    python3 infra/examples/sign_and_verify.py
    # A real KMS seals the backups; the tests that seal by hand are not among these.
    SEALING_KEY=$(printf '00%.0s' {1..32})
    export SEALING_KEY
    for program in "${programs[@]}"; do
        (
            cd infra/tests/acceptance
            "$program" --skip a_body_of_doubtful_length_is_400_and_starts_no_second_request \
                --skip a_head_that_is_not_http_is_400 --skip after_its_expiry_a_ticket_is_401 \
                --skip times_and_nonce_are_of_the_right_type_and_in_range \
                --skip what_the_contract_ignores_or_allows_is_accepted \
                --skip what_the_signer_accepts_another_library_accepts_too
        )
    done
    kill -TERM "$up"
    wait "$up" || die 1 "up.sh ended with $?"
    up=''
    passed 'up.sh serves the contract, and stops when it is told'
}

main "$@"
