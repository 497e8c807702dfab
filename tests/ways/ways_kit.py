"""What the tests of web APIs share: the two APIs on loopback, by their published schemas, told what to do.

`Desk` keeps a log of what it accepted. What it does with a call is told by `fates`, a function from the
number of the call and its letters' recipients to the name of a fate: a method of the handler.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jsonschema

from merge.api.call import Deadlines
from merge.api.mailjet import Mailjet
from merge.api.sendgrid import SendGrid
from merge.api.session import ApiAccount, ApiSession
from merge.clock import Clock, WallClock
from merge.model import Attachment, Delivery, Envelope, Letter, Mailbox, Outcome
from merge.seal import seal

SCHEMAS = Path(__file__).parent / "schemas"
DATE = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
KEY = "SG.Plant-3d_key.never-shown"
USER = "0123456789abcdef"
VENDORS = {"sendgrid": SendGrid, "mailjet": Mailjet}


def _strict(schema: Any) -> Any:
    """Let no property pass that the schema does not name: a slip of the keyboard is a fault."""
    if isinstance(schema, dict):
        kept = {key: _strict(value) for key, value in schema.items()}
        if schema.get("type") == "object" and schema.get("properties"):
            kept.setdefault("additionalProperties", False)
        return kept
    return [_strict(value) for value in schema] if isinstance(schema, list) else schema


def _validator(name: str) -> jsonschema.Draft202012Validator:
    schema = _strict(json.loads((SCHEMAS / name).read_text("utf-8")))
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


VALID = {
    "sendgrid": _validator("sendgrid-mail-send.json"),
    "mailjet": _validator("mailjet-send-v31.json"),
}


@dataclass
class Desk:
    """One web API. `accepted` has the Message-ID and the recipients of each letter that it took."""

    vendor: str
    fates: Callable[[int, list[str]], str] = lambda _number, _recipients: "accept"
    delay: float = 0.0
    accepted: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)
    broken_bodies: int = 0
    port: int = 0
    scheme: str = "http"
    in_air: int = 0
    most_in_air: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    held: threading.Event = field(default_factory=threading.Event)
    child: list[Any] = field(default_factory=list)
    took: Callable[[str, tuple[str, ...]], None] = lambda _id, _recipients: None

    @property
    def base(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def calls(self) -> int:
        return len(self.bodies)

    def take(self, message: Any) -> None:
        message_id, recipients = self.identity(message)
        with self.lock:
            self.took(message_id, recipients)
            self.accepted.append((message_id, recipients))

    def identity(self, message: Any) -> tuple[str, tuple[str, ...]]:
        if self.vendor == "sendgrid":
            one = message["personalizations"][0]
            boxes = [*one["to"], *one.get("cc", []), *one.get("bcc", [])]
            return message["headers"]["Message-ID"], tuple(box["email"] for box in boxes)
        boxes = [*message["To"], *message.get("Cc", []), *message.get("Bcc", [])]
        return message.get("Headers", {}).get("X-Mergepost-ID", ""), tuple(box["Email"] for box in boxes)

    def messages(self, body: Any) -> list[Any]:
        return [body] if self.vendor == "sendgrid" else body["Messages"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.desk = self.server.desk

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        desk = self.desk
        desk.heads.append(dict(self.headers))
        if not self._key_is_right():
            return
        if self.path == "/v3/scopes":
            scopes = (
                ["user.profile.read"] if desk.fates(0, []) == "no scope" else ["mail.send", "alerts.read"]
            )
            self._json(200, {"scopes": scopes})
        elif self.path == "/v3/REST/apikey":
            self._json(200, {"Count": 1, "Data": [{"IsActive": True, "Name": "Ada"}], "Total": 1})
        else:
            self._json(404, {"errors": [{"message": "not found"}]})

    def do_POST(self) -> None:
        desk = self.desk
        length = int(self.headers["Content-Length"])
        if "early" in desk.fates(-1, []):
            # An answer before the body is read, as from a gateway that goes by Content-Length.
            self._early(desk.fates(-1, []))
            return
        raw = self.rfile.read(length)
        if len(raw) != length:
            with desk.lock:
                desk.broken_bodies += 1
            self.close_connection = True
            return
        desk.heads.append(dict(self.headers))
        if not self._key_is_right():
            return
        body = json.loads(raw)
        for error in VALID[desk.vendor].iter_errors(body):
            desk.flaws.append(f"{error.json_path}: {error.message[:200]}")
        messages = desk.messages(body)
        self.sandboxed = "SandboxMode" in body
        with desk.lock:
            desk.bodies.append(body)
            number = len(desk.bodies) - 1
            desk.in_air += 1
            desk.most_in_air = max(desk.most_in_air, desk.in_air)
        try:
            if desk.delay:
                time.sleep(desk.delay)
            recipients = [address for message in messages for address in desk.identity(message)[1]]
            getattr(self, "_" + desk.fates(number, recipients).replace(" ", "_"))(messages)
        finally:
            with desk.lock:
                desk.in_air -= 1

    def _key_is_right(self) -> bool:
        said = self.headers["Authorization"]
        basic = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        if said == (f"Bearer {KEY}" if self.desk.vendor == "sendgrid" else f"Basic {basic}"):
            return True
        self._refuse(401, "The provided authorization grant is invalid")
        return False

    # Fates

    def _accept(self, messages: list[Any]) -> None:
        self._answer(messages, take=not self.sandboxed)

    def _answer(self, messages: list[Any], *, take: bool) -> None:
        if self.desk.vendor == "sendgrid":
            for message in messages if take else []:
                self.desk.take(message)
            self._json(202, None, {"X-Message-Id": "14c5d75ce93.dfd.64b469"})
            return
        entries = [self._entry(message, take=take) for message in messages]
        good = all(entry["Status"] == "success" for entry in entries)
        self._json(200 if good else 400, {"Messages": entries})

    def _entry(self, message: Any, *, take: bool = True) -> dict[str, Any]:
        """What Mailjet answers for one message; a recipient called gone is refused by itself."""
        to = message["To"][0]["Email"]
        if to.startswith("gone"):
            return self._error(400, "mj-0013", f'"{to}" is an invalid email address.', "To[0].Email")
        if to.startswith("torn"):
            return self._error(500, "mj-0500", "Something went wrong.", "To")
        if take:
            self.desk.take(message)
        sent = [
            {
                "Email": box["Email"],
                "MessageUUID": "cb927469-36fd-4c02-bce4-0d199929a207",
                "MessageID": 70650219165027410,
                "MessageHref": "https://api.mailjet.com/v3/REST/message/70650219165027410",
            }
            for box in message["To"]
        ]
        return {"Status": "success", "CustomID": message.get("CustomID", ""), "To": sent, "Cc": [], "Bcc": []}

    def _error(self, status: int, code: str, words: str, about: str) -> dict[str, Any]:
        return {
            "Status": "error",
            "Errors": [
                {
                    "ErrorIdentifier": "f987008f-251a-4dff-8ffc-40f1583ad7bc",
                    "ErrorCode": code,
                    "StatusCode": status,
                    "ErrorMessage": words,
                    "ErrorRelatedTo": [about],
                }
            ],
        }

    def _accept_and_leave(self, messages: list[Any]) -> None:
        """Answer, and close the line without having said so, as a server does with an idle one."""
        self._accept(messages)
        self._cut()

    def _lost_before(self, _: list[Any]) -> None:
        self._cut()

    def _lost_after(self, messages: list[Any]) -> None:
        for message in messages:
            self.desk.take(message)
        self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _kill_after(self, messages: list[Any]) -> None:
        """Take it, and end the client before it hears of that."""
        for message in messages:
            self.desk.take(message)
        self.desk.child[0].kill()
        self.desk.child[0].wait()
        self._cut()

    def _half(self, messages: list[Any]) -> None:
        """Half an answer, then the end of the line."""
        for message in messages:
            self.desk.take(message)
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 400\r\n\r\n{}")
        self._cut()

    def _500_after(self, messages: list[Any]) -> None:
        for message in messages:
            self.desk.take(message)
        self._refuse(500, "Internal error")

    def _500_before(self, _: list[Any]) -> None:
        self._refuse(500, "Internal error")

    def _502(self, _: list[Any]) -> None:
        self._raw(502, b"<html><h1>Bad gateway</h1></html>")

    def _503(self, _: list[Any]) -> None:
        self._raw(503, b"", {"Retry-After": "0"})

    def _504_after(self, messages: list[Any]) -> None:
        for message in messages:
            self.desk.take(message)
        self._raw(504, b"<html>Gateway time-out</html>")

    def _400(self, _: list[Any]) -> None:
        self._refuse(400, "Does not contain a valid address. \x1b[31m", "personalizations.0.to.0.email")

    def _401(self, _: list[Any]) -> None:
        self._refuse(401, "Maximum credits exceeded")

    def _403(self, _: list[Any]) -> None:
        self._refuse(403, "The from address does not match a verified Sender Identity")

    def _404(self, _: list[Any]) -> None:
        self._raw(404, b"<html>not here</html>")

    def _413(self, _: list[Any]) -> None:
        self._refuse(413, "The JSON payload is too large")

    def _429(self, _: list[Any]) -> None:
        self._refuse(429, "too many requests", headers={"Retry-After": "0"})

    def _429_long(self, _: list[Any]) -> None:
        self._refuse(429, "too many requests", headers={"Retry-After": "86400"})

    def _redirect(self, _: list[Any]) -> None:
        self._raw(307, b"", {"Location": f"http://127.0.0.1:{self.desk.port}/elsewhere"})

    def _garbage(self, _: list[Any]) -> None:
        with suppress(OSError):
            self.wfile.write(b"\x00\xffnothing like HTTP\r\n\r\n")
        self._cut()

    def _odd_json(self, messages: list[Any]) -> None:
        for message in messages:
            self.desk.take(message)
        self._raw(200, b'{"Messages": [[[')

    def _success_elsewhere(self, messages: list[Any]) -> None:
        """A cheerful page, as of a captive portal."""
        self._raw(200, b"<html>Welcome</html>")

    def _huge(self, messages: list[Any]) -> None:
        for message in messages:
            self.desk.take(message)
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n" % (200 * 65536))
            for _ in range(200):
                self.wfile.write(b" " * 65536)
        self._cut()

    def _packed(self, messages: list[Any]) -> None:
        for message in messages:
            self.desk.take(message)
        self._raw(200, b"\x1f\x8b" + b"0" * 99, {"Content-Encoding": "gzip"})

    def _drip(self, messages: list[Any]) -> None:
        """One byte of the head at a time: every read succeeds, and the answer never comes."""
        for message in messages:
            self.desk.take(message)
        with suppress(OSError):
            for _ in range(1200):
                self.wfile.write(b"H")
                time.sleep(0.05)
                if self.desk.held.is_set():
                    break
        self._cut()

    def _silent(self, messages: list[Any]) -> None:
        for message in messages:
            self.desk.take(message)
        self.desk.held.wait(60)
        self._cut()

    def _short(self, messages: list[Any]) -> None:
        """One entry too few."""
        self._json(200, {"Messages": [self._entry(message) for message in messages][:-1]})

    def _shuffled(self, messages: list[Any]) -> None:
        self._json(200, {"Messages": [self._entry(message) for message in messages][::-1]})

    def _same_id(self, messages: list[Any]) -> None:
        entries = [self._entry(message) for message in messages]
        self._json(200, {"Messages": [{**entry, "CustomID": entries[0]["CustomID"]} for entry in entries]})

    def _no_id(self, messages: list[Any]) -> None:
        entries = [self._entry(message) for message in messages]
        self._json(200, {"Messages": [{**entry, "CustomID": ""} for entry in entries]})

    def _no_id_shuffled(self, messages: list[Any]) -> None:
        entries = [self._entry(message) for message in messages][::-1]
        self._json(200, {"Messages": [{**entry, "CustomID": ""} for entry in entries]})

    def _too_big_together(self, messages: list[Any]) -> None:
        if len(messages) > 1:
            self._raw(400, json.dumps(_global("mj-0011", "Payload size is over the limit.")).encode())
        else:
            self._accept(messages)

    def _sender_refused(self, messages: list[Any]) -> None:
        words = "The sender is not authorized."
        self._json(400, {"Messages": [self._error(403, "send-0008", words, "From") for _ in messages]})

    def _early(self, fate: str) -> None:
        self.desk.bodies.append({})
        self._refuse(413 if "413" in fate else 202, "too large, by its length")
        self._cut()

    # Writing

    def _refuse(
        self,
        status: int,
        words: str,
        about: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        if self.desk.vendor == "sendgrid":
            self._json(status, {"errors": [{"message": words, "field": about, "help": None}]}, headers)
        else:
            self._json(status, _global("mj-0000", words, status), headers)

    def _json(self, status: int, content: Any, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self._raw(status, body, {"Content-Type": "application/json", **headers})

    def _raw(self, status: int, body: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        head = [f"HTTP/1.1 {status} As told", f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        with suppress(OSError):
            self.wfile.write("".join(f"{line}\r\n" for line in [*head, ""]).encode() + body)


def _global(code: str, words: str, status: int = 400) -> dict[str, Any]:
    identifier = "06df1144-c6f3-4ca7-8885-7ec5d4344113"
    return {"ErrorIdentifier": identifier, "ErrorCode": code, "ErrorMessage": words, "StatusCode": status}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        super().__init__(("127.0.0.1", desk.port), _Handler)

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is part of what is tested."""


