#!/usr/bin/env bash
# Starts the enclave of a release beside the old one, and lets it take over once it is ready. See --help.
set -euo pipefail

self=$(readlink -f "${BASH_SOURCE[0]}")
# shellcheck source=infra/parent.sh
source "${self%/*}/parent.sh"

# nitro-cli waits 180 s for an enclave's first sign of life, and has to load the image before.
readonly RUN_PATIENCE_S=600
# For an enclave that was told to end, and for the proxy to reach the new one.
readonly GONE_PATIENCE_S=30 SWITCH_PATIENCE_S=15
# A look of --watch, or another --stop, takes no longer than this; a deployment does.
readonly LOCK_PATIENCE_S=30
readonly MAX_MISSES=3
# Tests are not that patient.
if [[ $machine_root ]]; then watch_interval_s=0.2; else watch_interval_s=10; fi
readonly ANSWER_PATIENCE_S=5
readonly lock_file="$machine_root/run/nitro-signer.lock"
readonly proxy_binary="$machine_root/usr/local/libexec/nitro-signer/proxy"
readonly releases="${stored_release%/*}/releases"
# nitro-cli's: CPUs or memory that are not to be had (E22, E25, E27), and the driver's refusals of either (E29, E31 to
# E33). Not E26: less memory than the image needs is no better when another enclave is gone.
readonly NO_ROOM=' 22 25 27 29 31 32 33 '

usage() {
    cat <<'USAGE'
Starts the enclave of a release. An enclave that runs already serves until the new one is ready, and then ends.

Usage: infra/run-enclave.sh [--release FOLDER] [--replace] [--debug-mode] [--health-timeout-s S] [--drain-s S]
                            [--dry-run]
       infra/run-enclave.sh --status | --stop | --ensure | --watch

  --release FOLDER      what infra/build-eif.sh made: nitro-signer.eif, and nitro.toml with the PCRs of it
                        (default /var/lib/nitro-signer/release, the copy of what was last started with success)
  --replace             where there is no room for both, ends the old one first: nobody is served until the new one
                        is ready. Should that fail, what was last started with success is started again
  --debug-mode          starts it with a console, and with PCRs that are zero, so that KMS gives it nothing: never
                        with keys that matter
  --health-timeout-s S  time for it to answer /health with 200 (default 300)
  --drain-s S           time for the old one to finish what it began (default 10)
  --dry-run             checks everything, prints what it would run and changes nothing
  --status              says which enclaves of ours run, and whether port BRIDGE_LISTEN_PORT answers
  --stop                ends our enclaves, and nitro-enclave.service; the keys in them are gone
  --ensure              starts the last release, ending what is in its way, unless our enclave answers already
  --watch               for nitro-enclave.service: --ensure, then looks every 10 s, and fails when the enclave is dead

An enclave of ours is one with the name of nitro.toml; others are left alone. The proxy (nitro-parent.service) reads
the enclave's CID from /etc/nitro-signer/env for each connection, so it is not restarted. Whatever fails before the
new enclave has taken over, it is ended again, and the old one goes on.

Exit status: 0 done, 64 wrong command line, 66 no such release, 69 a service, a tool or nitro-cli fails, 70 the enclave
did not get ready, 75 no room without --replace or another run is at work, 77 not root, 78 release or boot file wrong,
129, 130 or 143 interrupted.
USAGE
}

main() {
    read_arguments "$@"
    need_root
    need_commands nitro-cli jq curl flock setpriv systemctl timeout
    scratch=$(mktemp -d)
    case $mode in
        start) lock; deploy ;;
        ensure) lock; ensure ;;
        stop) stop ;;
        status) status ;;
        watch) watch ;;
    esac
}

mode=start release=$stored_release replace='' debug='' dry='' health_timeout_s=300 drain_s=10
# Ready is 200 on /health. Alive is any answer: what is missing then is the business of KMS or the boot file, which the
# enclave itself waits for, and another one would be no better off.
enough=ready

