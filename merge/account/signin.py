"""How does a person let us send for them? Once in a browser, or with a code on another device."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from merge.account.oauth import Client, Refused, exchange, post, refusal, require_library, secret_of
from merge.clock import Clock
from merge.errors import ConfigError

PATIENCE = 300.0
"""How many seconds a person may take in the browser."""

_SLICE = 0.25
_INTERVAL, _SLOWER = 5.0, 5.0
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>mergepost</title>'
    "<p>{words} You can close this page and go back to the terminal.</p></html>"
)

Show = Callable[[str, str], None]
"""Shows the person an address to open, and the code to type there (empty where there is none)."""


def in_browser(client: Client, clock: Clock, show: Show) -> dict[str, Any]:
    """Sign in with a browser on this computer (RFC 8252, 7.3; PKCE, RFC 7636), and return the token.

    Listens on 127.0.0.1 alone, for the one answer. Raises ConfigError for a no or for silence.
    """
    require_library()
    from oauthlib.oauth2 import WebApplicationClient  # noqa: PLC0415 - an extra

    library = WebApplicationClient(client.id)
    state = secrets.token_urlsafe(24)
    verifier = library.create_code_verifier(64)
    with _Ear(("127.0.0.1", 0), _Answer) as ear:
        ear.state = state
        ear.timeout = _SLICE
        place = f"http://{client.redirect}:{ear.server_address[1]}/"
        address = library.prepare_request_uri(
            client.authorize,
            redirect_uri=place,
            scope=client.scope,
            state=state,
            code_challenge=library.create_code_challenge(verifier, "S256"),
            code_challenge_method="S256",
            login_hint=client.user,
            **dict(parse_qsl(client.ask)),
        )
        show(address, "")
        answer = _listen(ear, clock)
    if "code" not in answer:
        raise refusal(client, answer)
    body = library.prepare_request_body(
        code=answer["code"], redirect_uri=place, code_verifier=verifier, **secret_of(client)
    )
    return exchange(client, body, clock)


def on_a_device(client: Client, clock: Clock, show: Show) -> dict[str, Any]:
    """Sign in with a code that is typed into a browser anywhere (RFC 8628), and return the token.

    Raises ConfigError for a no or for silence, CarrierError where the identity server cannot be reached.
    """
    require_library()
    from oauthlib.oauth2 import DeviceClient  # noqa: PLC0415 - an extra

    asked = post(client.device, {"client_id": client.id, "scope": client.scope, **secret_of(client)})
    code, address = asked.get("device_code"), asked.get("verification_uri") or asked.get("verification_url")
    if not code or not address:
        raise refusal(client, asked)
    show(str(address), str(asked.get("user_code", "")))
    body = DeviceClient(client.id).prepare_request_body(
        device_code=code, include_client_id=True, **secret_of(client)
    )
    wait = float(asked.get("interval") or _INTERVAL)
    until = clock.monotonic() + min(float(asked.get("expires_in") or PATIENCE), 2 * PATIENCE)
    while not clock.interrupted and clock.monotonic() < until:
        clock.sleep(wait)
        try:
            return exchange(client, body, clock)
        except Refused as no:
            if no.reason == "slow_down":
                wait += _SLOWER
            elif no.reason != "authorization_pending":
                raise
    raise ConfigError("nobody signed in", hint="try again: mergepost doctor --login")


def _listen(ear: _Ear, clock: Clock) -> dict[str, str]:
    until = clock.monotonic() + PATIENCE
    while ear.answer is None:
        if clock.interrupted or clock.monotonic() >= until:
            raise ConfigError("nobody signed in", hint="try again: mergepost doctor --login")
        ear.handle_request()
    return ear.answer


class _Ear(HTTPServer):
    """Waits for the browser to come back."""

    state = ""
    answer: dict[str, str] | None = None


class _Answer(BaseHTTPRequestHandler):
    """Takes the one answer with our state; anything else is not for us."""

    server: _Ear
    timeout = 10

    def do_GET(self) -> None:
        """Take the answer, if it is one."""
        parts = urlsplit(self.path)
        said = {key: values[0] for key, values in parse_qs(parts.query).items()}
        ours = parts.path == "/" and hmac.compare_digest(
            said.get("state", "").encode(), self.server.state.encode()
        )
        if ours and ("code" in said or "error" in said):
            self.server.answer = said
            self._say(200, "Signed in." if "code" in said else "Not signed in.")
        else:
            self._say(404, "This is not the answer that mergepost waits for.")

    def _say(self, status: int, words: str) -> None:
        page = _PAGE.format(words=words).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Log nothing: the address holds the code."""
