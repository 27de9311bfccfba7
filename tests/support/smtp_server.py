"""A mail server on loopback with STARTTLS or TLS and a password, which can also reject mail."""

import base64
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default


@dataclass
class MailServer:
    """Its port, the mail received, and whether it rejects recipients."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    is_full: bool = False


class _Conversation(socketserver.StreamRequestHandler):
    """The part of RFC 5321 that smtplib uses."""

    def handle(self) -> None:
        self.is_secure = self.server.at_once
        self.say("220 here")
        while line := self.rfile.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            getattr(self, f"do_{verb.lower()}", self.do_unknown)(rest)
            if verb.lower() == "quit":
                return

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def do_unknown(self, rest: str) -> None:
        self.say("500 what?")

    def do_ehlo(self, rest: str) -> None:
        offers = ["AUTH PLAIN"] if self.is_secure else []
        offers += ["STARTTLS"] if self.server.tls and not self.is_secure else []
        lines = ["here", *offers]
        for line in lines[:-1]:
            self.say(f"250-{line}")
        self.say(f"250 {lines[-1]}")

    def do_starttls(self, rest: str) -> None:
        self.say("220 go on")
        self.connection = self.request = self.server.tls.wrap_socket(
            self.connection, server_side=True
        )
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.is_secure = True

    def do_auth(self, rest: str) -> None:
        _, user, password = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
        good = password == "s3cret"
        if good:
            self.server.mailbox.users.append(user)
        self.say("235 welcome" if good else "535 no")

    def do_mail(self, rest: str) -> None:
        self.say("250 fine")

    def do_rcpt(self, rest: str) -> None:
        if self.server.mailbox.is_full:
            return self.say("452 full")
        self.server.mailbox.recipients.append(rest.partition("<")[2].partition(">")[0])
        self.say("250 fine")

    def do_data(self, rest: str) -> None:
        self.say("354 go on")
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line)
        mail = message_from_bytes(b"".join(lines), policy=default)
        self.server.mailbox.mails.append(mail)
        self.say("250 taken")

    def do_rset(self, rest: str) -> None:
        self.say("250 fine")

    def do_quit(self, rest: str) -> None:
        self.say("221 bye")

    def finish(self) -> None:
        super().finish()
        self.connection.close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def get_request(self):
        connection, address = super().get_request()
        if self.at_once:
            connection = self.tls.wrap_socket(connection, server_side=True)
        return connection, address

    def handle_error(self, request, client_address) -> None:
        """Ignore closed connections."""


@contextmanager
def mail_server(tls: ssl.SSLContext | None = None, at_once: bool = False) -> Iterator[MailServer]:
    """A server within a ``with`` block.

    Parameters
    ----------
    at_once
        TLS from the first byte, in place of STARTTLS.
    """
    with _Server(("127.0.0.1", 0), _Conversation) as server:
        server.tls, server.at_once = tls, at_once
        server.mailbox = MailServer(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.mailbox
        finally:
            server.shutdown()
            thread.join()
