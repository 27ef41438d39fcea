"""What boto3, botocore and OpenSSL find at the emulator. They were written for AWS and know of no other."""

import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from botocore.utils import InstanceMetadataFetcher, InstanceMetadataRegionFetcher

FOLDER = os.environ["FOLDER"]
IMDS_URL = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
IMDS_CONFIG = {"ec2_metadata_service_endpoint": IMDS_URL}
SIGNER = "arn:aws:kms:eu-central-1:111122223333:key/signer"
OPEN = "arn:aws:kms:eu-central-1:444455556666:key/open"
OTHER = "arn:aws:kms:eu-central-1:444455556666:key/other"
BOOT_SECRET = {"nitro-signer": "boot-secret", "name": "TICKET_SIGNING_SECRET"}
SEALED_KEY = {"nitro-signer": "sealed-key"}
SESSION = "arn:aws:sts::111122223333:assumed-role"


def kms(access_key=None, secret="its-secret", token=None, retries=0, **more):
    """A client with these credentials, or with those it finds, which are the metadata service's."""
    more.setdefault("region_name", "eu-central-1")
    return boto3.session.Session().client(
        "kms",
        endpoint_url=os.environ["KMS_URL"],
        verify=FOLDER + "/ca.pem",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret if access_key else None,
        aws_session_token=token,
        config=Config(
            retries={"mode": "standard", "total_max_attempts": retries + 1},
            read_timeout=1,
            connect_timeout=5,
            parameter_validation=False,
        ),
        **more,
    )


def sealer(**more):
    return kms("AKIASEALER", **more)


def refused(code, call, *arguments, says="", **parameters):
    """Makes a call that has to be refused so, with such words."""
    try:
        answer = call(*arguments, **parameters)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, (code, error)
        assert says in error.response["Error"].get("Message", ""), (says, error)
        return error.response
    raise AssertionError(f"{code} expected, not {answer}")


