"""Sends exact bytes over TLS (OpenSSL) and reports exactly what came back.

stdin: {"port": N, "ca": FILE, "wait": SECONDS, "cases": [[[PAUSE_SECONDS, HEX], ...], ...]}
stdout: [[HEX, "clean" | "cut" | "open"], ...]; "clean" is a close_notify, "cut" an end without, "open" no end in time.
"""
import json
import socket
import ssl
import sys
import threading
import time

job = json.load(sys.stdin)
context = ssl.create_default_context(cafile=job["ca"])
context.set_alpn_protocols(["http/1.1"])
# Python hides an end without close_notify by default; here it is what is asked for.
context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
results = [None] * len(job["cases"])


def exchange(index, parts):
    answer, end = b"", "open"
    try:
        plain = socket.create_connection(("127.0.0.1", job["port"]), timeout=job["wait"])
        with context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as tls:
            for pause, part in parts:
                time.sleep(pause)
                tls.sendall(bytes.fromhex(part))
            while True:
                chunk = tls.recv(65536)
                if not chunk:
                    end = "clean"
                    break
                answer += chunk
    except TimeoutError:
        end = "open"
    except (ssl.SSLEOFError, ConnectionError, ssl.SSLError):
        end = "cut"
    results[index] = [answer.hex(), end]


threads = [threading.Thread(target=exchange, args=case) for case in enumerate(job["cases"])]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
json.dump(results, sys.stdout)
