#!/usr/bin/env bash
# Builds the enclave's Linux kernel from Debian's source, the same to the last bit wherever it is built. See --help.
set -euo pipefail

# shellcheck source=infra/prerequisites.sh
source "$(dirname "${BASH_SOURCE[0]}")/../prerequisites.sh"

# The source, which Debian's archive keeps for a time that it does not promise; the tools; and the kernels that these
# make of it, wherever and by whomever they are run.
readonly PACKAGE=linux-source-6.12 SUITE=bookworm-security
readonly VERSION=6.12.117-1~deb12u1
readonly SHA256=e849faf31ca3555757f3a8877cb01af92122f744f75d1f3102734651c4e14703
readonly COMPILER='gcc (Debian 12.2.0-14+deb12u1) 12.2.0' LINKER='GNU ld (GNU Binutils for Debian) 2.40'
readonly COMPRESSOR='gzip 1.12'
readonly BZIMAGE_SHA256=df9583ac8ceca20d32c71b24141775dfeac2bfb7e0433b3c0dfb740a889c891c
readonly HARDENED_BZIMAGE_SHA256=b3f71db07377589657bf8f454b95068d3e06e9fde5cbbff3cf3b62b70a4a9e07

# Debian's own tools only, and nothing of the caller's that the build could see.
readonly CLEAN_ENVIRONMENT=(env -i PATH=/usr/bin:/bin LC_ALL=C TZ=UTC)

readonly BY_HAND="fetch $PACKAGE $VERSION by hand, snapshot.debian.org keeps it, and name the file with --source"

folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
configs=("$folder/kernel.config") bzimage_sha256=$BZIMAGE_SHA256
vsock_patch=$folder/vsock-replies.patch
cache=$nitro_signer_cache

usage() {
    cat <<USAGE
Builds the Linux kernel of the enclave, and prints the folder that holds it: bzImage, and its whole kernel.config.

Usage: infra/emulator/kernel.sh [--hardened] [--source FILE.deb | --any-version] [--help]

  --hardened         adds kernel.hardened.config, which no kernel of AWS's has on: the measurements are others
  --source FILE.deb  the package $PACKAGE $VERSION, fetched by hand; another one is refused
  --any-version      takes the version that Debian has now: the measurements are others

What it consists of is in kernel.config beside this script. The source is Debian's package, whose version and hash are
fixed in this script, with vsock-replies.patch applied. The result is kept in
\${XDG_CACHE_HOME:-\$HOME/.cache}/nitro-signer, by source, patch, configuration and compiler, and found there the next
time. Takes 4 minutes on 2 CPUs, and 2 GB there meanwhile. What is missing of
compiler and tools is installed as root from Debian; anybody else is told.

Exit status: 0 built or found, 64 wrong command line, 65 the source is not what it should be, the patch does not fit it,
or an option did not take effect, 69 something is missing, otherwise that of what failed.
USAGE
}

main() {
    local source='' any_version='' result
    while (($#)); do
        case $1 in
            --source) source=${2:-}; [[ -f $source ]] || die 64 "--source needs a file"; shift ;;
            --any-version) any_version=yes ;;
            --hardened)
                configs+=("$folder/kernel.hardened.config")
                bzimage_sha256=$HARDENED_BZIMAGE_SHA256
                ;;
            --help | -h) usage; exit 0 ;;
            *) die 64 "unknown argument '$1'; --help lists them" ;;
        esac
        shift
    done
    [[ -z $source || -z $any_version ]] || die 64 '--source and --any-version exclude each other'
    [[ $(uname -m) == x86_64 ]] || die "$EX_UNAVAILABLE" 'the kernel is for x86_64, and built there only'

    umask 022
    need_debian_packages "${KERNEL_NEEDS[@]}"
    compare_tools
    lock_cache kernel
    # Left by a run that was killed.
    rm -rf -- "$cache"/kernel.????????
    work=$(mktemp -d "$cache/kernel.XXXXXXXX")
    trap 'rm -rf -- "$work"' EXIT

    version=$VERSION sha256=$SHA256
    [[ -z $any_version ]] || find_newest_version
    result="$cache/kernel-$(key)"
    if [[ ! -d $result ]]; then
        [[ -n $source ]] || { source="$work/source.deb" && fetch "$source"; }
        verify "$source"
        build "$source" "$work/result"
        # At once or not at all.
        mv -T "$work/result" "$result" || die 73 "cannot create $result"
    fi
    check_kernel "$result"
    printf '%s\n' "$result"
}

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# All that the kernel depends on.
key() {
    {
        printf '%s\n' "$version" "$sha256"
        tool_versions
        cat "${configs[@]}" "$vsock_patch" "${BASH_SOURCE[0]}"
    } | sha256sum | cut -c 1-16
}

tool_versions() {
    local tool
    for tool in gcc ld gzip; do
        "${CLEAN_ENVIRONMENT[@]}" "$tool" --version | sed -n 1p
    done
}