def control(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(os.environ["CONTROL_URL"] + path, data, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def imds(method, path, **headers):
    """The status and the text of an answer of the metadata service."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(IMDS_URL + path, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def recipient(name="good", algorithm="RSAES_OAEP_SHA_256"):
    with open(f"{FOLDER}/{name}.cose", "rb") as document:
        return {"AttestationDocument": document.read(), "KeyEncryptionAlgorithm": algorithm}


def plaintext_of(answer):
    """What OpenSSL finds in the envelope of an answer, which has no plaintext beside it."""
    assert not answer.get("Plaintext") and "KeyMaterialId" not in answer, answer
    command = ["openssl", "cms", "-decrypt", "-inform", "DER", "-binary", "-inkey", FOLDER + "/recipient.pem"]
    done = subprocess.run(command, input=answer["CiphertextForRecipient"], capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def operations():
    client = sealer()
    context = {"a": "1", "b": "2"}
    sealed = client.encrypt(KeyId=OPEN, Plaintext=b"secret", EncryptionContext=context)
    assert sealed["KeyId"] == OPEN and sealed["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT", sealed
    blob = sealed["CiphertextBlob"]
    assert len(blob) < 400
    for more in [{}, {"KeyId": OPEN}, {"EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}]:
        opened = client.decrypt(CiphertextBlob=blob, EncryptionContext=context, **more)
        assert opened["Plaintext"] == b"secret" and opened["KeyId"] == OPEN, opened
    headers = opened["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-requestid"] and headers["content-type"] == "application/x-amz-json-1.1", headers

    decrypt = client.decrypt
    refused("InvalidCiphertextException", decrypt, CiphertextBlob=blob)
    refused("InvalidCiphertextException", decrypt, CiphertextBlob=blob, EncryptionContext={"a": "1"})
    bent = blob[:-1] + bytes([blob[-1] ^ 1])
    refused("InvalidCiphertextException", decrypt, CiphertextBlob=bent, EncryptionContext=context)
    refused("InvalidCiphertextException", decrypt, CiphertextBlob=b"no ciphertext")
    refused("IncorrectKeyException", decrypt, CiphertextBlob=blob, EncryptionContext=context, KeyId=OTHER)
    refused("NotFoundException", decrypt, CiphertextBlob=blob, EncryptionContext=context, KeyId=OTHER + "x")
    refused("ValidationException", decrypt, CiphertextBlob=b"x" * 6145)
    refused("ValidationException", decrypt, CiphertextBlob=b"")
    refused("ValidationException", decrypt)
    refused("ValidationException", client.encrypt, KeyId=OPEN, Plaintext=b"x" * 4097)
    refused("ValidationException", client.encrypt, KeyId=OPEN, Plaintext=b"x", EncryptionAlgorithm="RSAES_OAEP_SHA_1")
    refused("SerializationException", client.encrypt, KeyId=OPEN, Plaintext=b"x", EncryptionContext={"a": 1})
    refused("ValidationException", client.encrypt, KeyId=OPEN, Plaintext=b"x", EncryptionContext={"a": "1", "A": "2"})
    refused("DryRunOperationException", client.encrypt, KeyId=OPEN, Plaintext=b"x", DryRun=True)

    for length, how in [(32, {"KeySpec": "AES_256"}), (16, {"KeySpec": "AES_128"}), (1024, {"NumberOfBytes": 1024})]:
        made = client.generate_data_key(KeyId=OPEN, EncryptionContext=context, **how)
        opened = decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context)
        assert len(made["Plaintext"]) == length and opened["Plaintext"] == made["Plaintext"]
    for how in [{}, {"KeySpec": "AES_256", "NumberOfBytes": 32}, {"KeySpec": "AES_512"}, {"NumberOfBytes": 1025}]:
        refused("ValidationException", client.generate_data_key, KeyId=OPEN, **how)

    first, second = (client.generate_random(NumberOfBytes=1024)["Plaintext"] for _ in range(2))
    assert len(first) == 1024 and first != second
    for number in [0, 1025]:
        refused("ValidationException", client.generate_random, NumberOfBytes=number)

    described = client.describe_key(KeyId=OPEN)["KeyMetadata"]
    assert (described["Arn"], described["KeyState"], described["AWSAccountId"]) == (OPEN, "Enabled", "444455556666")
    # A bare id is one of the caller's own account.
    refused("NotFoundException", client.describe_key, KeyId="open")
    administrator = kms("AKIAADMINISTRATOR")
    assert administrator.describe_key(KeyId="signer")["KeyMetadata"]["Arn"] == SIGNER

    changed = client.re_encrypt(
        CiphertextBlob=blob,
        SourceEncryptionContext=context,
        DestinationKeyId=OTHER,
        DestinationEncryptionContext={"c": "3"},
    )
    assert (changed["SourceKeyId"], changed["KeyId"]) == (OPEN, OTHER), changed
    opened = decrypt(CiphertextBlob=changed["CiphertextBlob"], EncryptionContext={"c": "3"})
    assert opened["Plaintext"] == b"secret" and opened["KeyId"] == OTHER
    refused("InvalidCiphertextException", client.re_encrypt, CiphertextBlob=blob, DestinationKeyId=OTHER)
    refused(
        "AccessDeniedException",
        client.re_encrypt,
        says=f"kms:ReEncryptTo on resource: {SIGNER}",
        CiphertextBlob=blob,
        SourceEncryptionContext=context,
        DestinationKeyId=SIGNER,
    )
    print("operations")


def headers():
    """Those of infra/tests/transcripts/kms/success-headers.http: names, and values that are not of one answer."""
    transcript = pathlib.Path(__file__).parents[3] / "tests/transcripts/kms/success-headers.http"
    lines = transcript.read_text().splitlines()[1:]
    expected = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    sent = sealer().describe_key(KeyId=OPEN)["ResponseMetadata"]["HTTPHeaders"]
    assert sent.keys() == expected.keys(), sent
    for name in expected.keys() - {"x-amzn-requestid", "date", "content-length"}:
        assert sent[name] == expected[name], (name, sent[name])
    assert [len(part) for part in sent["x-amzn-requestid"].split("-")] == [8, 4, 4, 4, 12], sent
    print("headers")


def signatures():
    ask = {"KeyId": OPEN}
    refused("InvalidSignatureException", sealer(secret="wrong").describe_key, says="does not match", **ask)
    refused("UnrecognizedClientException", kms("AKIANOBODY").describe_key, says="is invalid", **ask)
    refused("UnrecognizedClientException", sealer(token="x").describe_key, says="is invalid", **ask)
    elsewhere = sealer(region_name="us-east-1")
    refused("InvalidSignatureException", elsewhere.describe_key, says="valid region, not 'us-east-1'", **ask)
    client = sealer()
    for offset_s, says in [(400, "Signature expired"), (-400, "Signature not yet current"), (200, None), (-200, None)]:
        control("POST", "/clock", {"offset_s": offset_s})
        if says:
            metadata = refused("InvalidSignatureException", client.describe_key, says=says, **ask)["ResponseMetadata"]
        else:
            metadata = client.describe_key(**ask)["ResponseMetadata"]
        date = time.mktime(time.strptime(metadata["HTTPHeaders"]["date"], "%a, %d %b %Y %H:%M:%S GMT"))
        assert abs(date - time.mktime(time.gmtime()) - offset_s) < 5, metadata
    control("POST", "/clock", {"offset_s": 0})
    print("signatures")


def policy():
    client = sealer()
    secret = client.encrypt(KeyId=SIGNER, Plaintext=b"ticket secret", EncryptionContext=BOOT_SECRET)
    not_authorized = f"User: {SESSION}/nitro-signer-secret-sealer/kms-emulator is not authorized to perform: "
    refused(
        "AccessDeniedException",
        client.encrypt,
        says=f"{not_authorized}kms:Encrypt on resource: {SIGNER} ",
        KeyId=SIGNER,
        Plaintext=b"x",
        EncryptionContext=SEALED_KEY,
    )
    blob = secret["CiphertextBlob"]
    for key in ["AKIASEALER", "AKIAADMINISTRATOR"]:
        decrypt = kms(key).decrypt
        for more in [{}, {"Recipient": recipient()}]:
            refused("AccessDeniedException", decrypt, CiphertextBlob=blob, EncryptionContext=BOOT_SECRET, **more)
    print("policy")
    return blob


def attested(blob):
    client = kms()
    opened = client.decrypt(CiphertextBlob=blob, EncryptionContext=BOOT_SECRET, Recipient=recipient())
    assert opened["KeyId"] == SIGNER and plaintext_of(opened) == b"ticket secret"

    make = {"KeyId": SIGNER, "KeySpec": "AES_256"}
    made = client.generate_data_key(**make, EncryptionContext=SEALED_KEY, Recipient=recipient())
    data_key = plaintext_of(made)
    assert len(data_key) == 32
    ask = {"CiphertextBlob": made["CiphertextBlob"], "EncryptionContext": SEALED_KEY}
    # The wrapped key and the initialisation vector are octet strings too; the content is 48 bytes long.
    for octet_strings, shape in [
        (2 + 7, {"content": "constructed", "chunk_bytes": 7}),
        (2, {"content": "primitive"}),
        (2 + 1, {"content": "constructed"}),
    ]:
        control("POST", "/envelope", shape)
        opened = client.decrypt(**ask, Recipient=recipient())
        assert plaintext_of(opened) == data_key
        parse = ["openssl", "asn1parse", "-inform", "DER"]
        parsed = subprocess.run(parse, input=opened["CiphertextForRecipient"], capture_output=True, check=True)
        assert parsed.stdout.count(b"OCTET STRING") == octet_strings, parsed.stdout
        random = plaintext_of(client.generate_random(NumberOfBytes=1024, Recipient=recipient()))
        assert len(random) == 1024

    denied = f"{SESSION}/nitro-signer-instance/i-0123456789abcdef0 is not authorized to perform: kms:Decrypt"
    refused("AccessDeniedException", client.decrypt, says=denied, **ask)
    for document in ["other-image", "debug"]:
        refused("AccessDeniedException", client.decrypt, says=denied, **ask, Recipient=recipient(document))
    for document in ["stale", "other-root", "forged", "small-key", "unsigned"]:
        refused(
            "ValidationException",
            client.decrypt,
            says="The attestation document is not valid: ",
            **ask,
            Recipient=recipient(document),
        )
    refused("ValidationException", client.decrypt, **ask, Recipient=recipient(algorithm="RSAES_OAEP_SHA_1"))
    refused("AccessDeniedException", client.generate_data_key, **make, EncryptionContext=SEALED_KEY)
    refused("AccessDeniedException", client.generate_data_key, **make, Recipient=recipient())
    refused("AccessDeniedException", client.encrypt, KeyId=SIGNER, Plaintext=b"x", EncryptionContext=BOOT_SECRET)
    # What the enclave must never be led to: a key of somebody who lets everybody use it.
    assert client.generate_data_key(KeyId=OPEN, KeySpec="AES_256")["Plaintext"]
    print("attested")


def metadata_service():
    assert imds("GET", "/latest/meta-data/iam/security-credentials/")[0] == 401
    token_path = "/latest/api/token"
    for ttl in ["0", "21601", "x"]:
        assert imds("PUT", token_path, X_aws_ec2_metadata_token_ttl_seconds=ttl)[0] == 400
    assert imds("PUT", token_path)[0] == 400
    forwarded = {"X_aws_ec2_metadata_token_ttl_seconds": "60", "X_Forwarded_For": "10.0.0.1"}
    assert imds("PUT", token_path, **forwarded)[0] == 403
    status, token = imds("PUT", token_path, X_aws_ec2_metadata_token_ttl_seconds="1")
    assert status == 200
    document = "/latest/dynamic/instance-identity/document"
    status, text = imds("GET", document, X_aws_ec2_metadata_token=token)
    assert status == 200 and json.loads(text)["region"] == "eu-central-1", text
    assert imds("GET", "/latest/user-data", X_aws_ec2_metadata_token=token)[0] == 404
    time.sleep(1.1)
    assert imds("GET", document, X_aws_ec2_metadata_token=token)[0] == 401
    assert imds("GET", document, X_aws_ec2_metadata_token="x")[0] == 401

    assert InstanceMetadataRegionFetcher(config=IMDS_CONFIG).retrieve_region() == "eu-central-1"
    found = InstanceMetadataFetcher(config=IMDS_CONFIG).retrieve_iam_role_credentials()
    assert found["role_name"] == "nitro-signer-instance" and found["access_key"].startswith("ASIA"), found
    assert botocore.session.get_session().get_credentials().method == "iam-role"
    client = kms(found["access_key"], found["secret_key"], token=found["token"])
    assert client.generate_random(NumberOfBytes=1)
    without_token = kms(found["access_key"], found["secret_key"])
    refused("UnrecognizedClientException", without_token.generate_random, NumberOfBytes=1)

    control("POST", "/imds", {"trouble": "outage"})
    assert InstanceMetadataFetcher(config=IMDS_CONFIG).retrieve_iam_role_credentials() == {}
    control("POST", "/imds", {})
    assert InstanceMetadataFetcher(config=IMDS_CONFIG).retrieve_iam_role_credentials()
    print("metadata service")


def faults():
    def fault(operation, kind, **more):
        control("POST", "/faults", {"operation": operation, "kind": kind, **more})

    client, patient = sealer(), sealer(retries=3)
    ask = {"NumberOfBytes": 1}
    fault("GenerateRandom", "throttle", count=2)
    assert client.describe_key(KeyId=OPEN)
    answer = patient.generate_random(**ask)
    assert answer["ResponseMetadata"]["RetryAttempts"] == 2, answer
    fault("*", "throttle")
    refused("ThrottlingException", client.generate_random, **ask)
    fault("*", "internal")
    failed = refused("KMSInternalException", client.generate_random, **ask)
    assert failed["ResponseMetadata"]["HTTPStatusCode"] == 500
    disabled = {"body": '{"__type":"DisabledException","message":"It is disabled."}'}
    fault("*", "answer", answer=disabled)
    refused("DisabledException", client.generate_random, says="It is disabled.", **ask)
    fault("*", "answer", answer={"status": 503, "body": "<html>"})
    failed = refused("503", client.generate_random, **ask)
    assert failed["ResponseMetadata"]["HTTPStatusCode"] == 503
    fault("*", "drop")
    try:
        raise AssertionError(client.generate_random(**ask))
    except ConnectionClosedError:
        pass
    fault("*", "hang")
    try:
        raise AssertionError(client.generate_random(**ask))
    except ReadTimeoutError:
        pass
    fault("*", "delay", delay_ms=300)
    before = time.monotonic()
    client.generate_random(**ask)
    assert time.monotonic() - before >= 0.3
    fault("*", "throttle", count=100)
    control("DELETE", "/faults")
    client.generate_random(**ask)

    blob = client.encrypt(KeyId=OPEN, Plaintext=b"x")["CiphertextBlob"]
    control("POST", "/forget", {"key": OPEN})
    refused("NotFoundException", client.encrypt, says="does not exist", KeyId=OPEN, Plaintext=b"x")
    refused("NotFoundException", client.decrypt, CiphertextBlob=blob, KeyId=OPEN)
    unseen = "on the resource associated with this ciphertext because the resource does not exist in this Region"
    refused("AccessDeniedException", client.decrypt, says=unseen, CiphertextBlob=blob)
    control("POST", "/restore", {"key": OPEN})
    assert client.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"

    for path, body in [
        ("/faults", {"operation": "Sign", "kind": "drop"}),
        ("/faults", {"operation": "*", "kind": "explode"}),
        ("/faults", {"operation": "*", "kind": "answer", "answer": {"status": 99}}),
        ("/forget", {"key": "no-such-key"}),
        ("/envelope", {"content": "constructed", "chunk_bytes": 0}),
        ("/clock", {}),
    ]:
        try:
            raise AssertionError(control("POST", path, body))
        except urllib.error.HTTPError as error:
            assert error.code == 400, (path, error)
    print("faults")


def calls():
    control("DELETE", "/calls")
    client = kms()
    client.generate_random(NumberOfBytes=1, Recipient=recipient())
    client.encrypt(KeyId=OPEN, Plaintext=b"x", EncryptionContext={"a": "b"})
    refused("AccessDeniedException", client.encrypt, KeyId=SIGNER, Plaintext=b"x")
    principal = "arn:aws:iam::111122223333:role/nitro-signer-instance"
    names = ("operation", "key_arn", "principal", "encryption_context", "with_recipient", "outcome")
    rows = [
        ("GenerateRandom", None, principal, {}, True, "ok"),
        ("Encrypt", OPEN, principal, {"a": "b"}, False, "ok"),
        ("Encrypt", SIGNER, principal, {}, False, "AccessDeniedException"),
    ]
    found = control("GET", "/calls")
    assert found["calls"] == [dict(zip(names, row)) for row in rows], found
    assert found["counts"] == {"GenerateRandom": {"ok": 1}, "Encrypt": {"ok": 1, "AccessDeniedException": 1}}, found
    control("DELETE", "/calls")
    assert control("GET", "/calls") == {"calls": [], "counts": {}}
    print("calls")


def everything():
    operations()
    headers()
    signatures()
    attested(policy())
    metadata_service()
    faults()
    calls()


def lenient():
    fetch = InstanceMetadataFetcher(config=IMDS_CONFIG).retrieve_iam_role_credentials
    first = fetch()
    client = kms(first["access_key"], first["secret_key"], token=first["token"])
    make = {"KeyId": SIGNER, "KeySpec": "AES_256", "EncryptionContext": SEALED_KEY}
    made = client.generate_data_key(**make, Recipient=recipient("unsigned"))
    assert len(plaintext_of(made)) == 32
    other = recipient("unsigned-other-image")
    refused("AccessDeniedException", client.generate_data_key, **make, Recipient=other)
    # The emulator was given no root.
    refused("ValidationException", client.generate_data_key, **make, Recipient=recipient())
    print("unsigned documents")

    deadline = time.monotonic() + 30
    while fetch()["access_key"] == first["access_key"]:
        assert time.monotonic() < deadline, "credentials were not rotated"
        time.sleep(0.2)
    client.generate_random(NumberOfBytes=1)
    while True:
        assert time.monotonic() < deadline, "credentials did not expire"
        try:
            client.generate_random(NumberOfBytes=1)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ExpiredTokenException", error
            break
        time.sleep(0.2)
    new = fetch()
    kms(new["access_key"], new["secret_key"], token=new["token"]).generate_random(NumberOfBytes=1)
    print("rotation and expiry")


def seal():
    blob = sealer().encrypt(KeyId=SIGNER, Plaintext=b"kept", EncryptionContext=BOOT_SECRET)["CiphertextBlob"]
    permissive = sealer().encrypt(KeyId=OPEN, Plaintext=b"kept")["CiphertextBlob"]
    with open(FOLDER + "/sealed.json", "w") as file:
        json.dump([blob.hex(), permissive.hex()], file)


def sealed():
    with open(FOLDER + "/sealed.json") as file:
        return [bytes.fromhex(blob) for blob in json.load(file)]


def open_sealed():
    blob, permissive = sealed()
    assert sealer().decrypt(CiphertextBlob=permissive)["Plaintext"] == b"kept"
    # It knows its key, and so whose policy to ask.
    refused("AccessDeniedException", sealer().decrypt, CiphertextBlob=blob, EncryptionContext=BOOT_SECRET)


def cannot_open():
    refused("InvalidCiphertextException", sealer().decrypt, CiphertextBlob=sealed()[1])


PARTS = {
    "everything": everything,
    "lenient": lenient,
    "seal": seal,
    "open": open_sealed,
    "cannot-open": cannot_open,
}
PARTS[sys.argv[1]]()
print("all steps passed")
