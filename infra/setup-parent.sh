#!/usr/bin/env bash
# Prepares an Amazon Linux 2023 instance to be the parent of the signer's enclave: `signerctl parent setup`. See --help.
set -euo pipefail

usage() {
    cat <<'USAGE'
Prepares this instance (Amazon Linux 2023, launched with enclaves enabled) to run the signer. May be run again.

Usage: infra/setup-parent.sh [--release FOLDER] [--proxy FILE] [--side-by-side] [--with-kernel-blobs]
                             [--cloudwatch-log-group NAME] [--dry-run]

This is `signerctl parent setup` with the scripts and units beside this script. Its --help explains what it does, what it
takes and its exit statuses.
USAGE
}

for argument; do
    [[ $argument != --help && $argument != -h ]] || { usage; exit 0; }
done

# Beside this script in a release folder; in a checkout, what the build made.
folder=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
for signerctl in "${SIGNERCTL:-}" "$folder/signerctl" "$folder/../target/image/signerctl"; do
    [[ ! -f $signerctl || ! -x $signerctl ]] || exec "$signerctl" parent setup --files "$folder" "$@"
done
echo 'setup-parent.sh: signerctl is missing; infra/build-eif.sh makes it' >&2
exit 69
