"""An HTTP/2 client that can misbehave: Python's h2 for the state, OpenSSL below it.

argv: SCENARIO PORT CA; prints one JSON object.
"""
import json
import socket
import ssl
import sys
import time

import h2.config
import h2.connection
import h2.events
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame

scenario, port, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3]


class Client:
    def __init__(self, name="localhost", wait=15):
        context = ssl.create_default_context(cafile=ca)
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", port), timeout=wait)
        self.tls = context.wrap_socket(plain, server_hostname=name)
        assert self.tls.selected_alpn_protocol() == "h2"
        config = h2.config.H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.streams, self.goaway, self.closed = {}, None, False
        self.flush()

    def flush(self):
        self.raw(self.h2.data_to_send())

    def raw(self, data):
        try:
            self.tls.sendall(data)
        except OSError:
            self.closed = True

    def request(self, headers=(), path="/", method="GET", end=True, authority="localhost"):
        stream = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "https"), (":path", path)]
        if authority is not None:
            pseudo.append((":authority", authority))
        self.h2.send_headers(stream, pseudo + list(headers), end_stream=end)
        self.flush()
        return stream

    def pump(self, done):
        """Reads until done(self) or the end."""
        while not self.closed and not done(self):
            try:
                data = self.tls.recv(65536)
            except (TimeoutError, OSError):
                break
            if not data:
                self.closed = True
                break
            for event in self.h2.receive_data(data):
                stream = self.streams.setdefault(getattr(event, "stream_id", None), {"body": b"", "end": None})
                if isinstance(event, h2.events.ResponseReceived):
                    stream["status"] = dict(event.headers)[":status"]
                elif isinstance(event, h2.events.DataReceived):
                    stream["body"] += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.TrailersReceived):
                    stream["trailers"] = dict(event.headers)
                elif isinstance(event, h2.events.StreamEnded):
                    stream["end"] = "ended"
                elif isinstance(event, h2.events.StreamReset):
                    stream["end"] = "reset"
                elif isinstance(event, h2.events.ConnectionTerminated):
                    self.goaway = int(event.error_code)
            self.flush()

    def finish(self, *streams):
        self.pump(lambda client: all(client.streams.get(stream, {}).get("end") for stream in streams))
        return [self.outcome(stream) for stream in streams]

    def outcome(self, stream):
        seen = self.streams.get(stream, {})
        return [seen.get("status"), seen.get("body", b"").decode("latin-1"), seen.get("end")]

    def end(self):
        self.pump(lambda client: client.goaway is not None)
        return {"goaway": self.goaway, "closed": self.closed}


def many():
    client = Client()
    streams = [client.request(path=f"/{index}") for index in range(20)]
    return client.finish(*streams)


def upload():
    client = Client()
    stream = client.request(method="POST", end=False)
    for part in (b"hello ", b"world"):
        client.h2.send_data(stream, part)
        client.flush()
    client.h2.end_stream(stream)
    client.flush()
    return client.finish(stream)


def judged():
    """Requests that the guard has to refuse or clean, on one connection each."""
    cases = {
        "authority": dict(headers=[("host", "other.example")]),
        "no authority": dict(authority=None),
        "user": dict(authority="root@localhost"),
        "path": dict(path="x"),
        "connect": dict(method="CONNECT"),
        "length": dict(headers=[("content-length", "5")]),
        "lengths": dict(headers=[("content-length", "0"), ("content-length", "5")]),
        "chunked": dict(headers=[("transfer-encoding", "chunked")]),
        "connection": dict(headers=[("connection", "close")]),
        "uppercase": dict(headers=[("X-Upper", "1")]),
        "crlf": dict(headers=[("x-a", "b\r\nx-forwarded-user: root")]),
        "nul": dict(headers=[("x-a", "b\0c")]),
        "underscore": dict(headers=[("content_length", "5")]),
    }
    out = {}
    for name, case in cases.items():
        client = Client()
        stream = client.request(**case)
        out[name] = client.finish(stream)[0] + [client.goaway]
    return out


def cookies():
    client = Client()
    return client.finish(client.request(headers=[("cookie", "a=1"), ("cookie", "b=2"), ("x_forwarded_user", "root")]))


def short_body():
    client = Client()
    stream = client.request(headers=[("content-length", "10")], method="POST", end=False)
    client.h2.send_data(stream, b"12345", end_stream=True)
    client.flush()
    return client.finish(stream)


def flood(make, count=3000):
    """Sends raw frames until the server has had enough."""
    client = Client()
    for index in range(count):
        client.raw(make(client, index))
        if client.closed:
            break
    return client.end()


def rapid_reset():
    def make(client, index):
        stream = client.h2.get_next_available_stream_id()
        pseudo = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "localhost")]
        client.h2.send_headers(stream, pseudo, end_stream=True)
        client.h2.reset_stream(stream, 8)
        return client.h2.data_to_send()

    return flood(make)


