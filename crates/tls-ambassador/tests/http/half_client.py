"""Changes the protocol, says close_notify, and waits for the other half to end: argv PORT CA; prints the seconds until then."""
import socket
import ssl
import sys
import time

context = ssl.create_default_context(cafile=sys.argv[2])
context.set_alpn_protocols(["http/1.1"])
plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30)
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")


def step(work):
    while True:
        try:
            result = work()
            plain.sendall(outgoing.read())
            return result
        except ssl.SSLWantReadError:
            plain.sendall(outgoing.read())
            incoming.write(plain.recv(65536))


step(tls.do_handshake)
step(lambda: tls.write(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))
assert step(lambda: tls.read(65536)).startswith(b"HTTP/1.1 101 ")
try:
    tls.unwrap()
except ssl.SSLWantReadError:
    pass
plain.sendall(outgoing.read())
began = time.monotonic()
try:
    while plain.recv(65536):
        pass
except (TimeoutError, OSError):
    pass
print(round(time.monotonic() - began, 1))
