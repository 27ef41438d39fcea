"""An ACME server that is none. Says its port on a line, and answers as MODE has it.

hostile_server.py CERTIFICATE KEY MODE
"""

import socket
import ssl
import sys
import threading

certificate, key, mode = sys.argv[1:]


def answer(body, status="200 OK", more=""):
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body.encode()


def directory(**changed):
    here = f"https://localhost:{port}"
    urls = {"newNonce": f"{here}/nonce", "newAccount": f"{here}/account", "newOrder": f"{here}/order"}
    urls.update(changed)
    return "{" + ",".join(f'"{name}":"{url}"' for name, url in urls.items()) + "}"


NONCE = "replay-nonce: bm9uY2U\r\n"


def respond(request):
    path = request.split(b" ")[1].decode()
    here = f"https://localhost:{port}"
    if path == "/directory":
        return {
            "elsewhere": lambda: answer(directory(newOrder="https://metadata.example/order")),
            "another-port": lambda: answer(directory(newNonce="https://localhost:1/nonce")),
            "in-the-clear": lambda: answer(directory(newAccount=f"http://localhost:{port}/account")),
            "garbage": lambda: b"\x00\xff" * 4096,
            "no-json": lambda: answer("<html>welcome</html>"),
            "deep": lambda: answer("[" * 50_000),
            "long": lambda: answer("x" * (1 << 20)),
            "long-head": lambda: answer("{}", more="x: " + "y" * (1 << 20) + "\r\n"),
            "redirect": lambda: answer("", "302 Found", "location: https://metadata.example/\r\n"),
            "down": lambda: answer("", "503 Service Unavailable", "retry-after: 4242\r\n"),
            "cut": lambda: answer(directory())[:-10],
        }.get(mode, lambda: answer(directory()))()
    if path == "/nonce":
        return answer("", more="" if mode == "no-nonce" else NONCE)
    if mode == "bad-nonces":
        problem = '{"type":"urn:ietf:params:acme:error:badNonce","detail":"no"}'
        return answer(problem, "400 Bad Request", NONCE)
    if path == "/account":
        location = "" if mode == "no-account" else f"location: {here}/account/1\r\n"
        if mode == "account-elsewhere":
            location = "location: https://metadata.example/account/1\r\n"
        return answer("{}", "201 Created", location + NONCE)
    if path == "/order":
        if mode == "rate-limited":
            problem = (
                '{"type":"urn:ietf:params:acme:error:rateLimited",'
                '"detail":"too many\\ncannot start: \\u001b[31mforged"}'
            )
            return answer(problem, "429 Too Many Requests", NONCE + "retry-after: 4321\r\n")
        authorizations = {
            "many-authorizations": [f"{here}/authorization"] * 2,
            "authorization-elsewhere": ["https://metadata.example/authorization"],
        }.get(mode, [f"{here}/authorization"])
        listed = ",".join(f'"{url}"' for url in authorizations)
        body = f'{{"status":"pending","authorizations":[{listed}],"finalize":"{here}/finalize"}}'
        return answer(body, "201 Created", f"location: {here}/order/1\r\n" + NONCE)
    if path == "/authorization":
        name = "another.example" if mode == "another-name" else "signer.example"
        kind = "http-01" if mode == "another-challenge" else "tls-alpn-01"
        token = "a/b" if mode == "bad-token" else "a" * 43
        status = "surprise" if mode == "unknown-status" else "pending"
        body = (
            f'{{"status":"{status}","identifier":{{"type":"dns","value":"{name}"}},'
            f'"challenges":[{{"type":"{kind}","url":"{here}/challenge","token":"{token}"}}]}}'
        )
        return answer(body, more=NONCE)
    return answer("", "404 Not Found")


def serve(connection):
    try:
        with context.wrap_socket(connection, server_side=True) as stream:
            if mode == "silent":
                threading.Event().wait()
            if mode == "endless":
                stream.recv(65536)
                stream.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                while True:
                    stream.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
            request = b""
            while True:
                while b"\r\n\r\n" not in request:
                    more = stream.recv(65536)
                    if not more:
                        return
                    request += more
                head, request = request.split(b"\r\n\r\n", 1)
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                while len(request) < length:
                    request += stream.recv(65536)
                request = request[length:]
                response = respond(head)
                if head.startswith(b"HEAD"):
                    response = response.split(b"\r\n\r\n")[0] + b"\r\n\r\n"
                stream.sendall(response)
                if mode in ("garbage", "cut", "long-head"):
                    return
    except OSError:
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
print(f"hostile: listening on {port}", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