read_arguments() {
    local modes=0
    while (($#)); do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --release | --health-timeout-s | --drain-s)
                (($# > 1)) || die "$EX_USAGE" "$1 needs a value"
                case $1 in
                    --release) release=$2 ;;
                    --health-timeout-s) health_timeout_s=$2 ;;
                    --drain-s) drain_s=$2 ;;
                esac
                shift
                ;;
            --replace) replace=yes ;;
            --debug-mode) debug=yes ;;
            --dry-run) dry=yes ;;
            --stop | --status | --ensure | --watch) mode=${1#--}; modes=$((modes + 1)) ;;
            *) die "$EX_USAGE" "unknown argument '$1'; --help lists them" ;;
        esac
        shift
    done
    ((modes <= 1)) || die "$EX_USAGE" 'one of --stop, --status, --ensure and --watch at a time'
    [[ $mode == start || -z $debug$dry$replace ]] \
        || die "$EX_USAGE" "--$mode goes with none of --replace, --debug-mode and --dry-run"
    [[ $health_timeout_s =~ ^[1-9][0-9]{0,4}$ ]] || die "$EX_USAGE" '--health-timeout-s takes 1 to 99999'
    [[ $drain_s =~ ^(0|[1-9][0-9]{0,4})$ ]] || die "$EX_USAGE" '--drain-s takes 0 to 99999'
}

# Held until we end, by descriptor 9, which nobody that outlives us may inherit.
lock() {
    [[ -z $dry ]] || return 0
    open_lock
    flock --timeout "$LOCK_PATIENCE_S" 9 || die "$EX_TEMPFAIL" 'another run is at work; try again when it is done'
}

# Root's alone: whoever may open it may hold it.
open_lock() {
    (umask 077 && : >>"$lock_file")
    exec 9>>"$lock_file"
}

# ---- From a release to the enclave that serves

# What clean_up goes by. JSON arrays of nitro-cli's entries; texts are empty where there is nothing.
scratch='' probe='' temporary='' staged='' kept='' old='[]' new_id='' new_cid='' starting='' replaced='' committed='' ensuring=''

deploy() {
    open_release
    check_image
    check_boot_file
    note_old_enclaves
    if [[ $dry ]]; then
        print_plan
        return
    fi
    start_services
    start_enclave
    wait_for_new_enclave
    switch_to_new_enclave
    keep_release
    committed=yes
    say "enclave $new_id serves (CID $new_cid)"
    end_old_enclaves
    see_to_its_watch
}

# From here on everything is read from a copy that is root's: what is checked is what is started, and kept.
open_release() {
    local file
    [[ -d $release ]] || die "$EX_NOINPUT" "no release: $release"
    for file in nitro-signer.eif nitro.toml; do
        need_regular_file "$release/$file"
    done
    [[ $dry ]] || remove_leftovers
    if [[ $release -ef $stored_release ]]; then
        # By this name, which nobody but root can change.
        release=$(readlink -f "$stored_release")
    elif [[ -z $dry ]]; then
        install -d -m 0755 "$releases"
        # Root's alone until it is known to be a release (see keep_release).
        staged=$(mktemp -d "$releases/XXXXXXXX")
        for file in nitro-signer.eif nitro.toml; do
            take_file "$release/$file" "$staged/$file"
        done
        release=$staged
    fi
    eif=$release/nitro-signer.eif
    read_settings "$release/nitro.toml"
    read_pcrs "$release/nitro.toml"
}

# Of runs that were killed.
remove_leftovers() {
    local folder current
    current=$(readlink -f "$stored_release" || true)
    for folder in "$releases"/????????; do
        [[ ! -d $folder || $(readlink -f "$folder") == "$current" ]] || rm -rf -- "$folder"
    done
    rm -f -- "${boot_file%/*}"/.env.????????
}

check_image() {
    local bytes description index pcr
    bytes=$(stat -c %s "$eif")
    ((bytes * 4 <= ${toml[enclave.memory_mib]} * 1024 * 1024)) \
        || die "$EX_CONFIG" "an image of $bytes bytes needs four times that in enclave.memory_mib;" \
            "nitro.toml has ${toml[enclave.memory_mib]}"
    description=$(nitro_cli describe-eif --eif-path "$eif") || die "$EX_UNAVAILABLE" 'nitro-cli cannot read the image'
    for index in 0 1 2; do
        pcr=$(measured "$description" "$index") || die "$EX_UNAVAILABLE" 'nitro-cli describes the image in no form we know'
        [[ $pcr == "${toml[pcr.PCR$index]}" ]] \
            || die "$EX_CONFIG" "PCR$index of the image is not that of nitro.toml; they are not of one build"
    done
}

