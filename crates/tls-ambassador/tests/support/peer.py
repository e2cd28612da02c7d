"""TLS peers that share no code with the ambassador: Python's ssl over OpenSSL."""
import argparse, hashlib, json, os, socket, ssl, sys, threading

p = argparse.ArgumentParser()
p.add_argument("what", choices=["echo", "hold", "halfclose", "bulk", "serve", "churn", "flood"])
p.add_argument("port")
p.add_argument("--ca"), p.add_argument("--cert"), p.add_argument("--key")
p.add_argument("--name", default="localhost"), p.add_argument("--max"), p.add_argument("--alpn")
p.add_argument("--bytes", type=int, default=1 << 20), p.add_argument("--prefix", default="")
p.add_argument("--host", default="127.0.0.1")
p.add_argument("--count", type=int, default=1), p.add_argument("--server-first", action="store_true")
a = p.parse_args()


def say(**facts):
    print(json.dumps(facts), flush=True)


def raw():
    if a.port.startswith("/"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(30)
        s.connect(a.port)
    else:
        s = socket.create_connection((a.host, int(a.port)), timeout=30)
    if a.prefix:
        s.sendall(a.prefix.encode().decode("unicode_escape").encode("latin1"))
    return s


def context():
    c = ssl.create_default_context(cafile=a.ca)
    if a.cert:
        c.load_cert_chain(a.cert, a.key)
    if a.max == "1.2":
        c.maximum_version = ssl.TLSVersion.TLSv1_2
    if a.alpn:
        c.set_alpn_protocols([a.alpn])
    return c


def connect():
    return context().wrap_socket(raw(), server_hostname=a.name)


def roundtrip(s, data):
    s.sendall(data)
    got = b""
    while len(got) < len(data):
        part = s.recv(65536)
        if not part:
            raise EOFError("closed after %d bytes" % len(got))
        got += part
    assert got == data, "the echo differs"


def cn(s):
    return dict(x[0] for x in s.getpeercert()["subject"])["commonName"]


def halfclose():
    """Sends, says close_notify, and only then reads: the answer must still come."""
    sock, ctx = raw(), context()
    inc, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ctx.wrap_bio(inc, out, server_hostname=a.name)
    got, sent, closed, done = 0, 0, False, False
    digest_in, digest_out = hashlib.sha256(), hashlib.sha256()
    block = os.urandom(16384)

    def flush():
        sock.sendall(out.read())

    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            flush()
            inc.write(sock.recv(65536))
    flush()
    sock.settimeout(60)

    def reader_step():
        nonlocal got
        data = sock.recv(65536)
        if not data:
            inc.write_eof()
            return False
        inc.write(data)
        return True

    while sent < a.bytes:
        digest_out.update(block)
        tls.write(block)
        sent += len(block)
        flush()
    try:
        tls.unwrap()
    except ssl.SSLWantReadError:
        pass
    flush()
    while not done:
        try:
            data = tls.read(65536)
            if not data:
                break
            got += len(data)
            digest_in.update(data)
        except ssl.SSLWantReadError:
            if not reader_step():
                break
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            break
    say(ok=digest_in.digest() == digest_out.digest() and got == sent, got=got, sent=sent)


def bulk():
    s = connect()
    seen, want = hashlib.sha256(), hashlib.sha256()

    left = a.bytes
    while left:
        block = os.urandom(min(left, 65536))
        want.update(block)
        s.sendall(block)
        got = 0
        while got < len(block):
            part = s.recv(65536)
            if not part:
                raise EOFError("cut")
            seen.update(part)
            got += len(part)
        left -= len(block)
    say(ok=seen.digest() == want.digest())


def flood():
    """New connections and requests on old ones, until stdin ends: how many, how many failed, and whom they met."""
    stop, lock = threading.Event(), threading.Lock()
    facts = {"requests": 0, "failed": 0, "met": set(), "reason": ""}

    def fresh():
        while not stop.is_set():
            one(connect, 1)

    def kept():
        while not stop.is_set():
            one(connect, 1000)

    def one(dial, most):
        try:
            s = dial()
            with lock:
                facts["met"].add(cn(s))
            for _ in range(most):
                roundtrip(s, os.urandom(512))
                with lock:
                    facts["requests"] += 1
                if stop.is_set():
                    break
            s.close()
        except Exception as e:
            with lock:
                facts["failed"] += 1
                facts["reason"] = str(e)

    threads = [threading.Thread(target=t) for t in (fresh, kept, kept)]
    for t in threads:
        t.start()
    sys.stdin.read()
    stop.set()
    for t in threads:
        t.join()
    say(requests=facts["requests"], failed=facts["failed"], met=sorted(facts["met"]), reason=facts["reason"])


def serve():
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(a.cert, a.key)
    if a.ca:
        c.load_verify_locations(a.ca)
        c.verify_mode = ssl.CERT_REQUIRED
    if a.alpn:
        c.set_alpn_protocols([a.alpn])
    listener = socket.create_server(("127.0.0.1", int(a.port)))
    say(port=listener.getsockname()[1])

    def one(sock):
        try:
            s = c.wrap_socket(sock, server_side=True)
            peer = cn(s) if a.ca else None
            say(peer=peer, alpn=s.selected_alpn_protocol())
            if a.server_first:
                s.sendall(b"hello from the server\n")
            while True:
                data = s.recv(65536)
                if not data:
                    break
                s.sendall(data)
            s.close()
        except (OSError, ssl.SSLError) as e:
            say(error=type(e).__name__, reason=str(e))

    while True:
        sock, _ = listener.accept()
        threading.Thread(target=one, args=(sock,), daemon=True).start()


try:
    if a.what == "echo":
        for _ in range(a.count):
            s = connect()
            roundtrip(s, b"hello")
            say(ok=True, version=s.version(), cipher=s.cipher()[0], cn=cn(s), alpn=s.selected_alpn_protocol(),
                serial=s.getpeercert()["serialNumber"])
            s.close()
    elif a.what == "churn":
        for _ in range(a.count):
            s = connect()
            roundtrip(s, b"x")
            s.close()
        say(ok=True)
    elif a.what == "hold":
        s = connect()
        roundtrip(s, b"first")
        say(open=True, cn=cn(s))
        for line in sys.stdin:
            roundtrip(s, line.encode())
            say(ok=True)
        s.close()
    elif a.what == "halfclose":
        halfclose()
    elif a.what == "bulk":
        bulk()
    elif a.what == "flood":
        flood()
    else:
        serve()
except Exception as e:  # the test asserts on what is said here
    say(ok=False, error=type(e).__name__, reason=str(e))
    sys.exit(1)
