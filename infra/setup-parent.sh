#!/usr/bin/env bash
# Prepares an Amazon Linux 2023 instance to be the parent of the signer's enclave. See --help.
set -euo pipefail

self=$(readlink -f "${BASH_SOURCE[0]}")
# shellcheck source=infra/parent.sh
source "${self%/*}/parent.sh"

# What the parent itself keeps: Amazon Linux, the proxy, nitro-cli while it loads an image.
readonly PARENT_MEMORY_MIB=768
readonly libexec="$machine_root/usr/local/libexec/nitro-signer" units="$machine_root/etc/systemd/system"
readonly cloudwatch="$machine_root/opt/aws/amazon-cloudwatch-agent"

usage() {
    cat <<'USAGE'
Prepares this instance (Amazon Linux 2023, launched with enclaves enabled) to run the signer. May be run again: it
changes what is not as it should be, and never the contents of /etc/nitro-signer/env.

Usage: infra/setup-parent.sh [--release FOLDER] [--proxy FILE] [--side-by-side] [--with-kernel-blobs]
                             [--cloudwatch-log-group NAME] [--dry-run]

  --release FOLDER             what infra/build-eif.sh made (default: its own folder, or target/image); of it, nitro.toml says how large
                               the enclave is, and proxy is installed. Without a nitro.toml there, infra/nitro.toml
  --proxy FILE                 installs this as the proxy
  --side-by-side               takes CPUs and memory for two enclaves, so that a new one can start beside the old
  --with-kernel-blobs          also installs aws-nitro-enclaves-cli-devel, with the kernel that AWS builds for enclaves
  --cloudwatch-log-group NAME  sends the log to this log group, by amazon-cloudwatch-agent
  --dry-run                    prints each command and changes nothing; needs no root

It installs nitro-cli and jq from Amazon Linux, gives the enclave's CPUs and memory to the allocator, makes the user
nitro-signer, and puts the proxy, run-enclave.sh and check.sh into /usr/local/libexec/nitro-signer and their units into
/etc/systemd/system. It starts the allocator and no enclave; run-enclave.sh does, and the proxy with it.

Exit status: 0 done, 64 wrong command line, 66 a file is missing, 69 not Amazon Linux 2023 or too small, 75 the
allocator has to change while an enclave runs, 77 not root, 78 nitro.toml or allocator.yaml wrong, a file to install is a
link, or /etc/nitro-signer is not root's alone, otherwise that of the
command that failed.
USAGE
}

main() {
    read_arguments "$@"
    [[ $dry ]] || need_root
    check_system
    choose_files
    read_settings "$nitro_toml"
    check_room
    check_boot_folder
    scratch=$(mktemp -d)
    trap 'rm -rf -- "$scratch" ${new_boot_file:+"$new_boot_file"}' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    install_packages
    make_user
    install_programs
    make_boot_file
    install_units
    size_allocator
    if [[ $log_group ]]; then
        send_log_to_cloudwatch
    fi
    start_units
    say 'done'
    say_what_is_next
}

release='' proxy='' side_by_side='' kernel_blobs='' log_group='' dry='' scratch='' new_boot_file=''

