"""A proxy of Python's own: CONNECT or SOCKS5, in front of one port whatever name is asked for. Says what it was asked."""
import argparse, base64, json, socket, struct, sys, threading

p = argparse.ArgumentParser()
p.add_argument("kind", choices=["http", "socks5"])
p.add_argument("upstream", type=int)
p.add_argument("--login", default="")
p.add_argument("--refuse", action="store_true")
a = p.parse_args()


def say(**facts):
    print(json.dumps(facts), flush=True)


def exactly(s, count):
    got = b""
    while len(got) < count:
        part = s.recv(count - len(got))
        if not part:
            raise EOFError
        got += part
    return got


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def http(s):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += exactly(s, 1)
    lines = head.decode().split("\r\n")
    login = next((line.split(" ", 2)[2] for line in lines if line.lower().startswith("proxy-authorization: basic ")), "")
    say(asked=lines[0], login=base64.b64decode(login).decode())
    if a.refuse:
        s.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    elif base64.b64decode(login).decode() != a.login:
        s.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
    else:
        upstream = socket.create_connection(("127.0.0.1", a.upstream))
        # The server may speak first: its bytes come in one segment with the answer.
        upstream.settimeout(0.2)
        try:
            early = upstream.recv(100)
        except TimeoutError:
            early = b""
        upstream.settimeout(None)
        s.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n" + early)
        return upstream


def socks5(s):
    version, count = exactly(s, 2)
    methods = exactly(s, count)
    if a.login:
        if 2 not in methods:
            s.sendall(b"\5\xff")
            return None
        s.sendall(b"\5\2")
        exactly(s, 1)
        user = exactly(s, exactly(s, 1)[0]).decode()
        password = exactly(s, exactly(s, 1)[0]).decode()
        good = user + ":" + password == a.login
        s.sendall(b"\1\0" if good else b"\1\1")
        if not good:
            return None
    else:
        s.sendall(b"\5\0")
    _, command, _, kind = exactly(s, 4)
    if kind == 3:
        name = exactly(s, exactly(s, 1)[0]).decode()
    else:
        name = socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, exactly(s, 4 if kind == 1 else 16))
    port = struct.unpack(">H", exactly(s, 2))[0]
    say(asked="%d %s:%d" % (command, name, port), kind=kind)
    if a.refuse:
        s.sendall(b"\5\2\0\1\0\0\0\0\0\0")
        return None
    upstream = socket.create_connection(("127.0.0.1", a.upstream))
    s.sendall(b"\5\0\0\3\4name\0\1")
    return upstream


def one(s):
    try:
        upstream = {"http": http, "socks5": socks5}[a.kind](s)
        if upstream:
            back = threading.Thread(target=pump, args=(upstream, s), daemon=True)
            back.start()
            pump(s, upstream)
            back.join()
    except (EOFError, OSError):
        pass
    finally:
        s.close()


listener = socket.create_server(("127.0.0.1", 0))
say(port=listener.getsockname()[1])
while True:
    connection, _ = listener.accept()
    threading.Thread(target=one, args=(connection,), daemon=True).start()
