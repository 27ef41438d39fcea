# shellcheck shell=bash
# shellcheck disable=SC2034 # Whoever sources it uses what it declares.
#
# What the scripts of the parent instance share: where things are, nitro.toml, the boot file, nitro-cli.
#
# Sourced, never run; setup-parent.sh installs it beside those that source it.

# A command substitution that fails ends whatever asked for it, as anything else does.
shopt -s inherit_errexit

# Codes of sysexits.h.
readonly EX_USAGE=64 EX_NOINPUT=66 EX_UNAVAILABLE=69 EX_SOFTWARE=70 EX_TEMPFAIL=75 EX_NOPERM=77 EX_CONFIG=78

# For tests: a folder that stands for the root of the machine, in front of each path outside of a release folder.
readonly machine_root=${NITRO_SIGNER_ROOT:-}
readonly boot_file="$machine_root/etc/nitro-signer/env"
readonly stored_release="$machine_root/var/lib/nitro-signer/release"
readonly allocator_yaml="$machine_root/etc/nitro_enclaves/allocator.yaml"
readonly SERVICE_USER=nitro-signer

# Of AWS: no call of the command takes longer, but for the one that starts an enclave.
readonly NITRO_CLI_PATIENCE_S=60

# Says why the script ends, and ends it with the exit code $1.
die() {
    local code=$1
    shift
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit "$code"
}

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

need_root() {
    [[ $(id -u) == 0 ]] || die "$EX_NOPERM" 'has to run as root'
}

need_commands() {
    local command
    for command in "$@"; do
        command -v "$command" >/dev/null || die "$EX_UNAVAILABLE" "missing: $command; infra/setup-parent.sh installs it"
    done
}

# ---- A release folder, which may be a user's

# Refuses $1 if it is a link: what that points to may be root's alone, and we are root. Or a pipe, which never ends.
need_regular_file() {
    [[ -e $1 || -L $1 ]] || die "$EX_NOINPUT" "$1 is missing"
    [[ -f $1 && ! -L $1 ]] || die "$EX_CONFIG" "$1 is a link or no regular file, and is not followed or read"
}

# Copies $1 as $2, into a folder of ours. Looks again at what it got: $1 may become a link at any moment.
take_file() {
    need_regular_file "$1"
    cp -R --no-dereference --remove-destination -- "$1" "$2"
    need_regular_file "$2"
}

# ---- nitro.toml

# Of the file that read_nitro_toml read: NAME or TABLE.NAME to the value; of an array, its strings with a line each.
declare -A toml=()

readonly TOML_BLANK='^[[:space:]]*(#.*)?$'
readonly TOML_TABLE='^\[([a-z_]+)\][[:space:]]*(#.*)?$'
readonly TOML_KEY='^([A-Za-z0-9_]+)[[:space:]]*=[[:space:]]*(.*)$'
readonly TOML_NUMBER='^(0|[1-9][0-9_]*)[[:space:]]*(#.*)?$'
readonly TOML_BOOLEAN='^(true|false)[[:space:]]*(#.*)?$'
readonly TOML_TEXT='^"([^"\\]*)"[[:space:]]*(#.*)?$'

