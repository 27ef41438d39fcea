"""The enclaves of the fake nitro-cli, the proxy in front of them, and the metadata service.

Usage: enclaves.py STATE ROOT. Enclave CID answers on STATE/pool/CID.sock, as STATE/health/CID says: statuses, each for
one request but the last, or `dead` for no answer. STATE/port and STATE/imds-port get the ports on 127.0.0.1 of
nitro-parent.service, which dials the ENCLAVE_CID of ROOT/etc/nitro-signer/env, and of the metadata service. STATE/notify is
the socket of systemd, which notes in STATE/notified what it is told, a message a line.
"""

import asyncio
import base64
import pathlib
import re
import socket
import sys
import urllib.parse

STATE, ROOT = (pathlib.Path(argument) for argument in sys.argv[1:])
CIDS = range(16, 64)


async def head(reader):
    request = await reader.readuntil(b"\r\n\r\n")
    return request.decode().split()[:2]


async def answer(writer, status, body):
    body = body.encode()
    writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, len(body)) + body)
    await writer.drain()


def document(nonce):
    """As much CBOR as check.sh looks at."""
    pcrs = (STATE / "attested").read_text().split()
    pairs = b"".join(bytes([index]) + b"\x58\x30" + bytes.fromhex(pcr) for index, pcr in enumerate(pcrs))
    return base64.b64encode(b"\x84\xa3" + pairs + b"\x54" + bytes.fromhex(nonce)).decode()


def enclave(cid):
    async def serve(reader, writer):
        try:
            _, target = await head(reader)
            health = STATE / "health" / str(cid)
            statuses = health.read_text().split()
            if target.startswith("/health") and len(statuses) > 1:
                health.write_text(" ".join(statuses[1:]))
            if statuses[0] != "dead" and target.startswith("/.well-known/attestation"):
                nonce = urllib.parse.parse_qs(target.partition("?")[2])["nonce"][0]
                await answer(writer, 200, '{"attestation_doc":"%s"}' % document(nonce))
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
        cids = re.findall(r"^ENCLAVE_CID=(\d+)$", (ROOT / "etc/nitro-signer/env").read_text(), re.MULTILINE)
        there = await asyncio.open_unix_connection(STATE / "live" / f"{cids[-1]}.sock")
    except (OSError, IndexError):
        writer.close()
        return
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))


async def metadata(reader, writer):
    method, target = await head(reader)
    answers = {
        "/latest/api/token": "token",
        "/latest/meta-data/mac": "02:00:00:00:00:01",
        "/latest/meta-data/network/interfaces/macs/02:00:00:00:00:01/security-group-ids": "sg-1\nsg-2",
    }
    if target in answers:
        await answer(writer, 200, answers[target])
    else:
        await answer(writer, int((STATE / "imds").read_text()), "")
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
