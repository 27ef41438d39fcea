#!/usr/bin/env bash
# Checks, on the parent instance, that the signer runs as it should. See --help.
set -euo pipefail

self=$(readlink -f "${BASH_SOURCE[0]}")
# shellcheck source=infra/parent.sh
source "${self%/*}/parent.sh"

readonly ANSWER_PATIENCE_S=5

usage() {
    cat <<'USAGE'
Checks the security of a running signer, on its parent instance. Changes nothing.

Usage: infra/check.sh [--release FOLDER] [--policy FILE] [--role NAME] [--imds-url URL]

  --release FOLDER  what should run (default /var/lib/nitro-signer/release); its nitro.toml may be the one that you
                    reviewed and committed, and its image need not be there
  --policy FILE     the KMS key policy, when this instance may not read it from KMS
  --role NAME       the instance's role, when AWS is not to be asked
  --imds-url URL    of the instance metadata service (default http://169.254.169.254)

Prints a line for each point: PASS, FAIL, or SKIP for what could not be looked at, then what, and why. The signature of
the attestation document is not checked here: root on this instance could fake all that is. Whoever trusts the signer
verifies a document from outside, down to the root certificate of AWS.

Exit status: 0 nothing FAILed, 1 something did, 64 wrong command line, 66 no such release, 69 a tool is missing, 77 not
root, 78 the release or the boot file cannot be read.
USAGE
}

main() {
    read_arguments "$@"
    need_root
    need_commands nitro-cli jq curl systemctl
    [[ -f $release/nitro.toml ]] || die "$EX_NOINPUT" "no release: $release"
    read_settings "$release/nitro.toml"
    read_pcrs_or_remember
    port=$(bridge_port)

    check_enclave
    check_measurements
    check_attestation
    check_key_policies
    check_boot_file_mode
    check_proxy
    check_imds
    check_security_groups
    check_trails
    exit "$failed"
}

release=$stored_release policy='' role='' imds_url=http://169.254.169.254 failed=0

read_arguments() {
    while (($#)); do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --release | --policy | --role | --imds-url)
                (($# > 1)) || die "$EX_USAGE" "$1 needs a value"
                case $1 in
                    --release) release=$2 ;;
                    --policy) policy=$2 ;;
                    --role) role=$2 ;;
                    --imds-url) imds_url=${2%/} ;;
                esac
                shift 2
                ;;
            *) die "$EX_USAGE" "unknown argument '$1'; --help lists them" ;;
        esac
    done
    [[ -z $policy || -r $policy ]] || die "$EX_NOINPUT" "cannot read $policy"
}

pass() { printf 'PASS %s: %s\n' "$1" "$2"; }
skip() { printf 'SKIP %s: %s\n' "$1" "$2"; }
fail() {
    printf 'FAIL %s: %s\n' "$1" "$2"
    failed=1
}

# Passes the point $1 with the words $2, unless there is something wrong: the lines of $3.
conclude() {
    if [[ $3 ]]; then
        fail "$1" "$(paste -sd ';' <<<"$3" | sed 's/;/; /g')"
    else
        pass "$1" "$2"
    fi
}