# Reads the file $1. It is the enclave that decides what is valid; this reads the form that the file has, tables of
# texts, whole numbers, booleans and arrays of texts, and refuses any other TOML, rather than misunderstanding it.
read_nitro_toml() {
    local file=$1 lines line number=0 table='' key rest
    [[ -f $file && -r $file ]] || die "$EX_NOINPUT" "cannot read $file"
    toml=()
    mapfile -t lines <"$file"
    while ((number < ${#lines[@]})); do
        line=${lines[number]%$'\r'}
        number=$((number + 1))
        if [[ $line =~ $TOML_BLANK ]]; then
            continue
        elif [[ $line =~ $TOML_TABLE ]]; then
            table=${BASH_REMATCH[1]}.
        elif [[ $line =~ $TOML_KEY ]]; then
            key=$table${BASH_REMATCH[1]} rest=${BASH_REMATCH[2]}
            [[ ! -v toml[$key] ]] || die "$EX_CONFIG" "$file, line $number: $key stands twice"
            if [[ $rest =~ $TOML_NUMBER ]]; then
                toml[$key]=${BASH_REMATCH[1]//_/}
            elif [[ $rest =~ $TOML_BOOLEAN || $rest =~ $TOML_TEXT ]]; then
                toml[$key]=${BASH_REMATCH[1]}
            elif [[ $rest == \[* ]]; then
                read_toml_array
            else
                die "$EX_CONFIG" "$file, line $number: not a form that this script reads"
            fi
        else
            die "$EX_CONFIG" "$file, line $number: not a form that this script reads"
        fi
    done
}

# Goes on reading for read_nitro_toml behind the bracket that begins `rest`.
read_toml_array() {
    local first=$number values=()
    rest=${rest#\[}
    while :; do
        rest=${rest#"${rest%%[![:space:]]*}"}
        case $rest in
            '' | \#*)
                ((number < ${#lines[@]})) || die "$EX_CONFIG" "$file, line $first: the array has no end"
                rest=${lines[number]%$'\r'}
                number=$((number + 1))
                ;;
            ,*) rest=${rest#,} ;;
            \]*) break ;;
            '"""'*)
                # Of several lines: certificates, which are the enclave's business.
                rest=${rest#'"""'}
                while [[ $rest != *'"""'* ]]; do
                    ((number < ${#lines[@]})) || die "$EX_CONFIG" "$file, line $first: the text has no end"
                    rest=${lines[number]}
                    number=$((number + 1))
                done
                rest=${rest#*'"""'}
                ;;
            *)
                [[ $rest =~ ^\"([^\"\\]*)\"(.*)$ ]] || die "$EX_CONFIG" "$file, line $number: not an array of texts"
                values+=("${BASH_REMATCH[1]}")
                rest=${BASH_REMATCH[2]}
                ;;
        esac
    done
    [[ ${rest#\]} =~ $TOML_BLANK ]] || die "$EX_CONFIG" "$file, line $number: more behind the array"
    toml[$key]=$(printf '%s\n' ${values[@]+"${values[@]}"})
}

# Takes from nitro.toml $1 what the parent goes by, and checks it.
read_settings() {
    local file=$1 key default
    read_nitro_toml "$file"
    for key in name enclave.cpu_count enclave.memory_mib kms.region kms.key_arns; do
        [[ ${toml[$key]:-} ]] || die "$EX_CONFIG" "$file: $key is missing"
    done
    # As in enclave-runtime/src/configuration.rs.
    [[ ${toml[name]} =~ ^[a-z0-9-]{1,64}$ ]] || die "$EX_CONFIG" "$file: name is not 1 to 64 of a to z, 0 to 9 and -"
    [[ ${toml[kms.region]} =~ ^[a-z]{2,}(-[a-z]{2,})+-[1-9][0-9]?$ ]] \
        || die "$EX_CONFIG" "$file: kms.region is not the name of an AWS region"
    for default in enclave_app_port=5000 admin_port=5001 acme_challenge_port=5002 kms_proxy_port=7100 imds_port=7101 \
        boot_port=7102 log_port=7103 acme_port=7104 certificate_store_port=7105 certificate_store_write_port=7106; do
        key=vsock.${default%=*}
        [[ -v toml[$key] ]] || toml[$key]=${default#*=}
    done
    if [[ ${toml[tls.mode]:-off} == acme ]]; then
        acme_server >/dev/null || die "$EX_CONFIG" "$file: acme.directory is not the https URL of a host with a DNS name"
    fi
    for key in enclave.cpu_count enclave.memory_mib "${!toml[@]}"; do
        [[ $key == enclave.* || $key == vsock.* ]] || continue
        [[ ${toml[$key]} =~ ^[1-9][0-9]{0,9}$ ]] || die "$EX_CONFIG" "$file: $key is not a number in range"
    done
}

# Takes and checks PCR0 to PCR2 of nitro.toml $1, which the build wrote there, after read_settings.
read_pcrs() {
    local file=$1 key
    for key in pcr.PCR0 pcr.PCR1 pcr.PCR2; do
        [[ ${toml[$key]:-} ]] || die "$EX_CONFIG" "$file: $key is missing; infra/build-eif.sh writes it"
        toml[$key]=${toml[$key],,}
        is_pcr "${toml[$key]}" || die "$EX_CONFIG" "$file: $key is not 96 hex digits"
        is_not_zero "${toml[$key]}" || die "$EX_CONFIG" "$file: $key is zero, as in debug mode, and proves nothing"
    done
}

is_pcr() {
    [[ $1 =~ ^[0-9a-f]{96}$ ]]
}

is_not_zero() {
    [[ $1 == *[!0]* ]]
}

# The host name of KMS, as in enclave-runtime/src/configuration/region.rs.
kms_host() {
    case ${toml[kms.region]} in
        cn-*) echo "kms.${toml[kms.region]}.amazonaws.com.cn" ;;
        eusc-*) echo "kms.${toml[kms.region]}.amazonaws.eu" ;;
        *) echo "kms.${toml[kms.region]}.amazonaws.com" ;;
    esac
}

# The host and port of the ACME server, as in enclave-runtime/src/configuration/https_url.rs.
acme_server() {
    [[ ${toml[acme.directory]:-} =~ ^[Hh][Tt][Tt][Pp][Ss]://([A-Za-z0-9.-]+)(:([1-9][0-9]{0,4}))?([/?].*)?$ ]] || return 1
    echo "${BASH_REMATCH[1],,}:${BASH_REMATCH[3]:-443}"
}

# ---- The boot file: /etc/nitro-signer/env

# Whoever may write into its folder may put another file there, or a link for us to write through.
check_boot_folder() {
    local folder=${boot_file%/*} mode owner
    [[ -e $folder || -L $folder ]] || return 0
    [[ -d $folder && ! -L $folder ]] || die "$EX_CONFIG" "$folder is a link or no folder"
    read -r mode owner < <(stat -c '%a %U' -- "$folder")
    [[ $owner == root ]] || die "$EX_CONFIG" "$folder is $owner's; it has to be root's, as all that is in it may be another's"
    [[ $((8#$mode & 8#022)) == 0 ]] || die "$EX_CONFIG" "$folder is writable by others than root (mode $mode); all that is in it may" \
        "be another's. Look at it, then: chmod 0755 $folder"
}

# The value that the boot file gives to $1 last, without quotes; nothing if it gives none. Of one line, like all but
# the enclave read here.
boot_setting() {
    local line value='' pattern="^[[:space:]]*$1[[:space:]]*=[[:space:]]*(.*)\$"
    [[ -f $boot_file ]] || return 0
    while IFS= read -r line || [[ $line ]]; do
        [[ $line =~ $pattern ]] || continue
        value=${BASH_REMATCH[1]}
        value=${value%"${value##*[![:space:]]}"}
        if [[ $value =~ ^\"(.*)\"$ || $value =~ ^\'(.*)\'$ ]]; then
            value=${BASH_REMATCH[1]}
        fi
    done <"$boot_file"
    printf '%s' "$value"
}

# The port that the proxy listens on; the default is nitro-parent.service's.
bridge_port() {
    local port
    port=$(boot_setting BRIDGE_LISTEN_PORT)
    port=${port:-7001}
    [[ $port =~ ^[1-9][0-9]{0,4}$ && $port -le 65535 ]] \
        || die "$EX_CONFIG" "$boot_file: BRIDGE_LISTEN_PORT is not a port"
    echo "$port"
}

# Refuses a boot file with which no enclave can get ready, before anything depends on one. What the enclave refuses
# besides, it says on the log port.
check_boot_file() {
    local secret name source unused last
    check_boot_folder
    [[ -f $boot_file ]] || die "$EX_NOINPUT" "$boot_file is missing; infra/setup-parent.sh makes it"
    # The enclave takes it for cut off. A command substitution drops a line break, and nothing else.
    last=$(tail -c 1 "$boot_file" | tr '\0' '.')
    [[ -s $boot_file && -z $last ]] || die "$EX_CONFIG" "$boot_file: its last line does not end in a line break"
    bridge_port >/dev/null
    for secret in internal_api_key:env ticket_signing_secret:kms; do
        name=${secret%:*} source=${toml[secrets.${secret%:*}]:-${secret#*:}}
        name=${name^^} unused=${name^^}_CIPHERTEXT
        if [[ $source == kms ]]; then
            unused=$name name=${name}_CIPHERTEXT
        fi
        [[ $(boot_setting "$name") ]] || die "$EX_CONFIG" "$boot_file: $name has no value"
        [[ -z $(boot_setting "$unused") ]] || die "$EX_CONFIG" "$boot_file: $unused is refused; nitro.toml asks for $name"
    done
    for name in TLS_CERT_CHAIN TLS_KEY_CIPHERTEXT; do
        # Of a chain, the first line.
        if [[ ${toml[tls.mode]:-off} == provided ]]; then
            [[ $(boot_setting "$name") ]] || die "$EX_CONFIG" "$boot_file: $name has no value"
        else
            [[ -z $(boot_setting "$name") ]] || die "$EX_CONFIG" "$boot_file: $name is refused; tls.mode of nitro.toml is not provided"
        fi
    done
}

# ---- nitro-cli

# Never with the lock (descriptor 9): the process of an enclave outlives us, and would keep it.
nitro_cli() {
    timeout "$NITRO_CLI_PATIENCE_S" nitro-cli "$@" 9>&-
}

# The enclaves of this machine that have our name, as a JSON array; others are none of our business.
our_enclaves() {
    nitro_cli describe-enclaves | jq -ce --arg name "${toml[name]}" \
        'if type == "array" then map(select(.EnclaveName == $name)) else error("not an array") end'
}

# PCR $2 of the Measurements in the JSON text $1.
measured() {
    jq -r --arg pcr "PCR$2" '.Measurements[$pcr] // "" | ascii_downcase' <<<"$1"
}
