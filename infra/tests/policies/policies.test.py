#!/usr/bin/env python3
"""Tests kms-key-policy.json, iam-policy.json and cloudformation.yaml. Called by policies.test.sh.

Each check gives the problems that it finds. That it finds them is tested too: every line of BROKEN spoils a file.
"""

import json
import logging
import os
import re
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

ACCOUNT, REGION = "111122223333", "us-east-1"
# Nothing here is to reach AWS, whatever the machine is set up for.
os.environ.update(MOTO_ACCOUNT_ID=ACCOUNT, AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none")
os.environ.pop("AWS_PROFILE", None)

warnings.simplefilter("ignore")

import boto3
import parliament
from cfnlint.decode import cfn_yaml
from moto import mock_aws
from moto.cloudformation import parsing
from moto.cloudformation.models import cloudformation_backends

INFRA = Path(__file__).resolve().parents[2]
KEY_POLICY, IAM_POLICY, TEMPLATE = (
    (INFRA / name).read_text() for name in ("kms-key-policy.json", "iam-policy.json", "cloudformation.yaml")
)

ROLE = f"arn:aws:iam::{ACCOUNT}:role/"
INSTANCE, SEALER, ADMINISTRATOR = (
    ROLE + name for name in ("nitro-signer-instance", "nitro-signer-secret-sealer", "nitro-signer-key-administrator")
)
# The one that stands in the templates for the operator's.
KEY_ARN = "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-0000-0000-000000000000"

PCRS = [f"kms:RecipientAttestation:PCR{index}" for index in range(3)]
# What gives something away that was sealed, or lets somebody else.
OPENS = {
    "CreateGrant", "Decrypt", "DeriveSharedSecret", "GenerateDataKey", "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo",
}
USES = OPENS | {
    "Encrypt", "GenerateMac", "GetPublicKey", "ImportKeyMaterial", "ReplicateKey", "Sign", "Verify", "VerifyMac",
}
# The most that KMS and CloudFormation take.
KEY_POLICY_BYTES, TEMPLATE_BYTES = 32 * 1024, 51_200

IMAGE = {f"Pcr{index}": f"{index + 1:x}" * 96 for index in range(3)}
PREVIOUS_IMAGE = {f"PreviousPcr{index}": f"{index + 10:x}" * 96 for index in range(3)}
PARENT = {f"ParentPcr{index}": f"{index + 4:x}" * 96 for index in (3, 4)}


def main():
    # Moto says what it does not make: alarms and metric filters. What warnings tell is the linters' own.
    logging.getLogger("moto").setLevel(logging.ERROR)
    for name, check, text in [
        ("the key policy", key_policy_problems, KEY_POLICY),
        ("the role's policy", iam_policy_problems, IAM_POLICY),
        ("the template", template_problems, TEMPLATE),
    ]:
        problems = list(check(text))
        if problems:
            sys.exit(f"FAILED: {name}:\n" + "\n".join(problems))
        print(f"ok: {name}")
        for old, new, expected in BROKEN[check]:
            assert old in text, f"the test is blind: {old!r} is not in {name}"
            if not any(expected in problem for problem in check(text.replace(old, new))):
                sys.exit(f"FAILED: {name} with {new!r} for {old!r}: no problem says '{expected}'")
        print(f"ok: {len(BROKEN[check])} ways to break {name} are noticed")


# ----------------------------------------------------------------------------------------------------------- policies


def key_policy_problems(text, has_image=True):
    policy = json.loads(text)
    problems = statement_problems(policy, key_policy=True)
    if len(text) >= KEY_POLICY_BYTES:
        problems.append(f"{len(text)} bytes, KMS takes {KEY_POLICY_BYTES}")

    given = {principal: allowed(policy, principal) for principal in (INSTANCE, SEALER, ADMINISTRATOR)}
    of_the_enclave = {"GenerateDataKey", "Decrypt"} if has_image else set()
    expected = {INSTANCE: of_the_enclave | {"GetKeyPolicy"}, SEALER: {"Encrypt"}}
    for principal, actions in expected.items():
        if given[principal] != actions:
            problems.append(f"{principal} is given {sorted(given[principal])}")
    if given[ADMINISTRATOR] & USES:
        problems.append(f"the administrator uses the key: {sorted(given[ADMINISTRATOR] & USES)}")
    if "PutKeyPolicy" not in given[ADMINISTRATOR] or denied(policy, "PutKeyPolicy"):
        problems.append("nobody can change the policy any more")
    for statement in allows(policy):
        for principal in as_list(statement["Principal"]["AWS"]):
            if principal not in given:
                problems.append(f"{statement['Sid']} is for {principal}")

    sealing = [statement for statement in allows(policy) if "Encrypt" in kms_actions(statement)]
    for statement in sealing:
        context = statement.get("Condition", {}).get("StringEquals", {})
        names = as_list(context.get("kms:EncryptionContext:name", "*"))
        if context.get("kms:EncryptionContext:nitro-signer") != "boot-secret" or not set(names) <= {
            "TICKET_SIGNING_SECRET",
            "INTERNAL_API_KEY",
            "TLS_KEY",
        }:
            problems.append(f"{statement['Sid']} encrypts more than boot secrets")

    unattested = {"Null": {PCRS[0]: "true"}}
    shut = set()
    for statement in policy["Statement"]:
        everybody = statement["Effect"] == "Deny" and statement["Principal"] in ("*", {"AWS": "*"})
        if everybody and statement.get("Condition", {}) in ({}, unattested):
            shut |= kms_actions(statement)
    if not OPENS <= shut:
        problems.append(f"not denied outside an enclave: {sorted(OPENS - shut)}")
    if not denied(policy, "Encrypt", INSTANCE):
        problems.append("the instance is not denied Encrypt")
    return problems


def iam_policy_problems(text):
    policy = json.loads(text)
    problems = statement_problems(policy, key_policy=False)
    resources = {
        "kms": KEY_ARN,
        "logs": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/nitro-signer/signer:*",
        # These can be restricted to no resource.
        "ec2": "*",
        "cloudtrail": "*",
    }
    given = set()
    for statement in policy["Statement"]:
        for action in as_list(statement["Action"]):
            service = action.split(":")[0]
            given.add(action)
            if as_list(statement["Resource"]) != [resources.get(service)]:
                problems.append(f"{statement['Sid']}: {action} of {statement['Resource']}")
    expected = {
        "cloudtrail:DescribeTrails",
        "ec2:DescribeInstances",
        "ec2:DescribeSecurityGroups",
        "kms:Decrypt",
        "kms:GenerateDataKey",
        "kms:GetKeyPolicy",
        "logs:CreateLogStream",
        "logs:DescribeLogStreams",
        "logs:PutLogEvents",
    }
    if given != expected:
        problems.append(f"gives too much or too little: {sorted(given ^ expected)}")
    return problems


def statement_problems(policy, key_policy):
    # In the policy of a key, `*` is that key.
    tolerated = {"RESOURCE_STAR"} if key_policy else set()
    linted = parliament.analyze_policy_string(
        json.dumps(policy), include_community_auditors=not key_policy
    )
    problems = [f"parliament: {finding}" for finding in linted.findings if finding.issue not in tolerated]

    if "${" in json.dumps(policy):
        problems.append("IAM takes ${...} for a variable")
    names = [statement.get("Sid", "") for statement in policy["Statement"]]
    if len(set(names)) != len(names) or not all(re.fullmatch("[A-Za-z0-9]+", name) for name in names):
        problems.append(f"Sids are not unique, or not of letters and digits: {names}")
    for statement in policy["Statement"]:
        unknown = {"NotAction", "NotPrincipal", "NotResource"} & set(statement)
        if unknown or ("Principal" in statement) != key_policy or statement["Effect"] not in ("Allow", "Deny"):
            problems.append(f"{statement['Sid']} is not of the form that these checks understand")
    for statement in allows(policy):
        if not kms_actions(statement) & OPENS:
            continue
        conditions = statement.get("Condition", {})
        equal = {**conditions.get("StringEqualsIgnoreCase", {}), **conditions.get("StringEquals", {})}
        if set(conditions) - {"StringEqualsIgnoreCase", "StringEquals"}:
            problems.append(f"{statement['Sid']} has other operators: {sorted(conditions)}")
        for index, pcr in enumerate(PCRS):
            value = equal.get(pcr)
            fits = isinstance(value, str) and (
                value == f"PCR{index}-of-the-image" or re.fullmatch("(?!0{96})[0-9a-f]{96}", value)
            )
            if not fits:
                problems.append(f"{statement['Sid']} does not ask for {pcr}")
        if kms_actions(statement) != {"Decrypt"} and equal.get("kms:EncryptionContext:nitro-signer") != "sealed-key":
            problems.append(f"{statement['Sid']} is not for sealed keys alone")
    return problems


def allows(policy):
    return [statement for statement in policy["Statement"] if statement["Effect"] == "Allow"]


def allowed(policy, principal):
    """The actions of KMS that some statement allows, under whatever condition."""
    mine = [s for s in allows(policy) if covers(s["Principal"], principal)]
    return set().union(*map(kms_actions, mine))


def denied(policy, action, principal=None):
    """Whether a statement denies it, to this principal or to anybody, under no condition."""
    return any(
        statement["Effect"] == "Deny"
        and action in kms_actions(statement)
        and "Condition" not in statement
        and (principal is None or covers(statement["Principal"], principal))
        for statement in policy["Statement"]
    )


def covers(principals, principal):
    named = as_list(principals["AWS"] if isinstance(principals, dict) else principals)
    return bool({"*", ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", principal} & set(named))


def kms_actions(statement):
    """By name, as parliament's copy of AWS's list has them."""
    patterns = as_list(statement["Action"])
    expanded = [found for pattern in patterns for found in parliament.expand_action(pattern, raise_exceptions=False)]
    return {found["action"] for found in expanded if found["service"] == "kms"}


def as_list(value):
    return value if isinstance(value, list) else [value]


# ----------------------------------------------------------------------------------------------------------- template


def template_problems(text):
    """One after the other, as each deployment takes a moment."""
    template = cfn_yaml.loads(text)
    if len(text) > TEMPLATE_BYTES:
        yield f"{len(text)} bytes, CloudFormation takes {TEMPLATE_BYTES}"
    for name, parameter in template["Parameters"].items():
        if not parameter.get("Description"):
            yield f"parameter {name} has no description"
    for name in [*IMAGE, *PREVIOUS_IMAGE, *PARENT]:
        pattern = template["Parameters"][name].get("AllowedPattern", "")
        for value in ["0" * 96, "A" * 96, "a" * 95, "a" * 97, "g" * 96, "PCR0-of-the-image"]:
            if re.search(pattern, value):
                yield f"{name} can be {value}"
        if not (re.search(pattern, "") and re.search(pattern, "0" * 95 + "1")):
            yield f"{name} cannot be a PCR, or cannot be left out"
    for value in ["0.0.0.0/0", "0.0.0.0/1", "1.2.3.4", "::/0"]:
        if re.search(template["Parameters"]["ClientCidr"].get("AllowedPattern", ""), value):
            yield f"ClientCidr can be {value}"
    for name in ["Key", "LogGroup"]:
        if [template["Resources"][name].get(p) for p in ("DeletionPolicy", "UpdateReplacePolicy")] != ["Retain"] * 2:
            yield f"{name} goes with the stack"

    # Moto knows no rules of prefix lists.
    [listed] = [r for r in template["Resources"].values() if "SourcePrefixListId" in r.get("Properties", {})]
    if listed.get("Condition") != "HasClientPrefixList" or listed["Properties"]["ToPort"] != 7001:
        yield "a prefix list is let in elsewhere, or without being named"
    # Half an image is none.
    for given in [{}, {"Pcr0": IMAGE["Pcr0"]}, {"PreviousPcr0": "a" * 96, "PreviousPcr2": "b" * 96}]:
        with deployed(text, **given) as stack:
            yield from stack.policy_problems([])
            yield from stack.instance_problems()
            yield from stack.network_problems([])
    with deployed(text, **IMAGE) as stack:
        yield from stack.policy_problems([list(IMAGE.values())])
    both = [list(IMAGE.values()), list(PREVIOUS_IMAGE.values())]
    with deployed(text, **IMAGE, **PREVIOUS_IMAGE, ClientCidr="198.51.100.0/24") as stack:
        yield from stack.policy_problems(both)
        yield from stack.network_problems([{"CidrIp": "198.51.100.0/24"}])
    for pinned in [PARENT, {"ParentPcr4": PARENT["ParentPcr4"]}]:
        with deployed(text, **IMAGE, **PREVIOUS_IMAGE, **pinned) as stack:
            yield from stack.policy_problems(both, pinned)
    with deployed(text, AcmePort="true") as stack:
        yield from stack.network_problems([], validates=True)
    with deployed(text, SessionManager="false", ImageId="ami-12345678") as stack:
        if stack.attached():
            yield f"without SessionManager the role has {stack.attached()}"
        if stack.output("ImageId") != "ami-12345678":
            yield "ImageId is not used"
    yield from log_pattern_problems(template)


class Stack:
    """The template, deployed by moto."""

    def __init__(self, session, name):
        self.session = session
        stack = session.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        self.parsed = cloudformation_backends[ACCOUNT][REGION].get_stack(name)

    def output(self, name):
        return self.outputs[name]

    def properties(self, resource_type):
        """Of the resources of one type, as their conditions and parameters make them."""
        resources = self.parsed.template_dict["Resources"].values()
        conditions = self.parsed.resource_map.lazy_condition_map
        return [
            parsing.clean_json(resource["Properties"], self.parsed.resource_map)
            for resource in resources
            if resource["Type"] == resource_type and conditions.get(resource.get("Condition"), True)
        ]

    def policy_problems(self, images, pinned=None):
        """The policies that are in force have to be the committed ones, for these images, on this parent."""
        problems = []
        kms, iam = self.session.client("kms"), self.session.client("iam")
        key = self.output("KeyArn")
        policy = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
        text = json.dumps(policy, indent=2)
        if canonical(policy) != canonical(for_images(KEY_POLICY, images, pinned)):
            problems.append(f"the key's policy for {len(images)} images is not the committed one")
        problems += key_policy_problems(text, has_image=bool(images))
        policy = iam.get_role_policy(RoleName="nitro-signer-instance", PolicyName="nitro-signer")["PolicyDocument"]
        found = json.loads(json.dumps(policy).replace(key, KEY_ARN))
        # That moto's ARNs of log groups end otherwise than AWS's is no fault of ours.
        if canonical(found, logs=False) != canonical(for_images(IAM_POLICY, images, pinned), logs=False):
            problems.append(f"the role's policy for {len(images)} images is not the committed one")
        if self.attached() != ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]:
            problems.append(f"the role has {self.attached()}")
        if not kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]:
            problems.append("the key does not rotate")
        return problems

    def attached(self):
        """Moto attaches no policies of AWS, so as the template says."""
        [role] = self.properties("AWS::IAM::Role")
        return role.get("ManagedPolicyArns", [])

    def instance_problems(self):
        [instance] = self.properties("AWS::EC2::Instance")
        [profile] = self.properties("AWS::IAM::InstanceProfile")
        expected = {
            "EnclaveOptions": {"Enabled": True},
            "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "DisableApiTermination": "true",
        }
        problems = [
            f"instance: {name} is {instance.get(name)}"
            for name, value in expected.items()
            if instance.get(name) != value
        ]
        if not all(device["Ebs"].get("Encrypted") is True for device in instance["BlockDeviceMappings"]):
            problems.append("instance: a volume is not encrypted")
        for interface in instance["NetworkInterfaces"]:
            if interface.get("AssociatePublicIpAddress") != "false":
                problems.append("instance: a public address by default")
            if interface["GroupSet"] != [self.output("SecurityGroupId")]:
                problems.append("instance: another security group")
        if profile["Roles"] != ["nitro-signer-instance"] or "KeyName" in instance:
            problems.append("instance: another role, or a key for SSH")
        return problems

    def network_problems(self, clients, validates=False):
        """`clients` is what the rules that let somebody in say of whom. `validates` lets an ACME server in, too."""
        problems = []
        [group] = self.properties("AWS::EC2::SecurityGroup")
        https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIp": "0.0.0.0/0"}
        out = [{**rule, "Description": ""} for rule in group.get("SecurityGroupEgress", [])]
        if out != [{**https, "Description": ""}] or self.properties("AWS::EC2::SecurityGroupEgress"):
            problems.append(f"network: goes out to {out}")
        rules = group.get("SecurityGroupIngress", []) + self.properties("AWS::EC2::SecurityGroupIngress")
        if validates:
            # In one place only: what is left is as without it.
            at_443 = [rule for rule in rules if {name: rule.get(name) for name in https} == https]
            rules = [rule for rule in rules if rule not in at_443]
            if len(at_443) != 1:
                problems.append(f"network: an ACME server gets in by {at_443}")
        sources = {"CidrIp", "CidrIpv6", "SourcePrefixListId", "SourceSecurityGroupId", "SourceSecurityGroupName"}
        let_in = [{name: rule[name] for name in rule if name in sources} for rule in rules]
        if let_in != clients:
            problems.append(f"network: lets in {let_in}")
        for rule in rules:
            if (rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) != (7001, 7001, "tcp"):
                problems.append(f"network: lets in elsewhere than to 7001: {rule}")
        return problems


@contextmanager
def deployed(text, **parameters):
    with mock_aws():
        session = boto3.Session(region_name=REGION)
        ec2 = session.client("ec2")
        parameters = {
            "AdministratorRoleArn": ADMINISTRATOR,
            "SealerRoleArn": SEALER,
            "VpcId": ec2.describe_vpcs()["Vpcs"][0]["VpcId"],
            "SubnetId": ec2.describe_subnets()["Subnets"][0]["SubnetId"],
            **parameters,
        }
        session.client("cloudformation").create_stack(
            StackName="signer",
            TemplateBody=text,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        yield Stack(session, "signer")


def drop_what_is_no_value():
    """As CloudFormation does; moto leaves `AWS::NoValue` in lists, as None."""
    original = parsing.clean_json

    def clean_json(value, resources):
        cleaned = original(value, resources)
        return [item for item in cleaned if item is not None] if isinstance(value, list) else cleaned

    parsing.clean_json = clean_json


def for_images(text, images, pinned):
    """The committed policy with its statements of an image once for each, on this parent."""
    policy = json.loads(text)
    statements = []
    for statement in policy["Statement"]:
        copies = images if "-of-the-image" in json.dumps(statement) else [None]
        for pcrs in copies:
            copy = json.dumps(statement)
            for index, pcr in enumerate(pcrs or []):
                copy = copy.replace(f"PCR{index}-of-the-image", pcr)
            statements.append(json.loads(copy))
            if pcrs:
                registers = {f"kms:RecipientAttestation:PCR{name[-1]}": pcr for name, pcr in (pinned or {}).items()}
                statements[-1]["Condition"]["StringEqualsIgnoreCase"].update(registers)
    return {**policy, "Statement": statements}


def canonical(policy, logs=True):
    """Without what makes no difference: the order of statements, and what distinguishes the Sids of images."""
    statements = []
    for statement in policy["Statement"]:
        sid = re.sub("OfImage[0-9]+$", "", statement["Sid"])
        resource = "" if not logs and sid == "AgentWritesTheLog" else statement["Resource"]
        statement = {**statement, "Sid": sid, "Resource": resource, "Action": sorted(as_list(statement["Action"]))}
        statements.append(json.dumps(statement, sort_keys=True))
    return {**policy, "Statement": sorted(statements)}


# Lines as they are logged, for each metric.
LINES = {
    "SignerEnded": [
        "2026-01-01T00:00:00.000000Z ERROR enclave_runtime::enclave: cannot start: nitro.toml: unknown field",
        "2026-01-01T00:00:00.000000Z ERROR enclave_runtime::process: panicked at enclave-runtime/src/boot.rs:1:1",
    ],
    "KmsDenied": [
        '2026-01-01T00:00:00.000000Z  WARN enclave_runtime::kms: KMS call failed operation="Decrypt" '
        "error=AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/nitro-signer-instance/i-0 is not "
        "authorized to perform: kms:Decrypt on resource: arn:aws:kms:us-east-1:111122223333:key/0",
    ],
    "EnclaveAnswers": [
        "2026-01-01T00:00:00+0000 run-enclave.sh[812]: signerctl: heartbeat: the enclave with CID 16 answers /health with 200",
        "2026-01-01T00:00:00+0000 run-enclave.sh[812]: signerctl: heartbeat: the enclave with CID 16 answers /health with 503",
    ],
}
OTHER_LINES = [
    "2026-01-01T00:00:00.000000Z  INFO enclave_runtime::enclave: ready after_ms=812",
    "2026-01-01T00:00:00.000000Z  INFO enclave_runtime::enclave: stopped",
    "2026-01-01T00:00:00.000000Z  WARN destination not reached; further failures are only counted until one succeeds "
    "route=vsock:any:7100 destination=tcp:kms.us-east-1.amazonaws.com:443 error=timed out",
    "2026-01-01T00:00:00+0000 run-enclave.sh[812]: signerctl: the enclave with CID 16 does not answer (1 of 3)",
]
# What these lines are made of is in the sources.
SOURCES = {
    "cannot start: ": "enclave-runtime/src/enclave.rs",
    "panicked at ": "enclave-runtime/src/process.rs",
    "KMS call failed": "enclave-runtime/src/kms.rs",
    "AccessDeniedException": "enclave-runtime/src/kms/error.rs",
    "heartbeat: {}": "infra/ctl/src/parent/watch.rs",
    "the enclave with CID {cid} answers /health with {status}": "infra/ctl/src/parent/watch.rs",
}


def log_pattern_problems(template):
    problems = []
    for phrase, path in SOURCES.items():
        if phrase not in (INFRA.parent / path).read_text():
            problems.append(f"'{phrase}' is not logged any more by {path}")
    resources = template["Resources"].values()
    filters = [r["Properties"] for r in resources if r["Type"] == "AWS::Logs::MetricFilter"]
    alarms = {r["Properties"]["MetricName"]: r["Properties"] for r in resources if r["Type"] == "AWS::CloudWatch::Alarm"}
    absence = {"ComparisonOperator": "LessThanThreshold", "Threshold": 1, "TreatMissingData": "breaching"}
    if not absence.items() <= alarms.get("EnclaveAnswers", {}).items():
        problems.append("the alarm for a gone enclave does not go by the absence of its heartbeat")
    counted = {}
    for properties in filters:
        # Quoted phrases, all of which a line has to hold.
        phrases = re.findall('"([^"]*)"', properties["FilterPattern"])
        if " ".join(f'"{phrase}"' for phrase in phrases) != properties["FilterPattern"]:
            problems.append(f"a filter is not understood: {properties['FilterPattern']}")
        for transformation in properties["MetricTransformations"]:
            counted.setdefault(transformation["MetricName"], []).append(phrases)
    if set(counted) != set(LINES) or not set(LINES) | {"StatusCheckFailed"} <= set(alarms):
        problems.append(f"metrics: {sorted(counted)}, alarms: {sorted(alarms)}")
    for metric, patterns in counted.items():
        for lines, expected in [(LINES.get(metric, []), True), (OTHER_LINES, False)]:
            for line in lines:
                if any(all(phrase in line for phrase in phrases) for phrases in patterns) != expected:
                    problems.append(f"metric {metric} {'misses' if expected else 'counts'} {line!r}")
    return problems


# What is replaced by what, and what a problem then says.
BROKEN = {
    key_policy_problems: [
        ('"kms:GenerateDataKey",', '["kms:GenerateDataKey", "kms:Encrypt"],', "is given"),
        ('"Action": "kms:Decrypt"', '"Action": "kms:*"', "is given"),
        ('"Action": "kms:Decrypt"', '"Action": "kms:Decript"', "parliament"),
        ('"kms:RecipientAttestation:PCR2": "PCR2-of-the-image"', '"kms:ViaService": "x"', "does not ask for"),
        ('"kms:RecipientAttestation:PCR1": "PCR1-of-the-image"', '"aws:nothing": "x"', "parliament"),
        ('"PCR0-of-the-image"', f'"{"0" * 96}"', "does not ask for"),
        ('"PCR0-of-the-image"', '"${PCR0}"', "for a variable"),
        ('"PCR0-of-the-image"', '["PCR0-of-the-image", "*"]', "does not ask for"),
        ('"StringEqualsIgnoreCase"', '"StringNotEqualsIgnoreCase"', "has other operators"),
        ('"StringEqualsIgnoreCase"', '"StringEqualsIgnoreCaseIfExists"', "has other operators"),
        ('"sealed-key"', '"anything"', "is not for sealed keys alone"),
        ('"kms:EncryptionContext:name"', '"kms:EncryptionContext:other"', "more than boot secrets"),
        ('"boot-secret"', '"sealed-key"', "more than boot secrets"),
        ('"kms:DescribeKey"', '"kms:De*"', "the administrator uses the key"),
        ('"kms:CreateAlias"', '"kms:Create*"', "the administrator uses the key"),
        ('"kms:PutKeyPolicy",', "", "nobody can change the policy"),
        ("role/nitro-signer-key-administrator", "root", "is for"),
        ('{ "AWS": "arn:aws:iam::111122223333:role/nitro-signer-secret-sealer" }', '{ "AWS": "*" }', "is given"),
        ('"Effect": "Deny"', '"Effect": "Allow"', "is given"),
        ('"kms:GenerateDataKey*",', "", "not denied outside an enclave"),
        ('"kms:CreateGrant",', "", "not denied outside an enclave"),
        ('"true"', '"false"', "not denied outside an enclave"),
        ('"kms:Encrypt",\n      "Resource": "*"\n', '"kms:Sign", "Resource": "*"', "not denied Encrypt"),
        ('"InstanceEncryptsNothing"', '"InstanceReadsThisPolicy"', "Sids are not unique"),
        ('"InstanceEncryptsNothing"', '"Instance-encrypts-nothing"', "letters and digits"),
        ('"Id": "nitro-signer",', '"Id": "' + "n" * KEY_POLICY_BYTES + '",', "KMS takes"),
        ('"Version": "2012-10-17"', '"Version": "2012-10-18"', "parliament"),
    ],
    iam_policy_problems: [
        ('"kms:GenerateDataKey"', '["kms:GenerateDataKey", "kms:Encrypt"]', "gives too much"),
        ('"kms:Decrypt"', '"kms:*"', "gives too much"),
        ('"logs:PutLogEvents"', '"logs:PutLogEvent"', "parliament"),
        ('"kms:RecipientAttestation:PCR0": "PCR0-of-the-image",', "", "does not ask for"),
        ('"StringEqualsIgnoreCase"', '"StringLike"', "has other operators"),
        ('"sealed-key"', '"anything"', "is not for sealed keys alone"),
        (KEY_ARN, "*", "of *"),
        ("log-group:/nitro-signer/signer:*", "log-group:*", "logs:PutLogEvents of"),
        ('"ec2:DescribeInstances"', '"ec2:Describe*"', "gives too much"),
        ('"CheckReadsTheKeyPolicy"', '"AgentWritesTheLog"', "Sids are not unique"),
    ],
    template_problems: [
        ("HasImage: !And", "HasImage: !Or", "is given"),
        ("            - HasPreviousImage\n", "            - HasImage\n", "for 1 images is not the committed one"),
        (":PCR1: !Ref Pcr1", ":PCR1: !Ref Pcr0", "not the committed one"),
        ("PCR3: !If [PinsPcr3, !Ref ParentPcr3", "PCR3: !If [PinsPcr4, !Ref ParentPcr4", "not the committed one"),
        ("PinsPcr4: !Not [!Equals [!Ref ParentPcr4,", "PinsPcr4: !Not [!Equals [!Ref ParentPcr3,", "not the committed one"),
        ("kms:RecipientAttestation:PCR2: !Ref PreviousPcr2\n", "kms:ViaService: x\n", "does not ask for"),
        ("'^$|^(?!0{96}$)[0-9a-f]{96}$'", "'^$|^[0-9a-f]{96}$'", "can be 000"),
        ("'^$|^(?!0{96}$)[0-9a-f]{96}$'", "'^$|^(?!0{96}$)[0-9a-fA-F]{96}$'", "can be AAA"),
        ("Action: kms:GetKeyPolicy", "Action: ['kms:GetKeyPolicy', 'kms:Encrypt']", "not the committed one"),
        ("kms:Encrypt\n            Resource: '*'\n\n", "kms:Sign\n            Resource: '*'\n\n", "not denied Encrypt"),
        ("- kms:PutKeyPolicy\n", "- kms:PutKeyPolicy\n              - kms:Decrypt\n", "the administrator uses the key"),
        ("'ec2:DescribeInstances'", "'ec2:*'", "the role's policy for 0 images is not"),
        ("AmazonSSMManagedInstanceCore", "AdministratorAccess", "the role has"),
        ("EnableKeyRotation: true", "EnableKeyRotation: false", "does not rotate"),
        ("    DeletionPolicy: Retain\n", "", "goes with the stack"),
        ("HttpTokens: required", "HttpTokens: optional", "MetadataOptions is"),
        ("HttpPutResponseHopLimit: 1", "HttpPutResponseHopLimit: 2", "MetadataOptions is"),
        ("Enabled: true\n      #", "Enabled: false\n      #", "EnclaveOptions is"),
        ("Encrypted: true", "Encrypted: false", "is not encrypted"),
        ("AssociatePublicIpAddress: !Ref PublicIp", "AssociatePublicIpAddress: 'true'", "a public address"),
        ("    Condition: HasClientPrefixList\n", "", "without being named"),
        ("    Condition: HasAcmePort\n", "", "lets in"),
        ("      FromPort: 443\n      ToPort: 443\n", "      FromPort: 443\n      ToPort: 444\n", "an ACME server gets in by"),
        (
            "      SecurityGroupEgress:\n",
            "      SecurityGroupIngress: [{IpProtocol: tcp, FromPort: 7001, ToPort: 7001, CidrIp: 0.0.0.0/0}]\n"
            "      SecurityGroupEgress:\n",
            "lets in",
        ),
        ("CidrIp: !Ref ClientCidr", "CidrIp: 0.0.0.0/0", "lets in"),
        ("      ToPort: 7001", "      ToPort: 7002", "elsewhere than to 7001"),
        ("          FromPort: 443", "          FromPort: 0", "goes out to"),
        ("/(8|9|[12][0-9]|3[0-2])$", "/[0-9]+$", "ClientCidr can be 0.0.0.0/0"),
        ('"cannot start: "', '"can not start: "', "misses"),
        ('"heartbeat: the enclave with CID "', '"the enclave with CID "', "counts"),
        ("LessThanThreshold", "GreaterThanThreshold", "absence of its heartbeat"),
        ("Description: Days that log lines are kept", "NoEcho: false", "no description"),
    ],
}

drop_what_is_no_value()
main()
