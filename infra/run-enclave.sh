#!/usr/bin/env bash
# Starts the enclave of a release, and looks after it: `signerctl parent` with the words that operators know. See --help.
set -euo pipefail

usage() {
    cat <<'USAGE'
Starts the enclave of a release. An enclave that runs already serves until the new one is ready, and then ends.

Usage: infra/run-enclave.sh [--release FOLDER] [--replace] [--debug-mode] [--health-timeout-s S] [--drain-s S]
                            [--dry-run]
       infra/run-enclave.sh --status | --stop | --ensure | --watch

--status, --stop, --ensure and --watch are `signerctl parent status`, stop, ensure and watch; without one of them this is
`signerctl parent start`. Their --help explains what they do, what they take and their exit statuses.
USAGE
}

verb='' arguments=()
for argument; do
    case $argument in
        --help | -h) usage; exit 0 ;;
        --status | --stop | --ensure | --watch)
            [[ -z $verb ]] || { echo "run-enclave.sh: $argument goes with no --$verb" >&2; exit 64; }
            verb=${argument#--}
            ;;
        *) arguments+=("$argument") ;;
    esac
done

# Beside this script in a release folder and where setup-parent.sh installs both; in a checkout, what the build made.
folder=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
for signerctl in "${SIGNERCTL:-}" "$folder/signerctl" "$folder/../target/image/signerctl"; do
    [[ ! -f $signerctl || ! -x $signerctl ]] || exec "$signerctl" parent "${verb:-start}" ${arguments[@]+"${arguments[@]}"}
done
echo 'run-enclave.sh: signerctl is missing; infra/build-eif.sh makes it and infra/setup-parent.sh installs it' >&2
exit 69