@contextmanager
def open_desk(desk: Desk, context: ssl.SSLContext | None = None) -> Iterator[Desk]:
    server = _Server(desk)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        desk.scheme = "https"
    desk.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield desk
    finally:
        desk.held.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def letter(  # the ingredients of a letter, each with something that will do
    row: int = 2,
    to: str = "",
    *,
    subject: str = "Spring news für Zoë",
    text: str | None = "Hi Zoë,\n\nyour number is 7.\n",
    html: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
    cc: Sequence[str] = (),
    bcc: Sequence[str] = (),
    reply_to: Sequence[Mailbox] = (),
    attachments: Sequence[Attachment] = (),
    name: str = "Zoë Álvarez, Dr.",
) -> Letter:
    to = to or f"r{row}@people.example"
    boxes = {
        "from": (Mailbox("Ada Club", "news@ada.example"),),
        "to": (Mailbox(name, to),),
        **({"cc": tuple(Mailbox("", address) for address in cc)} if cc else {}),
        **({"reply-to": tuple(reply_to)} if reply_to else {}),
    }
    shown = [(found.title(), "shown") for found in boxes]
    return Letter(
        key=to,
        row=row,
        envelope=Envelope("news@ada.example", (to, *cc, *bcc)),
        headers=(*shown, ("Subject", subject), *headers),
        mailboxes=boxes,
        text=text,
        html=html,
        attachments=tuple(attachments),
        message_id=f"<{row:04d}.token@ada.example>",
        date=DATE,
        digest=f"{row:064x}",
    )


def delivery(row: int = 2, to: str = "", **more: Any) -> Delivery:
    return seal(letter(row, to, **more))


def session(
    desk: Desk, clock: Clock | None = None, *, window: int = 4, per_call: int = 50, **more: Any
) -> ApiSession:
    more.setdefault("before_commits", lambda _: None)
    more.setdefault("schedule", (0.01, 0.01, 0.01))
    more.setdefault("deadlines", Deadlines(connect=20.0, call=60.0))
    ca_file = more.pop("ca_file", "")
    base = more.pop("base", desk.base)
    key = more.pop("key", KEY)
    account = ApiAccount(base, USER, lambda: key, window=window, per_call=per_call, ca_file=ca_file)
    return ApiSession(account, VENDORS[desk.vendor](), clock=clock or WallClock(), **more)


def carry(way: ApiSession, deliveries: Sequence[Delivery]) -> list[Outcome]:
    """Take them all out, as the courier does, and return the outcomes in the order in which they came."""
    waiting, outcomes = list(deliveries), []
    try:
        while len(outcomes) < len(deliveries):
            while waiting and way.room:
                way.offer(waiting.pop(0))
            outcomes += way.collect(0.05)
    finally:
        way.close()
    return outcomes
