"""Says in JSON what is in a compressed archive of Linux (Documentation/driver-api/early-userspace/buffer-format.rst)."""

import json
import sys
import zlib

FIELDS = "ino mode uid gid nlink mtime filesize major minor rmajor rminor namesize check".split()


def main():
    with open(sys.argv[1], "rb") as file:
        compressed = file.read()
    gzip = zlib.decompressobj(wbits=31)
    archive = gzip.decompress(compressed)
    assert gzip.eof and not gzip.unused_data

    entries = []
    at = 0
    while not entries or entries[-1]["name"] != "TRAILER!!!":
        assert archive[at : at + 6] == b"070701"
        numbers = [int(archive[at + 6 + 8 * index : at + 14 + 8 * index], 16) for index in range(13)]
        entry = dict(zip(FIELDS, numbers, strict=True))
        at += 110
        name = archive[at : at + entry["namesize"]]
        assert name[-1] == 0 and 0 not in name[:-1]
        at = aligned(archive, at + len(name))
        content = archive[at : at + entry["filesize"]]
        at = aligned(archive, at + len(content))
        entries.append(entry | {"name": name[:-1].decode(), "content": content.hex()})
    assert at == len(archive)
    # Magic and method; flags, time, compression, system (RFC 1952).
    json.dump({"gzip": compressed[:10].hex(), "entries": entries}, sys.stdout)


def aligned(archive, at):
    """The next multiple of four; what is skipped is zero."""
    assert not any(archive[at : at + -at % 4])
    return at + -at % 4


main()
