#!/usr/bin/env bash
# Tests the policies and the CloudFormation template with parliament, cfn-lint, moto and checks of our own. Needs
# Python 3 with venv and, the first time, PyPI. Called by test.sh.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=infra/prerequisites.sh
source infra/prerequisites.sh

readonly REQUIREMENTS=infra/tests/policies/linters.txt

main() {
    need_linters
    # Down to what is only informational, and with no rule ignored.
    cfn-lint --include-checks I -- infra/cloudformation.yaml
    ! sed 's/HttpTokens: required/HttpTokens: sometimes/' infra/cloudformation.yaml | cfn-lint - >/dev/null 2>&1 \
        || die 1 'the check is blind: cfn-lint takes any value'
    echo 'ok: cfn-lint'
    python infra/tests/policies/policies.test.py
    echo 'policies.test.sh: all passed'
}

# An environment of exactly these packages, first in PATH from then on.
need_linters() {
    local folder
    need_debian_packages python3:python3 flock:util-linux
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_debian_packages python3-venv
    folder="$tools_cache/policy-linters-$(sha256sum "$REQUIREMENTS" | cut -c 1-16)"
    install_linters "$folder"
    PATH="$folder/venv/bin:$PATH"
}

install_linters() (
    lock_cache policy-linters
    # The interpreter may have gone with an upgrade of the system.
    [[ ! -e $1/installed ]] || ! "$1/venv/bin/python" -c '' 2>/dev/null || exit 0
    rm -rf -- "$1"
    python3 -m venv "$1/venv" || die "$EX_UNAVAILABLE" 'cannot make a virtual environment'
    "$1/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --requirement "$REQUIREMENTS" || die "$EX_UNAVAILABLE" "cannot install $REQUIREMENTS; is PyPI reachable?"
    "$1/venv/bin/python" -m pip check --quiet --disable-pip-version-check \
        || die "$EX_UNAVAILABLE" "$REQUIREMENTS is not complete"
    touch "$1/installed"
)

main "$@"
