"""A mail server with STARTTLS and AUTH (aiosmtpd). Mails go as JSON lines to a file.

Arguments: port, certificate, key, user, password, log. Prints "ready" when it listens.
"""
import email
import email.policy
import json
import ssl
import sys
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

port, certificate, key, user, password, log = sys.argv[1:7]


class Box:
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        plain = mail.get_body(("plain",))
        html = mail.get_body(("html",))
        with open(log, "a", encoding="utf-8") as out:
            entry = {
                "to": envelope.rcpt_tos,
                "from": envelope.mail_from,
                "subject": str(mail["Subject"]),
                "id": str(mail["Message-ID"]),
                "automatic": str(mail["Auto-Submitted"]),
                "plain": plain.get_content() if plain else "",
                "html": html.get_content() if html else "",
                "tls": session.ssl is not None,
                "peer": list(session.peer),
            }
            out.write(json.dumps(entry, ensure_ascii=False) + "\n")
        return "250 taken"


def login(server, session, envelope, mechanism, data):
    good = data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=good, handled=False)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
controller = Controller(
    Box(),
    hostname="127.0.0.1",
    port=int(port),
    tls_context=context,
    require_starttls=True,
    auth_required=True,
    authenticator=login,
    auth_exclude_mechanism=["LOGIN"],
)
controller.start()
print("ready", flush=True)
while True:
    time.sleep(3600)
