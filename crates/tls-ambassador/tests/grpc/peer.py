"""A gRPC app and a gRPC client that know nothing of podkit: `app` and `call PORT CA SCENARIO` (python3-grpcio)."""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

cancelled, heard = threading.Event(), threading.Semaphore(0)


def told(context):
    return json.dumps({key: value for key, value in context.invocation_metadata() if isinstance(value, str)}).encode()


def unary(request, context):
    context.send_initial_metadata((("x-initial", "1"),))
    context.set_trailing_metadata((("x-checksum", str(len(request))), ("blob-bin", b"\x00\xff")))
    return request


def meta(_, context):
    return told(context)


def fail(_, context):
    context.set_trailing_metadata((("x-why", "because"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100%")


def count(requests, _):
    return str(sum(len(request) for request in requests)).encode()


def tick(_, context):
    for number in range(3):
        yield str(number).encode()
        if not heard.acquire(timeout=20):
            return


def hear(_, context):
    heard.release()
    return b""


def chat(requests, _):
    for request in requests:
        yield b"re: " + request


def hang(_, context):
    context.add_callback(cancelled.set)
    yield b"hanging"
    cancelled.wait(60)


def was_cancelled(_, context):
    return b"yes" if cancelled.wait(20) else b"no"


def app(most_streams=None):
    options = [("grpc.max_concurrent_streams", int(most_streams))] if most_streams else []
    server = grpc.server(futures.ThreadPoolExecutor(32), options=options)
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Meta": grpc.unary_unary_rpc_method_handler(meta),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Count": grpc.stream_unary_rpc_method_handler(count),
        "Tick": grpc.unary_stream_rpc_method_handler(tick),
        "Heard": grpc.unary_unary_rpc_method_handler(hear),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Hang": grpc.unary_stream_rpc_method_handler(hang),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("podkit.Test", handlers),))
    print(json.dumps({"port": server.add_insecure_port("127.0.0.1:0")}), flush=True)
    server.start()
    sys.stdin.read()


def words(error):
    return {"code": error.code().name, "details": error.details(), "trailers": [list(map(str, pair)) for pair in error.trailing_metadata() or ()]}


def call(port, ca, scenario):
    with open(ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    channel = grpc.secure_channel(f"localhost:{port}", credentials)
    path = "/podkit.Test/"
    try:
        if scenario == "unary":
            answer, outcome = channel.unary_unary(path + "Unary").with_call(b"x" * 200_000, timeout=30)
            trailers = {key: str(value) for key, value in outcome.trailing_metadata()}
            return {"bytes": len(answer), "initial": dict(outcome.initial_metadata()).get("x-initial"), "trailers": trailers}
        if scenario == "meta":
            metadata = (("x-forwarded-user", "root"), ("x-mine", "kept"), ("authorization", "none"))
            return json.loads(channel.unary_unary(path + "Meta")(b"", metadata=metadata, timeout=30))
        if scenario == "fail":
            channel.unary_unary(path + "Fail")(b"", timeout=30)
        if scenario == "count":
            return {"count": channel.stream_unary(path + "Count")((b"y" * 1000 for _ in range(500)), timeout=30).decode()}
        if scenario == "slow":
            # Longer than the app may take for an answer, but the app is not what is waited for.
            def parts():
                for _ in range(6):
                    time.sleep(0.5)
                    yield b"y"

            return {"count": channel.stream_unary(path + "Count")(parts(), timeout=30).decode()}
        if scenario == "tick":
            said = []
            for word in channel.unary_stream(path + "Tick")(b"", timeout=60):
                said.append(word.decode())
                channel.unary_unary(path + "Heard")(b"", timeout=30)
            return {"said": said}
        if scenario == "chat":
            # Each message is sent when the answer to the one before it has come: nothing may be held back.
            answered, said = threading.Semaphore(1), []

            def talk():
                for number in range(20):
                    answered.acquire(timeout=20)
                    yield str(number).encode()

            for answer in channel.stream_stream(path + "Chat")(talk(), timeout=60):
                said.append(answer.decode())
                answered.release()
            return {"said": said}
        if scenario == "cancel":
            stream = channel.unary_stream(path + "Hang")(b"", timeout=60)
            next(stream)
            stream.cancel()
            return {"seen": channel.unary_unary(path + "WasCancelled")(b"", timeout=30).decode()}
        if scenario == "crowded":
            # The only place is taken; it is free again once that stream is cancelled.
            stream = channel.unary_stream(path + "Hang")(b"", timeout=60)
            next(stream)
            start = time.monotonic()
            code = channel.unary_unary(path + "Unary").future(b"x", timeout=30).code().name
            took = time.monotonic() - start
            stream.cancel()
            for _ in range(100):
                again = channel.unary_unary(path + "Unary").future(b"x", timeout=30).code().name
                if again == "OK":
                    break
                time.sleep(0.1)
            return {"code": code, "soon": took < 20, "again": again}
        if scenario == "many":
            calls = [channel.unary_unary(path + "Unary").future(str(n).encode(), timeout=60) for n in range(200)]
            return {"right": sum(one.result() == str(n).encode() for n, one in enumerate(calls))}
    except grpc.RpcError as error:
        return words(error)
    return {}


if __name__ == "__main__":
    if sys.argv[1] == "app":
        app(*sys.argv[2:3])
    else:
        print(json.dumps(call(*sys.argv[2:5])))
