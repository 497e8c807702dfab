"""Which server is it, who are we there, and for how long?"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from merge.smtp.auth import Credentials
from merge.smtp.opening import Terms
from merge.smtp.wire import Clock

LEAD = 60.0
"""A line that was opened with a token is left so many seconds before the token ends."""

Secret = Callable[[], str]
"""Gives a password or a token when it is needed, and only then."""

_APP_PASSWORD = re.compile(r"[a-z]{4}( [a-z]{4}){3}")


@runtime_checkable
class Passing(Protocol):
    """A secret that ends."""

    @property
    def expires(self) -> float:
        """When the one that was last given out ends, in seconds since the epoch; 0: nobody knows."""


@dataclass(frozen=True, slots=True)
class Account:
    """A server, and the way to use it.

    `security` is "tls" (from the start), "starttls" or "none". `token` (for XOAUTH2, OAUTHBEARER) wins over
    `password`; if it says when it `expires`, a line is renewed before that. `mechanisms`, if any, are the
    only ones a login is tried with, in that order. `per_connection` is the number of messages after which the
    line is renewed (0: never). `pipelining` is the highest level of pipelining, `window` the number of
    messages in flight at level 3; 0 keeps to level 2. `ehlo_name` is told to the server; empty: this side's
    address, which tells no name. `login_hints` are those of Terms.
    """

    host: str
    port: int
    security: Literal["tls", "starttls", "none"] = "tls"
    user: str = ""
    password: Secret | None = field(default=None, repr=False)
    token: Secret | None = field(default=None, repr=False)
    mechanisms: tuple[str, ...] = ()
    ca_file: str = ""
    per_connection: int = 100
    pipelining: Literal["auto", 0, 1, 2] = "auto"
    window: int = 0
    ehlo_name: str = ""
    login_hints: Mapping[str, str] = field(default_factory=dict)


class Login:
    """What an account brings to each line. `tell` hears what the person should know."""

    def __init__(self, account: Account, clock: Clock, tell: Callable[[str], None]) -> None:
        self._account = account
        self._clock = clock
        self._tell = tell
        self.good_until = math.inf  # the moment, by the monotonic clock, when the line in use is to be left

    def terms(self, literal: str, *, loopback: bool) -> Terms:
        """Return what a new line is opened with; `literal` is this side's address on it.

        `loopback` is that of Terms.
        """
        account = self._account
        self.good_until = math.inf
        credentials = Credentials(
            account.user,
            self._password if account.password is not None else None,
            self._token if account.token is not None else None,
            account.host,
            account.port,
        )
        return Terms(
            ehlo_name=account.ehlo_name or literal,
            starttls=account.security == "starttls",
            private=account.security != "none",
            credentials=credentials if account.user and (account.password or account.token) else None,
            mechanisms=account.mechanisms,
            login_hints=account.login_hints,
            loopback=loopback,
        )

    def _password(self) -> str:
        """Return the password; Google's app passwords are shown with blanks that are not part of them."""
        account = self._account
        password = account.password() if account.password else ""
        if _APP_PASSWORD.fullmatch(password) and re.search(r"\b(gmail|google(mail)?)\.com$", account.host):
            self._tell("The blanks in the app password were left out: Google shows it with them.")
            return password.replace(" ", "")
        return password

    def _token(self) -> str:
        """Return the token, and note until when a line that is opened with it may be used."""
        source = self._account.token
        token = source() if source else ""
        left = source.expires - self._clock.now() if isinstance(source, Passing) else 0.0
        # One that is about to end, and could not be renewed, will not be any better on another line.
        self.good_until = self._clock.monotonic() + left - LEAD if left > LEAD else math.inf
        return token
