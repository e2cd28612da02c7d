"""Rough clients over Python's ssl: tiny writes, resets, abandoned handshakes, crowds. One JSON object on stdout.

argv: SCENARIO PORT CA [COUNT [HOLD_UNTIL_STDIN_ENDS]]
"""
import hashlib, json, os, random, select, socket, ssl, struct, sys, threading, time

scenario, port, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3]
count = int(sys.argv[4]) if len(sys.argv) > 4 else 1
random.seed(7)
facts = {"good": 0, "failed": 0, "reason": ""}
lock = threading.Lock()


def raw(timeout=60):
    return socket.create_connection(("127.0.0.1", port), timeout=timeout)


def context():
    return ssl.create_default_context(cafile=ca)


CONTEXT = context()


def connect():
    return CONTEXT.wrap_socket(raw(), server_hostname="localhost")


def reset(sock):
    """Ends with RST: unread and unsent bytes are thrown away."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(sock.detach())


def read(sock, size):
    got = b""
    while len(got) < size:
        part = sock.recv(min(65536, size - len(got)))
        if not part:
            raise EOFError("closed after %d of %d bytes" % (len(got), size))
        got += part
    return got


def roundtrip(sock, data):
    sock.sendall(data)
    assert read(sock, len(data)) == data, "the echo differs"


def tiny():
    sock = connect()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = os.urandom(4096)
    for at in range(len(data)):
        sock.sendall(data[at : at + 1])
    assert read(sock, len(data)) == data, "byte by byte"
    # One thread: Python's ssl does not lock a connection that two threads use.
    data, at, echoed = os.urandom(256 << 10), 0, b""
    sock.setblocking(False)
    piece = b""
    while len(echoed) < len(data):
        stuck = True
        if piece or at < len(data):
            piece = piece or data[at : at + random.choice((1, 3, 7, 511, 1023, 4099, 16383, 16385, 20011))]
            try:
                sent = sock.send(piece)
                at, piece, stuck = at + sent, piece[sent:], False
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                pass
        try:
            echoed += sock.recv(1 << 16)
            stuck = False
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        if stuck:
            select.select([sock], [sock] if piece else [], [], 60)
    assert echoed == data, "odd chunks"
    sock.setblocking(True)
    sock.settimeout(60)
    for number in range(200):
        roundtrip(sock, bytes([number]))
    facts["good"] = 1


def abort():
    """In the middle of a transfer, with unread bytes in the socket."""
    for _ in range(count):
        sock = connect()
        roundtrip(sock, b"x" * 100)
        sock.sendall(b"y" * 50000)
        reset(sock)
        facts["good"] += 1


def told():
    """How connections end that the app resets: an end without close_notify or a reset, never a clean one."""
    for _ in range(count):
        strict = context()
        strict.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        sock = strict.wrap_socket(raw(), server_hostname="localhost", suppress_ragged_eofs=False)
        try:
            sock.sendall(b"x" * 100)
            while sock.recv(65536):
                pass
            facts["reason"] = "a clean end"
            facts["failed"] += 1
        except OSError:
            facts["good"] += 1


def churn():
    """Twelve threads: some connections are good, some give up in the handshake, some are reset."""

    def one(number):
        for turn in range(count):
            kind = (number + turn) % 3
            try:
                if kind == 1:
                    sock = raw()
                    sock.sendall(b"\x16\x03\x01\x02\x00\x01")
                    sock.close()
                sock = connect()
                roundtrip(sock, b"z" * 1000)
                reset(sock) if kind == 2 else sock.close()
                with lock:
                    facts["good"] += 1
            except Exception as error:
                with lock:
                    facts["failed"] += 1
                    facts["reason"] = repr(error)

    crowd([(one, (number,)) for number in range(12)])


def crowd(work):
    threads = [threading.Thread(target=target, args=args) for target, args in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def held():
    """Opens connections at the same time, then holds all until stdin ends."""
    socks = []
    for _ in range(count):
        try:
            sock = connect()
            roundtrip(sock, b"held")
            socks.append(sock)
            facts["good"] += 1
        except OSError as error:
            facts["failed"] += 1
            facts["reason"] = repr(error)
    say()
    sys.stdin.read()


def crammed():
    """Plain connections, more than the server has descriptors for; held until stdin ends."""
    socks = [raw() for _ in range(count)]
    facts["good"] = len(socks)
    say()
    sys.stdin.read()


def good():
    """Good clients one after the other until stdin ends: how many, and the slowest in milliseconds."""
    work_until_told(lambda sock: roundtrip(sock, b"good"))


def work_until_told(use):
    stop = threading.Event()

    def work():
        while not stop.is_set():
            began = time.monotonic()
            try:
                sock = connect()
                use(sock)
                sock.close()
                facts["good"] += 1
            except Exception as error:
                facts["failed"] += 1
                facts["reason"] = repr(error)
            if facts["good"] + facts["failed"] == 1:
                print("under way", flush=True)
            facts["slowest"] = max(facts.get("slowest", 0), int((time.monotonic() - began) * 1000))

    thread = threading.Thread(target=work)
    thread.start()
    sys.stdin.read()
    stop.set()
    thread.join()


def swaps():
    """Requests until stdin ends, every second one on a new connection. Tells each certificate when it is first met, by its serial.

    Sockets block, with the kernel's timeout, and a known certificate is not parsed: the rate is what the machine gives, so
    a request costs no more than it must.
    """
    stop = threading.Event()
    known = set()
    facts["new"] = 0
    began = time.monotonic()

    def open_one():
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 60, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(("127.0.0.1", port))
        sock = CONTEXT.wrap_socket(sock, server_hostname="localhost")
        certificate = sock.getpeercert(True)
        with lock:
            if certificate not in known:
                known.add(certificate)
                print(json.dumps({"met": sock.getpeercert()["serialNumber"]}), flush=True)
        return sock

    def work():
        kept, uses = None, 0
        while not stop.is_set():
            try:
                fresh = open_one()
                roundtrip(fresh, b"n" * 256)
                if uses % 200 == 0:
                    kept = open_one()
                uses += 1
                roundtrip(kept, b"k" * 256)
                fresh.close()
                with lock:
                    facts["good"] += 2
                    facts["new"] += 1
            except Exception as error:
                kept, uses = None, 0
                with lock:
                    facts["failed"] += 1
                    facts["reason"] = repr(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    facts["seconds"] = round(time.monotonic() - began, 1)
    facts["met"] = len(known)


def asked():
    """Good HTTP clients, one after the other, until stdin ends."""
    work_until_told(lambda sock: request(sock))


def request(sock):
    sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = b""
    while True:
        part = sock.recv(65536)
        if not part:
            break
        answer += part
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:100]


def attempts():
    """Connections that never become sessions, in every way that costs the client least."""
    hello = bytes.fromhex("160301020001000001fc0303") + bytes(32)

    def some(kind, many):
        for _ in range(many):
            try:
                sock = raw(20)
                if kind == 0:
                    sock.sendall(hello)
                elif kind == 1:
                    sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                elif kind == 2:
                    sock.sendall(b"\x16\x03\x01\xff\xff" + b"\0" * 20)
                reset(sock) if kind != 1 else sock.close()
                with lock:
                    facts["good"] += 1
            except OSError as error:
                with lock:
                    facts["failed"] += 1
                    facts["reason"] = repr(error)

    crowd([(some, (kind, count // 4)) for kind in range(4)])


def half_open():
    """Handshakes begun and left, all held at once until stdin ends."""
    hello = bytes.fromhex("160301020001000001fc0303") + bytes(32)
    socks = []
    for _ in range(count):
        sock = raw()
        sock.sendall(hello)
        socks.append(sock)
    facts["good"] = len(socks)
    say()
    sys.stdin.read()


def slow_heads():
    """Slowloris: whole handshakes, then a request head of which a byte comes now and then, until stdin ends."""
    stop = threading.Event()
    socks = []
    for _ in range(count):
        sock = connect()
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        socks.append(sock)
    facts["good"] = len(socks)
    say()

    def drip():
        while not stop.wait(0.2):
            for sock in socks:
                try:
                    sock.sendall(b"a")
                except OSError:
                    pass

    thread = threading.Thread(target=drip)
    thread.start()
    sys.stdin.read()
    stop.set()
    thread.join()


def say():
    print(json.dumps(facts), flush=True)


try:
    globals()[scenario]()
except Exception as error:  # the test asserts on what is said here
    facts["failed"] += 1
    facts["reason"] = repr(error)
if scenario not in ("held", "crammed", "half_open", "slow_heads"):
    say()
