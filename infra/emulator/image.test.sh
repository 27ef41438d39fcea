#!/usr/bin/env bash
# Tests the enclave image: what it is made of, that it can be made again bit for bit, and that it boots and signs in
# QEMU. Called by infra/test.sh; takes the arguments of infra/emulator/up.sh.
set -euo pipefail

# A relative CARGO_TARGET_DIR is relative to the folder we were called from.
[[ ${CARGO_TARGET_DIR:-/} == /* ]] || export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=infra/prerequisites.sh
source infra/prerequisites.sh

# The size that the image has to stay below.
readonly MAX_IMAGE_BYTES=$((8 * 1024 * 1024))

options=("$@")
target_folder=${CARGO_TARGET_DIR:-$PWD/target}
laboratory=$target_folder/emulator
scratch='' up=''

main() {
    scratch=$(mktemp -d)
    trap clean_up EXIT
    need_debian_packages readelf:binutils
    ./infra/emulator/up.sh --prepare "${options[@]}"
    the_image_is_small
    the_signer_is_static_and_hardened
    no_path_of_this_machine_is_in_it
    another_clone_makes_the_same_image
    an_image_that_ends_tls
    the_image_boots_and_signs
    the_contract_holds_against_the_image
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

the_image_is_small() {
    local bytes
    bytes=$(stat -c %s "$laboratory/image/nitro-signer.eif")
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
    for binary in "$target_folder/image-build/x86_64-unknown-linux-gnu/release/enclave" "$laboratory/image/proxy"; do
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
    # What cargo has fetched, so that it need not fetch it again; under another path.
    if [[ -d ${CARGO_HOME:-$HOME/.cargo}/registry ]]; then
        cp -a "${CARGO_HOME:-$HOME/.cargo}/registry" "$cargo_home/registry"
    fi
    for file in config.toml config; do
        [[ ! -e ${CARGO_HOME:-$HOME/.cargo}/$file ]] || cp "${CARGO_HOME:-$HOME/.cargo}/$file" "$cargo_home/$file"
    done
    (
        umask 077
        cp "$laboratory/nitro.toml" "$scratch/nitro.toml"
        # rustup's and the caches' places are told by the home that we have.
        env RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}" XDG_CACHE_HOME="${XDG_CACHE_HOME:-$HOME/.cache}" \
            HOME="$scratch/another-home" CARGO_HOME="$cargo_home" CARGO_TARGET_DIR="$scratch/another-target" \
            CARGO_BUILD_JOBS=3 TZ=Asia/Tokyo LANG=de_DE.UTF-8 LC_ALL=C USER=somebody LOGNAME=somebody \
            RUSTFLAGS='-C debuginfo=1' CFLAGS=-O0 \
            "$clone/infra/build-eif.sh" --nitro-toml "$scratch/nitro.toml" --output "$scratch/image" \
            "${options[@]}" >/dev/null
    )
    cmp "$laboratory/image/nitro-signer.eif" "$scratch/image/nitro-signer.eif" \
        || die 1 'another clone makes another image'
    cmp "$laboratory/image/measurements.json" "$scratch/image/measurements.json"
    cmp "$laboratory/image/proxy" "$scratch/image/proxy" || die 1 'another clone makes another proxy'
    passed "another clone makes the same image, bit for bit: sha256 $(sha256sum <"$scratch/image/nitro-signer.eif")"
    rm -rf -- "${scratch:?}/another-clone" "$scratch/another-home" "$scratch/another-target"
}

# A laboratory with an image whose signer ends TLS, and which differs in nothing else.
an_image_that_ends_tls() {
    mkdir "$scratch/tls"
    cp "$laboratory"/{kms-state.json,qemu,vhost-device-vsock} "$scratch/tls/"
    sed 's/^mode = "off"$/mode = "self-signed"/' "$laboratory/nitro.toml" >"$scratch/tls/nitro.toml"
    ! cmp -s "$laboratory/nitro.toml" "$scratch/tls/nitro.toml" || die 1 'nitro.toml has no tls.mode that is off'
    ./infra/build-eif.sh --nitro-toml "$scratch/tls/nitro.toml" --output "$scratch/tls/image" "${options[@]}" >/dev/null
}

the_image_boots_and_signs() {
    NITRO_LABORATORY=$laboratory NITRO_TLS_LABORATORY=$scratch/tls cargo test --locked -p acceptance --test image -- --ignored --nocapture --test-threads=1
}

# The contract's own tests, against an enclave that was started as a user starts one.
#
# Left out is what QEMU and its vsock device are not up to: they end a half-closed connection, which each row of two
# tests waits for. And without KVM the guest's clock has whole seconds at its start, so it may be one behind: tickets
# that are good, or expire, from this very second on are for signers with the same clock.
the_contract_holds_against_the_image() {
    mkfifo "$scratch/said"
    ./infra/emulator/up.sh --port 0 "${options[@]}" >"$scratch/said" &
    up=$!
    local line
    while read -r line; do
        [[ $line != export* ]] || eval "$line"
        [[ $line != 'export TICKET_SIGNING_SECRET='* ]] || break
    done <"$scratch/said"
    [[ ${ENCLAVE_BASE_URL:-} ]] || die 1 'up.sh does not say where the enclave is'
    python3 infra/examples/sign_and_verify.py
    # A real KMS seals the backups; the tests that seal by hand are not among these.
    SEALING_KEY=$(printf '00%.0s' {1..32}) cargo test --locked -p acceptance \
        --test routes --test before_the_body --test body --test ticket -- \
        --skip a_body_of_doubtful_length_is_400_and_starts_no_second_request --skip a_head_that_is_not_http_is_400 \
        --skip after_its_expiry_a_ticket_is_401 --skip times_and_nonce_are_of_the_right_type_and_in_range \
        --skip what_the_contract_ignores_or_allows_is_accepted --skip what_the_signer_accepts_another_library_accepts_too
    kill -TERM "$up"
    wait "$up" || die 1 "up.sh ended with $?"
    up=''
    passed 'up.sh serves the contract, and stops when it is told'
}

main
