"""The enclaves of the fake nitro-cli, the proxy in front of them, and the metadata service.

Usage: enclaves.py STATE ROOT. Enclave CID answers on STATE/pool/CID.sock, as STATE/health/CID says: statuses, each for
one request but the last, or `dead` for no answer. STATE/port and STATE/imds-port get the ports on 127.0.0.1 of
nitro-parent.service, which dials the CID in ROOT/run/nitro-signer/cid, and of the metadata service, which answers
as infra/tests/transcripts/imds has it. Attestation documents come from the development signer on the port in STATE/attestor;
STATE/forged spoils them. STATE/notify is the socket of systemd, which notes in STATE/notified what it is told, a message a
line.
"""

import asyncio
import json
import pathlib
import re
import socket
import sys

STATE, ROOT = (pathlib.Path(argument) for argument in sys.argv[1:])
CIDS = range(16, 64)
TRANSCRIPTS = pathlib.Path(__file__).parent.parent / "transcripts" / "imds"
MAC = "02:00:00:00:00:01"
ROLES = "/latest/meta-data/iam/security-credentials/"


async def head(reader):
    request = await reader.readuntil(b"\r\n\r\n")
    return request.decode().split()[:2]


async def answer(writer, status, body):
    body = body.encode()
    writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, len(body)) + body)
    await writer.drain()


async def document(target):
    """The development signer's answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int((STATE / "attestor").read_text()))
    writer.write(b"GET %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % target.encode())
    reply = await reader.read()
    writer.close()
    body = json.loads(reply.partition(b"\r\n\r\n")[2])
    if (STATE / "forged").exists():
        # A bit of the signature, which is last.
        text = body["attestation_doc"]
        body["attestation_doc"] = text[:-8] + ("A" if text[-8] != "A" else "B") + text[-7:]
    return json.dumps(body)


def enclave(cid):
    async def serve(reader, writer):
        try:
            _, target = await head(reader)
            health = STATE / "health" / str(cid)
            statuses = health.read_text().split()
            if target.startswith("/health") and len(statuses) > 1:
                health.write_text(" ".join(statuses[1:]))
            if statuses[0] != "dead" and target.startswith("/.well-known/attestation"):
                await answer(writer, 200, await document(target))
            elif statuses[0] != "dead":
                await answer(writer, int(statuses[0]), str(cid))
        except (asyncio.IncompleteReadError, ConnectionError, FileNotFoundError):
            pass
        finally:
            writer.close()

    return serve


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def proxy(reader, writer):
    try:
        if not (STATE / "active" / "nitro-parent.service").exists():
            raise ConnectionError
        cid = int((ROOT / "run/nitro-signer/cid").read_text())
        there = await asyncio.open_unix_connection(STATE / "live" / f"{cid}.sock")
    except (OSError, ValueError):
        writer.close()
        return
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))


def transcript(name):
    head, _, body = (TRANSCRIPTS / f"{name}.http").read_text().partition("\n\n")
    body = body if body.startswith("<?xml") else body.rstrip("\n")
    return head.replace("\n", "\r\n") + "\r\n\r\n", body


async def replay(writer, name, body=None):
    """A transcript, with another body if there is one."""
    head, recorded = transcript(name)
    if body is not None:
        head = re.sub(r"Content-Length: \d+", f"Content-Length: {len(body)}", head)
    writer.write((head + (recorded if body is None else body)).encode())
    await writer.drain()


async def metadata(reader, writer):
    request = await reader.readuntil(b"\r\n\r\n")
    method, target = request.decode().split()[:2]
    values = {
        "/latest/meta-data/instance-type": "m5.2xlarge",
        "/latest/meta-data/mac": MAC,
        f"/latest/meta-data/network/interfaces/macs/{MAC}/security-group-ids": "sg-1\nsg-2",
    }
    answers = {ROLES: "role-200", ROLES + "s3-test-role-1": "credentials-200"}
    status = (STATE / "imds").read_text().strip()
    if method == "PUT" and status == "403":
        await replay(writer, "forbidden-403")
    elif method == "PUT":
        await replay(writer, "token-200")
    elif b"x-aws-ec2-metadata-token" not in request.lower():
        # Only what asks for no token gives something without one.
        await replay(writer, "unauthorized-401" if status == "401" else "role-200", None if status == "401" else "ami-id")
    elif target in values:
        await replay(writer, "role-200", values[target])
    else:
        await replay(writer, answers.get(target, "no-role-404"))
    writer.close()


class Manager(asyncio.DatagramProtocol):
    def datagram_received(self, data, _):
        with (STATE / "notified").open("a") as notified:
            notified.write(data.decode().replace("\n", " ") + "\n")


async def notify_socket():
    there = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    there.bind(str(STATE / "notify"))
    there.setblocking(False)
    await asyncio.get_running_loop().create_datagram_endpoint(Manager, sock=there)


async def main():
    await notify_socket()
    for cid in CIDS:
        await asyncio.start_unix_server(enclave(cid), STATE / "pool" / f"{cid}.sock")
    for service, name in ((metadata, "imds-port"), (proxy, "port")):
        server = await asyncio.start_server(service, "127.0.0.1", 0)
        (STATE / f"{name}.new").write_text(str(server.sockets[0].getsockname()[1]))
        (STATE / f"{name}.new").rename(STATE / name)
    await asyncio.Event().wait()


asyncio.run(main())
