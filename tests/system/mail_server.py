"""The mail server of the tests: it wants TLS and a password, and writes what it gets into a folder, a file for each mail.

TLS begins with STARTTLS (`starttls`) or with the connection (`tls`).

It never takes a mail to `nobody@…`, and the first mail to `later@…` not at once.
"""

import asyncio
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

BEGIN, FOLDER, CERTIFICATE, KEY, USER, PASSWORD = sys.argv[1:]


class Handler:
    def __init__(self):
        self.mails = 0
        self.has_deferred = False

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 There is nobody here"
        if address.startswith("later@") and not self.has_deferred:
            self.has_deferred = True
            return "451 4.7.1 Try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.mails += 1
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "user": session.auth_data,
            "encrypted": server.transport.get_extra_info("ssl_object") is not None,
            "message": envelope.content.decode(),
        }
        # Renamed when it is whole: the tests look at any time.
        path = os.path.join(FOLDER, f"{self.mails}.json")
        with open(path + ".part", "w", encoding="utf-8") as file:
            json.dump(mail, file)
        os.rename(path + ".part", path)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    user, password = data.login.decode(), data.password.decode()
    return AuthResult(success=(user, password) == (USER, PASSWORD), auth_data=user)


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    handler = Handler()

    starttls = BEGIN == "starttls"

    def session():
        return SMTP(
            handler,
            tls_context=context if starttls else None,
            require_starttls=starttls,
            # What it knows of TLS is STARTTLS.
            auth_require_tls=starttls,
            auth_required=True,
            authenticator=authenticate,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=None if starttls else context)
    print("serving on", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