def continuation():
    client = Client()
    headers = HeadersFrame(1)
    headers.flags = {"END_STREAM"}
    headers.data = b"\x00\x01a\x01b"
    client.raw(headers.serialize())
    for _ in range(3000):
        frame = ContinuationFrame(1)
        frame.data = b"\x00\x03abc\x7f\x81\x0f" + b"v" * 2000
        client.raw(frame.serialize())
        if client.closed:
            break
    return client.end()


def raw_error(frame):
    client = Client()
    client.raw(frame)
    return client.end()


def frame(kind, stream, **fields):
    made = kind(stream)
    flags = fields.pop("flags", set())
    for name, value in fields.items():
        setattr(made, name, value)
    made.flags = flags
    return made.serialize()


def broken_frames():
    return {
        "even stream": raw_error(frame(HeadersFrame, 2, data=b"\x82\x84\x87", flags={"END_STREAM", "END_HEADERS"})),
        "data on idle": raw_error(frame(DataFrame, 1, data=b"x")),
        "rst on idle": raw_error(frame(RstStreamFrame, 1)),
        "ping on stream": raw_error(b"\x00\x00\x08\x06\x00\x00\x00\x00\x01" + b"x" * 8),
        "settings length": raw_error(b"\x00\x00\x05\x04\x00\x00\x00\x00\x00" + b"x" * 5),
        "push from client": raw_error(b"\x00\x00\x04\x05\x04\x00\x00\x00\x01" + b"\x00\x00\x00\x02"),
        "lone continuation": raw_error(frame(ContinuationFrame, 1, data=b"", flags={"END_HEADERS"})),
        "bad padding": raw_error(b"\x00\x00\x02\x00\x08\x00\x00\x00\x01\xff\x00"),
    }


def misdirected():
    client = Client(name="a.example")
    return client.finish(client.request(authority="a.example"), client.request(authority="b.example"))


def drain():
    """Prints a line when the request is under way, then what became of it.

    Frames are read by hand: h2 4.1 refuses the PING that follows a graceful GOAWAY.
    """
    client = Client(wait=20)
    stream = client.request(path="/slow")
    print("under way", flush=True)
    seen = {"body": "", "ended": False, "goaway": []}
    held = b""
    while True:
        data = client.tls.recv(65536)
        if not data:
            return seen
        held += data
        while len(held) >= 9:
            made, length = Frame.parse_frame_header(memoryview(held[:9]))
            if len(held) < 9 + length:
                break
            made.parse_body(memoryview(held[9 : 9 + length]))
            held = held[9 + length :]
            if isinstance(made, PingFrame) and "ACK" not in made.flags:
                client.raw(frame(PingFrame, 0, opaque_data=made.opaque_data, flags={"ACK"}))
            elif isinstance(made, DataFrame) and made.stream_id == stream:
                seen["body"] += bytes(made.data).decode()
                seen["ended"] |= "END_STREAM" in made.flags
            elif isinstance(made, GoAwayFrame):
                seen["goaway"].append(made.error_code)


def stalled():
    """Opens its window never, so that nobody can send."""
    client = Client(wait=20)
    stream = client.request(path="/large")
    try:
        while client.tls.recv(65536):
            pass
        ended = True
    except TimeoutError:
        ended = False
    except OSError:
        ended = True
    return {"ended": ended, "stream": stream}


def trailers():
    client = Client()
    told, silent = client.request(headers=[("te", "trailers")], path="/t"), client.request(path="/t")
    outcomes = client.finish(told, silent)
    return [outcome + [client.streams[stream].get("trailers")] for outcome, stream in zip(outcomes, (told, silent))]


def sent_trailers():
    """A body without length and one with, both with trailers behind."""
    client = Client()
    fields = [("x-sum", "5"), ("x-forwarded-user", "root"), ("authorization", "Bearer x"), ("x-token", "x"), ("content-length", "9")]
    streams = []
    for headers in ([("trailer", "x-sum, x-forwarded-user, x-token")], [("content-length", "5"), ("trailer", "x-sum")]):
        stream = client.request(method="POST", headers=headers, end=False)
        client.h2.send_data(stream, b"hello")
        client.h2.send_headers(stream, fields, end_stream=True)
        client.flush()
        streams.append(stream)
    return client.finish(*streams)


def slow_upload():
    """Takes longer for its body than the app may take for its answer."""
    client = Client(wait=20)
    stream = client.request(method="POST", end=False)
    for _ in range(6):
        time.sleep(0.5)
        client.h2.send_data(stream, b"part ")
        client.flush()
    client.h2.end_stream(stream)
    client.flush()
    return client.finish(stream)


def stuck_upload():
    """One stream never ends its body while others come and go on the same connection."""
    client = Client(wait=20)
    stuck = client.request(method="POST", path="/stuck", end=False)
    client.h2.send_data(stuck, b"some")
    client.flush()
    for _ in range(40):
        client.finish(client.request(path="/other"))
        if client.streams.get(stuck, {}).get("end"):
            break
        time.sleep(0.2)
    return client.finish(stuck)


def refused_head():
    client = Client()
    return client.finish(client.request(method="HEAD"))


def large_header():
    client = Client()
    return client.finish(client.request(headers=[("x-large", "x" * 100_000)])) + [client.goaway]


print(json.dumps(globals()[scenario]()))