# A release without PCRs is a point that fails, and no reason to look at nothing else.
pcr_fault=''
read_pcrs_or_remember() {
    local index
    # In a subshell, which is all that it can end.
    pcr_fault=$( (read_pcrs "$release/nitro.toml") 2>&1) || pcr_fault=${pcr_fault#*: }
    for index in 0 1 2; do
        # A value that equals nothing.
        [[ -z $pcr_fault ]] || toml[pcr.PCR$index]=none
        toml[pcr.PCR$index]=${toml[pcr.PCR$index],,}
    done
}

# ---- The enclave

running=''

check_enclave() {
    local ours cid
    cid=$(boot_setting ENCLAVE_CID)
    if ! ours=$(our_enclaves 2>/dev/null); then
        fail enclave 'nitro-cli cannot list the enclaves'
        fail 'debug mode' 'unknown'
        return
    fi
    running=$(jq -c --arg cid "$cid" 'map(select(.State == "RUNNING" and (.EnclaveCID | tostring) == $cid))[0] // ""' <<<"$ours")
    if [[ $running == '""' ]]; then
        running=''
        fail enclave "none named ${toml[name]} runs with the CID of the boot file"
    elif (($(jq length <<<"$ours") > 1)); then
        fail enclave "$(jq length <<<"$ours") are named ${toml[name]}: an old one was not ended"
    else
        pass enclave "$(jq -r .EnclaveID <<<"$running") runs, with the CID of the boot file"
    fi
    conclude 'debug mode' 'off' "$(jq -r '.[] | select(.Flags != "NONE") | "\(.EnclaveID) has \(.Flags)"' <<<"$ours")"
}

check_measurements() {
    local eif=$release/nitro-signer.eif description faults='' looked='nitro.toml'
    if [[ $pcr_fault ]]; then
        fail measurements "$pcr_fault"
        return
    fi
    if [[ -f $eif ]]; then
        description=$(nitro_cli describe-eif --eif-path "$eif" 2>/dev/null) || description='{}'
        faults+=$(differing "$description" "of the image in $release")
        looked+=', the image'
    fi
    if [[ $running ]]; then
        faults+=${faults:+$'\n'}$(differing "$running" 'that nitro-cli gives for the running enclave')
        looked+=', the running enclave by nitro-cli'
    fi
    conclude measurements "the same in $looked" "${faults%$'\n'}"
}

# Which PCRs of the JSON text $1 are not those of nitro.toml; $2 says whose they are.
differing() {
    local index
    for index in 0 1 2; do
        [[ $(measured "$1" "$index") == "${toml[pcr.PCR$index]}" ]] || echo "PCR$index $2 is not that of nitro.toml"
    done
}

# The document is CBOR: in the map of PCRs, the number of one, then 58 30: a string of 48 bytes follows.
check_attestation() {
    local nonce scheme=http document index faults=''
    [[ ${toml[tls.mode]:-off} == off ]] || scheme=https
    nonce=$(random_hex)
    document=$(curl --silent --fail --insecure --noproxy '*' --max-time "$ANSWER_PATIENCE_S" \
        "$scheme://127.0.0.1:$port/.well-known/attestation?nonce=$nonce" \
        | jq -er .attestation_doc | base64 --decode 2>/dev/null | as_hex) || document=''
    if [[ -z $document ]]; then
        fail attestation "port $port gives no document"
        return
    fi
    for index in 0 1 2; do
        [[ $document == *"0${index}5830${toml[pcr.PCR$index]}"* ]] \
            || faults+="PCR$index in the document is not that of nitro.toml"$'\n'
    done
    [[ $document == *"$nonce"* ]] || faults+='the document is not the answer to our nonce'$'\n'
    conclude attestation "the document of the enclave has the PCRs of nitro.toml and our nonce; its signature is not checked here" \
        "${faults%$'\n'}"
}

random_hex() {
    head -c 20 /dev/urandom | as_hex
}

as_hex() {
    od -An -v -tx1 | tr -d ' \n'
}

# ---- The KMS key

check_key_policies() {
    local arn arns=() text
    [[ $role ]] || role=$(instance_role)
    # A line each, whatever somebody wrote into the boot file.
    mapfile -t arns < <(printf '%s\n' "$(boot_setting KMS_KEY_ARN)" "${toml[kms.key_arns]}" | awk 'NF && !seen[$0]++')
    if [[ $policy ]]; then
        check_key_policy "$(<"$policy")" "of $policy"
        return
    fi
    if ! command -v aws >/dev/null; then
        fail 'key policy' 'no aws to ask for it; give it with --policy'
        fail 'kms:Encrypt' 'the key policy was not read'
        return
    fi
    for arn in "${arns[@]}"; do
        if text=$(aws kms get-key-policy --key-id "$arn" --policy-name default --region "${toml[kms.region]}" \
            --query Policy --output text 2>/dev/null); then
            check_key_policy "$text" "of $arn"
        else
            fail 'key policy' "that of $arn cannot be read; allow kms:GetKeyPolicy, or give it with --policy"
            fail 'kms:Encrypt' "the key policy of $arn was not read"
        fi
    done
}

instance_role() {
    # arn:aws:sts::ACCOUNT:assumed-role/ROLE/INSTANCE
    { aws sts get-caller-identity --query Arn --output text 2>/dev/null || true; } \
        | sed -n 's,^arn:[^:]*:sts::[0-9]*:assumed-role/\([^/]*\)/.*,\1,p'
}

# shellcheck disable=SC2016 # The variables are jq's.
# What uses the key, and so must be the enclave's alone. Names of actions have no case, and * and ? in them.
readonly POLICY_DEFINITIONS='
    def many: if type == "array" then .[] else . end;
    def pattern: ascii_downcase | gsub("(?<c>[.+^$()|\\[\\]{}\\\\])"; "\\\(.c)") | gsub("[*]"; ".*") | gsub("[?]"; ".")
        | "^" + . + "$";
    def allows($actions): [.Action // empty | many | tostring | pattern] as $patterns
        | any($actions[]; ascii_downcase as $action | any($patterns[]; . as $p | $action | test($p)));
    def principals: .Principal // empty | if type == "object" then .[] | many else . end;
    def names: .Sid // "without Sid" | tostring;
    def statements: .Statement | many | select(.Effect != "Deny");
'

check_key_policy() {
    local faults
    if ! jq -e '.Statement' <<<"$1" >/dev/null 2>&1; then
        fail 'key policy' "$2: not a policy"
        fail 'kms:Encrypt' "$2: not a policy"
        return
    fi
    faults=$(jq -r --arg pcr0 "${toml[pcr.PCR0]}" --arg pcr1 "${toml[pcr.PCR1]}" --arg pcr2 "${toml[pcr.PCR2]}" "$POLICY_DEFINITIONS"'
        ["kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:GenerateDataKeyPair",
         "kms:GenerateDataKeyPairWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:CreateGrant",
         "kms:DeriveSharedSecret"] as $uses
        # The values that a condition asks of a PCR. Operators that also hold when there is no document do not count.
        | def asked($keys): [.Condition // {} | to_entries[]
              | select(.key == "StringEquals" or .key == "StringEqualsIgnoreCase") | .value | to_entries[]
              | select(.key | ascii_downcase | IN($keys[])) | [.value | many | tostring | ascii_downcase]];
        def is_only($pcr): length > 0 and all(. == $pcr);
        [statements | select(has("NotAction") or has("NotPrincipal"))
            | "\(names): says who or what not, and so allows all else"],
        [statements | select(allows($uses)) | . as $statement
            | (if any(principals; . == "*") then "\(names): for anybody" else empty end),
              (asked(["kms:recipientattestation:pcr0", "kms:recipientattestation:imagesha384"])
                  | if length == 0 then "\($statement | names): asks for no PCR0"
                    elif any(.[]; is_only($pcr0)) then empty
                    elif any(.[][]; test("^0+$")) then "\($statement | names): asks for a PCR0 of zeros, as in debug mode"
                    else "\($statement | names): asks for another PCR0 (as expected while another image is still allowed)"
                    end),
              ({"1": $pcr1, "2": $pcr2} | to_entries[] | . as $entry
                  | $statement | asked(["kms:recipientattestation:pcr\($entry.key)"]) | .[]
                  | if is_only($entry.value) then empty
                    else "\($statement | names): asks for another PCR\($entry.key)" end)],
        [if any(statements; allows(["kms:Decrypt"])) then empty else "nothing allows kms:Decrypt" end]
        | .[]' <<<"$1") || faults='not a policy in a form that we know'
    conclude 'key policy' "$2: the key is used by the image of nitro.toml only" "$faults"

    if [[ -z $role ]]; then
        skip 'kms:Encrypt' 'the role of this instance is not known; give it with --role'
        return
    fi
    # The account is there for whatever IAM allows in it.
    faults=$(jq -r --arg role "$role" "$POLICY_DEFINITIONS"'
        statements | select(allows(["kms:Encrypt"]) or has("NotAction")) | . as $statement | principals | tostring
        | select(. == "*" or test(":root$") or test("^[0-9]+$") or test(":role/(.*/)?" + $role + "$")
            or test(":assumed-role/" + $role + "/"))
        | "\($statement | names): for \(.)"' <<<"$1") || faults='not a policy in a form that we know'
    conclude 'kms:Encrypt' "$2: not for $role, so the parent cannot make a ticket secret" "$faults"
}

# ---- The parent

check_boot_file_mode() {
    local is
    is=$(stat -c '%a %U' "$boot_file" 2>/dev/null) || is='not there'
    if [[ $is == "600 $SERVICE_USER" ]]; then
        pass 'boot file' "$boot_file is readable by $SERVICE_USER only"
    else
        fail 'boot file' "$boot_file is $is and not 600 $SERVICE_USER"
    fi
}

check_proxy() {
    if systemctl is-active --quiet nitro-parent.service; then
        pass proxy 'nitro-parent.service is active'
    else
        fail proxy 'nitro-parent.service is not active'
    fi
}

imds() {
    curl --silent --noproxy '*' --max-time "$ANSWER_PATIENCE_S" "$@"
}

check_imds() {
    local status
    status=$(imds --output /dev/null --write-out '%{http_code}' "$imds_url/latest/meta-data/" || true)
    case $status in
        401) pass IMDS 'asks for a token (IMDSv2)' ;;
        000) skip IMDS 'does not answer' ;;
        *) fail IMDS "answers $status without a token; aws ec2 modify-instance-metadata-options --http-tokens required" ;;
    esac
}

check_security_groups() {
    local token mac groups answer open
    if ! token=$(imds --fail --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$imds_url/latest/api/token") \
        || ! mac=$(imds --fail --header "X-aws-ec2-metadata-token: $token" "$imds_url/latest/meta-data/mac") \
        || ! groups=$(imds --fail --header "X-aws-ec2-metadata-token: $token" \
            "$imds_url/latest/meta-data/network/interfaces/macs/${mac%/}/security-group-ids"); then
        skip 'security groups' 'the metadata service does not name them'
        return
    fi
    # shellcheck disable=SC2086 # A word for each.
    if ! answer=$(aws ec2 describe-security-groups --region "${toml[kms.region]}" --output json --group-ids $groups 2>/dev/null); then
        skip 'security groups' 'this instance may not read them (ec2:DescribeSecurityGroups)'
        return
    fi
    open=$(jq -r --argjson port "$port" '.SecurityGroups[] | .GroupId as $id | .IpPermissions[]
        | select(.IpProtocol == "-1" or (.IpProtocol == "tcp" and .FromPort <= $port and $port <= .ToPort))
        | (.IpRanges[]?.CidrIp, .Ipv6Ranges[]?.CidrIpv6) | select(. == "0.0.0.0/0" or . == "::/0")
        | "\($id) lets \(.) reach it"' <<<"$answer") || open='not an answer in a form that we know'
    conclude 'security groups' "nobody reaches port $port from everywhere" "$open"
}

check_trails() {
    local count
    if ! count=$(aws cloudtrail describe-trails --region "${toml[kms.region]}" --output json 2>/dev/null | jq -e '.trailList | length'); then
        skip CloudTrail 'this instance may not ask (cloudtrail:DescribeTrails)'
    elif ((count == 0)); then
        fail CloudTrail 'no trail: the use of the key is not recorded'
    else
        pass CloudTrail "$count here; whether they record KMS is not looked at"
    fi
}

main "$@"
