"""Servers that want STARTTLS (SMTP, IMAP, LDAP) and clients of Python's library that know nothing of it."""
import imaplib, json, smtplib, socket, ssl, sys, threading

what, protocol = sys.argv[1:3]


def say(**facts):
    # One call: print() writes the line's end by itself, and another thread's line may come between.
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def lines(stream):
    """Lines of a socket, byte by byte, so that nothing of TLS is taken."""
    while True:
        line = b""
        while not line.endswith(b"\n"):
            byte = stream.recv(1)
            if not byte:
                return
            line += byte
        yield line.decode().strip()


def smtp(s, context):
    inside = False
    s.sendall(b"220-mail.test\r\n220 ready\r\n")
    for line in lines(s):
        say(said=line, inside=inside)
        verb = line.split(" ")[0].upper()
        if verb == "EHLO":
            s.sendall(b"250-mail.test\r\n" + (b"" if inside else b"250-STARTTLS\r\n") + b"250 SIZE 1000\r\n")
        elif verb == "STARTTLS" and not inside:
            s.sendall(b"220 go ahead\r\n")
            s = context.wrap_socket(s, server_side=True)
            return smtp_inside(s)
        else:
            s.sendall(b"502 no\r\n")


def smtp_inside(s):
    for line in lines(s):
        say(said=line, inside=True)
        verb = line.split(" ")[0].upper()
        s.sendall({"EHLO": b"250-mail.test\r\n250 SIZE 1000\r\n", "NOOP": b"250 inside\r\n"}.get(verb, b"221 bye\r\n"))


def imap(s, context):
    s.sendall(b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\r\n")
    inside = False
    for line in lines(s):
        say(said=line, inside=inside)
        tag, verb = line.split(" ")[:2]
        if verb == "STARTTLS":
            s.sendall(tag.encode() + b" OK begin\r\n")
            s = context.wrap_socket(s, server_side=True)
            return imap_inside(s)
        s.sendall(tag.encode() + b" NO\r\n")


def imap_inside(s):
    for line in lines(s):
        say(said=line, inside=True)
        tag, verb = line.split(" ")[:2]
        if verb == "CAPABILITY":
            s.sendall(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")
        s.sendall(tag.encode() + b" OK " + verb.encode() + b" done\r\n")
        if verb == "LOGOUT":
            return


def ldap(s, context):
    request = s.recv(31)
    say(said=request.hex(), inside=False)
    s.sendall(bytes.fromhex("300c02010178070a010004000400"))
    s = context.wrap_socket(s, server_side=True)
    while data := s.recv(1000):
        s.sendall(data)


def serve():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    listener = socket.create_server(("127.0.0.1", 0))
    say(port=listener.getsockname()[1])

    def one(s):
        try:
            {"smtp": smtp, "imap": imap, "ldap": ldap}[protocol](s, context)
        except (OSError, ValueError) as e:
            say(error=str(e))
        finally:
            s.close()

    while True:
        s, _ = listener.accept()
        threading.Thread(target=one, args=(s,), daemon=True).start()


if what == "ask":
    port, trust = int(sys.argv[3]), None
    if len(sys.argv) > 4:
        # The local side has TLS from the first byte.
        trust = ssl.create_default_context(cafile=sys.argv[4])
if what == "serve":
    serve()
elif protocol == "smtp":
    client = smtplib.SMTP_SSL("localhost", port, timeout=30, context=trust) if trust else smtplib.SMTP("127.0.0.1", port, timeout=30)
    client.ehlo()
    say(offered="starttls" in client.esmtp_features, answer=client.noop()[1].decode())
    client.quit()
else:
    client = imaplib.IMAP4_SSL("localhost", port, ssl_context=trust) if trust else imaplib.IMAP4("127.0.0.1", port)
    say(capabilities=list(client.capabilities), login=client.login("me", "secret")[0])
    client.logout()
