#!/usr/bin/env python3
"""Says what TLS costs the signer: requests on kept connections beside requests in the clear, and handshakes beside those
of `openssl s_server`.

Requests are `GET /health`, which cost least, so that what TLS adds shows most; and rates are of a client on the same
machine, so CPU time is what counts. Rounds of the two alternate, and the best of each counts: what else the machine does
only adds to it. Needs wrk and openssl.

usage: benches/tls.py ENCLAVE_DEV
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time

ROUNDS = 5
SECONDS = 2
ENVIRONMENT = {"INTERNAL_API_KEY": "a-key", "TICKET_SIGNING_SECRET": "a-secret", "SEALING_KEY": "00" * 32}


def enclave_dev(binary, mode):
    signer = subprocess.Popen(
        [binary, "--listen", "tcp:127.0.0.1:0", "--tls", mode],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    return signer, re.search(r"tcp:([0-9.]+:[0-9]+)", signer.stdout.readline()).group(1)


def s_server(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % free.getsockname()[1]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a",
         "-keyout", f"{folder}/key.pem", "-out", f"{folder}/certificate.pem"],
        check=True, capture_output=True,
    )
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", address, "-key", f"{folder}/key.pem", "-cert", f"{folder}/certificate.pem",
         "-quiet", "-no_ticket", "-num_tickets", "2"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    host, port = address.split(":")
    while True:
        try:
            socket.create_connection((host, int(port))).close()
            return server, address
        except ConnectionRefusedError:
            time.sleep(0.05)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    # utime and stime, proc(5).
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def requests(process, url):
    before = cpu_seconds(process.pid)
    said = subprocess.run(
        ["wrk", "-t1", "-c16", f"-d{SECONDS}", f"{url}/health"], check=True, capture_output=True, text=True
    ).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"not all requests were answered:\n{said}")
    rate = float(re.search(r"Requests/sec:\s+([0-9.]+)", said).group(1))
    return rate, (cpu_seconds(process.pid) - before) / int(re.search(r"(\d+) requests in", said).group(1)) * 1e6


def handshakes(process, address):
    before = cpu_seconds(process.pid)
    said = subprocess.run(
        ["openssl", "s_time", "-connect", address, "-new", "-tls1_3", "-time", str(SECONDS)],
        check=True, capture_output=True, text=True,
    ).stdout
    count, seconds = re.search(r"(\d+) connections in (\d+) real seconds", said).groups()
    return int(count) / int(seconds), (cpu_seconds(process.pid) - before) / int(count) * 1e6


def compare(what, measured, names):
    (rate, cost), (peer_rate, peer_cost) = [
        (max(rate for rate, _ in measured[name]), min(cost for _, cost in measured[name])) for name in names
    ]
    print(f"{what}: {names[0]} {rate:.0f} a second and {cost:.1f} us of CPU time each, {names[1]} {peer_rate:.0f} and "
          f"{peer_cost:.1f}; ratio of the rates {rate / peer_rate:.2f}, of the CPU times {cost / peer_cost:.2f}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    started = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for start in (
                lambda: enclave_dev(sys.argv[1], "self-signed"),
                lambda: enclave_dev(sys.argv[1], "off"),
                lambda: s_server(folder),
            ):
                started.append(start())
            (secured, secured_address), (clear, clear_address), (openssl, openssl_address) = started
            measured = {"TLS": [], "clear": [], "enclave-dev": [], "s_server": []}
            for _ in range(ROUNDS):
                measured["TLS"].append(requests(secured, f"https://{secured_address}"))
                measured["clear"].append(requests(clear, f"http://{clear_address}"))
                measured["enclave-dev"].append(handshakes(secured, secured_address))
                measured["s_server"].append(handshakes(openssl, openssl_address))
        finally:
            for process, _ in started:
                process.terminate()
                process.wait()
    compare("requests on kept connections", measured, ("TLS", "clear"))
    compare("handshakes", measured, ("enclave-dev", "s_server"))


main()
