"""How is a token had, and kept fresh? OAuth 2.0 (RFC 6749) with oauthlib; the words go over HTTPS."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from merge.account.vault import Vault
from merge.clock import Clock
from merge.errors import CarrierError, ConfigError

MARGIN = 300.0
"""A token is renewed so many seconds before it ends: a login takes a moment, clocks differ."""

_SECONDS = 30.0
_LARGEST = 100_000
_UNTOLD = 600.0
_SIGN_IN_AGAIN = "sign in again: mergepost doctor --login"
_ENDED = ("invalid_grant", "interaction_required", "consent_required", "login_required")


@dataclass(frozen=True, slots=True)
class Client:
    """This program as an identity server knows it, and where that server listens (all https).

    `secret` gives the client secret where the provider wants one; it is asked for when needed. `ask` are
    further parameters of the authorization request. `redirect` is the name under which the browser finds us.
    """

    id: str
    token: str
    scope: str
    user: str
    authorize: str = ""
    device: str = ""
    secret: Callable[[], str] | None = None
    ask: str = ""
    redirect: str = "127.0.0.1"


class Token:
    """An access token that is always good: renewed in time, also in the middle of a run. Never shown.

    Calling it returns the text. Raises ConfigError where the person has to sign in (again), CarrierError
    where the identity server cannot be reached.
    """

    __slots__ = ("_client", "_clock", "_kept", "_vault")

    def __init__(self, client: Client, vault: Vault, clock: Clock) -> None:
        self._client, self._vault, self._clock = client, vault, clock
        self._kept: dict[str, Any] | None = None

    def __call__(self) -> str:
        """Return the access token, renewed if it ends soon."""
        kept = self._kept or self._vault.load()
        if kept is None or not kept.get("access_token"):
            raise ConfigError(
                f"{self._client.user} has not signed in yet", hint="sign in once: mergepost doctor --login"
            )
        self._kept = kept
        if self._left(kept) <= MARGIN:
            self._kept = kept = self._renewed(kept)
        return str(kept["access_token"])

    @property
    def expires(self) -> float:
        """When the token that was last given out ends, in seconds since the epoch; 0 before one was."""
        return float(self._kept.get("expires_at", 0.0)) if self._kept else 0.0

    def __repr__(self) -> str:
        return f"Token({self._client.user!r}, hidden)"

    def __reduce__(self) -> str:
        raise TypeError("a token is not written down")

    def _left(self, kept: Mapping[str, Any]) -> float:
        return float(kept.get("expires_at", 0.0)) - self._clock.now()

    def _renewed(self, kept: dict[str, Any]) -> dict[str, Any]:
        refresh = kept.get("refresh_token")
        if not refresh:
            if self._left(kept) > 0:
                return kept
            raise ConfigError(
                f"the sign-in of {self._client.user} has ended",
                hint="sign in again: mergepost doctor --login",
            )
        from oauthlib.oauth2 import WebApplicationClient  # noqa: PLC0415 - an extra

        body = WebApplicationClient(self._client.id).prepare_refresh_body(
            refresh_token=refresh, client_id=self._client.id, **secret_of(self._client)
        )
        try:
            fresh = exchange(self._client, body, self._clock)
        except (CarrierError, Refused):
            if self._left(kept) > 0:
                return kept
            raise
        fresh.setdefault("refresh_token", refresh)
        self._vault.save(fresh)
        return fresh


def exchange(client: Client, body: str, clock: Clock) -> dict[str, Any]:
    """Ask the token endpoint, and return the token with `expires_at` (seconds since the epoch).

    Raises ConfigError for a refusal, with the server's reason, CarrierError where there is no answer.
    """
    answer = post(client.token, body)
    if "access_token" not in answer:
        raise refusal(client, answer)
    lifetime = answer.get("expires_in")
    seconds = float(lifetime) if isinstance(lifetime, int | float | str) and _is_number(lifetime) else _UNTOLD
    kept = {key: answer[key] for key in ("access_token", "refresh_token") if isinstance(answer.get(key), str)}
    return {**kept, "expires_at": clock.now() + seconds}


class Refused(ConfigError):  # noqa: N818 - says what happened
    """The identity server says no; `reason` is its code (RFC 6749, 5.2)."""

    def __init__(self, message: str, reason: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


def refusal(client: Client, answer: Mapping[str, Any]) -> Refused:
    """Return the error for an identity server's no."""
    reason = str(answer.get("error") or "no token in the answer")
    details = str(answer.get("error_description") or "").splitlines()
    words = f"the identity server refuses {client.user}: {reason}"
    hint = {
        "invalid_client": "check client_id and client_secret in oauth",
        "access_denied": "the sign-in was declined",
        "expired_token": "it took too long; try again",
    }.get(reason, "docs/accounts tells how to register a client")
    if reason in _ENDED:
        hint = _SIGN_IN_AGAIN
    return Refused(words, reason, "\n".join([hint, *details[:1]]))


def post(url: str, body: str | Mapping[str, str]) -> dict[str, Any]:
    """Send a form and return the JSON object of the answer, also that of a 4xx. Raises CarrierError."""
    form = body if isinstance(body, str) else urllib.parse.urlencode(body)
    host = urllib.parse.urlsplit(url).hostname
    request = urllib.request.Request(  # noqa: S310 - the settings refuse anything but https
        url, form.encode("ascii"), {"Accept": "application/json"}
    )
    try:
        with urllib.request.build_opener(_Nowhere).open(request, timeout=_SECONDS) as response:
            data = response.read(_LARGEST)
    except urllib.error.HTTPError as error:
        with error:
            data = error.read(_LARGEST)
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        raise CarrierError(
            f"the identity server {host} cannot be reached: {type(reason).__name__}",
            hint="check the network; nothing was lost, run it again",
        ) from None
    try:
        answer = json.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise CarrierError(f"the identity server {host} gave an answer that is no JSON object")
    return answer


class _Nowhere(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: a secret is never sent on to another place."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow none."""


def secret_of(client: Client) -> dict[str, Any]:
    """Return the client secret as a parameter, where there is one."""
    return {"client_secret": client.secret()} if client.secret else {}


def require_library() -> None:
    """Raise ConfigError, with the command to install it, if oauthlib is missing."""
    try:
        import oauthlib.oauth2  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise ConfigError(
            "oauth needs a library that is not installed", hint='pip install "mergepost[oauth]"'
        ) from None


def _is_number(value: object) -> bool:
    try:
        return float(str(value)) > 0
    except ValueError:
        return False
