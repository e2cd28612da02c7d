"""Random requests, broken in random places, in front of an app that reads strictly: argv SEED COUNT.

Says {"port": N} of its app, is told {"port": N, "ca": FILE} of the door, and says what its app saw: the paths of all requests, and
everything that was not HTTP. Bodies hold requests for /smuggled, so that a reader that is out of step finds them.
"""
import json
import random
import re
import socket
import ssl
import sys
import threading

seed, count = int(sys.argv[1]), int(sys.argv[2])
seen, bad = [], []
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FORBIDDEN = re.compile(rb"content-|transfer-|host$|te$|trailer$|connection$|upgrade$|expect$|x-forwarded-(user|for)$|authorization$|cookie$")
TRAILERS = [b"", b"X-T: 1\r\n", b"Content-Length: 5\r\nX-T: 1\r\n", b"X_Forwarded_User: root\r\n", b"Host: x\r\nCookie: a\r\nX-T:\r\n"]
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\nX-T: 1\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
]


class Strict:
    """Reads requests from one connection and knows no leniency."""

    def __init__(self, plain):
        self.plain, self.held = plain, b""

    def more(self):
        data = self.plain.recv(65536)
        if not data:
            raise EOFError
        self.held += data

    def line(self):
        while b"\r\n" not in self.held:
            self.more()
        line, self.held = self.held.split(b"\r\n", 1)
        return line

    def exactly(self, length):
        while len(self.held) < length:
            self.more()
        data, self.held = self.held[:length], self.held[length:]
        return data

    def request(self):
        method, target, version = self.line().split(b" ")
        if version not in (b"HTTP/1.1", b"HTTP/1.0") or not TOKEN.fullmatch(method):
            raise ValueError(f"request line {method} {version}")
        headers = {}
        while line := self.line():
            name, _, value = line.partition(b":")
            if not name or any(byte <= 32 for byte in name) or b"\n" in line or b"\r" in line:
                raise ValueError(f"header {line}")
            headers.setdefault(name.lower(), []).append(value.strip())
        lengths, codings = headers.get(b"content-length", []), headers.get(b"transfer-encoding", [])
        if (lengths and codings) or len(lengths) > 1 or [coding.lower() for coding in codings] not in ([], [b"chunked"]):
            raise ValueError(f"framing {lengths} {codings}")
        seen.append(target.decode("latin-1"))
        if lengths:
            self.exactly(int(lengths[0]))
        while codings:
            size = int(self.line().split(b";")[0], 16)
            if size == 0:
                return self.trailers()
            if self.exactly(size + 2)[-2:] != b"\r\n":
                raise ValueError("end of a chunk")

    def trailers(self):
        while line := self.line():
            name, colon, value = line.partition(b":")
            if not colon or not TOKEN.fullmatch(name) or FORBIDDEN.match(name.lower().replace(b"_", b"-")):
                raise ValueError(f"trailer {line}")
            if any(byte < 32 and byte != 9 for byte in value):
                raise ValueError(f"trailer {line}")


def serve(plain):
    try:
        reader = Strict(plain)
        while True:
            reader.request()
            plain.sendall(random.choice(ANSWERS))
    except ValueError as error:
        bad.append(str(error))
    except (EOFError, OSError):
        pass
    finally:
        plain.close()


def accept(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def good(dice, number):
    method = dice.choice([b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS"])
    headers, body = [b"Host: localhost"], b""
    kind = dice.random()
    if kind < 0.3:
        body = dice.choice([SMUGGLED, b"abc", b""])
        headers.append(b"Content-Length: %d" % len(body))
    elif kind < 0.6:
        data = dice.choice([SMUGGLED, b"abc"])
        body = b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(data), data, dice.choice(TRAILERS))
        headers.append(b"Transfer-Encoding: chunked")
    for chance, more in [(0.1, b"Expect: 100-continue"), (0.1, b"TE: trailers\r\nConnection: TE"), (0.1, b"Connection: keep-alive")]:
        if dice.random() < chance:
            headers.append(more)
    dice.shuffle(headers)
    version = b"HTTP/1.0" if dice.random() < 0.1 else b"HTTP/1.1"
    return b"%s /t%d %s\r\n%s\r\n\r\n%s" % (method, number, version, b"\r\n".join(headers), body)


PIECES = [
    b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b",", b";", b"0", b"5", b"-", b"+", b"x", b"chunked", b"\r\n\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content_Length: 1\r\n", b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding:\x0bchunked\r\n", b"Transfer-Encoding: identity\r\n", b"0\r\n\r\n", SMUGGLED,
]


def broken(dice, data):
    for _ in range(dice.choice([0, 1, 1, 2, 3])):
        kind, at = dice.random(), dice.randrange(len(data) + 1)
        if kind < 0.6:
            data = data[:at] + dice.choice(PIECES) + data[at:]
        elif kind < 0.8:
            data = data[:at] + data[at + dice.randrange(1, 6) :]
        else:
            data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
    return data


def attack(dice, context, port, numbers):
    for number in numbers:
        whole = b"".join(good(dice, number * 3 + part) for part in range(dice.choice([1, 2, 3])))
        data = broken(dice, whole)
        try:
            plain = socket.create_connection(("127.0.0.1", port), timeout=20)
            with context.wrap_socket(plain, server_hostname="localhost") as tls:
                while data:
                    part = len(data) if dice.random() < 0.5 else dice.randrange(1, 80)
                    tls.sendall(data[:part])
                    data = data[part:]
                tls.settimeout(0.2)
                while tls.recv(65536):
                    pass
        except OSError:
            pass


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=accept, args=(listener,), daemon=True).start()
print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
door = json.loads(sys.stdin.readline())
context = ssl.create_default_context(cafile=door["ca"])
context.set_alpn_protocols(["http/1.1"])
crowd = 8
threads = [
    threading.Thread(target=attack, args=(random.Random(seed + me), context, door["port"], range(me, count, crowd)))
    for me in range(crowd)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"seen": seen, "bad": bad}), flush=True)
# What still runs at the door is its own business; the app goes on until the end of stdin.
sys.stdin.read()