compare_tools() {
    local versions
    versions=$(tool_versions)
    same_tools=yes
    if [[ $versions != "$COMPILER"$'\n'"$LINKER"$'\n'"$COMPRESSOR" ]]; then
        same_tools=''
        say "warning: not the tools that the pinned kernel is made with ($COMPILER, $LINKER, $COMPRESSOR): expect" \
            'other measurements'
    fi
}

# Also what the cache has is looked at: who wrote there decides what is measured.
check_kernel() {
    [[ $same_tools && $version == "$VERSION" ]] || return 0
    [[ $(sha256sum <"$1/bzImage") == "$bzimage_sha256  -" ]] \
        || die 65 "$1/bzImage is not what $VERSION, these tools and the committed configuration and patch make"
}

# Lists of packages of the one suite, for private_apt, from the security archive that this machine uses: the suite
# need not be the machine's own.
prepare_apt() {
    local site
    command -v apt-get >/dev/null || die "$EX_UNAVAILABLE" "no apt-get here; $BY_HAND"
    # shellcheck disable=SC2016 # For apt-get to expand.
    site=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        | sed -n '/\/debian-security\/$/p' | sort | sed -n 1p)
    [[ -n $site ]] || die "$EX_UNAVAILABLE" "Debian's security archive is not among apt's sources; $BY_HAND"
    mkdir -p "$work/lists/partial" "$work/archives/partial"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$site" "$SUITE" \
        >"$work/sources.list"
    private_apt apt-get --quiet update >&2 || die "$EX_UNAVAILABLE" "Debian's archive is out of reach; $BY_HAND"
}

# apt-get or apt-cache with lists of its own: works for any user, and changes nothing of the machine's.
private_apt() {
    local tool=$1
    shift
    "$tool" -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" -o APT::Sandbox::User=root "$@"
}

find_newest_version() {
    local record
    prepare_apt
    record=$(private_apt apt-cache show --no-all-versions "$PACKAGE") || die "$EX_UNAVAILABLE" "no $PACKAGE in $SUITE"
    version=$(sed -n 's/^Version: //p' <<<"$record")
    sha256=$(sed -n 's/^SHA256: //p' <<<"$record")
    [[ $version == "$VERSION" ]] \
        || say "warning: $PACKAGE $version instead of $VERSION: the measurements are others"
}

# Downloads the package to the file $1.
fetch() {
    [[ -e $work/sources.list ]] || prepare_apt
    say "fetching $PACKAGE $version"
    mkdir "$work/download"
    (cd "$work/download" && private_apt apt-get --quiet download "$PACKAGE=$version" >&2) \
        || die "$EX_UNAVAILABLE" "Debian's archive does not give this version; $BY_HAND, or take --any-version"
    mv "$work/download"/*.deb "$1"
}

verify() {
    [[ $(sha256sum <"$1") == "$sha256  -" ]] || die 65 "$1 is not $PACKAGE $version: its SHA-256 is not $sha256"
}

# Builds the source package $1 into the folder $2.
build() {
    local tree="$work/linux"
    local make=("${CLEAN_ENVIRONMENT[@]}" KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970'
        KBUILD_BUILD_USER=nitro-signer KBUILD_BUILD_HOST=nitro-signer KBUILD_BUILD_VERSION=1
        make --silent --directory="$tree")
    say 'unpacking the source'
    mkdir "$tree"
    dpkg-deb --fsys-tarfile "$1" | tar --extract --to-stdout "./usr/src/$PACKAGE.tar.xz" \
        | tar --extract --xz --strip-components=1 --no-same-owner --directory="$tree"
    # Without fuzz: a change around these lines has to be read by somebody.
    patch --directory="$tree" --strip=1 --fuzz=0 --forward --batch --silent <"$vsock_patch" >&2 \
        || die 65 "${vsock_patch##*/} does not fit $PACKAGE $version; compare net/vmw_vsock/virtio_transport.c with it"
    cat "${configs[@]}" >"$work/wanted.config"
    "${make[@]}" allnoconfig KCONFIG_ALLCONFIG="$work/wanted.config" </dev/null >&2
    check_options "$work/wanted.config" "$tree/.config"
    say 'compiling'
    "${make[@]}" -j"$(nproc)" bzImage </dev/null >&2
    mkdir "$2"
    cp "$tree/arch/x86/boot/bzImage" "$2/bzImage"
    cp "$tree/.config" "$2/kernel.config"
}

# Linux drops what it does not know, or what lacks something, without a word. $1: what was asked for, $2: what came.
check_options() {
    local lost
    lost=$(grep -E '^(CONFIG_|# CONFIG_[A-Z0-9_]+ is not set$)' "$1" | grep -vFxf "$2") || return 0
    die 65 "these lines of the configuration did not take effect:"$'\n'"$lost"
}

main "$@"
