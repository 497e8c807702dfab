"""An identity server on loopback that does as it is told: OAuth 2.0 over real HTTPS."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit


@dataclass
class Identity:
    """What the server does. `refuses` is the error of every token request, `pending` what a device hears."""

    lifetime: int | str | None = 3600
    refuses: str = ""
    refuses_consent: str = ""
    pending: list[str] = field(default_factory=list)
    rotates: bool = False
    redirects: str = ""
    redirect_status: int = 307
    garbage: bytes = b""
    down: bool = False
    heard: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    valid: set[str] = field(default_factory=set)
    challenges: dict[str, tuple[str, str]] = field(default_factory=dict)
    issued: int = 0
    url: str = ""

    def of(self, path: str) -> list[dict[str, str]]:
        return [form for place, form in self.heard if place == path]

    def grant(self) -> dict[str, Any]:
        self.issued += 1
        token = f"planted-access-{self.issued}"
        self.valid = {token}
        answer = {"access_token": token, "token_type": "Bearer", "scope": "another order of scopes"}
        if self.lifetime is not None:
            answer["expires_in"] = self.lifetime  # type: ignore[assignment]
        if self.issued == 1 or self.rotates:
            answer["refresh_token"] = f"planted-refresh-{self.issued}"
        return answer


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        identity, parts = self.server.identity, urlsplit(self.path)
        form = {key: values[0] for key, values in parse_qs(parts.query).items()}
        identity.heard.append((parts.path, form))
        answer = {"state": form["state"]}
        if identity.refuses_consent:
            answer["error"] = identity.refuses_consent
        else:
            answer["code"] = f"code-{len(identity.challenges) + 1}"
            identity.challenges[answer["code"]] = (form["code_challenge"], form["redirect_uri"])
        self.send_response(302)
        self.send_header("Location", f"{form['redirect_uri']}?{urlencode(answer)}")
        self.end_headers()

    def do_POST(self) -> None:
        identity = self.server.identity
        data = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {key: values[0] for key, values in parse_qs(data).items()}
        identity.heard.append((self.path, form))
        if identity.redirects:
            self.send_response(identity.redirect_status)
            self.send_header("Location", identity.redirects)
            self.end_headers()
        elif identity.garbage:
            self._answer(200, identity.garbage)
        else:
            status, said = self._said(form)
            self._answer(status, json.dumps(said).encode())

    def _said(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        identity = self.server.identity
        if identity.refuses:
            return 400, {"error": identity.refuses, "error_description": "because it is told to\nTrace: 1"}
        if self.path == "/device":
            place = f"{identity.url}/enter"
            return 200, {
                "device_code": "dc", "user_code": "ABCD-EFGH", "verification_uri": place, "interval": 5,
                "expires_in": 900,
            }  # fmt: skip
        granted = self._granted(form)
        if isinstance(granted, str):
            return 400, {"error": granted}
        return 200, granted

    def _granted(self, form: dict[str, str]) -> str | dict[str, Any]:
        """Return a token, or the error that there is instead."""
        identity = self.server.identity
        match form["grant_type"]:
            case "authorization_code":
                challenge, place = identity.challenges.pop(form["code"], ("", ""))
                digest = hashlib.sha256(form["code_verifier"].encode()).digest()
                proven = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == challenge
                good = proven and place == form["redirect_uri"]
                return identity.grant() if good else "invalid_grant"
            case "refresh_token":
                known = form["refresh_token"].startswith("planted-refresh-")
                return identity.grant() if known else "invalid_grant"
            case "urn:ietf:params:oauth:grant-type:device_code":
                return identity.pending.pop(0) if identity.pending else identity.grant()
        return "unsupported_grant_type"

    def _answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    identity: Identity

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet: a client that does not trust us is part of what is tested."""


@contextmanager
def identity_server(identity: Identity, context: ssl.SSLContext) -> Iterator[str]:
    """Run the server; yields its address."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.identity = identity
        identity.url = f"https://localhost:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield identity.url
        server.shutdown()
        thread.join()


class Browser:
    """A person at a browser: opens what is shown, in a thread of its own, and follows where it leads."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []
        self.pages: list[str] = []
        self.first: list[str] = []
        """Paths that are asked of us before the real answer."""
        self._threads: list[threading.Thread] = []

    def __call__(self, address: str, code: str) -> None:
        self.shown.append((address, code))
        if not code:
            self._threads.append(threading.Thread(target=self._visit, args=(address,), daemon=True))
            self._threads[-1].start()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(5)

    def _visit(self, address: str) -> None:
        redirect = parse_qs(urlsplit(address).query)["redirect_uri"][0]
        for path in self.first:
            try:
                with urllib.request.build_opener().open(redirect.rstrip("/") + path, timeout=5) as page:
                    self.pages.append(page.read().decode())
            except urllib.error.HTTPError as error:
                with error:
                    self.pages.append(f"{error.code} {error.read().decode()}")
        with urllib.request.build_opener().open(address, timeout=5) as page:
            self.pages.append(page.read().decode())
