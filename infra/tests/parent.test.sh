#!/usr/bin/env bash
# Tests setup-parent.sh, run-enclave.sh and check.sh on a machine that is a folder, with fakes/ for its commands.
# Nothing outside of a temporary folder is changed, and nothing but loopback is listened on.
#
# Usage: infra/tests/parent.test.sh [PART...], where a part is setup, start, failures or watch_and_check; all of them if none
# is named. Parts can run at the same time.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=infra/prerequisites.sh
source "$root/infra/prerequisites.sh"
scratch=$(mktemp -d)
readonly STOP_PATIENCE_S=20
# PCR1 and PCR2 are those of the development signer, whose documents check.sh is shown.
PCRS=("$(printf '0a%.0s' {1..48})" "$(printf 'nitro-signer software NSM PCR1' | sha384sum | cut -d ' ' -f 1)"
    "$(printf 'nitro-signer software NSM PCR2' | sha384sum | cut -d ' ' -f 1)")
NEXT_PCRS=("$(printf 'a0%.0s' {1..48})" "$(printf 'b1%.0s' {1..48})" "${PCRS[2]}")
readonly ZERO=000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
readonly KEY_ARN=arn:aws:kms:us-east-1:999988887777:key/1234abcd-12ab-34cd-56ef-1234567890ab
started=() passed_at=0

# With spaces, which a path may have.
export FAKES="$scratch/state of fakes" FAKES_BIN="$root/infra/tests/fakes" NITRO_SIGNER_ROOT="$scratch/a machine" REAL_PROXY SIGNERCTL
boot_file="$NITRO_SIGNER_ROOT/etc/nitro-signer/env"
stored="$NITRO_SIGNER_ROOT/var/lib/nitro-signer/release"
records="$NITRO_SIGNER_ROOT/var/lib/nitro-signer/enclaves.json"
libexec="$NITRO_SIGNER_ROOT/usr/local/libexec/nitro-signer"
release="$scratch/a release"

readonly PARTS=(setup start failures watch_and_check)