read_arguments() {
    while (($#)); do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --release | --proxy | --cloudwatch-log-group)
                [[ ${2:-} ]] || die "$EX_USAGE" "$1 needs a value"
                case $1 in
                    --release) release=$2 ;;
                    --proxy) proxy=$2 ;;
                    --cloudwatch-log-group) log_group=$2 ;;
                esac
                shift
                ;;
            --side-by-side) side_by_side=yes ;;
            --with-kernel-blobs) kernel_blobs=yes ;;
            --dry-run) dry=yes ;;
            *) die "$EX_USAGE" "unknown argument '$1'; --help lists them" ;;
        esac
        shift
    done
    # As CloudWatch has it.
    [[ -z $log_group || $log_group =~ ^[A-Za-z0-9_/.#-]{1,512}$ ]] \
        || die "$EX_USAGE" 'a log group is 1 to 512 letters, digits and _ / . # -'
}

# Runs a command that changes something; --dry-run only prints it.
act() {
    if [[ $dry ]]; then
        printf '+'
        printf ' %q' "$@"
        echo
    else
        "$@"
    fi
}

check_system() {
    local id
    id=$(sed -n 's/^\(ID\|VERSION_ID\)="\?\([^"]*\)"\?$/\1=\2/p' "$machine_root/etc/os-release" | sort | paste -sd ' ')
    [[ $id == 'ID=amzn VERSION_ID=2023' ]] || die "$EX_UNAVAILABLE" "made for Amazon Linux 2023, and this is none ($id)"
}

choose_files() {
    local folder=$release
    # In a release folder, that; in a checkout, what build-eif.sh made there.
    if [[ -z $folder ]]; then
        folder=${self%/*}
        [[ -e $folder/nitro-signer.eif ]] || folder=$folder/../target/image
    fi
    nitro_toml=$folder/nitro.toml
    if [[ ! -e $nitro_toml && -z $release ]]; then
        nitro_toml=${self%/*}/nitro.toml
    fi
    need_regular_file "$nitro_toml"
    proxy=${proxy:-$folder/proxy}
    [[ -e $proxy || -L $proxy ]] \
        || die "$EX_NOINPUT" "$proxy is missing; infra/build-eif.sh makes it, or name another with --proxy"
    need_regular_file "$proxy"
}

# Whole cores go to enclaves, and one stays here.
check_room() {
    local enclaves=1 has_cpus has_mib threads
    [[ -z $side_by_side ]] || enclaves=2
    cpus=$((${toml[enclave.cpu_count]} * enclaves))
    memory_mib=$((${toml[enclave.memory_mib]} * enclaves))
    # Those that the allocator took are offline, and counted.
    has_cpus=$(nproc --all)
    threads=$(LC_ALL=C lscpu | sed -n 's/^Thread(s) per core: *\([0-9]*\)$/\1/p')
    threads=${threads:-2}
    has_mib=$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' "$machine_root/proc/meminfo") / 1024))
    ((${toml[enclave.cpu_count]} % threads == 0)) \
        || die "$EX_CONFIG" "enclave.cpu_count is ${toml[enclave.cpu_count]}, and a core of this instance has $threads CPUs: they are not whole cores"
    ((cpus + threads <= has_cpus)) || die "$EX_UNAVAILABLE" "too small: of $has_cpus CPUs, enclaves would take $cpus," \
        "and $threads have to stay; take a larger instance or less in nitro.toml${side_by_side:+, or leave out --side-by-side}"
    ((memory_mib + PARENT_MEMORY_MIB <= has_mib)) || die "$EX_UNAVAILABLE" "too small: of $has_mib MiB, enclaves would take" \
        "$memory_mib, and $PARENT_MEMORY_MIB have to stay; take a larger instance${side_by_side:+, or leave out --side-by-side}"
}

install_packages() {
    local package packages=(aws-nitro-enclaves-cli jq) missing=()
    [[ -z $kernel_blobs ]] || packages+=(aws-nitro-enclaves-cli-devel)
    [[ -z $log_group ]] || packages+=(amazon-cloudwatch-agent logrotate)
    for package in "${packages[@]}"; do
        rpm --quiet -q "$package" 2>/dev/null || missing+=("$package")
    done
    ((${#missing[@]} == 0)) || act dnf install --assumeyes "${missing[@]}"
}

# In no group but its own: neither `ne`, which may start enclaves, nor one that reads the journal.
make_user() {
    getent passwd "$SERVICE_USER" >/dev/null \
        || act useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /sbin/nologin "$SERVICE_USER"
}

# Puts the file $2 in place as $3, with the mode $1: at once, and a proxy that runs goes on with the file it has.
# `changed` says whether there was anything to do.
put() {
    local taken="$scratch/taken/${2##*/}"
    changed=''
    # What is compared is what is installed, and no link's target.
    mkdir -p "$scratch/taken"
    take_file "$2" "$taken"
    if [[ -f $3 && $(stat -c %a -- "$3") == "$1" ]] && cmp --silent -- "$taken" "$3"; then
        return 0
    fi
    # It says what would be installed, and not the copy of it.
    [[ -z $dry ]] || taken=$2
    act install -d -m 0755 -- "${3%/*}"
    act install -m "0$1" -- "$taken" "$3.new"
    act mv -f -- "$3.new" "$3"
    changed=yes
}

changed='' proxy_is_new='' units_are_new=''

install_programs() {
    local script
    put 755 "$proxy" "$libexec/proxy"
    proxy_is_new=$changed
    for script in parent.sh run-enclave.sh check.sh; do
        put 755 "${self%/*}/$script" "$libexec/$script"
    done
}

install_units() {
    local unit names=(nitro-parent nitro-enclave)
    [[ -z $log_group ]] || names+=(nitro-logs)
    for unit in "${names[@]}"; do
        put 644 "${self%/*}/systemd/$unit.service" "$units/$unit.service"
        units_are_new+=$changed
    done
    cat >"$scratch/nitro-toml.conf" <<DROP_IN
# Written by setup-parent.sh, from nitro.toml.
[Service]
Environment=KMS_HOST=$(kms_host)
Environment=ENCLAVE_APP_PORT=${toml[vsock.enclave_app_port]} KMS_PROXY_PORT=${toml[vsock.kms_proxy_port]}
Environment=IMDS_PORT=${toml[vsock.imds_port]} BOOT_PORT=${toml[vsock.boot_port]} LOG_PORT=${toml[vsock.log_port]}
DROP_IN
    [[ ${toml[tls.mode]:-off} != acme ]] || acme_settings >>"$scratch/nitro-toml.conf"
    put 644 "$scratch/nitro-toml.conf" "$units/nitro-parent.service.d/nitro-toml.conf"
    units_are_new+=$changed
}

# The ways to the ACME server and to the file of the sealed certificate; and port 443, where the server validates: it
# leads to a port of the enclave that is for this alone.
acme_settings() {
    local kept=/var/lib/nitro-signer/acme/certificate routes=()
    # Where the port of the API is 443 itself, the enclave answers the ACME server there too.
    [[ $(bridge_port) == 443 ]] \
        || routes+=("--route tcp:0.0.0.0:443=enclave:/etc/nitro-signer/env:${toml[vsock.acme_challenge_port]}")
    routes+=("--route vsock:any:${toml[vsock.acme_port]}=tcp:$(acme_server)")
    routes+=("--route vsock:any:${toml[vsock.certificate_store_port]}=file:$kept")
    routes+=("--route vsock:any:${toml[vsock.certificate_store_write_port]}=replace:$kept")
    cat <<DROP_IN
# For tls.mode = "acme".
Environment="ACME_ROUTES=${routes[*]}"
# Two descriptors for each of 9 times 1,024 connections, and some.
LimitNOFILE=24576
# The folder of the sealed certificate, which only the proxy may read and write.
StateDirectory=nitro-signer/acme
StateDirectoryMode=0700
# For port 443, and nothing else.
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
DROP_IN
}

# Once. The operator's words in it are never touched again; run-enclave.sh writes ENCLAVE_CID into it.
make_boot_file() {
    local owner="$SERVICE_USER:$SERVICE_USER" is
    if [[ -e $boot_file ]]; then
        is=$(stat -c '%a %U:%G' -- "$boot_file")
        if [[ $is != "600 $owner" ]]; then
            act chown "$owner" -- "$boot_file"
            act chmod 0600 -- "$boot_file"
            say "WARNING: $boot_file was $is, and is 600 $owner now; whoever could read it may know its secrets"
        fi
        return
    fi
    act install -d -m 0755 -- "${boot_file%/*}"
    if [[ $dry ]]; then
        printf '+ %s\n' "create $boot_file, 600 $owner"
        return
    fi
    # Private from its first moment; and a link never takes the place of a file, whoever made that meanwhile.
    new_boot_file=$(umask 077 && mktemp "${boot_file%/*}/.env.XXXXXXXX")
    first_boot_file >"$new_boot_file"
    chown "$owner" -- "$new_boot_file"
    ln -- "$new_boot_file" "$boot_file"
    rm -f -- "$new_boot_file"
    say "made $boot_file; put your secrets in"
}

first_boot_file() {
    local api_key=INTERNAL_API_KEY ticket=TICKET_SIGNING_SECRET_CIPHERTEXT
    [[ ${toml[secrets.internal_api_key]:-env} == env ]] || api_key=INTERNAL_API_KEY_CIPHERTEXT
    [[ ${toml[secrets.ticket_signing_secret]:-kms} == kms ]] || ticket=TICKET_SIGNING_SECRET
    local tls=''
    if [[ ${toml[tls.mode]:-off} == provided ]]; then
        tls=$'\n# The certificate for clients and those of its issuers, in PEM, within quotes; and what kms:Encrypt made of its key.\n'
        tls+=$'TLS_CERT_CHAIN=\nTLS_KEY_CIPHERTEXT=\n'
    fi
    cat <<BOOT_FILE
# What the enclave is sent when it boots, and what the proxy and the scripts of the parent go by. In the syntax of
# systemd's EnvironmentFile=; the last line has to end in a line break. infra/README.md says more.

# The region of nitro.toml; the enclave refuses another.
AWS_REGION=${toml[kms.region]}

# Which of the keys in nitro.toml seals new backups; the first, unless this says another.
#KMS_KEY_ARN=

# What the API sends as x-internal-api-key: 16 bytes or more, and no placeholder. A _CIPHERTEXT is what kms:Encrypt
# made of it, in base64.
$api_key=

# What the API signs tickets with, likewise.
$ticket=
$tls
# The port of the API. After a change: systemctl restart nitro-parent.service; to or from 443, which only works with
# tls.mode = "acme", setup-parent.sh again before that.
BRIDGE_LISTEN_PORT=7001

# Below, run-enclave.sh writes ENCLAVE_CID, which enclave the proxy dials.
BOOT_FILE
}

# The allocator can change only while no enclave runs, of whomsoever. What it has more than we need may be another's.
size_allocator() {
    local has_cpus has_mib enclaves code=0
    if grep -qs '^cpu_pool:' "$allocator_yaml"; then
        say "$allocator_yaml has a cpu_pool, which is your own choice: it is left alone, and has to have $cpus CPUs and $memory_mib MiB"
        return
    fi
    has_mib=$(allocated memory_mib) has_cpus=$(allocated cpu_count)
    if ((has_mib >= memory_mib && has_cpus >= cpus)); then
        return
    fi
    if command -v nitro-cli >/dev/null; then
        enclaves=$(nitro_cli describe-enclaves | jq length) || die "$EX_UNAVAILABLE" 'nitro-cli cannot list the enclaves'
        ((enclaves == 0)) || die "$EX_TEMPFAIL" "the allocator has $has_cpus CPUs and $has_mib MiB, needs $cpus and $memory_mib," \
            'and cannot change while an enclave runs; end it (run-enclave.sh --stop) and run this again. The rest is done'
    fi
    ((has_mib <= memory_mib)) || memory_mib=$has_mib
    ((has_cpus <= cpus)) || cpus=$has_cpus
    cat >"$scratch/allocator.yaml" <<ALLOCATOR
---
# Written by setup-parent.sh, from [enclave] of nitro.toml. What enclaves may take, all together.
memory_mib: $memory_mib
cpu_count: $cpus
ALLOCATOR
    [[ ! -e $allocator_yaml ]] || cp -- "$allocator_yaml" "$scratch/allocator.yaml.old"
    put 644 "$scratch/allocator.yaml" "$allocator_yaml"
    act systemctl restart nitro-enclaves-allocator.service || code=$?
    if ((code != 0)); then
        # Or else the next run would find nothing to do.
        if [[ -e $scratch/allocator.yaml.old ]]; then
            put 644 "$scratch/allocator.yaml.old" "$allocator_yaml"
        else
            rm -f -- "$allocator_yaml"
        fi
        die "$code" "the allocator does not start with $cpus CPUs and $memory_mib MiB; $allocator_yaml is as it was." \
            'Memory in one piece is had soonest after a reboot'
    fi
}

# The number behind $1 in the allocator's file; 0 where there is none.
allocated() {
    local number=''
    [[ ! -e $allocator_yaml ]] || number=$(sed -n "s/^$1: *\([0-9][0-9]*\) *\(#.*\)\{0,1\}\$/\1/p" "$allocator_yaml" | tail -n 1)
    echo "${number:-0}"
}

send_log_to_cloudwatch() {
    local config="$machine_root/etc/nitro-signer/cloudwatch.json" code=0
    cat >"$scratch/logrotate" <<'LOGROTATE'
# Written by setup-parent.sh. The file is copied and cut, because nitro-logs.service keeps it open.
/var/log/nitro-signer/signer.log {
    size 50M
    rotate 2
    missingok
    notifempty
    copytruncate
}
LOGROTATE
    put 644 "$scratch/logrotate" "$machine_root/etc/logrotate.d/nitro-signer"
    cat >"$scratch/cloudwatch.json" <<CLOUDWATCH
{
  "logs": {
    "logs_collected": {
      "files": {
        "collect_list": [
          {
            "file_path": "/var/log/nitro-signer/signer.log",
            "log_group_name": "$log_group",
            "log_stream_name": "{instance_id}"
          }
        ]
      }
    }
  }
}
CLOUDWATCH
    put 644 "$scratch/cloudwatch.json" "$config"
    if [[ $changed ]]; then
        act "$cloudwatch/bin/amazon-cloudwatch-agent-ctl" -a append-config -m ec2 -s -c "file:$config" || code=$?
        # Or else the next run would find nothing to do.
        ((code == 0)) || { rm -f -- "$config"; die "$code" 'amazon-cloudwatch-agent does not take its configuration'; }
    fi
}

start_units() {
    local unit names=(nitro-enclaves-allocator nitro-parent nitro-enclave)
    [[ -z $log_group ]] || names+=(nitro-logs)
    act systemctl daemon-reload
    for unit in "${names[@]}"; do
        systemctl is-enabled --quiet "$unit.service" 2>/dev/null || act systemctl enable "$unit.service"
    done
    for unit in nitro-enclaves-allocator ${log_group:+nitro-logs}; do
        systemctl is-active --quiet "$unit.service" || act systemctl start "$unit.service"
    done
}

say_what_is_next() {
    if [[ $proxy_is_new$units_are_new ]] && systemctl is-active --quiet nitro-parent.service; then
        say 'nitro-parent.service still runs as before; when clients can do without for a moment: systemctl restart nitro-parent.service'
    fi
    [[ -e $stored_release ]] \
        || say "next: fill in $boot_file, then run-enclave.sh --release FOLDER starts the enclave, and the proxy with it"
}

main "$@"
