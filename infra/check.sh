#!/usr/bin/env bash
# Checks, on the parent instance, that the signer runs as it should: `signerctl parent check`. See --help.
set -euo pipefail

usage() {
    cat <<'USAGE'
Checks the security of a running signer, on its parent instance. Changes nothing.

Usage: infra/check.sh [--release FOLDER] [--policy FILE] [--role NAME] [--pin-role]
                      [--pin-instance INSTANCE-ID] [--imds-url URL] [--root FILE]

This is `signerctl parent check`. Its --help explains what it checks, what it takes and its exit statuses.
USAGE
}

for argument; do
    [[ $argument != --help && $argument != -h ]] || { usage; exit 0; }
done

# Beside this script in a release folder and where setup-parent.sh installs both; in a checkout, what the build made.
folder=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
for signerctl in "${SIGNERCTL:-}" "$folder/signerctl" "$folder/../target/image/signerctl"; do
    [[ ! -f $signerctl || ! -x $signerctl ]] || exec "$signerctl" parent check "$@"
done
echo 'check.sh: signerctl is missing; infra/build-eif.sh makes it and infra/setup-parent.sh installs it' >&2
exit 69
