#!/usr/bin/env bash
# Builds the enclave image and all that goes with it to the parent instance. See --help.
set -euo pipefail

# A relative CARGO_TARGET_DIR is relative to the folder we were called from.
[[ ${CARGO_TARGET_DIR:-/} == /* ]] || export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR"
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=infra/prerequisites.sh
source infra/prerequisites.sh

readonly ENCLAVE_TARGET=x86_64-unknown-linux-gnu PROXY_TARGET=x86_64-unknown-linux-musl

usage() {
    cat <<'USAGE'
Builds the enclave image, and prints its measurements as JSON.

Usage: infra/build-eif.sh [OPTION]...

  --nitro-toml FILE            the configuration, which the image carries; the measurements are noted in it under [pcr],
                               which the image does not carry (default: infra/nitro.toml)
  --output FOLDER              where everything goes (default: target/image, with --bring-up target/bring-up)
  --kernel FILE                a bzImage, such as AWS's in /usr/share/nitro_enclaves/blobs on Amazon Linux 2023, instead
                               of our own, which infra/emulator/kernel.sh builds
  --cmdline FILE               its command line; needed with --kernel
  --hardened                   our kernel with what kernel.hardened.config adds; the measurements are others
  --nsm-module FILE            its nsm.ko, if it has no driver of the security module built in
  --kernel-source FILE.deb     the source of our kernel, fetched by hand (see infra/emulator/kernel.sh --help)
  --any-kernel-version         builds our kernel from what Debian has now, if the pinned source is gone: the measurements
                               are then others than those of everybody else
  --signing-certificate FILE   signs the image: PCR8 measures this certificate
  --private-key FILE           its key, without a password
  --accept SETTING             builds although nitro.toml has this setting for tests, such as kms.trust_anchors; the image
                               is then not for keys that matter. May be repeated
  --bring-up                   makes nitro-signer-bring-up.eif and nothing else, and prints no measurements: the same
                               image, but its kernel tells what it does from its first line on. For debug mode only
                               (docs/first-boot-on-hardware.md)
  --help

The folder gets nitro-signer.eif, nitro.toml, measurements.json, kms-key-policy.json and iam-policy.json for this image,
proxy, signerctl, and the scripts and units for the parent instance: copy the whole of it there.

The same commit gives the same image, bit for bit, wherever, whenever and by whomever it is built, given the same
compiler: toolchain.txt says which was used. A signature is never the same twice; the measurements are.

Exit status: 0 done, 64 wrong command line, 66 a file cannot be read, 69 something is missing, 78 nitro.toml is wrong,
otherwise that of what failed.
USAGE
}

main() {
    local nitro_toml=infra/nitro.toml output='' kernel='' cmdline='' nsm_module='' bring_up=''
    local kernel_options=() eif_options=() certificate='' key='' which_kernel='ours'
    while (($#)); do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --any-kernel-version) kernel_options+=(--any-version); shift; continue ;;
            --hardened) kernel_options+=(--hardened) which_kernel='ours, --hardened'; shift; continue ;;
            --bring-up) bring_up=yes; shift; continue ;;
        esac
        (($# >= 2)) || die 64 "unknown argument '$1', or nothing follows it; --help lists them"
        case $1 in
            --nitro-toml) nitro_toml=$(absolute "$2") ;;
            --output) output=$(absolute "$2") ;;
            --kernel) kernel=$(absolute "$2") which_kernel='given with --kernel' ;;
            --cmdline) cmdline=$(absolute "$2") ;;
            --nsm-module) nsm_module=$(absolute "$2") ;;
            --kernel-source) kernel_options+=(--source "$(absolute "$2")") ;;
            --signing-certificate) certificate=$(absolute "$2") ;;
            --private-key) key=$(absolute "$2") ;;
            --accept) eif_options+=(--accept "$2") ;;
            *) die 64 "unknown argument '$1'; --help lists them" ;;
        esac
        shift 2
    done
    [[ -z $kernel || -n $cmdline ]] || die 64 'a kernel needs its command line: --cmdline FILE'
    [[ -n $kernel || -z $cmdline$nsm_module ]] || die 64 '--cmdline and --nsm-module go with --kernel'
    [[ -z $kernel || ${#kernel_options[@]} == 0 ]] || die 64 '--kernel goes with no other choice of a kernel'
    [[ (-n $certificate && -n $key) || -z $certificate$key ]] \
        || die 64 '--signing-certificate and --private-key go together'
    [[ -z $bring_up || -z $certificate ]] || die 64 '--bring-up makes an image for debug mode, which is never signed'
    if [[ -z $output ]]; then
        if [[ $bring_up ]]; then output=target/bring-up; else output=target/image; fi
    fi
    local input
    for input in "$nitro_toml" "$kernel" "$cmdline" "$nsm_module" "$certificate" "$key"; do
        [[ -z $input || -r $input ]] || die 66 "cannot read $input"
    done

    need_rust
    need_debian_packages /usr/bin/cc:gcc /usr/include/stdlib.h:libc6-dev python3:python3
    need_rust_target "$PROXY_TARGET"

    # An error in nitro.toml is found before the kernel is built.
    local built signerctl
    built=${CARGO_TARGET_DIR:-$PWD/target}/image-build
    prepare_static "$built"
    build_static "$ENCLAVE_TARGET" signerctl signerctl
    signerctl=$built/$ENCLAVE_TARGET/release/signerctl
    "$signerctl" policy render --template infra/kms-key-policy.json --without-image --nitro-toml "$nitro_toml" >/dev/null

    if [[ -z $kernel ]]; then
        local kernel_folder
        kernel_folder=$(infra/emulator/kernel.sh "${kernel_options[@]}")
        kernel=$kernel_folder/bzImage cmdline=infra/emulator/kernel.cmdline
    fi
    [[ -z $nsm_module ]] || eif_options+=(--nsm-module "$nsm_module")
    [[ -z $certificate ]] || eif_options+=(--signing-certificate "$certificate" --private-key "$key")

    build_static "$ENCLAVE_TARGET" enclave-runtime enclave
    mkdir -p "$output"
    eif_options+=(--enclave "$built/$ENCLAVE_TARGET/release/enclave" --nitro-toml "$nitro_toml"
        --kernel "$kernel" --cmdline "$cmdline")
    if [[ $bring_up ]]; then
        "$signerctl" eif build "${eif_options[@]}" --bring-up --output "$output/nitro-signer-bring-up.eif" \
            >/dev/null
        printf '%s: %s is for debug mode: its PCR0 and PCR1 belong into no policy and no nitro.toml\n' \
            "${0##*/}" "$output/nitro-signer-bring-up.eif" >&2
        return
    fi
    build_static "$PROXY_TARGET" proxy proxy
    "$signerctl" eif build "${eif_options[@]}" --output "$output/nitro-signer.eif" --note-pcrs-in "$nitro_toml" \
        >"$output/measurements.json.new"
    mv "$output/measurements.json.new" "$output/measurements.json"
    [[ $nitro_toml -ef $output/nitro.toml ]] || cp "$nitro_toml" "$output/nitro.toml"
    local policy
    for policy in kms-key-policy.json iam-policy.json; do
        "$signerctl" policy render --template "infra/$policy" --nitro-toml "$nitro_toml" \
            --measurements "$output/measurements.json" --output "$output/$policy"
    done
    cp "$built/$PROXY_TARGET/release/proxy" "$signerctl" "$output/"
    cp infra/setup-parent.sh infra/run-enclave.sh infra/check.sh "$output/"
    mkdir -p "$output/parent"
    cp infra/parent/* "$output/parent/"
    {
        describe_toolchain
        printf 'kernel: %s\n' "$which_kernel"
    } >"$output/toolchain.txt"
    printf '%s: %s bytes in %s\n' "${0##*/}" "$(stat -c %s "$output/nitro-signer.eif")" "$output/nitro-signer.eif" >&2
    cat "$output/measurements.json"
}

