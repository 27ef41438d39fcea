#!/usr/bin/env bash
# Boots the enclave image on this machine, in QEMU's nitro-enclave machine. See --help.
set -euo pipefail

# A relative CARGO_TARGET_DIR is relative to the folder we were called from.
[[ ${CARGO_TARGET_DIR:-/} == /* ]] || export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR"
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=infra/prerequisites.sh
source infra/prerequisites.sh

usage() {
    cat <<'USAGE'
Builds the enclave image and boots it on this machine: QEMU's nitro-enclave machine under software emulation, with the
real kernel, driver of the security module, AF_VSOCK, proxy, and a KMS that checks what AWS's checks. Prints where
clients reach it, and runs until Ctrl-C.

Usage: infra/emulator/up.sh [--port PORT] [--prepare | --built] [--folder FOLDER] [--any-kernel-version] [--help]

  --port PORT             where clients connect, on 127.0.0.1 (default: 7001; 0 takes any free port)
  --folder FOLDER         where the image and the KMS's keys are kept (default: target/emulator)
  --prepare               builds everything and starts nothing
  --built                 starts what --prepare has built, and builds nothing
  --any-kernel-version    as of infra/build-eif.sh

The image differs from one for production in its nitro.toml only: it trusts the emulated KMS. The first time, building
the kernel and QEMU takes minutes; both are kept below ${XDG_CACHE_HOME:-$HOME/.cache}/nitro-signer.

Not for keys that matter: QEMU's attestation documents are not signed, and its user sees the enclave's memory.

Exit status: 0 stopped by Ctrl-C or SIGTERM, 64 wrong command line, 66 nothing is built that --built could start, 69 something is missing, otherwise that of what
failed.
USAGE
}

main() {
    local port=7001 folder="${CARGO_TARGET_DIR:-$PWD/target}/emulator" prepare='' built='' build_options=()
    while (($#)); do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --prepare) prepare=yes; shift ;;
            --built) built=yes; shift ;;
            --any-kernel-version) build_options+=("$1"); shift ;;
            --port | --folder)
                (($# >= 2)) || die 64 "nothing follows $1; --help lists the arguments"
                if [[ $1 == --port ]]; then port=$2; else folder=$(absolute "$2"); fi
                shift 2
                ;;
            *) die 64 "unknown argument '$1'; --help lists them" ;;
        esac
    done
    [[ $port =~ ^[0-9]{1,5}$ && $port -le 65535 ]] || die 64 "not a port: '$port'"
    [[ -z $prepare || -z $built ]] || die 64 '--prepare and --built exclude each other'

    # Where the programs are that it starts beside QEMU: built here, unless the caller has them.
    local programs=${ACCEPTANCE_BIN_DIR:-}
    if [[ -z $programs ]]; then
        need_to_build_and_run
        cargo build --locked --quiet -p proxy -p kms-emulator
        cargo build --locked --quiet -p acceptance --bin emulated-enclave
        programs=${CARGO_TARGET_DIR:-$PWD/target}/debug
        export ACCEPTANCE_BIN_DIR=$programs
    fi
    [[ $built ]] || build
    [[ -e $folder/image/nitro-signer.eif ]] || die 66 "nothing is built in $folder; --prepare builds it"
    [[ -z $prepare ]] || exit 0
    exec "$programs/emulated-enclave" run "$folder" "$port"
}

# Fills the folder.
build() {
    need_cargo_tool vhost-device-vsock "$VHOST_DEVICE_VSOCK_VERSION"
    mkdir -p "$folder"
    command -v vhost-device-vsock >"$folder/vhost-device-vsock"
    infra/emulator/qemu.sh >"$folder/qemu.new"
    mv "$folder/qemu.new" "$folder/qemu"
    "$programs/emulated-enclave" nitro-toml "$folder"
    infra/build-eif.sh --nitro-toml "$folder/nitro.toml" --output "$folder/image" --accept kms.trust_anchors \
        "${build_options[@]}" >&2
}

# A path from where we were called.
absolute() {
    case $1 in
        /*) printf '%s' "$1" ;;
        *) printf '%s/%s' "$called_from" "$1" ;;
    esac
}

main "$@"
