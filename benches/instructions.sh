#!/usr/bin/env bash
# Counts the instructions of the hot path, and holds them against those on record. See --help.
set -euo pipefail

# A relative CARGO_TARGET_DIR is relative to the folder we were called from.
[[ ${CARGO_TARGET_DIR:-/} == /* ]] || export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=infra/prerequisites.sh
source infra/prerequisites.sh

usage() {
    cat <<'USAGE'
Counts the instructions of the hot path, and fails if there are more than benches/baseline.toml allows.

Usage: benches/instructions.sh [--update] [--help]

  --update  writes the counts to benches/baseline.toml instead

What is missing is installed, as by infra/test.sh. Python is needed in version 3.11 or later.

Exit status: 0 no count is too high, 1 one is, or was not recorded, or could not be counted, 64 wrong command line,
69 something is missing, 101 it does not build.
USAGE
}

action='check'
case ${1:-} in
    '') ;;
    --update) action='write' ;;
    --help | -h) usage; exit 0 ;;
    *) die 64 "unknown argument '$1'; --help lists them" ;;
esac

need_to_build_and_run
need_to_count_instructions
# Containers may not turn address randomisation off, and it changes no count.
summaries=$(cargo bench --locked -p benches --bench instructions -- --allow-aslr --output-format=json)
python3 benches/baseline.py "$action" <<<"$summaries"