main() {
    local part
    for part; do
        [[ " ${PARTS[*]} " == *" $part "* ]] || die 64 "no part '$part'; there are: ${PARTS[*]}"
    done
    build_programs
    # As another user's shell would call them.
    cd /
    export PATH="$FAKES_BIN:$PATH"
    unset SERVICE_RESULT NOTIFY_SOCKET
    new_machine
    start_enclaves
    (($#)) || set -- "${PARTS[@]}"
    for part; do
        "test_$part"
        echo "parent.test.sh: $part passed, $SECONDS s in all"
    done
}

test_setup() {
    a_wrong_command_line_is_refused
    the_first_setup_prepares_a_machine
    a_second_setup_changes_nothing
    the_boot_file_is_never_overwritten
    a_dry_run_of_the_setup_changes_nothing
    a_machine_that_does_not_fit_is_refused
    a_link_in_a_release_is_not_followed
    the_allocator_changes_only_while_no_enclave_runs
    two_enclaves_fit_side_by_side
    an_allocator_that_fails_says_why
    a_port_that_is_taken_names_the_program
    whatever_fails_in_the_setup_stops_it_and_the_next_one_completes_it
    the_log_goes_to_cloudwatch_if_asked
    the_units_get_the_ports_and_the_region
    acme_gets_routes_a_folder_and_port_443
    systemd_takes_the_units
}

test_start() {
    the_fake_nitro_cli_prints_what_the_transcripts_have
    the_first_start_serves_and_is_kept
    a_new_release_takes_over_without_a_gap
    a_cid_in_the_boot_file_moves_at_the_next_release
    enclaves_take_whole_pages
    a_renamed_enclave_is_known
    an_enclave_of_a_foreign_name_is_left_alone
    records_that_are_lost_or_cut_leave_the_names
    without_room_the_old_one_serves_on_unless_told
    a_silent_enclave_gets_its_clients_back
    the_driver_may_refuse_once_after_an_end
    nitro_cli_may_warn_hang_or_be_silent
    a_replacement_that_fails_brings_the_last_one_back
    a_replacement_that_fails_brings_the_last_boot_file_back
    one_that_never_gets_ready_is_ended
    wrong_releases_and_boot_files_are_refused
    a_link_in_a_release_is_not_started
    debug_mode_needs_a_word_and_takes_nobodys_place
}

test_failures() {
    whatever_call_fails_one_serves_or_nobody_is_said_to
    killed_at_any_time_the_boot_file_is_whole
    each_signal_takes_everything_back
    two_at_a_time_are_one_too_many
    a_dry_run_changes_nothing
}

test_watch_and_check() {
    stop_and_status_know_ours
    the_watch_starts_and_watches
    the_watch_leaves_a_deployment_alone
    preflight_tells_what_a_start_needs
    all_is_well
    a_policy_that_pins_this_parent_is_compared
    each_defect_is_one_line
}

# ---- A machine

build_programs() {
    need_debian_packages curl:curl flock:util-linux jq:jq python3:python3 setpriv:util-linux
    if [[ ${ACCEPTANCE_BIN_DIR:-} ]]; then
        REAL_PROXY=$ACCEPTANCE_BIN_DIR/proxy SIGNERCTL=$ACCEPTANCE_BIN_DIR/signerctl
        enclave_dev=$ACCEPTANCE_BIN_DIR/enclave-dev
        return
    fi
    need_rust
    need_debian_packages cc:gcc
    REAL_PROXY=$(executable proxy)
    SIGNERCTL=$(executable signerctl)
    enclave_dev=$(executable enclave-dev enclave-runtime --features enclave-runtime/dev)
}

# Builds the program $1 of the package $2, or of the package $1, with more options for cargo. Prints its path.
executable() {
    (cd "$root" && cargo build --locked -p "${2:-$1}" "${@:3}" --message-format=json-render-diagnostics) \
        | jq -r --arg name "$1" 'select(.executable and .target.name == $name) | .executable'
}

# Empty, with Amazon Linux on it, 8 CPUs and 16 GiB.
new_machine() {
    [[ ! -d $NITRO_SIGNER_ROOT ]] || rm -rf -- "$NITRO_SIGNER_ROOT"
    mkdir -p "$NITRO_SIGNER_ROOT"/{dev,etc,proc,run,var/lib} "$FAKES"
    touch "$NITRO_SIGNER_ROOT/dev/nitro_enclaves"
    # The sockets are the running server's.
    (cd "$FAKES" && rm -rf calls fail defects lock aws active enabled packages users owners live health \
        allocator-fails journal ss forged boot-s silent slow-end ending hang warning pages-of notified \
        && mkdir -p aws active enabled packages users owners live health pool)
    printf 'NAME="Amazon Linux"\nVERSION="2023"\nID="amzn"\nVERSION_ID="2023"\n' >"$NITRO_SIGNER_ROOT/etc/os-release"
    printf 'MemTotal:       16384000 kB\n' >"$NITRO_SIGNER_ROOT/proc/meminfo"
    echo '[]' >"$FAKES/enclaves.json"
    echo 0 >"$FAKES/uid"
    echo 8 >"$FAKES/cpus"
    echo 4 >"$FAKES/cpu-pool"
    # The allocator's reservation for 1536 MiB.
    echo 1073741824:1 2097152:256 >"$FAKES/pages"
    echo 15 >"$FAKES/cid"
    echo 200 >"$FAKES/new_health"
    echo 401 >"$FAKES/imds"
    : >"$FAKES/calls"
    : >"$FAKES/notified"
    new_release "$release" "${PCRS[@]}"
}

# A folder as of build-eif.sh, with an image of 64 KiB that measures the rest of the arguments.
new_release() {
    local folder=$1
    shift
    rm -rf -- "$folder"
    mkdir -p "$folder"
    { printf '%s\n' "$@"; head -c 65536 /dev/zero; } >"$folder/nitro-signer.eif"
    {
        sed "s,^sealing_key_arn = .*,sealing_key_arn = \"$KEY_ARN\"," "$root/infra/nitro.toml"
        printf '\n[pcr]\nPCR0 = "%s"\nPCR1 = "%s"\nPCR2 = "%s"\n' "$@"
    } >"$folder/nitro.toml"
    cp "$FAKES_BIN/proxy" "$folder/proxy"
    echo '{}' >"$folder/measurements.json"
}

# One that setup-parent.sh has been run on, with a boot file that an operator has filled in.
new_parent() {
    new_machine
    mkdir -p "$libexec" "$NITRO_SIGNER_ROOT"/etc/{nitro-signer,nitro_enclaves}
    chmod 755 "$NITRO_SIGNER_ROOT/etc/nitro-signer"
    cp "$FAKES_BIN/proxy" "$libexec/proxy"
    touch "$FAKES"/enabled/nitro-{enclaves-allocator,parent,enclave}.service
    printf -- '---\nmemory_mib: 1536\ncpu_count: 6\n' >"$NITRO_SIGNER_ROOT/etc/nitro_enclaves/allocator.yaml"
    printf '# A comment, with ENCLAVE_CID=1\nAWS_REGION=us-east-1\nINTERNAL_API_KEY="a $ \\" key of the  API  "\n\nTICKET_SIGNING_SECRET_CIPHERTEXT=AQIDBA==\nBRIDGE_LISTEN_PORT=%s\n' \
        "$(<"$FAKES/port")" >"$boot_file"
    chmod 600 "$boot_file"
    chown nitro-signer:nitro-signer "$boot_file"
    cp "$boot_file" "$scratch/operators words"
    # Somebody else's, and first on the list.
    echo 99 >"$FAKES/cid"
    echo '[{"EnclaveName":"somebody-elses","EnclaveID":"i-0123456789abcdef0-enc1","ProcessID":1,"EnclaveCID":99,"NumberOfCPUs":2,"CPUIDs":[5,7],"MemoryMiB":256,"State":"RUNNING","Flags":"NONE","Measurements":{}}]' \
        >"$FAKES/enclaves.json"
    echo 15 >"$FAKES/cid"
    echo 6 >"$FAKES/cpu-pool"
    : >"$FAKES/calls"
}

# No CPUs for a second enclave.
no_room_for_two() {
    echo 5 >"$FAKES/cpu-pool"
}

# One where an enclave, of the CID 16, serves.
new_serving_parent() {
    new_parent
    touch "$FAKES"/active/nitro-{enclaves-allocator,parent}.service
    nitro-cli run-enclave --eif-path "$release/nitro-signer.eif" --cpu-count 2 --memory 512 --enclave-name nitro-signer \
        >/dev/null 2>&1
    mkdir -p "${stored%/*}/releases/aaaaaaaa"
    cp "$release"/{nitro-signer.eif,nitro.toml} "${stored%/*}/releases/aaaaaaaa"
    ln -s releases/aaaaaaaa "$stored"
    mkdir -p "$NITRO_SIGNER_ROOT/run/nitro-signer"
    echo 16 >"$NITRO_SIGNER_ROOT/run/nitro-signer/cid"
    new_release "$release" "${NEXT_PCRS[@]}"
    : >"$FAKES/calls"
}

start_enclaves() {
    python3 "$FAKES_BIN/enclaves.py" "$FAKES" "$NITRO_SIGNER_ROOT" &
    started+=("$!")
    local deadline=$((SECONDS + STOP_PATIENCE_S))
    until [[ -s $FAKES/port ]]; do
        ((SECONDS < deadline)) || fail 'the fake enclaves do not start'
        sleep 0.05
    done
}

# ---- setup-parent.sh

a_wrong_command_line_is_refused() {
    local script
    for script in setup-parent run-enclave check; do
        exits_with 0 "$script" --help
        says 'Usage: '
        exits_with 64 "$script" --nonsense
        exits_with 64 "$script" --release
        echo 1000 >"$FAKES/uid"
        exits_with 77 "$script"
        echo 0 >"$FAKES/uid"
    done
    exits_with 64 run-enclave --drain-s -1
    exits_with 64 run-enclave --health-timeout-s 0
    exits_with 64 run-enclave --stop --watch
    exits_with 64 run-enclave --watch --debug-mode
    exits_with 64 setup-parent --cloudwatch-log-group 'a b'
    exits_with 64 check --imds-url nonsense
    passed
}

the_first_setup_prepares_a_machine() {
    new_machine
    exits_with 0 setup-parent --release "$release"
    called 'dnf install --assumeyes aws-nitro-enclaves-cli'
    called 'useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /sbin/nologin nitro-signer'
    called 'systemctl daemon-reload'
    local file
    for file in proxy signerctl run-enclave.sh check.sh; do
        [[ -x $libexec/$file ]] || fail "$file is not installed"
    done
    for file in nitro-parent nitro-enclave; do
        cmp "$root/infra/parent/$file.service" "$NITRO_SIGNER_ROOT/etc/systemd/system/$file.service"
        [[ -e $FAKES/enabled/$file.service ]] || fail "$file is not enabled"
    done
    [[ $(stat -c '%a %U:%G' "$boot_file") == '600 nitro-signer:nitro-signer' ]] || fail 'the boot file is not private'
    [[ $(tail -c 1 "$boot_file" | od -An -tx1) == ' 0a' ]] || fail 'the boot file is cut off'
    grep -qx 'AWS_REGION=us-east-1' "$boot_file"
    grep -qx 'INTERNAL_API_KEY=' "$boot_file"
    grep -qx 'TICKET_SIGNING_SECRET_CIPHERTEXT=' "$boot_file"
    grep -qx 'BRIDGE_LISTEN_PORT=7001' "$boot_file"
    # The package's own file is enough for one enclave.
    not_called 'systemctl restart'
    called 'systemctl start nitro-enclaves-allocator.service'
    says 'PASS enclave memory: 256 x 2 MiB free on node0, for 512 MiB'
    grep -q '^# How much memory' "$NITRO_SIGNER_ROOT/etc/nitro_enclaves/allocator.yaml"
    [[ ! -e $FAKES/packages/docker && ! -e $FAKES/packages/aws-nitro-enclaves-cli-devel ]] || fail 'it installs too much'
    exits_with 0 setup-parent --release "$release" --with-kernel-blobs
    called 'dnf install --assumeyes aws-nitro-enclaves-cli-devel'
    passed
}

a_second_setup_changes_nothing() {
    local before
    new_machine
    exits_with 0 setup-parent --release "$release" --side-by-side
    before=$(machine_tree)
    : >"$FAKES/calls"
    exits_with 0 setup-parent --release "$release" --side-by-side
    [[ $(changes) == 'systemctl daemon-reload' ]] || fail "it called: $(<"$FAKES/calls")"
    [[ $(machine_tree) == "$before" ]] || fail "it changed: $(diff <(echo "$before") <(machine_tree))"

    # A new proxy only changes the proxy.
    touch "$FAKES/active/nitro-parent.service"
    echo '# newer' >>"$release/proxy"
    exits_with 0 setup-parent --release "$release" --side-by-side
    says 'systemctl restart nitro-parent.service'
    cmp "$release/proxy" "$libexec/proxy"
    passed
}

the_boot_file_is_never_overwritten() {
    new_machine
    exits_with 0 setup-parent --release "$release"
    printf 'INTERNAL_API_KEY=of the operator' >"$boot_file"
    chmod 644 "$boot_file"
    chown root:root "$boot_file"
    exits_with 0 setup-parent --release "$release"
    says 'was 644 root:root'
    [[ $(stat -c '%a %U:%G' "$boot_file") == '600 nitro-signer:nitro-signer' ]] || fail 'the boot file is still open'
    [[ $(<"$boot_file") == 'INTERNAL_API_KEY=of the operator' ]] || fail 'the boot file was overwritten'
    ! grep -q 'of the operator' "$scratch/out" || fail 'a secret is shown'
    [[ ! -e $(cid_file) ]] || fail 'a CID is written that nothing named'
    # The CID that an earlier version wrote there gets its own file; the proxy that runs still reads the line.
    printf '\nENCLAVE_CID=16\n' >>"$boot_file"
    exits_with 0 setup-parent --release "$release" --dry-run
    [[ ! -e $(cid_file) ]] || fail 'a dry run wrote the CID'
    exits_with 0 setup-parent --release "$release"
    cid_file_is_whole
    cmp "$(cid_file)" - <<<16
    grep -qx ENCLAVE_CID=16 "$boot_file" || fail 'the line is gone'
    passed
}

a_dry_run_of_the_setup_changes_nothing() {
    local before
    new_machine
    before=$(machine_tree)
    # Nobody special may look.
    echo 1000 >"$FAKES/uid"
    exits_with 0 setup-parent --release "$release" --dry-run --side-by-side --cloudwatch-log-group /a/b
    [[ $(machine_tree) == "$before" && -z $(changes) ]] \
        || fail "a dry run changed something: $(<"$FAKES/calls")"
    says '+ dnf install --assumeyes aws-nitro-enclaves-cli'
    says '+ systemctl restart nitro-enclaves-allocator.service'
    passed
}

a_machine_that_does_not_fit_is_refused() {
    new_machine
    echo 4 >"$FAKES/cpus"
    exits_with 0 setup-parent --release "$release" --dry-run
    exits_with 69 setup-parent --release "$release" --side-by-side
    says 'of 4 CPUs, enclaves would take 4, and 2 have to stay'
    echo 'MemTotal:       1024000 kB' >"$NITRO_SIGNER_ROOT/proc/meminfo"
    exits_with 69 setup-parent --release "$release"
    says 'of 1000 MiB, enclaves would take 512'
    sed -i 's/^cpu_count = 2/cpu_count = 3/' "$release/nitro.toml"
    exits_with 78 setup-parent --release "$release"
    says 'not whole cores'
    new_machine
    printf 'ID=debian\nVERSION_ID="12"\n' >"$NITRO_SIGNER_ROOT/etc/os-release"
    exits_with 69 setup-parent --release "$release"
    new_machine
    rm "$release/proxy"
    exits_with 66 setup-parent --release "$release"
    exits_with 0 setup-parent --release "$release" --proxy "$FAKES_BIN/proxy"
    new_machine
    mkdir -m 755 "$NITRO_SIGNER_ROOT/etc/nitro-signer"
    chmod 775 "$NITRO_SIGNER_ROOT/etc/nitro-signer"
    exits_with 78 setup-parent --release "$release"
    says 'is writable by others than root (mode 775)'
    chmod 755 "$NITRO_SIGNER_ROOT/etc/nitro-signer"
    chown nitro-signer:nitro-signer "$NITRO_SIGNER_ROOT/etc/nitro-signer"
    exits_with 78 setup-parent --release "$release"
    says "is nitro-signer's; it has to be root's"
    new_machine
    ln -s "$scratch" "$NITRO_SIGNER_ROOT/etc/nitro-signer"
    exits_with 78 setup-parent --release "$release"
    says 'is a link or no folder'
    not_called dnf
    passed
}

# Otherwise a user with the right to write there could make root read a file for them.
a_link_in_a_release_is_not_followed() {
    local file
    echo 'only for root' >"$scratch/secret"
    for file in proxy nitro.toml; do
        new_machine
        rm "$release/$file"
        ln -s "$scratch/secret" "$release/$file"
        exits_with 78 setup-parent --release "$release"
        says "$file is a link or no regular file"
        not_called dnf
        rm "$release/$file"
        mkfifo "$release/$file"
        exits_with 78 setup-parent --release "$release"
        says "$file is a link or no regular file"
    done
    for file in check.sh parent/nitro-parent.service; do
        new_machine
        cp -r "$root"/infra/{setup-parent,run-enclave,check}.sh "$root/infra/parent" "$release/"
        rm "$release/$file"
        ln -s "$scratch/secret" "$release/$file"
        code=0
        "$release/setup-parent.sh" >"$scratch/out" 2>&1 || code=$?
        [[ $code == 78 ]] || fail "$file: exit code $code: $(<"$scratch/out")"
        says "$file is a link or no regular file"
    done
    passed
}

the_allocator_changes_only_while_no_enclave_runs() {
    local yaml="$NITRO_SIGNER_ROOT/etc/nitro_enclaves/allocator.yaml" before
    new_machine
    exits_with 0 setup-parent --release "$release" --side-by-side
    [[ $(grep -v '^#' "$yaml") == $'---\nmemory_mib: 1536\ncpu_count: 4' ]] || fail "the allocator has: $(<"$yaml")"
    called 'systemctl restart nitro-enclaves-allocator.service'

    sed -i 's/^memory_mib = 512/memory_mib = 2048/' "$release/nitro.toml"
    before=$(<"$yaml")
    jq 'map(.EnclaveName = "somebody-elses")' "$root/infra/tests/transcripts/nitro-cli/describe-enclaves-one.stdout" \
        >"$FAKES/enclaves.json"
    : >"$FAKES/calls"
    exits_with 75 setup-parent --release "$release"
    says 'cannot change while an enclave runs'
    [[ $(<"$yaml") == "$before" ]] || fail 'the allocator changed under an enclave'
    not_called 'systemctl restart'
    # A value that was chosen by hand, or that another program needs, stays.
    printf -- '---\n# more\nmemory_mib: 8192\ncpu_count: 6\n' >"$yaml"
    exits_with 0 setup-parent --release "$release"
    printf -- '---\nmemory_mib: 512\ncpu_pool: 2,3\n' >"$yaml"
    exits_with 0 setup-parent --release "$release"
    says 'has a cpu_pool'
    not_called 'systemctl restart'
    # A file that the allocator refuses is neither taken for empty nor overwritten.
    printf -- '---\nmemory_mib: 512 # x\ncpu_count: 2\n' >"$yaml"
    exits_with 78 setup-parent --release "$release"
    says 'line 2: memory_mib is not a whole number'
    passed
}

two_enclaves_fit_side_by_side() {
    new_machine
    exits_with 0 setup-parent --release "$release" --side-by-side
    says 'PASS enclave memory: 1 x 1024 MiB + 256 x 2 MiB free on node0'
    nitro-cli run-enclave --eif-path "$release/nitro-signer.eif" --cpu-count 2 --memory 512 --enclave-name a >/dev/null 2>&1
    nitro-cli run-enclave --eif-path "$release/nitro-signer.eif" --cpu-count 2 --memory 512 --enclave-name b >/dev/null 2>&1
    # Of the reservation that looks large enough, the first takes all.
    new_machine
    mkdir -p "$NITRO_SIGNER_ROOT/etc/nitro_enclaves"
    printf -- '---\nmemory_mib: 1024\ncpu_count: 4\n' >"$NITRO_SIGNER_ROOT/etc/nitro_enclaves/allocator.yaml"
    touch "$FAKES/packages/aws-nitro-enclaves-cli"
    exits_with 0 setup-parent --release "$release" --side-by-side
    called 'systemctl restart nitro-enclaves-allocator.service'
    grep -qx 'memory_mib: 1536' "$NITRO_SIGNER_ROOT/etc/nitro_enclaves/allocator.yaml"
    passed
}

an_allocator_that_fails_says_why() {
    local yaml="$NITRO_SIGNER_ROOT/etc/nitro_enclaves/allocator.yaml"
    new_machine
    cp "$root/infra/tests/transcripts/allocator/insufficient-memory.txt" "$FAKES/allocator-fails"
    exits_with 1 setup-parent --release "$release" --side-by-side
    says 'Failed to configure entire amount of requested memory'
    says 'reboot'
    cmp "$root/infra/tests/transcripts/allocator/allocator.yaml" "$yaml"
    rm "$FAKES/allocator-fails"
    exits_with 0 setup-parent --release "$release" --side-by-side
    # Also where its file is large enough already, and it only has to start.
    new_machine
    cp "$root/infra/tests/transcripts/allocator/insufficient-memory.txt" "$FAKES/allocator-fails"
    exits_with 1 setup-parent --release "$release"
    says 'the allocator does not start. Error: Failed to configure entire amount of requested memory'
    says 'reboot'
    passed
}

a_port_that_is_taken_names_the_program() {
    new_machine
    cp "$root/infra/tests/transcripts/parent/ss-vsock.txt" "$FAKES/ss"
    # Our own proxy has 7103 there, and AWS's has 8000.
    mkdir -p "$NITRO_SIGNER_ROOT/proc/2601"
    ln -s "$libexec/proxy" "$NITRO_SIGNER_ROOT/proc/2601/exe"
    exits_with 0 setup-parent --release "$release"
    new_machine
    cp "$root/infra/tests/transcripts/parent/ss-vsock.txt" "$FAKES/ss"
    sed -i 's/^kms_proxy_port = .*/kms_proxy_port = 8000/' "$release/nitro.toml"
    exits_with 69 setup-parent --release "$release"
    says 'vsock-proxy listens on vsock port 8000, which vsock.kms_proxy_port needs'
    says 'systemctl disable --now nitro-enclaves-vsock-proxy.service'
    not_called dnf
    # Another program of the name.
    new_machine
    cp "$root/infra/tests/transcripts/parent/ss-vsock.txt" "$FAKES/ss"
    mkdir -p "$NITRO_SIGNER_ROOT/proc/2601"
    ln -s "$scratch/proxy" "$NITRO_SIGNER_ROOT/proc/2601/exe"
    exits_with 69 setup-parent --release "$release"
    says 'proxy listens on vsock port 7103, which vsock.log_port needs'
    # One without a name may be our own proxy, unless root sees that ours does not run.
    sed 's/3:9000/*:7100/; /:7103/d' "$root/infra/tests/transcripts/parent/ss-vsock.txt" >"$FAKES/ss"
    exits_with 69 setup-parent --release "$release"
    says 'a program that ss does not name listens on vsock port 7100'
    touch "$FAKES/active/nitro-parent.service"
    exits_with 0 setup-parent --release "$release"
    rm "$FAKES/active/nitro-parent.service"
    echo 1000 >"$FAKES/uid"
    exits_with 0 setup-parent --release "$release" --dry-run
    passed
}

whatever_fails_in_the_setup_stops_it_and_the_next_one_completes_it() {
    local name index calls whole all
    new_machine
    exits_with 0 setup-parent --release "$release" --side-by-side
    whole=$(machine_files) all=$(<"$FAKES/calls")
    for name in dnf useradd chown nitro-cli systemctl; do
        calls=$(grep -c "^$name" <<<"$all")
        # The others are the preflight's, for which a failure leaves a point open.
        [[ $name != nitro-cli ]] || calls=1
        for ((index = 1; index <= calls; index++)); do
            new_machine
            echo "$name $index 43" >"$FAKES/fail"
            if [[ $name == nitro-cli ]]; then
                exits_with 69 setup-parent --release "$release" --side-by-side
            else
                exits_with 43 setup-parent --release "$release" --side-by-side
            fi
            rm "$FAKES/fail"
            exits_with 0 setup-parent --release "$release" --side-by-side
            [[ $(machine_files) == "$whole" ]] || fail "$name $index: $(diff <(echo "$whole") <(machine_files))"
            [[ -e $FAKES/active/nitro-enclaves-allocator.service && -e $FAKES/enabled/nitro-enclave.service ]] \
                || fail "$name $index: a unit is not started or enabled"
            called 'systemctl restart nitro-enclaves-allocator.service'
        done
    done
    passed
}

the_log_goes_to_cloudwatch_if_asked() {
    new_machine
    exits_with 0 setup-parent --release "$release" --cloudwatch-log-group /nitro-signer/signer
    called 'dnf install --assumeyes aws-nitro-enclaves-cli amazon-cloudwatch-agent logrotate'
    called 'amazon-cloudwatch-agent-ctl -a append-config -m ec2 -s -c'
    jq -e '.logs.logs_collected.files.collect_list[0] | .file_path == "/var/log/nitro-signer/signer.log" and .log_group_name == "/nitro-signer/signer"' \
        "$NITRO_SIGNER_ROOT/etc/nitro-signer/cloudwatch.json" >/dev/null
    [[ -e $FAKES/active/nitro-logs.service && -e $FAKES/enabled/nitro-logs.service ]] || fail 'nobody writes the file'
    : >"$FAKES/calls"
    exits_with 0 setup-parent --release "$release" --cloudwatch-log-group /nitro-signer/signer
    [[ $(changes) == 'systemctl daemon-reload' ]] || fail "it called: $(<"$FAKES/calls")"
    new_machine
    echo 'amazon-cloudwatch-agent-ctl 1 7' >"$FAKES/fail"
    exits_with 7 setup-parent --release "$release" --cloudwatch-log-group /nitro-signer/signer
    rm "$FAKES/fail"
    : >"$FAKES/calls"
    exits_with 0 setup-parent --release "$release" --cloudwatch-log-group /nitro-signer/signer
    called 'amazon-cloudwatch-agent-ctl'
    passed
}

the_units_get_the_ports_and_the_region() {
    local drop_in="$NITRO_SIGNER_ROOT/etc/systemd/system/nitro-parent.service.d/nitro-toml.conf" region host partition
    for region in us-east-1=aws=kms.us-east-1.amazonaws.com cn-north-1=aws-cn=kms.cn-north-1.amazonaws.com.cn \
        us-gov-west-1=aws-us-gov=kms.us-gov-west-1.amazonaws.com \
        eusc-de-east-1=aws-eusc=kms.eusc-de-east-1.amazonaws.eu; do
        new_machine
        host=${region##*=} region=${region%=*} partition=${region#*=} region=${region%=*}
        sed -i "s/arn:aws:kms:us-east-1:/arn:$partition:kms:$region:/; s/^region = .*/region = \"$region\" # here/; s/^boot_port = .*/boot_port = 8_802/; s/^idle_timeout_s = .*/idle_timeout_s = 355/; s/^max_connections = .*/max_connections = 2000/" "$release/nitro.toml"
        exits_with 0 setup-parent --release "$release"
        grep -qx "Environment=KMS_HOST=$host" "$drop_in" || fail "$region: $(<"$drop_in")"
        grep -qx 'Environment=IMDS_PORT=7101 BOOT_PORT=8802 LOG_PORT=7103' "$drop_in" || fail "$(<"$drop_in")"
        grep -qx 'Environment=IDLE_TIMEOUT_S=370' "$drop_in" || fail "$(<"$drop_in")"
        # Twice as many connections, and two descriptors for each on five routes.
        grep -qx 'Environment=MAX_CONNECTIONS=4000' "$drop_in" || fail "$(<"$drop_in")"
        grep -qx 'LimitNOFILE=44096' "$drop_in" || fail "$(<"$drop_in")"
        # 304 KiB for each of 4,000 connections, and 64 MiB.
        grep -qx 'MemoryMax=1252M' "$drop_in" || fail "$(<"$drop_in")"
        grep -qx 'Environment=PROXY_PROTOCOL=' "$drop_in" || fail "$(<"$drop_in")"
        grep -qx "AWS_REGION=$region" "$boot_file"
    done
    sed -i 's/^proxy_protocol = .*/proxy_protocol = true/' "$release/nitro.toml"
    exits_with 0 setup-parent --release "$release"
    grep -qx 'Environment=PROXY_PROTOCOL=--proxy-protocol' "$drop_in" || fail "$(<"$drop_in")"
    passed
}

# Puts $1 for the committed [tls] of the release, and what else ACME takes.
use_acme() {
    python3 - "$release/nitro.toml" "$1" <<'PYTHON'
import re, sys
path, directory = sys.argv[1:]
text = open(path).read()
text, count = re.subn(r'(?m)^mode = "off"$', 'mode = "acme"\nserver_names = ["signer.example.com"]', text)
assert count == 1, count
text = text.replace("\n[pcr]", f'\n[acme]\ndirectory = "{directory}"\nterms_of_service_agreed = true # ours\n\n[pcr]')
open(path, "w").write(text)
PYTHON
}

acme_gets_routes_a_folder_and_port_443() {
    local drop_in="$NITRO_SIGNER_ROOT/etc/systemd/system/nitro-parent.service.d/nitro-toml.conf" server line
    new_machine
    exits_with 0 setup-parent --release "$release"
    grep -qE 'ACME|StateDirectory|CAP_' "$drop_in" && fail "without acme: $(<"$drop_in")"
    for server in https://acme.example/directory=acme.example:443 https://CA.example:14000/dir=ca.example:14000; do
        new_machine
        use_acme "${server%=*}"
        sed -i -e 's/^certificate_store_port = .*/certificate_store_port = 8_105/' \
            -e 's/^acme_challenge_port = .*/acme_challenge_port = 5_102/' "$release/nitro.toml"
        exits_with 0 setup-parent --release "$release"
        line='Environment="ACME_ROUTES=--route tcp:0.0.0.0:443=enclave:/run/nitro-signer/cid:5102'
        line+=" --route vsock:any:7104=tcp:${server#*=} --route vsock:any:8105=file:/var/lib/nitro-signer/acme/certificate"
        line+=' --route vsock:any:7106=replace:/var/lib/nitro-signer/acme/certificate"'
        grep -qxF "$line" "$drop_in" || fail "$(<"$drop_in")"
        for line in StateDirectory=nitro-signer/acme StateDirectoryMode=0700 AmbientCapabilities=CAP_NET_BIND_SERVICE \
            CapabilityBoundingSet=CAP_NET_BIND_SERVICE; do
            grep -qxF "$line" "$drop_in" || fail "$line is not in: $(<"$drop_in")"
        done
    done
    # The port of the API may be 443 itself.
    sed -i 's/^BRIDGE_LISTEN_PORT=.*/BRIDGE_LISTEN_PORT=443/' "$boot_file"
    exits_with 0 setup-parent --release "$release"
    grep -q '=--route vsock:any:7104=' "$drop_in" || fail "$(<"$drop_in")"
    for server in '' http://acme.example/ https://a_b/ 'https://a b/' https://a.example:0/; do
        new_machine
        use_acme "$server"
        exits_with 78 setup-parent --release "$release"
        says 'acme.directory: '
    done
    passed
}

# Names and settings, as far as systemd can tell without running them.
systemd_takes_the_units() {
    if ! command -v systemd-analyze >/dev/null; then
        echo 'systemd takes the units: SKIPPED, no systemd-analyze here'
        return
    fi
    local there="$scratch/a root for systemd" unit program
    new_machine
    # With the most that there is in a drop-in.
    use_acme https://acme.example/directory
    exits_with 0 setup-parent --release "$release" --cloudwatch-log-group /a
    mkdir -p "$there"/{etc/systemd/system,usr/bin,usr/lib,usr/local/libexec}
    cp -r /usr/lib/systemd "$there/usr/lib/"
    cp -r "$NITRO_SIGNER_ROOT/etc/systemd/system" "$there/etc/systemd/"
    cp -r "$libexec" "$there/usr/local/libexec/"
    for program in env journalctl; do
        cp /usr/bin/env "$there/usr/bin/$program"
    done
    printf '[Service]\nType=oneshot\nExecStart=/usr/bin/env\n' >"$there/etc/systemd/system/nitro-enclaves-allocator.service"
    for unit in nitro-parent nitro-enclave nitro-logs; do
        systemd-analyze --root="$there" --man=no --recursive-errors=no verify "$there/etc/systemd/system/$unit.service" \
            >"$scratch/verify" 2>&1 || fail "$unit: $(<"$scratch/verify")"
        [[ ! -s $scratch/verify ]] || fail "$unit: $(<"$scratch/verify")"
    done
    # As --threshold has them, times ten.
    for unit in nitro-parent=20 nitro-enclave=55 nitro-logs=15; do
        systemd-analyze --root="$there" --offline=true --threshold="${unit#*=}" security "${unit%=*}.service" \
            >"$scratch/security" 2>&1 || fail "${unit%=*}: $(tail -n 1 "$scratch/security")"
    done
    passed
}

# ---- run-enclave.sh

# The text of file $1 without what differs from run to run: numbers, but those of errors, and strings that are values.
shape() {
    sed -E -e 's/(": |^ *)"[^"]*"(,?)$/\1"x"\2/' -e 's/err[-0-9T:.+]*\.log/err.log/' -e 's/i-[0-9a-z]+-enc[0-9a-f]+/i-x/' \
        -e "s/(File: ')[^']*/\1/" -e 's/(^|[^E0-9])[0-9]+/\1 0/g' "$1"
}

# That the fake prints and ends as transcript $1 with the exit status $2, when it is called with the rest.
prints_as() {
    local transcript="$root/infra/tests/transcripts/nitro-cli/$1" expected=$2 stream
    shift 2
    code=0
    nitro-cli "$@" >"$scratch/fake.stdout" 2>"$scratch/fake.stderr" || code=$?
    [[ $code == "$expected" ]] || fail "$*: exit status $code and not $expected"
    for stream in stdout stderr; do
        diff <(shape "$(existing "$transcript.$stream")") <(shape "$scratch/fake.$stream") \
            || fail "$*: its $stream is not as ${transcript##*/}"
    done
}

existing() {
    if [[ -e $1 ]]; then echo "$1"; else echo /dev/null; fi
}

the_fake_nitro_cli_prints_what_the_transcripts_have() {
    local run=(run-enclave --eif-path "$release/nitro-signer.eif" --memory 512 --enclave-name signer) id
    new_machine
    prints_as version 0 --version
    prints_as describe-eif 0 describe-eif --eif-path "$release/nitro-signer.eif"
    prints_as describe-enclaves-none 0 describe-enclaves
    prints_as run-enclave 0 "${run[@]}" --cpu-count 2
    prints_as describe-enclaves-one 0 describe-enclaves
    # One that boots is not there yet.
    echo 1 >"$FAKES/boot-s"
    nitro-cli "${run[@]}" --cpu-count 2 >"$scratch/second" 2>&1 &
    started+=("$!")
    eventually 'the second boots' grep -q Started "$scratch/second"
    prints_as describe-enclaves-one 0 describe-enclaves
    wait "${started[-1]}"
    prints_as describe-enclaves-two 0 describe-enclaves
    [[ $(jq -r 'map(.EnclaveName) | join(" ")' "$FAKES/enclaves.json") == 'signer signer_1' ]] || fail 'it does not rename'
    id=$(jq -r '.[1].EnclaveID' "$FAKES/enclaves.json")
    echo "$id" >"$FAKES/silent"
    prints_as describe-enclaves-failed-connection 39 describe-enclaves
    rm "$FAKES/silent" "$FAKES/boot-s"
    prints_as run-enclave-e22 39 "${run[@]}" --cpu-count 6
    prints_as run-enclave-e29-no-cpus 39 "${run[@]}" --cpu-count 2
    prints_as terminate-enclave 0 terminate-enclave --enclave-id "$id"
    prints_as terminate-enclave-e11 11 terminate-enclave --enclave-id "$id"
    prints_as run-enclave-e29-not-whole-cores 39 "${run[@]}" --cpu-count 1
    prints_as run-enclave-e27 39 "${run[@]}" --cpu-count 2 --memory 3072
    head -c 140000000 /dev/zero >>"$release/nitro-signer.eif"
    prints_as run-enclave-e26 39 "${run[@]}" --cpu-count 2
    new_release "$release" "${PCRS[@]}"
    echo unbootable >"$FAKES/new_health"
    prints_as run-enclave-e36 39 "${run[@]}" --cpu-count 2
    passed
}

the_first_start_serves_and_is_kept() {
    new_parent
    echo '503 503 200' >"$FAKES/new_health"
    exits_with 0 run-enclave --release "$release"
    serves 16
    called 'systemctl start nitro-enclaves-allocator.service'
    called 'systemctl start nitro-parent.service'
    called 'systemctl start --no-block nitro-enclave.service'
    jq -e '.enclaves | length == 1 and (.[0].id | startswith("i-")) and .[0].cid == 16' "$records" >/dev/null \
        || fail "there is recorded: $(<"$records")"
    [[ $(/usr/bin/stat -c %a "$records") == 600 ]] || fail 'the records are open'
    called 'nitro-cli run-enclave --eif-path'
    not_called '--debug-mode'
    cmp "$release/nitro-signer.eif" "$stored/nitro-signer.eif"
    cmp "$release/nitro.toml" "$stored/nitro.toml"
    [[ $(cd "$stored" && /usr/bin/stat -c '%a %n' . ./* | paste -sd ,) == '755 .,600 ./env,644 ./nitro-signer.eif,644 ./nitro.toml' ]] \
        || fail "there is kept: $(ls -la "$stored"/)"
    boot_file_is_whole
    cmp "$(cid_file)" - <<<16 || fail 'the CID is not written'
    # From what was kept, at the next boot.
    echo '[]' >"$FAKES/enclaves.json"
    rm -r "${release:?}"
    exits_with 0 run-enclave
    serves 17
    passed
}

a_new_release_takes_over_without_a_gap() {
    local client cids
    new_serving_parent
    echo '503 503 503 200' >"$FAKES/new_health"
    while curl --silent --max-time 5 --write-out ' %{http_code}\n' "http://127.0.0.1:$(<"$FAKES/port")/health" || echo none; do
        sleep 0.02
    done >"$scratch/answers" &
    client=$!
    started+=("$client")
    exits_with 0 run-enclave --release "$release" --drain-s 1
    kill "$client"
    wait "$client" 2>/dev/null || true
    # The last one may be cut in the middle, by the end of the client.
    cids=$(head -n -1 "$scratch/answers" | uniq | paste -sd ,)
    [[ $cids == '16 200,17 200' ]] || fail "clients were answered: $cids"
    serves 17
    boot_file_is_whole
    [[ $(jq -r 'map(.EnclaveName) | join(" ")' "$FAKES/enclaves.json") == 'somebody-elses nitro-signer_1' ]] \
        || fail "there run: $(<"$FAKES/enclaves.json")"
    cmp "$release/nitro-signer.eif" "$stored/nitro-signer.eif"
    [[ $(find "${stored%/*}/releases" -mindepth 1 -maxdepth 1 | wc -l) -le 2 ]] || fail 'old releases pile up'
    not_called 'systemctl restart'
    passed
}

without_room_the_old_one_serves_on_unless_told() {
    local room
    for room in 'cpu-pool 5' 'cpu-pool 4' 'pages 2097152:255' 'pages 1073741824:0 2097152:0'; do
        new_serving_parent
        echo "${room#* }" >"$FAKES/${room%% *}"
        exits_with 75 run-enclave --release "$release"
        says 'it needs 2 CPUs and 512 MiB; the allocator has memory_mib: 1536, cpu_count: 6, of which running enclaves take 4 CPUs and 768 MiB'
        says 'no room for both; --replace'
        serves 16
        ours_are 1
        exits_with 0 run-enclave --release "$release" --replace
        serves 17
        ours_are 1
        boot_file_is_whole
    done
    # Nothing of ours is in the way.
    new_parent
    sed -i 's/^cpu_count: .*/cpu_count: 3/' "$NITRO_SIGNER_ROOT/etc/nitro_enclaves/allocator.yaml"
    exits_with 75 run-enclave --release "$release" --replace
    says 'no room for it'
    says 'nobody is served'
    # The end of another enclave does not mend it.
    new_serving_parent
    sed -i 's/^cpu_count = 2/cpu_count = 1/' "$release/nitro.toml"
    exits_with 69 run-enclave --release "$release" --replace
    says 'nitro-cli run-enclave: E29: Ioctl failure.'
    serves 16
    ours_are 1
    new_serving_parent
    sed -i 's/^cpu_count = 2/cpu_count = 8/' "$release/nitro.toml"
    exits_with 69 run-enclave --release "$release" --replace
    says 'nitro-cli run-enclave: E22: Insufficient CPUs available in the pool.'
    serves 16
    new_serving_parent
    "$FAKES_BIN/allocator"
    sed -i 's/^memory_mib = 512/memory_mib = 4096/' "$release/nitro.toml"
    exits_with 69 run-enclave --release "$release" --replace
    says 'no room for it, even without the old enclave'
    serves 16
    ours_are 1
    passed
}

# The memory of two enclaves in one large page is a page for one.
# Earlier versions kept the CID in the boot file, and the proxy that runs may still read it there.
a_cid_in_the_boot_file_moves_at_the_next_release() {
    new_serving_parent
    sed -i 's/^AWS_REGION/ENCLAVE_CID=16\nAWS_REGION/' "$boot_file"
    chown nitro-signer:nitro-signer "$boot_file"
    exits_with 0 run-enclave --release "$release" --drain-s 1
    called 'systemctl restart nitro-parent.service'
    serves 17
    boot_file_is_whole
    # One that fails leaves the line to the proxy that reads it.
    new_serving_parent
    sed -i 's/^AWS_REGION/ENCLAVE_CID=16\nAWS_REGION/' "$boot_file"
    echo 503 >"$FAKES/new_health"
    exits_with 70 run-enclave --release "$release" --health-timeout-s 1
    grep -qx ENCLAVE_CID=16 "$boot_file" || fail 'the line is gone'
    not_called 'systemctl restart'
    serves 16
    passed
}

enclaves_take_whole_pages() {
    new_serving_parent
    [[ $(<"$FAKES/pages") == '1073741824:1 2097152:0' ]] || fail "there are left: $(<"$FAKES/pages")"
    exits_with 0 run-enclave --release "$release" --drain-s 0
    says 'ended: '
    [[ $(jq '.[-1].MemoryMiB' "$FAKES/enclaves.json") == 1024 ]] || fail 'it did not take the large page'
    new_parent
    sed -i 's/^memory_mib: .*/memory_mib: 1024/' "$NITRO_SIGNER_ROOT/etc/nitro_enclaves/allocator.yaml"
    exits_with 0 run-enclave --release "$release"
    exits_with 75 run-enclave --release "$release"
    says 'E27: Insufficient memory available'
    serves 16
    exits_with 0 run-enclave --release "$release" --replace
    serves 17
    passed
}

names() {
    jq -r 'map(.EnclaveName) | join(" ")' "$FAKES/enclaves.json"
}

a_renamed_enclave_is_known() {
    local watch
    new_serving_parent
    exits_with 0 run-enclave --release "$release" --drain-s 0
    [[ $(names) == 'somebody-elses nitro-signer_1' ]] || fail "there run: $(names)"
    serves 17
    exits_with 0 run-enclave --status
    says ' nitro-signer_1 CID 17 RUNNING NONE'
    exits_with 0 run-enclave --ensure
    says 'the enclave with CID 17 answers'
    start_watch
    stop_watch 0
    # The next one gets the name again, and the renamed one is ended.
    exits_with 0 run-enclave --release "$release" --drain-s 0
    [[ $(names) == 'somebody-elses nitro-signer' ]] || fail "there run: $(names)"
    # A renamed one that fails is taken back.
    echo 503 >"$FAKES/new_health"
    exits_with 70 run-enclave --release "$release" --health-timeout-s 1
    says 'CID 18 goes on serving'
    [[ $(names) == 'somebody-elses nitro-signer' ]] || fail "there run: $(names)"
    # It is ours by its name too, and by its record whatever its name.
    echo 200 >"$FAKES/new_health"
    exits_with 0 run-enclave --release "$release" --drain-s 0
    rm "$records"
    exits_with 0 run-enclave --status
    says ' nitro-signer_1 CID 20 '
    exits_with 0 run-enclave --release "$release" --drain-s 0
    fake_enclave_id "$(jq -r '.enclaves[0].id' "$records")" '.EnclaveName = "renamed by hand"'
    exits_with 0 run-enclave --status
    says ' renamed by hand CID 21 '
    exits_with 0 run-enclave --stop
    [[ $(names) == somebody-elses ]] || fail "there run: $(names)"
    passed
}

# Changes the entry of the enclave $1 by the jq filter $2.
fake_enclave_id() {
    jq -c --arg id "$1" "map(if .EnclaveID == \$id then $2 else . end)" "$FAKES/enclaves.json" >"$FAKES/enclaves.json.edited"
    mv "$FAKES/enclaves.json.edited" "$FAKES/enclaves.json"
}

an_enclave_of_a_foreign_name_is_left_alone() {
    local name
    for name in nitro-signer2 nitro-signer_ nitro-signer_a nitro-signer-1 other; do
        new_serving_parent
        fake_enclave_id i-0123456789abcdef0-enc1 ".EnclaveName = \"$name\""
        exits_with 0 run-enclave --status
        ! grep -q ' CID 99 ' "$scratch/out" || fail "$name is taken for ours"
        exits_with 0 run-enclave --stop
        [[ $(names) == "$name" ]] || fail "there run: $(names)"
    done
    passed
}

records_that_are_lost_or_cut_leave_the_names() {
    local text
    for text in '' '{' '[]' '{"enclaves":[{"id":1}]}' '{"enclaves":'; do
        new_serving_parent
        printf '%s' "$text" >"$records"
        exits_with 0 run-enclave --release "$release" --drain-s 0
        says 'our enclaves are known by their names only'
        serves 17
        ours_are 1
        jq -e '.enclaves[0].cid == 17' "$records" >/dev/null || fail "there is recorded: $(<"$records")"
    done
    # One that was ended is forgotten.
    exits_with 0 run-enclave --release "$release" --drain-s 0
    exits_with 0 run-enclave --release "$release" --drain-s 0
    [[ $(jq -c '.enclaves | map(.cid)' "$records") == '[19]' ]] || fail "there is recorded: $(<"$records")"
    passed
}

# nitro-cli hears nothing of it, and clients do.
a_silent_enclave_gets_its_clients_back() {
    new_serving_parent
    exits_with 0 run-enclave --release "$release" --drain-s 0
    jq -r '.enclaves[-1].id' "$records" >"$FAKES/silent"
    # Once for the probe, and not through the proxy.
    echo '200 dead' >"$FAKES/new_health"
    exits_with 70 run-enclave --release "$release"
    says 'switched back to the enclave with CID 17'
    rm "$FAKES/silent"
    serves 17
    ours_are 1
    passed
}

the_driver_may_refuse_once_after_an_end() {
    new_serving_parent
    no_room_for_two
    touch "$FAKES/slow-end"
    exits_with 0 run-enclave --release "$release" --replace
    says 'trying again, because another enclave has just ended'
    serves 17
    ours_are 1
    passed
}

nitro_cli_may_warn_hang_or_be_silent() {
    new_serving_parent
    printf 'ld.so: an object cannot be preloaded\n[WARN] {old}\n' >"$FAKES/warning"
    exits_with 0 run-enclave --release "$release" --drain-s 0
    serves 17
    exits_with 0 run-enclave --status
    says ' CID 17 RUNNING'
    # It started one and tells nothing.
    new_serving_parent
    touch "$FAKES/hang"
    exits_with 0 run-enclave --release "$release" --drain-s 0
    says 'nitro-cli run-enclave: it did not end within'
    serves 17
    ours_are 1
    # It never comes to it, and is not seen.
    new_serving_parent
    echo 600 >"$FAKES/boot-s"
    exits_with 69 run-enclave --release "$release"
    says 'nitro-cli run-enclave: it did not end within'
    serves 16
    ours_are 1
    # Another's enclave, or a recorded one of ours, whose process does not answer.
    new_serving_parent
    echo i-0123456789abcdef0-enc1 >"$FAKES/silent"
    exits_with 0 run-enclave --release "$release" --drain-s 0
    serves 17
    exits_with 0 run-enclave --release "$release" --drain-s 0
    serves 18
    ours_are 1
    jq -r '.enclaves[-1].id' "$records" >"$FAKES/silent"
    exits_with 0 run-enclave --status
    says 'CID 18: its process may be one that does not answer nitro-cli'
    exits_with 0 run-enclave --ensure
    says 'the enclave with CID 18 answers'
    # A field is missing.
    new_serving_parent
    echo '[{"EnclaveName":"nitro-signer"}]' >"$FAKES/enclaves.json"
    exits_with 69 run-enclave --status
    says 'nitro-cli describe-enclaves: expected a JSON array of enclaves'
    says 'missing field'
    passed
}

a_replacement_that_fails_brings_the_last_one_back() {
    new_serving_parent
    no_room_for_two
    # The last one's KMS key policy may be gone too: any answer will do.
    echo 503 >"$FAKES/new_health"
    exits_with 70 run-enclave --release "$release" --replace --health-timeout-s 1
    says 'starting again what was last started'
    serves 18 503
    ours_are 1
    [[ $(jq -r '.[-1].Measurements.PCR0' "$FAKES/enclaves.json") == "${PCRS[0]}" ]] || fail 'it is not the last one'
    passed
}

a_replacement_that_fails_brings_the_last_boot_file_back() {
    local end runner
    for end in failure interruption; do
        new_serving_parent
        exits_with 0 run-enclave --release "$release" --drain-s 0
        serves 17
        [[ $(stat -c '%a %U' "$stored/env") == '600 root' ]] || fail 'the copy of the boot file is not private'
        cmp "$boot_file" "$stored/env"
        # With secrets that the last release does not open.
        sed -i 's/^TICKET_SIGNING_SECRET_CIPHERTEXT=.*/TICKET_SIGNING_SECRET_CIPHERTEXT=BQIDBA==/' "$boot_file"
        chmod 600 "$boot_file"
        chown nitro-signer:nitro-signer "$boot_file"
        cp "$boot_file" "$scratch/with new secrets"
        new_release "$release" "${PCRS[@]}"
        no_room_for_two
        echo 503 >"$FAKES/new_health"
        if [[ $end == failure ]]; then
            exits_with 70 run-enclave --release "$release" --replace --health-timeout-s 1
        else
            : >"$scratch/out"
            "$root/infra/run-enclave.sh" --release "$release" --replace >"$scratch/out" 2>&1 &
            runner=$!
            started+=("$runner")
            eventually 'the new one starts' grep -q 'waiting for it' "$scratch/out"
            kill -TERM "$runner"
            code=0
            wait "$runner" || code=$?
            [[ $code == 143 ]] || fail "it ended with $code"
            exits_with 0 run-enclave --ensure
        fi
        serves 19 503
        [[ $(jq -r '.[-1].Measurements.PCR0' "$FAKES/enclaves.json") == "${NEXT_PCRS[0]}" ]] || fail 'it is not the last one'
        cmp "$boot_file" "$stored/env"
        cmp "$boot_file.failed" "$scratch/with new secrets"
        [[ $(stat -c '%a %U' "$boot_file" "$boot_file.failed" | sort -u) == '600 nitro-signer' ]] \
            || fail 'a boot file is not private'
    done
    passed
}

one_that_never_gets_ready_is_ended() {
    local health
    for health in 503 dead; do
        new_serving_parent
        echo "$health" >"$FAKES/new_health"
        exits_with 70 run-enclave --release "$release" --health-timeout-s 1
        says 'journalctl -u nitro-parent'
        says 'CID 16 goes on serving'
        serves 16
        ours_are 1
        [[ $(find "${stored%/*}/releases" -mindepth 1 -maxdepth 1 | wc -l) == 1 ]] || fail 'its copy is still there'
    done
    new_parent
    echo 503 >"$FAKES/new_health"
    exits_with 70 run-enclave --release "$release" --health-timeout-s 1
    says '/health: 503'
    says 'nobody is served'
    ours_are 0
    # Ready by itself, but not through the proxy.
    new_serving_parent
    rm "$FAKES/active/nitro-parent.service"
    sed -i 's/^BRIDGE_LISTEN_PORT=.*/BRIDGE_LISTEN_PORT=1/' "$boot_file"
    exits_with 70 run-enclave --release "$release"
    says 'switched back to the enclave with CID 16'
    cmp "$(cid_file)" - <<<16
    ours_are 1
    passed
}

wrong_releases_and_boot_files_are_refused() {
    local toml="$release/nitro.toml" line
    new_serving_parent
    exits_with 66 run-enclave --release "$scratch/missing"
    rm "$release/nitro-signer.eif"
    exits_with 66 run-enclave --release "$release"
    new_release "$release" "${NEXT_PCRS[@]}"
    head -c 140000000 /dev/zero >>"$release/nitro-signer.eif"
    exits_with 78 run-enclave --release "$release"
    says 'needs four times that'
    for line in "s/^PCR1 = .*/PCR1 = \"${PCRS[1]}\"/=PCR1 of the image is not that of nitro.toml" \
        "s/^PCR0 = .*/PCR0 = \"$ZERO\"/=zeros are those of debug mode" \
        's/^PCR2 = .*/PCR2 = "00"/=pcr.PCR2: not 96 hex digits' \
        '/^PCR2/d=[pcr] has not PCR0, PCR1 and PCR2' \
        '/^cpu_count/d=enclave.cpu_count: missing' \
        's/^cpu_count.*/cpu_count = "2"x/=not TOML' \
        's/^cpu_count.*/cpu_count = 0/=enclave.cpu_count: ' \
        's/^memory_mib.*/&\n&/=not TOML' \
        's/^name.*/name = "a b"/=name: not'; do
        new_release "$release" "${NEXT_PCRS[@]}"
        sed -i "${line%=*}" "$toml"
        exits_with 78 run-enclave --release "$release"
        says "${line##*=}"
    done
    serves 16

    for line in 's/^INTERNAL_API_KEY=.*/INTERNAL_API_KEY=/=INTERNAL_API_KEY is empty' \
        '/^TICKET/d=TICKET_SIGNING_SECRET_CIPHERTEXT is missing' \
        's/^TICKET.*/&\nTICKET_SIGNING_SECRET=x/=TICKET_SIGNING_SECRET is refused' \
        's/^BRIDGE_LISTEN_PORT=.*/&\nTLS_CERT_CHAIN=x/=TLS_CERT_CHAIN is refused' \
        's/^BRIDGE_LISTEN_PORT=.*/&\nTLS_KEY_CIPHERTEXT=x/=TLS_KEY_CIPHERTEXT is refused' \
        's/^BRIDGE_LISTEN_PORT=.*/BRIDGE_LISTEN_PORT=x/=BRIDGE_LISTEN_PORT is not a port'; do
        new_serving_parent
        sed -i "${line%=*}" "$boot_file"
        exits_with 78 run-enclave --release "$release"
        says "${line##*=}"
        ours_are 1
    done
    new_serving_parent
    sed -i 's/^mode = "off"/mode = "provided"/' "$toml"
    exits_with 78 run-enclave --release "$release"
    says 'TLS_CERT_CHAIN is missing'
    # Of several lines, as it is.
    printf 'TLS_CERT_CHAIN="-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n"\n' >>"$boot_file"
    exits_with 78 run-enclave --release "$release"
    says 'TLS_KEY_CIPHERTEXT is missing'
    new_serving_parent
    truncate -s -1 "$boot_file"
    exits_with 78 run-enclave --release "$release"
    says 'does not end in a line break'
    rm "$boot_file"
    exits_with 66 run-enclave --release "$release"
    new_serving_parent
    chmod 757 "${boot_file%/*}"
    exits_with 78 run-enclave --release "$release"
    says 'is writable by others than root (mode 757)'
    chmod 755 "${boot_file%/*}"
    chown nitro-signer:nitro-signer "${boot_file%/*}"
    exits_with 78 run-enclave --release "$release"
    says "is nitro-signer's; it has to be root's"
    serves 16
    ours_are 1
    passed
}

a_link_in_a_release_is_not_started() {
    local file
    echo 'only for root' >"$scratch/secret"
    for file in nitro-signer.eif nitro.toml; do
        new_serving_parent
        rm "$release/$file"
        ln -s "$scratch/secret" "$release/$file"
        exits_with 78 run-enclave --release "$release"
        says "$file is a link or no regular file"
        exits_with 78 run-enclave --release "$release" --dry-run
        rm "$release/$file"
        mkfifo "$release/$file"
        exits_with 78 run-enclave --release "$release"
        serves 16
        ours_are 1
        ! grep -rqs 'only for root' "$NITRO_SIGNER_ROOT/var" "$NITRO_SIGNER_ROOT/usr" || fail 'a link was followed'
        [[ $(find "${stored%/*}/releases" -mindepth 1 -maxdepth 1 | wc -l) == 1 ]] || fail 'a copy of it is left'
    done
    passed
}

debug_mode_needs_a_word_and_takes_nobodys_place() {
    new_serving_parent
    exits_with 78 run-enclave --release "$release" --debug-mode
    says '--debug-mode would take the place'
    serves 16
    new_parent
    echo 503 >"$FAKES/new_health"
    exits_with 0 run-enclave --release "$release" --debug-mode
    says '!! DEBUG MODE'
    called '--debug-mode'
    serves 16 503
    [[ ! -e $stored ]] || fail 'a debug enclave is kept for the next boot'
    echo 200 >"$FAKES/new_health"
    exits_with 0 run-enclave --release "$release" --drain-s 0
    says 'WARNING: runs in debug mode'
    serves 17
    ours_are 1
    passed
}

# Before and after it has done its work.
whatever_call_fails_one_serves_or_nobody_is_said_to() {
    local name calls index late replace
    for replace in '' --replace; do
        for name in nitro-cli chown systemctl; do
            new_serving_parent
            [[ -z $replace ]] || no_room_for_two
            exits_with 0 run-enclave --release "$release" --drain-s 0 $replace
            calls=$(grep -c "^$name" "$FAKES/calls" || true)
            for ((index = 1; index <= calls; index++)); do
                for late in '' late; do
                    new_serving_parent
                    [[ -z $replace ]] || no_room_for_two
                    echo "$name $index 39 $late" >"$FAKES/fail"
                    any_exit run-enclave --release "$release" --drain-s 0 --health-timeout-s 2 $replace
                    one_serves_or_it_says "$name $index $late $replace"
                done
            done
        done
    done
    passed
}

one_serves_or_it_says() {
    local cid
    boot_file_is_whole
    cid=$(cat "$(cid_file)" 2>/dev/null || true)
    if [[ $(answer) != "$cid" ]]; then
        [[ $code != 0 ]] || fail "$1: nobody serves, and it ended well"
        says 'nobody is served'
    fi
    if (($(ours) > 1)); then
        [[ $code != 0 ]] || fail "$1: one too many runs, and it ended well"
        grep -q 'nitro-cli terminate-enclave --enclave-id\|an old one could not be ended' "$scratch/out" \
            || fail "$1: one too many runs: $(<"$scratch/out")"
    fi
    jq -e 'any(.EnclaveName == "somebody-elses")' "$FAKES/enclaves.json" >/dev/null || fail "$1: somebody else's is gone"
}

killed_at_any_time_the_boot_file_is_whole() {
    local signal delay runner
    for signal in TERM KILL; do
        for delay in 0.1 0.3 0.5 0.7 0.9 1.2 1.6; do
            new_serving_parent
            echo '503 200' >"$FAKES/new_health"
            "$root/infra/run-enclave.sh" --release "$release" --drain-s 1 >"$scratch/out" 2>&1 &
            runner=$!
            sleep "$delay"
            kill "-$signal" "$runner" 2>/dev/null || true
            code=0
            wait "$runner" 2>/dev/null || code=$?
            boot_file_is_whole
            [[ $(answer) == "$(<"$(cid_file)")" ]] || fail "$signal after $delay s: nobody serves"
            if [[ $signal == TERM ]]; then
                [[ $code == 143 || $code == 0 ]] || fail "it ended with $code"
                [[ $(find "$NITRO_SIGNER_ROOT/etc/nitro-signer" -type f | wc -l) == 1 ]] || fail 'a copy of the boot file is left'
            fi
            # And the next run clears up.
            echo 200 >"$FAKES/new_health"
            exits_with 0 run-enclave --release "$release" --drain-s 0
            ours_are 1
            [[ $(find "$NITRO_SIGNER_ROOT/etc/nitro-signer" -type f | wc -l) == 1 ]] || fail 'a copy of the boot file is left'
        done
    done
    passed
}

each_signal_takes_everything_back() {
    local signal runner
    for signal in HUP=129 INT=130 TERM=143; do
        new_serving_parent
        echo 503 >"$FAKES/new_health"
        # The background process empties it too late for the look below.
        : >"$scratch/out"
        # A shell ignores SIGINT for its background, and nohup would ignore SIGHUP.
        env --default-signal=HUP,INT,TERM "$root/infra/run-enclave.sh" --release "$release" >"$scratch/out" 2>&1 &
        runner=$!
        started+=("$runner")
        eventually 'it has started its enclave' grep -q 'waiting for it' "$scratch/out"
        kill "-${signal%=*}" "$runner"
        code=0
        wait "$runner" || code=$?
        [[ $code == "${signal#*=}" ]] || fail "$signal: it ended with $code"
        says 'CID 16 goes on serving'
        serves 16
        ours_are 1
    done
    # Under nohup, it outlives the terminal.
    new_serving_parent
    echo '503 503 200' >"$FAKES/new_health"
    : >"$scratch/out"
    nohup "$root/infra/run-enclave.sh" --release "$release" --drain-s 0 >"$scratch/out" 2>&1 &
    runner=$!
    started+=("$runner")
    eventually 'it has started its enclave' grep -q 'waiting for it' "$scratch/out"
    kill -HUP "$runner"
    wait "$runner" || fail "a hangup ended it: $(<"$scratch/out")"
    serves 17
    passed
}

two_at_a_time_are_one_too_many() {
    new_serving_parent
    echo "503 503 503 503 503 503 200" >"$FAKES/new_health"
    "$root/infra/run-enclave.sh" --release "$release" --drain-s 0 >"$scratch/first" 2>&1 &
    local first=$!
    started+=("$first")
    eventually 'the first has started its enclave' grep -q 'waiting for it' "$scratch/first"
    # It waits for the first to be done, and replaces what that started.
    exits_with 0 run-enclave --release "$release" --drain-s 0
    wait "$first" || fail "the first failed: $(<"$scratch/first")"
    serves 18
    ours_are 1
    [[ $(/usr/bin/stat -c %a "$NITRO_SIGNER_ROOT/run/nitro-signer.lock") == 600 ]] || fail 'anybody may hold the lock'
    passed
}

a_dry_run_changes_nothing() {
    local before enclaves
    new_serving_parent
    before=$(machine_tree) enclaves=$(<"$FAKES/enclaves.json")
    exits_with 0 run-enclave --release "$release" --dry-run
    says '+ nitro-cli run-enclave'
    says '+ after 10 s: nitro-cli terminate-enclave --enclave-id'
    [[ $(machine_tree) == "$before" && $(<"$FAKES/enclaves.json") == "$enclaves" ]] || fail 'a dry run changed something'
    [[ $(grep -vc '^nitro-cli describe-' "$FAKES/calls") == 0 ]] || fail "it called: $(<"$FAKES/calls")"
    passed
}

stop_and_status_know_ours() {
    new_serving_parent
    touch "$FAKES/active/nitro-enclave.service"
    exits_with 0 run-enclave --status
    says 'CID 16 RUNNING NONE 2 CPUs 512 MiB'
    says '/health: 200'
    ! grep -q ' CID 99 ' "$scratch/out" || fail "somebody else's is listed"
    # A watch that failed leaves it alone.
    SERVICE_RESULT=exit-code exits_with 0 run-enclave --stop
    serves 16
    exits_with 0 run-enclave --stop
    called 'systemctl stop nitro-enclave.service'
    ours_are 0
    [[ $(jq length "$FAKES/enclaves.json") == 1 ]] || fail "somebody else's was ended"
    [[ ! -e $(cid_file) ]] || fail 'the proxy still dials the enclave'
    echo 16 >"$(cid_file)"
    exits_with 0 run-enclave --stop
    says 'no enclave of ours runs'
    [[ ! -e $(cid_file) ]] || fail 'the proxy still dials an enclave'
    exits_with 0 run-enclave --status
    says 'run/nitro-signer/cid: names no enclave'
    # As after a first start that was killed before its release was kept.
    new_serving_parent
    exits_with 0 run-enclave --release "$release" --drain-s 0
    rm "$stored"
    exits_with 0 run-enclave --status
    says 'CID 17 RUNNING'
    exits_with 0 run-enclave --stop
    ours_are 0
    passed
}

the_watch_starts_and_watches() {
    local watch
    # Nothing runs, as after a boot; and KMS does not know us yet.
    new_serving_parent
    echo '[]' >"$FAKES/enclaves.json"
    rm "$FAKES/live/16.sock"
    echo 503 >"$FAKES/new_health"
    start_watch
    serves 17 503
    eventually 'the watchdog is fed' grep -q '^WATCHDOG=1 STATUS=' "$FAKES/notified"
    eventually 'the look is logged' \
        grep -q '^signerctl: heartbeat: the enclave with CID 17 answers /health with 503$' "$scratch/watch"
    # A healthy one is found, not replaced.
    echo 200 >"$FAKES/health/17"
    stop_watch 0
    serves 17
    start_watch
    stop_watch 0
    serves 17
    # nitro-cli that fails is no proof of death.
    start_watch
    echo "nitro-cli $(($(grep -c ^nitro-cli "$FAKES/calls") + 2)) 39" >"$FAKES/fail"
    eventually 'it looked again' grep -q 'WATCHDOG=1 STATUS=the enclave' "$FAKES/notified"
    sleep 1
    kill -0 "$watch" || fail 'it took a failure of nitro-cli for the death of the enclave'
    rm "$FAKES/fail"
    # Dead, though nitro-cli says RUNNING.
    echo dead >"$FAKES/health/17"
    code=0
    wait "$watch" || code=$?
    [[ $code == 70 ]] || fail "it ended with $code"
    grep -q 'does not answer (3 of 3)' "$scratch/watch" || fail "it says: $(<"$scratch/watch")"
    # The heartbeat ends with the enclave.
    ! sed '1,/does not answer (1 of 3)/d' "$scratch/watch" | grep -q heartbeat || fail "it says: $(<"$scratch/watch")"
    # systemd starts it again: the dead one is in the way.
    no_room_for_two
    echo 200 >"$FAKES/new_health"
    start_watch
    serves 18
    ours_are 1
    # A certificate that was renewed belongs to the boot file that a failed start puts back.
    cp "$boot_file" "$stored/env"
    printf 'TLS_CERT_CHAIN="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"\n' >>"$boot_file"
    eventually 'the certificate is kept' cmp -s "$boot_file" "$stored/env"
    stop_watch 0
    # Nothing was ever started.
    new_parent
    exits_with 66 run-enclave --watch
    passed
}

the_watch_leaves_a_deployment_alone() {
    local watch
    new_serving_parent
    start_watch
    # Long enough for three misses, if it looked.
    echo '503 503 503 200' >"$FAKES/new_health"
    exits_with 0 run-enclave --release "$release" --drain-s 1
    serves 17
    sleep 1
    grep -q 'a deployment is at work' "$FAKES/notified" || fail 'it did not notice the deployment'
    kill -0 "$watch" || fail "it ended: $(<"$scratch/watch")"
    stop_watch 0
    ours_are 1
    passed
}

# Sets `watch` in the test.
start_watch() {
    local ready
    ready=$(grep -c 'READY=1' "$FAKES/notified" || true)
    NOTIFY_SOCKET="$FAKES/notify" "$root/infra/run-enclave.sh" --watch >"$scratch/watch" 2>&1 &
    watch=$!
    started+=("$watch")
    eventually 'the watch is ready' more_ready_than "$ready"
}

more_ready_than() {
    (($(grep -c 'READY=1' "$FAKES/notified" || true) > $1))
}

stop_watch() {
    kill -TERM "$watch"
    code=0
    wait "$watch" || code=$?
    [[ $code == "$1" ]] || fail "the watch ended with $code: $(<"$scratch/watch")"
}

# ---- preflight

preflight_tells_what_a_start_needs() {
    local url
    url=http://127.0.0.1:$(<"$FAKES/imds-port")
    new_machine
    exits_with 0 setup-parent --release "$release"
    code=0
    "$SIGNERCTL" preflight --release "$release" --imds-url "$url" >"$scratch/out" 2>&1 || code=$?
    [[ $code == 1 ]] || fail "exit code $code: $(<"$scratch/out")"
    says 'PASS enclave device: '
    says 'PASS instance type: m5.2xlarge, 8 vCPUs'
    says "PASS enclave CPUs: 2 of the pool's 2 are free, for 2"
    says 'PASS metadata service: '
    says 'PASS role: s3-test-role-1 has credentials'
    says 'PASS clock: '
    says 'PASS nitro-cli: '
    says 'PASS systemd: 252'
    says 'PASS setpriv: '
    # The proxy starts, and reaches no enclave.
    says 'FAIL KMS: kms.us-east-1.amazonaws.com, through the proxy: '
    # Before a setup it is the release's, which may not be a link.
    mv "$libexec/proxy" "$scratch/installed proxy"
    "$SIGNERCTL" preflight --release "$release" --imds-url "$url" >"$scratch/out" 2>&1 || true
    says 'FAIL KMS: kms.us-east-1.amazonaws.com, through the proxy: '
    mv "$release/proxy" "$release/another"
    ln -s another "$release/proxy"
    "$SIGNERCTL" preflight --release "$release" --imds-url "$url" >"$scratch/out" 2>&1 || true
    says "cannot tell KMS: $release/proxy is a link"
    mv "$scratch/installed proxy" "$libexec/proxy"
    "$SIGNERCTL" preflight --release "$release" --imds-url "$url" --json >"$scratch/out" 2>/dev/null || true
    jq -e '.ready == false and (.points | map(select(.outcome == "fail").name) == ["KMS"])' "$scratch/out" >/dev/null \
        || fail "$(<"$scratch/out")"
    rm "$NITRO_SIGNER_ROOT/dev/nitro_enclaves"
    echo 403 >"$FAKES/imds"
    "$SIGNERCTL" preflight --release "$release" --imds-url "$url" >"$scratch/out" 2>&1 || true
    says 'FAIL enclave device: /dev/nitro_enclaves is missing; launch an instance with --enclave-options Enabled=true'
    says 'FAIL metadata service: PUT /latest/api/token: status 403; it is switched off'
    passed
}

# ---- check.sh

new_checked_parent() {
    new_serving_parent
    cp "$stored/nitro.toml" "$release/nitro.toml"
    attests "${PCRS[0]}"
    # As AWS prints it, with --output text.
    echo 'arn:aws:sts::999988887777:assumed-role/nitro-signer-instance/i-0123456789abcdef0' >"$FAKES/aws/get-caller-identity"
    rendered_policy >"$FAKES/aws/get-key-policy"
    cp "$root/infra/tests/transcripts/aws-cli/describe-trails.json" "$FAKES/aws/describe-trails"
    # Its rule for port 22, open to everybody, and the same for our port, open to a few.
    jq -c --argjson port "$(<"$FAKES/port")" '.SecurityGroups[0].IpPermissions |= (
        (.[] | select(.FromPort == 22)) as $ssh
        | map(if .FromPort == 22 then .IpRanges[0].CidrIp = "0.0.0.0/0" else . end)
            + [$ssh | .FromPort = $port | .ToPort = $port])' \
        "$root/infra/tests/transcripts/aws-cli/describe-security-groups.json" >"$FAKES/aws/describe-security-groups"
}

rendered_policy() {
    local index text
    text=$(<"$root/infra/kms-key-policy.json")
    # Its own is a placeholder, which is refused.
    text=${text//111122223333/999988887777}
    for index in 0 1 2; do
        text=${text//"PCR$index-of-the-image"/${PCRS[index]}}
        text=${text//"\${PCR$index}"/${PCRS[index]}}
    done
    echo "$text"
}

all_is_well() {
    new_checked_parent
    checks_with 0
    # The image of this machine is not a built one, so no nitro.toml is read from it.
    [[ $(grep -c '^PASS ' "$scratch/out") == 11 && $(grep -c '^[A-Z]* ' "$scratch/out") == 12 ]] \
        || fail "it says: $(<"$scratch/out")"
    says 'SKIP settings: '
    says "WHICH IS NOT AWS'S"
    # Under AWS's root, it is not genuine.
    exits_with 1 check --imds-url "http://127.0.0.1:$(<"$FAKES/imds-port")"
    says 'FAIL attestation: certificates: '
    # A policy that may not be read is skipped, and it may come from a file.
    rm "$FAKES"/aws/*
    rendered_policy >"$scratch/a policy.json"
    checks_with 0 --policy "$scratch/a policy.json" --role nitro-signer-instance
    [[ $(grep -c '^PASS ' "$scratch/out") == 9 && $(grep -c '^SKIP ' "$scratch/out") == 3 ]] || fail "it says: $(<"$scratch/out")"
    passed
}

a_policy_that_pins_this_parent_is_compared() {
    local role=arn:aws:iam::999988887777:role/nitro-signer-instance id=i-0123456789abcdef0
    new_checked_parent
    policy "(.Statement[0, 1].Condition.StringEqualsIgnoreCase) += {
        \"kms:RecipientAttestation:PCR3\": \"$(pcr_of "$role")\", \"kms:RecipientAttestation:PCR4\": \"$(pcr_of "$id")\"}"
    checks_with 0
    says 'it asks for PCR3, which was not compared: --pin-role does that'
    says 'it asks for PCR4, which was not compared: --pin-instance does that'
    checks_with 0 --pin-role --pin-instance "$id"
    ! grep -q 'not compared' "$scratch/out" || fail "it says: $(<"$scratch/out")"
    checks_with 0 --pin-role --pin-instance "$id" --role nitro-signer-instance
    checks_with 1 --pin-role --role another
    says 'which is that of another role'
    checks_with 1 --pin-instance i-0fedcba9876543210
    says 'which is that of another instance'
    rm "$FAKES/aws/get-caller-identity"
    checks_with 1 --pin-role
    says 'give it with --role'
    new_checked_parent
    checks_with 1 --pin-role
    says 'on an instance with another role'
    checks_with 1 --pin-instance "$id"
    says 'on another instance'
    passed
}

# The value of a register that measures only the text $1.
pcr_of() {
    { head -c 48 /dev/zero; printf %s "$1"; } | sha384sum | cut -d ' ' -f 1
}

each_defect_is_one_line() {
    local edit
    flips 'debug mode' fake_enclave '.Flags = "DEBUG_MODE"'
    flips enclave another_of_ours
    flips enclave,measurements,attestation nobody_there
    flips measurements fake_enclave ".Measurements.PCR1 = \"${NEXT_PCRS[1]}\""
    flips measurements other_image
    flips measurements,attestation,'key policy' zero_in_nitro_toml
    flips settings sed -i 's/^ticket_signing_secret = .*/ticket_signing_secret = "env"/' "$stored/nitro.toml"
    says 'secrets.ticket_signing_secret in nitro.toml is not "kms"'
    flips attestation attests "${NEXT_PCRS[0]}"
    says 'image: '
    flips attestation attests "$ZERO"
    says 'debug_mode: '
    flips attestation touch "$FAKES/forged"
    says 'signature: '
    flips attestation attests "${PCRS[0]}" 'another root'
    says 'certificates: '
    # How policies are judged is for the tests of `signerctl policy check`; here, that they are.
    for edit in \
        'del(.Statement[1].Condition)' \
        '.Statement[1].Condition.StringEqualsIgnoreCase["kms:RecipientAttestation:PCR0"] = "'"$ZERO"'"' \
        '.Statement += [{Effect: "Allow", Principal: {AWS: "arn:aws:iam::999988887777:role/x"}, Action: "kms:ReplicateKey", Resource: "*"}]' \
        '.Statement |= map(select(.Action != "kms:Decrypt"))'; do
        flips 'key policy' policy "$edit"
    done
    flips 'key policy,kms:Encrypt' policy \
        '.Statement += [{Effect: "Allow", Principal: {AWS: "arn:aws:iam::999988887777:root"}, Action: "kms:*", Resource: "*"}]'
    for edit in arn:aws:iam::999988887777:role/nitro-signer-instance '*'; do
        flips kms:Encrypt policy 'del(.Statement[6]) | .Statement[3].Principal.AWS = "'"$edit"'"'
    done
    flips 'key policy,kms:Encrypt' rm "$FAKES/aws/get-key-policy"
    # Two images are allowed; and the boot file does not choose the key whose policy is checked.
    flips 'key policy' policy '.Statement += [.Statement[1]
        | .Condition.StringEqualsIgnoreCase["kms:RecipientAttestation:PCR0"] = "'"${NEXT_PCRS[0]}"'"]'
    says 'which none of the given images has'
    new_checked_parent
    echo "KMS_KEY_ARN=/* $KEY_ARN" >>"$boot_file"
    checks_with 0
    [[ $(grep -c 'get-key-policy' "$FAKES/calls") == 1 ]] || fail "it asked for: $(grep aws "$FAKES/calls")"
    called "--key-id $KEY_ARN "
    flips 'boot file' chmod 640 "$boot_file"
    flips 'boot file' chown root:root "$boot_file"
    flips proxy,attestation rm "$FAKES/active/nitro-parent.service"
    flips IMDS cp "$FAKES/new_health" "$FAKES/imds"
    flips 'security groups' open_group
    flips CloudTrail no_trails
    passed
}

fake_enclave() {
    jq -c "map(if .EnclaveName == \"nitro-signer\" then $1 else . end)" "$FAKES/enclaves.json" >"$FAKES/enclaves.json.edited"
    mv "$FAKES/enclaves.json.edited" "$FAKES/enclaves.json"
}

another_of_ours() {
    jq -c '. + [.[-1] | .EnclaveCID = 50 | .EnclaveID = "i-2"]' "$FAKES/enclaves.json" >"$FAKES/enclaves.json.edited"
    mv "$FAKES/enclaves.json.edited" "$FAKES/enclaves.json"
}

# With the image changed too, so that not only the enclave is missing.
nobody_there() {
    echo '[]' >"$FAKES/enclaves.json"
    rm "$FAKES/live/16.sock"
    other_image
}

other_image() {
    printf '%s\n' "${NEXT_PCRS[@]}" >"$stored/nitro-signer.eif"
}

zero_in_nitro_toml() {
    sed -i "s/^PCR0 = .*/PCR0 = \"$ZERO\"/" "$stored/nitro.toml"
}

# A development signer that measures $1 under the root in the folder $2, or ours, gives the documents.
attests() {
    local folder="$scratch/${2:-root}" output="$scratch/attestor $1 ${2:-root}"
    if [[ ! -e $output ]]; then
        mkdir -p "$folder"
        INTERNAL_API_KEY=$(printf 'k%.0s' {1..32}) TICKET_SIGNING_SECRET=$(printf 't%.0s' {1..32}) SEALING_KEY=${ZERO:0:64} \
            "$enclave_dev" --listen tcp:127.0.0.1:0 --max-keys 16 --software-nsm "$folder" --pcr0 "$1" >"$output" 2>&1 &
        started+=("$!")
        eventually 'the development signer listens' grep -qs '^enclave-dev: listening on' "$output"
    fi
    sed -n 's/^enclave-dev: listening on tcp:127.0.0.1://p' "$output" >"$FAKES/attestor"
}

policy() {
    rendered_policy | jq "$1" >"$FAKES/aws/get-key-policy"
}

open_group() {
    jq -c '.SecurityGroups[0].IpPermissions[-1].Ipv6Ranges = [{CidrIpv6: "::/0"}]' "$FAKES/aws/describe-security-groups" \
        >"$FAKES/aws/edited"
    mv "$FAKES/aws/edited" "$FAKES/aws/describe-security-groups"
}

no_trails() {
    jq -c '.trailList = []' "$root/infra/tests/transcripts/aws-cli/describe-trails.json" >"$FAKES/aws/describe-trails"
}

# Makes a defect with the command behind $1, after which exactly the points $1, with commas, must fail.
flips() {
    local points=$1 failed
    shift
    new_checked_parent
    "$@"
    checks_with 1
    failed=$(sed -n 's/^FAIL \([^:]*\|kms:Encrypt\): .*/\1/p' "$scratch/out" | sort | paste -sd ,)
    [[ $failed == "$(tr , '\n' <<<"$points" | sort | paste -sd ,)" ]] || fail "$*: there failed: $failed; $(<"$scratch/out")"
}

checks_with() {
    local expected=$1
    shift
    exits_with "$expected" check --imds-url "http://127.0.0.1:$(<"$FAKES/imds-port")" --root "$scratch/root/root.pem" "$@"
}

# ---- The state that the tests look at

# Runs a script to its end with the arguments that follow, which must come with the exit code $1.
exits_with() {
    local expected=$1
    shift
    any_exit "$@"
    [[ $code == "$expected" ]] || fail "$*: exit code $code and not $expected: $(tail -n 8 "$scratch/out")"
}

# Leaves the exit code in `code`, and both outputs in a file.
any_exit() {
    local script=$1 options=()
    shift
    [[ $script != setup-parent ]] || options=(--imds-url "http://127.0.0.1:$(<"$FAKES/imds-port")")
    code=0
    "$root/infra/$script.sh" ${options[@]+"${options[@]}"} "$@" >"$scratch/out" 2>&1 || code=$?
    ! grep -q 'unbound variable\|syntax error\|command not found\|jq: error\|panicked\|line [0-9]*: ' "$scratch/out" \
        || grep -q '\(nitro.toml\|allocator.yaml\): line' "$scratch/out" || fail "$script $*: $(<"$scratch/out")"
    [[ ! -s $FAKES/defects ]] || fail "$script $*: $(<"$FAKES/defects")"
    ! grep -q 'key of the  API' "$scratch/out" || fail "$script shows a secret"
}

says() {
    grep -qF -- "$1" "$scratch/out" || fail "does not say '$1': $(tail -n 8 "$scratch/out")"
}

# The calls that change something.
changes() {
    grep -v -e '--version$' -e '^nitro-cli describe-' "$FAKES/calls" || true
}

called() {
    grep -qF -- "$1" "$FAKES/calls" || fail "did not call '$1' but: $(<"$FAKES/calls")"
}

not_called() {
    ! grep -qF -- "$1" "$FAKES/calls" || fail "called '$1'"
}

# The answer to a client: the CID of the enclave that serves.
answer() {
    curl --silent --max-time 5 "http://127.0.0.1:$(<"$FAKES/port")/health" || true
}

# That the enclave with CID $1 answers clients, with the status $2 or 200.
serves() {
    local status
    [[ $(answer) == "$1" ]] || fail "clients are answered by '$(answer)' and not by $1; $(<"$scratch/out")"
    status=$(curl --silent --output /dev/null --write-out '%{http_code}' "http://127.0.0.1:$(<"$FAKES/port")/health")
    [[ $status == "${2:-200}" ]] || fail "clients are answered $status"
}

ours() {
    jq 'map(select(.EnclaveName | test("^nitro-signer(_[0-9]+)?$"))) | length' "$FAKES/enclaves.json"
}

ours_are() {
    [[ $(ours) == "$1" ]] || fail "there run $(ours) and not $1: $(<"$FAKES/enclaves.json")"
}

cid_file() {
    echo "$NITRO_SIGNER_ROOT/run/nitro-signer/cid"
}

# It holds a CID and a line break, for everybody to read.
cid_file_is_whole() {
    [[ $(od -An -c "$(cid_file)" | tr -d ' ') =~ ^[1-9][0-9]+'\n'$ ]] || fail "the file of the CID is: $(<"$(cid_file)")"
    [[ $(/usr/bin/stat -c %a "$(cid_file)" "$(dirname "$(cid_file)")" | paste -sd ' ') == '644 755' ]] \
        || fail 'the file of the CID is not for everybody to read'
}

# Each byte is the operator's; and it is as private as it was.
boot_file_is_whole() {
    cid_file_is_whole
    cmp "$boot_file" "$scratch/operators words" || fail "the boot file is: $(<"$boot_file")"
    [[ $(stat -c '%a %U:%G' "$boot_file") == '600 nitro-signer:nitro-signer' ]] || fail 'the boot file is not private'
}

machine_files() {
    (cd "$NITRO_SIGNER_ROOT" && find . -type f -not -path './run/*' -exec sha256sum {} + | sort)
}

# With times and inodes, so that not even the same is written again.
machine_tree() {
    (cd "$NITRO_SIGNER_ROOT" && find . -printf '%p %i %T@ %m %s %l\n' | sort)
}

eventually() {
    local what=$1 deadline=$((SECONDS + STOP_PATIENCE_S))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "never happened: $what; $(tail -n 5 "$scratch/watch" 2>/dev/null)"
        sleep 0.05
    done
}

passed() {
    echo "ok: ${FUNCNAME[1]//_/ } ($((SECONDS - passed_at)) s)"
    passed_at=$SECONDS
}

fail() {
    echo "FAILED: ${FUNCNAME[2]//_/ }: ${FUNCNAME[1]//_/ }: $*" >&2
    exit 1
}

clean_up() {
    local code=$? pid
    trap - EXIT
    for pid in "${started[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    # A run that was killed just as it started its probe has left that behind.
    for pid in /proc/[0-9]*; do
        ! grep --quiet --fixed-strings -- "$scratch" "$pid/cmdline" 2>/dev/null || kill -KILL "${pid#/proc/}" 2>/dev/null || true
    done
    rm -rf -- "$scratch"
    exit "$code"
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
main "$@"
