"""A page to unsubscribe on, for your own web host: one file, any ASGI server.

    pip install uvicorn itsdangerous
    UNSUBSCRIBE_SECRET_FILE=/etc/club/secret SUPPRESSED=/var/lib/club/suppressed.csv uvicorn handler:app

A link is `https://club.example/unsubscribe?TOKEN`. Looking at it (GET) shows a button and changes nothing,
because mail scanners look at every link. Pressing the button, or one click in the mail program (RFC 8058),
is a POST: it appends the address to the file, at once, without a login, a cookie or a redirect.

It needs itsdangerous and Python, and nothing of mergepost. What it keeps is the address and the day.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import hashlib
import html
import io
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from itsdangerous import BadData, URLSafeSerializer

if sys.platform != "win32":
    import fcntl

SALT = "mergepost unsubscribe"
TEST = "this-is-a-test-and-unsubscribes-nobody"
LONGEST_TOKEN = 600
LONGEST_BODY = 4096
SECONDS = 10.0
HEADER = "address,reason,date"

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; padding: 0 1rem;
color: #1a1a1a; background: #fff; }}
button {{ font: inherit; padding: .6rem 1.2rem; border: 2px solid #1a1a1a; border-radius: .3rem;
background: #1a1a1a; color: #fff; cursor: pointer; }}
button:focus-visible {{ outline: 3px solid #b35c00; outline-offset: 3px; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""
ASK = """\
<p>Shall <strong dir="ltr">{address}</strong> get no more letters from us?</p>
<form method="post"><button name="List-Unsubscribe" value="One-Click">Unsubscribe</button></form>"""

NOT_GOOD = (
    404,
    "This link does not work",
    "<p>The link is not whole. Copy all of it from the letter, or answer the letter.</p>",
)


class Handler:
    """The application. Made once: it reads the secret, and appends to the one file.

    `secret` may hold several words: links signed with any of them are good.
    """

    def __init__(self, secret: str, path: Path) -> None:
        keys = secret.split()
        if not keys or min(map(len, keys)) < 16:  # noqa: PLR2004 - as mergepost itself asks for
            raise SystemExit("the secret of the unsubscribe links is missing, or shorter than 16 characters")
        self._path = path
        self._serializer = URLSafeSerializer(
            keys[::-1],
            salt=SALT,
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            status, title, content = await self._answer(scope, receive)
            await _say(send, status, title, content, body=scope["method"] != "HEAD")

    async def _answer(self, scope: dict[str, Any], receive: Receive) -> tuple[int, str, str]:
        token = unquote(scope.get("query_string", b"").decode("latin-1")).rpartition("&")[2]
        if token == TEST:
            return 200, "This is a test", "<p>The link is from a test letter. It unsubscribes nobody.</p>"
        if scope["method"] == "POST":
            return await self._unsubscribe(scope, receive, self.address(token))
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "That is not possible here", "<p>Open the link in your browser.</p>"
        if address := self.address(token):
            return 200, "Unsubscribe", ASK.format(address=html.escape(address))
        return NOT_GOOD

    async def _unsubscribe(
        self, scope: dict[str, Any], receive: Receive, address: str
    ) -> tuple[int, str, str]:
        body = await _body(receive)
        if body is None:
            return 413, "That is too much", "<p>Press the button on the page, please.</p>"
        if not address:
            return NOT_GOOD
        if not _is_one_click(scope, body):
            return 400, "That did not work", "<p>Open the link again and press the button, please.</p>"
        try:
            await asyncio.to_thread(append, self._path, address)
        except OSError:
            words = "<p>It is our fault, not yours. Try again later, or answer the letter.</p>"
            return 500, "That did not work", words
        return 200, "You are unsubscribed", "<p>You will get no more letters from us. Goodbye!</p>"

    def address(self, token: str) -> str:
        """Return the address that a token unsubscribes; empty when we did not sign it.

        The signature is compared in constant time, by itsdangerous.
        """
        if not 0 < len(token) <= LONGEST_TOKEN or not token.isascii():
            return ""
        try:
            found = self._serializer.loads(token)
        except BadData:
            return ""
        return found if isinstance(found, str) and found.isprintable() and "@" in found else ""


def append(path: Path, address: str) -> None:
    """Add an address to the file, unless it is there, and have it on disk; one request after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _held(path), os.fdopen(_opened(path), "r+", encoding="utf-8", newline="") as file:
        text = file.read()
        if any(
            row and row[0].removeprefix("'") == address for row in csv.reader(io.StringIO(text, newline=""))
        ):
            return
        line = io.StringIO(newline="")
        if not text:
            line.write(HEADER + "\r\n")
        elif not text.endswith("\n"):
            line.write("\r\n")
        day = datetime.now(timezone.utc).date().isoformat()  # noqa: UP017 - runs on older Pythons, too
        # The apostrophe keeps a spreadsheet from taking the address for a formula; mergepost knows it.
        safe = f"'{address}" if address[0] in "=+-@" else address
        csv.writer(line).writerow((safe, "unsubscribed", day))
        file.seek(0, os.SEEK_END)
        file.write(line.getvalue())
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Wait for others who write the file: they replace it, so the lock is on a file beside it."""
    lock = _opened(path.with_name(f"{path.name}.lock"))
    try:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _is_one_click(scope: dict[str, Any], body: bytes) -> bool:
    """Whether this is the form of RFC 8058, urlencoded or multipart: of a mail program, or of our page."""
    kind = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1").lower()
    if kind.startswith("multipart/form-data"):
        return b'name="List-Unsubscribe"' in body and b"\r\n\r\nOne-Click\r\n" in body
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=8)
    except (UnicodeDecodeError, ValueError):
        return False
    return fields.get("List-Unsubscribe") == ["One-Click"]


async def _body(receive: Receive) -> bytes | None:
    """Return what was sent; None when it is too much, or takes too long."""

    async def read() -> bytes | None:
        body = b""
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                return None
            body += event.get("body", b"")
            if len(body) > LONGEST_BODY:
                return None
            if not event.get("more_body"):
                return body

    try:
        return await asyncio.wait_for(read(), SECONDS)
    except asyncio.TimeoutError:  # noqa: UP041 - its own error before Python 3.11
        return None


async def _say(send: Send, status: int, title: str, content: str, *, body: bool) -> None:
    page = PAGE.format(title=title, content=content).encode()
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-length": str(len(page)),
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'",
    }
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": page if body else b""})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


def _secret() -> str:
    if path := os.environ.get("UNSUBSCRIBE_SECRET_FILE"):
        return Path(path).read_text("utf-8")
    return os.environ.get("UNSUBSCRIBE_SECRET", "")


app = Handler(_secret(), Path(os.environ.get("SUPPRESSED", "suppressed.csv")))
