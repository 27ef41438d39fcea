#!/usr/bin/env python3
"""Compares two builds of enclave-dev by the CPU time of a signed request over HTTP.

Each run is a new process, loaded by wrk with tickets that were made before; runs of the two alternate, so that what
else the machine does is shared. Needs wrk. benches/README.md has the commands that build the two.

usage: benches/libc.py BUILD OTHER_BUILD
"""

import base64
import hashlib
import hmac
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

RUNS = 7
# More than wrk sends in its time, so that none is a replay.
TICKETS = 110_000
SECONDS = 2
API_KEY = "an-api-key-for-benchmarks"
TICKET_SECRET = "a-ticket-secret-for-benchmarks"


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def ticket(identity, digest):
    claims = {
        "scope": "sign",
        "identity_id": identity,
        "digest_hash": hashlib.sha256(digest).hexdigest(),
        "nonce": str(uuid.uuid4()),
        "exp": int(time.time()) + 3000,
    }
    signed = base64url(b'{"alg":"HS256"}') + "." + base64url(json.dumps(claims).encode())
    return signed + "." + base64url(hmac.new(TICKET_SECRET.encode(), signed.encode(), hashlib.sha256).digest())


def microseconds_per_request(binary, folder):
    environment = {"INTERNAL_API_KEY": API_KEY, "TICKET_SIGNING_SECRET": TICKET_SECRET, "SEALING_KEY": "00" * 32}
    signer = subprocess.Popen(
        [binary, "--listen", "tcp:127.0.0.1:0"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    try:
        address = re.search(r"tcp:([0-9.]+:[0-9]+)", signer.stdout.readline()).group(1)
        identity = str(uuid.uuid4())
        headers = {"content-type": "application/json", "x-internal-api-key": API_KEY}
        body = json.dumps({"identity_id": identity, "alg": "secp256k1"}).encode()
        urllib.request.urlopen(
            urllib.request.Request(f"http://{address}/internal/generate", body, headers)
        ).close()
        with open(f"{folder}/bodies", "w") as bodies:
            for _ in range(TICKETS):
                digest = os.urandom(32)
                body = {"identity_id": identity, "digest": digest.hex(), "ticket": ticket(identity, digest)}
                bodies.write(json.dumps(body) + "\n")
        with open(f"{folder}/sign.lua", "w") as script:
            script.write(
                f'local bodies = {{}} for line in io.lines("{folder}/bodies") do bodies[#bodies + 1] = line end\n'
                f'wrk.headers["content-type"] = "application/json" wrk.headers["x-internal-api-key"] = "{API_KEY}"\n'
                "local sent = 0\n"
                'request = function() sent = sent + 1 return wrk.format("POST", "/internal/sign", nil, bodies[sent]) end\n'
            )
        before = cpu_seconds(signer.pid)
        said = subprocess.run(
            ["wrk", "-t1", "-c16", f"-d{SECONDS}", "-s", f"{folder}/sign.lua", f"http://{address}"],
            check=True, capture_output=True, text=True,
        ).stdout
        spent = cpu_seconds(signer.pid) - before
    finally:
        signer.terminate()
        signer.wait()
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"not all requests were signed:\n{said}")
    return spent / int(re.search(r"(\d+) requests in", said).group(1)) * 1e6


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    # utime and stime, proc(5).
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    builds = sys.argv[1:]
    times = {build: [] for build in builds}
    with tempfile.TemporaryDirectory() as folder:
        for run in range(RUNS):
            for build in builds if run % 2 else reversed(builds):
                times[build].append(microseconds_per_request(build, folder))
    medians = [statistics.median(times[build]) for build in builds]
    for build, median in zip(builds, medians):
        spread = " ".join(f"{time:.1f}" for time in times[build])
        print(f"{median:.1f} us of CPU time for a signed request: {build} ({spread})")
    print(f"ratio {medians[1] / medians[0]:.3f}")


main()
