#!/usr/bin/env bash
# Finds a QEMU that emulates Nitro Enclaves, or builds one from Debian's source. See --help.
set -euo pipefail

# shellcheck source=infra/prerequisites.sh
source "$(dirname "${BASH_SOURCE[0]}")/../prerequisites.sh"

# Debian's own builds leave the machine out. Whichever 10.0 these have will do: nothing of it is measured.
readonly SERIES=10.0 SUITES=(trixie bookworm-backports)
# What QEMU's configure looks for in python/wheels; Debian's source package comes without.
readonly WHEELS=(meson==1.5.0 pycotap==1.3.1)
readonly CONFIGURE=(--target-list=x86_64-softmmu --without-default-features --enable-system --enable-tcg
    --enable-gnutls --enable-libcbor --enable-vhost-user --enable-fdt=system --disable-install-blobs --disable-docs
    --disable-debug-info)
# The firmware of the machines `nitro-enclave` and `microvm`.
readonly FIRMWARE=(usr/share/qemu/qboot.rom usr/share/qemu/linuxboot_dma.bin usr/share/qemu/kvmvapic.bin
    usr/share/seabios/bios-microvm.bin)

cache=$nitro_signer_cache

usage() {
    cat <<USAGE
Finds or builds a QEMU that has the machine nitro-enclave, and prints how to call it, one argument a line: the program,
then where its firmware is.

Usage: infra/emulator/qemu.sh [--help]

Taken is qemu-system-x86_64 in PATH when it is 9.2 or later and has the machine. Otherwise one is built from Debian's
source of QEMU $SERIES and kept in \${XDG_CACHE_HOME:-\$HOME/.cache}/nitro-signer: 4 minutes on 2 CPUs, and 2 GB there
meanwhile. Its build tool comes from PyPI. What is missing of compiler and libraries is installed as root from Debian;
anybody else is told.

Exit status: 0 found or built, 64 wrong command line, 69 something is missing, otherwise that of what failed.
USAGE
}

main() {
    case ${1:-} in
        '') ;;
        --help | -h) usage; exit 0 ;;
        *) die 64 "unknown argument '$1'; --help lists them" ;;
    esac

    if is_suitable qemu-system-x86_64; then
        command -v qemu-system-x86_64
        exit 0
    fi
    local result
    result="$cache/qemu-$(key)"
    lock_cache qemu
    # Libraries that an upgrade of the system took away make it unsuitable.
    is_suitable "$result/qemu-system-x86_64" || build "$result"
    printf '%s\n' "$result/qemu-system-x86_64" -L "$result/firmware"
}

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# Whether the program $1 is there, recent, and has the machine.
is_suitable() {
    local version
    version=$("$1" --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9]*\.[0-9]*\).*/\1/p')
    [[ -n $version && $(printf '%s\n' 9.2 "$version" | sort --version-sort | sed -n 1p) == 9.2 ]] || return 1
    [[ $("$1" -M help) == *$'\n''nitro-enclave '* ]]
}

# All that decides what is built, except which version of the series Debian has.
key() {
    {
        printf '%s\n' "$SERIES" "${WHEELS[@]}" "${CONFIGURE[@]}"
        cat "${BASH_SOURCE[0]}"
    } | sha256sum | cut -c 1-16
}

# Builds QEMU into the folder $1.
build() {
    umask 022
    need_debian_packages "${QEMU_NEEDS[@]}"
    # QEMU's configure makes a virtual environment; Debian's Python comes without what that needs.
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_debian_packages python3-venv
    # Left by a run that was killed.
    rm -rf -- "$cache"/qemu.????????
    work=$(mktemp -d "$cache/qemu.XXXXXXXX")
    trap 'rm -rf -- "$work"' EXIT

    fetch
    mkdir -p "$work/qemu" "$work/result"
    cat "$work"/qemu_*.orig.tar.xz | tar --extract --xz --strip-components=1 --no-same-owner --directory="$work/qemu"
    fetch_wheels "$work/qemu/python/wheels"
    # The firmware that this unpacks is not in Debian's source package.
    sed -i 's/^if unpack_edk2_blobs$/if false/' "$work/qemu/pc-bios/meson.build"
    mkdir "$work/qemu/build"
    cd "$work/qemu/build"
    say 'compiling'
    ../configure "${CONFIGURE[@]}" >configure.log 2>&1 || { cat configure.log >&2; die 1 'configure failed'; }
    ninja --quiet qemu-system-x86_64 >ninja.log 2>&1 || { tail -n 50 ninja.log >&2; die 1 'ninja failed'; }
    strip -o "$work/result/qemu-system-x86_64" qemu-system-x86_64
    collect_firmware "$work/result/firmware"
    is_suitable "$work/result/qemu-system-x86_64" || die 1 'what was built has no machine nitro-enclave'

    # At once or not at all.
    rm -rf -- "$1"
    mv -T "$work/result" "$1" || die 73 "cannot create $1"
}

# Debian's source of QEMU and the packages with firmware, from the archive that this machine uses but of newer releases:
# with lists of its own, so that nothing of the machine's changes.
fetch() {
    local site suite version
    local apt=(-o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" -o APT::Sandbox::User=root)
    command -v apt-get >/dev/null || die "$EX_UNAVAILABLE" 'no apt-get here; install a QEMU that has nitro-enclave'
    # shellcheck disable=SC2016 # For apt-get to expand.
    site=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sed -n '/\/debian\/$/p' | sort -u \
        | sed -n 1p)
    [[ -n $site ]] || die "$EX_UNAVAILABLE" "Debian's archive is not among apt's sources"
    mkdir -p "$work/lists/partial" "$work/archives/partial"
    for suite in "${SUITES[@]}"; do
        printf '%s [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' deb-src "$site" "$suite" \
            deb "$site" "${suite%-backports}" >"$work/sources.list"
        apt-get "${apt[@]}" --quiet update >&2 || continue
        version=$(apt-cache "${apt[@]}" showsrc --only-source qemu \
            | sed -n "s/^Version: \(1:${SERIES/./\\.}\..*\)/\1/p" | sort --version-sort | sed -n '$p')
        [[ -n $version ]] || continue
        say "fetching the source of QEMU $version from $suite"
        cd "$work"
        apt-get "${apt[@]}" --quiet source --download-only --only-source "qemu=$version" >&2 || continue
        apt-get "${apt[@]}" --quiet download qemu-system-data seabios >&2 || continue
        return
    done
    die "$EX_UNAVAILABLE" "cannot fetch the source of QEMU $SERIES from ${SUITES[*]} of Debian"
}

# Downloads what the build needs of PyPI into the folder $1.
fetch_wheels() {
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$1" \
        "${WHEELS[@]}" >&2 || die "$EX_UNAVAILABLE" "cannot fetch ${WHEELS[*]} from PyPI"
}

# Unpacks the firmware into the folder $1.
collect_firmware() {
    local package file
    for package in "$work"/*.deb; do
        dpkg-deb --extract "$package" "$work/packages"
    done
    mkdir "$1"
    for file in "${FIRMWARE[@]}"; do
        cp "$work/packages/$file" "$1"
    done
}

main "$@"