# A path from where we were called.
absolute() {
    case $1 in
        /*) printf '%s' "$1" ;;
        *) printf '%s/%s' "$called_from" "$1" ;;
    esac
}

# Settles how executables are made that need nothing but a kernel, in the cargo target folder $1.
#
# The signer is linked to glibc, whose allocator and memory functions are faster (benches/README.md, "glibc or musl"). The
# proxy is linked to musl: it looks up names, for which a static glibc would load the system's libraries.
prepare_static() {
    local sysroot commit registry remap
    sysroot=$(rustc --print sysroot)
    commit=$(rustc --version --verbose | sed -n 's/^commit-hash: //p')
    # Where this machine keeps the sources of crates. Its name is another where a mirror serves them.
    registry=$(cargo metadata --locked --format-version 1 | python3 -c '
import json, pathlib, sys
packages = json.load(sys.stdin)["packages"]
print(next(pathlib.Path(p["manifest_path"]).parents[1] for p in packages if p["name"] == "aws-lc-sys"))')
    # No path of this machine gets into a binary: neither of a panic in Rust nor of an assertion in C.
    rust_flags=()
    for remap in "$PWD=/nitro-signer" "$registry=/crates" "$sysroot/lib/rustlib/src/rust=/rustc/$commit"; do
        rust_flags+=("--remap-path-prefix=$remap")
    done
    # Position-independent, its relocations done and read-only before it starts, no executable stack.
    rust_flags+=(-C relocation-model=pie -C target-feature=+crt-static
        -C "link-arg=-Wl,-z,relro,-z,now,-z,noexecstack,--build-id=none")
    # The C compiler's flags are separated by blanks.
    [[ $1$registry$PWD != *[[:space:]]* ]] || die "$EX_UNAVAILABLE" \
        "the checkout, the target folder and cargo's home must have no blanks in their paths: $PWD, $1, $registry"
    c_flags="-ffile-prefix-map=$1=/build -ffile-prefix-map=$registry=/crates -ffile-prefix-map=$PWD=/nitro-signer"
    static_target_folder=$1
    # Nothing else of the environment: another flag, or another program called cc, is another binary.
    local variable cargo_folder
    cargo_folder=$(dirname "$(command -v cargo)")
    clean_environment=(env -i "PATH=$cargo_folder:/usr/bin:/bin" LC_ALL=C)
    for variable in $(compgen -e); do
        case $variable in
            HOME | CARGO_HOME | RUSTUP_HOME | TMPDIR | CARGO_BUILD_JOBS | CARGO_NET_* | CARGO_HTTP_* | CARGO_REGISTR* | \
                *_proxy | *_PROXY | SSL_CERT_*) clean_environment+=("$variable=${!variable}") ;;
        esac
    done
    local channel version
    channel=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
    version=$("${clean_environment[@]}" rustc --version)
    [[ $version == "rustc $channel "* ]] || die "$EX_UNAVAILABLE" "rust-toolchain.toml asks for $channel, here is $version"
}

# Builds the binary $3 of the package $2 for the target $1. One package at a time: together, each would get the features
# that another asks for.
build_static() {
    "${clean_environment[@]}" CARGO_ENCODED_RUSTFLAGS="$(joined "${rust_flags[@]}")" CFLAGS="$c_flags" CC=/usr/bin/cc \
        cargo build --locked --release --target "$1" -p "$2" --bin "$3" --target-dir "$static_target_folder" >&2
}

# As CARGO_ENCODED_RUSTFLAGS takes them, so that a path may have blanks in it.
joined() {
    local IFS=$'\x1f'
    printf '%s' "$*"
}

# The inputs that have to be the same for the same image.
describe_toolchain() {
    rustc --version
    # All of it is read: a tool that is cut off fails.
    cc --version | sed -n 1p
    gzip --version | sed -n 1p
    ld --version | sed -n 1p
    ldd --version | sed -n 1p
}

main "$@"
