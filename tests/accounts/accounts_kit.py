"""What the tests of accounts share: a mail server and a name server that do as they are told."""

from __future__ import annotations

import base64
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

ACCEPTED = "235 2.7.0 accepted"


@dataclass
class Manners:
    """How a mail server behaves. `groups`: whether it answers every command of one write.

    It ends a line with 421 when that has taken `per_line` messages; `taken` are their recipients. `rcpt` is
    its answer to recipients, once it has taken one message.
    """

    extensions: tuple[str, ...] = ("PIPELINING", "SIZE 25000000", "8BITMIME", "SMTPUTF8")
    auth: str = ""
    login: str = ACCEPTED
    banner: str = "220 mail.ada.example ESMTP"
    groups: bool = True
    security: str = "none"
    context: ssl.SSLContext | None = None
    per_line: int = 0
    rcpt: str = ""
    on_login: Callable[[], None] = lambda: None
    heard: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)


class _Conversation(socketserver.StreamRequestHandler):
    server: _Server
    taken = 0
    recipient = ""

    def handle(self) -> None:
        with suppress(OSError):  # a client that goes away is part of what is tested
            self._converse()

    def _converse(self) -> None:
        self.manners = self.server.manners
        if self.manners.security == "tls":
            self._secure()
        self._say(self.manners.banner)
        while line := self.rfile.readline():
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            self.manners.heard.append(text)
            if not self._answer(text):
                return

    def _secure(self) -> None:
        assert self.manners.context is not None
        self.connection = self.manners.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    def _answer(self, text: str) -> bool:
        word = text.upper().split(" ")[0]
        if word == "EHLO":
            secure = isinstance(self.connection, ssl.SSLSocket)
            offered = list(self.manners.extensions)
            if self.manners.security == "starttls" and not secure:
                offered.append("STARTTLS")
            elif self.manners.auth:
                offered.append(f"AUTH {self.manners.auth}")
            names = ["mail.ada.example", *offered]
            self._say(*[f"250-{name}" for name in names[:-1]], f"250 {names[-1]}")
        elif word == "STARTTLS":
            self._say("220 go ahead")
            self._secure()
        elif word == "AUTH":
            self._log_in(text)
        elif word == "RSET" and not self.manners.groups:
            self._say("250 2.0.0 ok")
            self.rfile.readline()  # thrown away, as by servers that empty their input between commands
            return False
        elif word == "QUIT":
            self._say("221 2.0.0 bye")
            return False
        elif word in ("MAIL", "RCPT", "DATA") and self.manners.per_line:
            return self._take(word, text)
        elif word in ("NOOP", "RSET"):
            self._say("250 2.0.0 ok")
        else:
            self._say("502 5.5.1 not here")
        return True

    def _take(self, word: str, text: str) -> bool:
        if word == "MAIL" and self.taken == self.manners.per_line:
            self._say("421 4.7.0 that is enough for one line")
            return False
        if word == "RCPT" and self.manners.rcpt and self.manners.taken:
            self._say(self.manners.rcpt)
            return True
        if word != "DATA":
            self.recipient = text.partition("<")[2].rstrip(">")
            self._say("250 2.1.0 ok")
            return True
        self._say("354 go ahead")
        while self.rfile.readline() != b".\r\n":
            pass
        self.taken += 1
        self.manners.taken.append(self.recipient)
        self._say("250 2.0.0 taken")
        return True

    def _log_in(self, text: str) -> None:
        self.manners.on_login()
        words = text.split(" ")
        if words[1].upper() == "LOGIN":
            for question in ("Username:", "Password:"):
                self._say("334 " + base64.b64encode(question.encode()).decode())
                self.manners.heard.append(self.rfile.readline().decode().rstrip("\r\n"))
        elif words[1].upper() in ("XOAUTH2", "OAUTHBEARER") and not self.manners.login.startswith("235"):
            self._say("334 " + base64.b64encode(b'{"status":"401"}').decode())
            self.manners.heard.append(self.rfile.readline().decode().rstrip("\r\n"))
        heard = self.manners.heard[-1].rpartition(" ")[2]
        lines = self.manners.login.replace("{heard}", heard).split("\n")
        self._say(*[f"{line[:3]}-{line[4:]}" for line in lines[:-1]], lines[-1])


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    manners: Manners

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet: a client that goes away is part of what is tested."""


@contextmanager
def mail_server(manners: Manners) -> Iterator[int]:
    """Run a mail server on loopback; yields its port."""
    with _Server(("127.0.0.1", 0), _Conversation) as server:
        server.manners = manners
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


Zone = Mapping[tuple[str, str], tuple[str, ...]]
"""What a name server knows: (name, type) -> texts of the records."""


@contextmanager
def name_server(zone: Zone, *, rcode: str = "", silent: bool = False) -> Iterator[str]:
    """Run a name server on loopback; yields ADDRESS:PORT. `rcode` answers every question with an error."""
    names = {name for name, _ in zone}
    parents = {".".join(name.split(".")[start:]) for name in names for start in range(name.count(".") + 1)}

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if silent:
                return
            data, socket = self.request
            query = dns.message.from_wire(data)
            question = query.question[0]
            name = question.name.to_text(omit_final_dot=True).lower()
            kind = dns.rdatatype.to_text(question.rdtype)
            response = dns.message.make_response(query)
            response.flags |= dns.flags.RA
            if rcode:
                response.set_rcode(dns.rcode.from_text(rcode))
            elif records := zone.get((name, kind)):
                response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *records))
            elif name not in parents:
                response.set_rcode(dns.rcode.NXDOMAIN)
            socket.sendto(response.to_wire(max_size=4096), self.client_address)

    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