note_old_enclaves() {
    local debugged stray
    old=$(our_enclaves) || die "$EX_UNAVAILABLE" 'nitro-cli cannot list the enclaves'
    # What a run that was killed has left beside the one that serves, and nobody dials: it takes the room of a new one.
    stray=$(jq -c --arg cid "$(boot_setting ENCLAVE_CID)" 'map((.EnclaveCID | tostring) == $cid) as $serving
        | if any($serving[]; .) then map(select((.EnclaveCID | tostring) != $cid)) else [] end' <<<"$old")
    if [[ $stray != '[]' && -z $dry ]]; then
        terminate_all "$stray" || say 'an enclave that serves nobody could not be ended, and takes CPUs and memory'
        old=$(our_enclaves) || die "$EX_UNAVAILABLE" 'nitro-cli cannot list the enclaves'
    fi
    debugged=$(jq -r 'map(select(.Flags == "DEBUG_MODE").EnclaveID) | join(", ")' <<<"$old")
    [[ -z $debugged ]] || say "WARNING: runs in debug mode, where KMS gives nothing: $debugged"
    [[ $debug ]] || return 0
    jq -e 'all(.Flags == "DEBUG_MODE")' <<<"$old" >/dev/null \
        || die "$EX_CONFIG" '--debug-mode would take the place of an enclave that serves; end that first, with --stop'
    enough=alive
    local bar
    bar=$(printf '!%.0s' {1..100})
    printf '%s\n' "$bar" '!! DEBUG MODE. Its PCRs are zero, so KMS gives it nothing and it cannot open a backup. Whoever is' \
        '!! root here reads its console. It is not kept for the next boot.' "$bar" >&2
}

run_arguments() {
    printf '%s\0' --eif-path "$eif" --cpu-count "${toml[enclave.cpu_count]}" --memory "${toml[enclave.memory_mib]}" \
        --enclave-name "${toml[name]}"
    [[ -z $debug ]] || printf '%s\0' --debug-mode
}

print_plan() {
    local arguments id
    mapfile -d '' arguments < <(run_arguments)
    systemctl is-active --quiet nitro-parent.service || echo '+ systemctl start nitro-parent.service'
    echo "+ nitro-cli run-enclave$(printf ' %q' "${arguments[@]}")"
    echo "+ wait at most $health_timeout_s s for its /health"
    echo "+ write its CID as ENCLAVE_CID to $boot_file"
    [[ $debug || $release -ef $stored_release ]] || echo "+ keep a copy of the release as $stored_release"
    for id in $(jq -r '.[].EnclaveID' <<<"$old"); do
        echo "+ after $drain_s s: nitro-cli terminate-enclave --enclave-id $id"
    done
}

# The enclave boots through the proxy, and the allocator has its CPUs and memory.
start_services() {
    local unit
    for unit in nitro-enclaves-allocator.service nitro-parent.service; do
        systemctl is-active --quiet "$unit" || systemctl start "$unit" || die "$EX_UNAVAILABLE" "cannot start $unit"
    done
}

start_enclave() {
    local code=0
    run_enclave || code=$?
    if [[ $NO_ROOM == *" $code "* ]]; then
        say_what_room_there_is
        [[ $old != '[]' ]] || die "$EX_TEMPFAIL" 'no room for it'
        [[ $replace ]] || die "$EX_TEMPFAIL" 'no room for both; --replace ends the old one first, and nobody is served meanwhile'
        remove_new_enclaves
        replaced=yes
        terminate_all "$old" || die "$EX_UNAVAILABLE" 'cannot end the old enclave'
        code=0
        run_enclave || code=$?
    fi
    ((code == 0)) || die "$EX_UNAVAILABLE" "nitro-cli cannot start the enclave (exit status $code)"
    read -r new_id new_cid < <(jq -r 'select(.EnclaveCID | numbers) | "\(.EnclaveID) \(.EnclaveCID)"' "$scratch/run.json") \
        || die "$EX_UNAVAILABLE" 'nitro-cli says nothing of the enclave that it started'
    say "enclave $new_id started (CID $new_cid); waiting for it"
}

# Leaves what nitro-cli says of the new enclave in run.json.
run_enclave() {
    local arguments code=0
    mapfile -d '' arguments < <(run_arguments)
    starting=yes
    timeout "$RUN_PATIENCE_S" nitro-cli run-enclave "${arguments[@]}" \
        </dev/null >"$scratch/run.json" 2>"$scratch/run.err" 9>&- || code=$?
    ((code == 0)) || sed 's/^/nitro-cli: /' "$scratch/run.err" >&2
    return "$code"
}

say_what_room_there_is() {
    local has takes
    has=$(sed -n 's/^\(memory_mib\|cpu_count\|cpu_pool\): */\1 /p' "$allocator_yaml" | paste -sd ',' || true)
    takes=$(nitro_cli describe-enclaves \
        | jq -r '"\(map(.NumberOfCPUs) | add // 0) CPUs and \(map(.MemoryMiB) | add // 0) MiB"') || takes=unknown
    say "it needs ${toml[enclave.cpu_count]} CPUs and ${toml[enclave.memory_mib]} MiB; the allocator has ${has:-nothing}," \
        "of which running enclaves take $takes. infra/setup-parent.sh --side-by-side makes room for two"
}

wait_for_new_enclave() {
    local deadline=$((SECONDS + health_timeout_s)) status looks=0
    start_probe "$new_cid"
    until status=$(http_status "$probe_url/health"); is_enough "$status"; do
        if ((looks++ % 10 == 0)); then
            is_running "$new_id" || die "$EX_SOFTWARE" "the enclave ended while it booted; it may have said why:" \
                'journalctl -u nitro-parent'
        fi
        ((SECONDS < deadline)) || die "$EX_SOFTWARE" "the enclave is not ready after $health_timeout_s s" \
            "(/health: ${status/000/no answer}); it says what it waits for: journalctl -u nitro-parent"
        sleep 0.5
    done
    stop_probe
}

is_enough() {
    [[ $1 == 200 || ($enough == alive && $1 != 000) ]]
}

is_running() {
    local ours
    ours=$(our_enclaves) || die "$EX_UNAVAILABLE" 'nitro-cli cannot list the enclaves'
    jq -e --arg id "$1" 'any(.EnclaveID == $id and .State == "RUNNING")' <<<"$ours" >/dev/null
}

switch_to_new_enclave() {
    local deadline=$((SECONDS + SWITCH_PATIENCE_S)) status url
    url=$(public_url)
    write_enclave_cid "$new_cid" || die "$EX_UNAVAILABLE" "cannot write $boot_file"
    until status=$(http_status "$url/health"); is_enough "$status"; do
        ((SECONDS < deadline)) || die "$EX_SOFTWARE" "$url/health: ${status/000/no answer}, through the proxy; does" \
            'nitro-parent.service run with this BRIDGE_LISTEN_PORT?'
        sleep 0.2
    done
}

public_url() {
    local port
    port=$(bridge_port)
    echo "$(scheme)://127.0.0.1:$port"
}

# At once or not at all, and nothing but the line of ENCLAVE_CID changes. Never dies: clean_up calls it too.
write_enclave_cid() {
    temporary=$(mktemp "${boot_file%/*}/.env.XXXXXXXX") || return 1
    # shellcheck disable=SC2015 # Whatever fails, the temporary file goes.
    LC_ALL=C awk -v cid="$1" '
        /^[ \t]*ENCLAVE_CID[ \t]*=/ { if (!done) print "ENCLAVE_CID=" cid; done = 1; next }
        { print }
        END { if (!done) print "ENCLAVE_CID=" cid }' "$boot_file" >"$temporary" \
        && chown --reference="$boot_file" -- "$temporary" \
        && chmod --reference="$boot_file" -- "$temporary" \
        && sync -- "$temporary" \
        && mv -f -- "$temporary" "$boot_file" \
        || { rm -f -- "$temporary"; return 1; }
}

# What a reboot starts.
keep_release() {
    [[ $staged && -z $debug ]] || return 0
    chmod 0644 -- "$staged"/*
    chmod 0755 -- "$staged"
    sync -- "$staged"/*
    ln -sfn "${releases##*/}/${staged##*/}" "$stored_release.new"
    mv -fT -- "$stored_release.new" "$stored_release"
    kept=yes
}

end_old_enclaves() {
    # With --replace they are gone.
    [[ $old != '[]' && -z $replaced ]] || return 0
    say "the old enclave has $drain_s s to finish"
    local deadline=$((SECONDS + drain_s))
    while ((SECONDS < deadline)); do
        sleep 0.5
    done
    terminate_all "$old" \
        || die "$EX_UNAVAILABLE" 'the new enclave serves, but an old one could not be ended, and takes CPUs and memory; see --status'
}

# Of an enclave that is started by hand for the first time.
see_to_its_watch() {
    [[ $mode == start && -z $debug ]] || return 0
    exec 9>&-
    if systemctl is-enabled --quiet nitro-enclave.service && ! systemctl is-active --quiet nitro-enclave.service; then
        systemctl start --no-block nitro-enclave.service \
            || die "$EX_UNAVAILABLE" 'the new enclave serves, but nitro-enclave.service, which watches it, does not start'
    fi
}

# Ends the enclaves of the JSON array $1 by their IDs, and waits until they are gone.
terminate_all() {
    local ids id left deadline=$((SECONDS + GONE_PATIENCE_S)) failed=''
    ids=$(jq -r '.[].EnclaveID' <<<"$1")
    for id in $ids; do
        nitro_cli terminate-enclave --enclave-id "$id" >/dev/null || failed=yes
    done
    while :; do
        left=$(our_enclaves | jq -r --argjson all "$1" '[.[].EnclaveID] - ([.[].EnclaveID] - [$all[].EnclaveID]) | join(" ")') \
            || return 1
        [[ $left ]] || break
        # One that could not be told to end does not end by itself.
        [[ -z $failed ]] && ((SECONDS < deadline)) || return 1
        sleep 0.5
    done
    [[ -z $ids ]] || say "ended: ${ids//$'\n'/, }"
}

# ---- When something fails

clean_up() {
    local code=$?
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    if [[ $ensuring ]]; then
        kill -TERM "$ensuring" 2>/dev/null
        wait "$ensuring"
    fi
    stop_probe
    [[ -z $starting || $committed ]] || undo
    [[ -z $temporary ]] || rm -f -- "$temporary"
    [[ -z $staged || $kept ]] || rm -rf -- "$staged"
    [[ -z $scratch ]] || rm -rf -- "$scratch"
    if [[ $replaced && -z $committed && $mode == start && -e $stored_release ]] && ((code < 128)); then
        say 'starting again what was last started with success'
        exec 9>&-
        "$self" --ensure
    fi
    exit "$code"
}

# Before the new enclave has taken over, all of it is taken back.
undo() {
    local now survivor='' cid
    cid=$(boot_setting ENCLAVE_CID)
    now=$(our_enclaves) || now=''
    # The one that served, or else any that did not come with this run.
    survivor=$(jq -rn --argjson old "$old" --argjson now "${now:-$old}" --arg cid "$cid" '
        [$now[] | select(.State == "RUNNING") | select(.EnclaveID as $id | $old | any(.EnclaveID == $id)) | .EnclaveCID]
        | (map(select(tostring == $cid)) + .)[0] // empty')
    if [[ $new_cid && $cid == "$new_cid" && $survivor ]]; then
        if write_enclave_cid "$survivor"; then
            say "switched back to the enclave with CID $survivor"
        else
            say "cannot write $boot_file: set ENCLAVE_CID=$survivor there by hand"
        fi
    fi
    remove_new_enclaves
    if [[ $survivor ]]; then
        say "the enclave with CID $survivor goes on serving"
    else
        say 'no enclave of ours runs: nobody is served'
    fi
}

# Those that came after `old` was noted, also where nitro-cli failed and told no ID.
remove_new_enclaves() {
    local now new id
    if now=$(our_enclaves); then
        new=$(jq -r --argjson old "$old" 'map(.EnclaveID) - ($old | map(.EnclaveID)) | .[]' <<<"$now")
    else
        new=$new_id
    fi
    for id in $new; do
        nitro_cli terminate-enclave --enclave-id "$id" >/dev/null \
            || say "cannot end $id, which serves nobody; by hand: nitro-cli terminate-enclave --enclave-id $id"
    done
}

# ---- The enclave's HTTP, past the proxy that serves clients

scheme() {
    [[ ${toml[tls.mode]:-off} == off ]] && echo http || echo https
}

# A proxy of our own to CID $1, so that neither the clients' connections nor the boot file stand between.
start_probe() {
    local port=''
    setpriv --pdeathsig TERM -- "$proxy_binary" --route "tcp:127.0.0.1:0=vsock:$1:${toml[vsock.enclave_app_port]}" \
        >"$scratch/probe.out" 2>"$scratch/probe.err" 9>&- &
    probe=$!
    while [[ -z $port ]]; do
        kill -0 "$probe" 2>/dev/null \
            || die "$EX_UNAVAILABLE" "$proxy_binary does not start: $(tail -n 1 "$scratch/probe.err")"
        sleep 0.05
        port=$(sed -n 's/^proxy: listening on tcp:127\.0\.0\.1:\([0-9]*\), .*/\1/p' "$scratch/probe.out")
    done
    probe_url="$(scheme)://127.0.0.1:$port"
}

stop_probe() {
    [[ $probe ]] || return 0
    kill -TERM "$probe" 2>/dev/null || true
    wait "$probe" 2>/dev/null || true
    probe=''
}

# The status of an answer; 000 if there is none. Who answers is not the question here, so no certificate is checked.
http_status() {
    curl --silent --insecure --noproxy '*' --max-time "$ANSWER_PATIENCE_S" --output /dev/null \
        --write-out '%{http_code}' "$1" || true
}

# ---- What nitro-enclave.service runs

ensure() {
    [[ -f $stored_release/nitro.toml ]] || die "$EX_NOINPUT" "nothing was started yet: run-enclave.sh --release FOLDER"
    read_settings "$stored_release/nitro.toml"
    check_boot_file
    if our_enclave_answers; then
        say "$finding"
        return
    fi
    say "$finding; starting one"
    release=$stored_release replace=yes enough=alive
    deploy
}

# Sets `finding` to what there is to say. That nitro-cli fails is no proof that the enclave is dead.
our_enclave_answers() {
    local cid ours running status
    cid=$(boot_setting ENCLAVE_CID)
    if ours=$(our_enclaves); then
        running=$(jq -r --arg cid "$cid" 'map(select(.State == "RUNNING" and (.EnclaveCID | tostring) == $cid).EnclaveID)[0] // ""' \
            <<<"$ours")
        if [[ -z $running ]]; then
            finding="no enclave of ours runs with the CID of $boot_file"
            return 1
        fi
    elif [[ ! $cid =~ ^[0-9]+$ ]]; then
        finding="nitro-cli fails, and $boot_file names no enclave"
        return 1
    fi
    start_probe "$cid"
    status=$(http_status "$probe_url/health")
    stop_probe
    if [[ $status == 000 ]]; then
        finding="the enclave with CID $cid does not answer"
        return 1
    fi
    finding="the enclave with CID $cid answers /health with $status"
}

# Ends when the enclave is dead, so that systemd starts us again, which starts another enclave.
watch() {
    local misses=0
    # systemd asks us to end, and takes this for an end as it should be.
    trap 'exit 0' TERM
    "$self" --ensure &
    ensuring=$!
    wait "$ensuring" || { local code=$?; ensuring=''; exit "$code"; }
    ensuring=''
    open_lock
    notify READY=1 'STATUS=The enclave answers'
    while :; do
        # In the background, so that SIGTERM is obeyed at once.
        sleep "$watch_interval_s" &
        wait $!
        if flock --nonblock 9; then
            read_settings "$stored_release/nitro.toml"
            if our_enclave_answers; then
                misses=0
            else
                misses=$((misses + 1))
                say "$finding ($misses of $MAX_MISSES)"
            fi
            flock --unlock 9
        else
            finding='a deployment is at work'
        fi
        notify WATCHDOG=1 "STATUS=$finding"
        ((misses < MAX_MISSES)) || die "$EX_SOFTWARE" "$finding"
    done
}

notify() {
    [[ ! -v NOTIFY_SOCKET ]] || systemd-notify "$@" || say 'systemd cannot be told'
}

stop() {
    local ours
    if [[ ${SERVICE_RESULT:-success} != success ]]; then
        say 'the watch failed; the enclave, which may be well, is left to the next one'
        return
    fi
    # The watch would start it again.
    if [[ ! -v SERVICE_RESULT ]] && systemctl is-active --quiet nitro-enclave.service; then
        systemctl stop nitro-enclave.service || die "$EX_UNAVAILABLE" 'cannot stop nitro-enclave.service'
    fi
    lock
    [[ -f $release/nitro.toml ]] || die "$EX_NOINPUT" "no release: $release"
    read_settings "$release/nitro.toml"
    ours=$(our_enclaves) || die "$EX_UNAVAILABLE" 'nitro-cli cannot list the enclaves'
    [[ $ours != '[]' ]] || { say 'no enclave of ours runs'; return; }
    terminate_all "$ours" || die "$EX_UNAVAILABLE" 'an enclave of ours could not be ended; see --status'
}

status() {
    local ours url
    [[ -f $release/nitro.toml ]] || die "$EX_NOINPUT" "no release: $release"
    read_settings "$release/nitro.toml"
    ours=$(our_enclaves) || die "$EX_UNAVAILABLE" 'nitro-cli cannot list the enclaves'
    jq -r '.[] | "\(.EnclaveID) CID \(.EnclaveCID) \(.State) \(.Flags) \(.NumberOfCPUs) CPUs \(.MemoryMiB) MiB"' <<<"$ours"
    echo "ENCLAVE_CID=$(boot_setting ENCLAVE_CID)"
    url=$(public_url)
    echo "$url/health: $(http_status "$url/health")"
}

trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
main "$@"
