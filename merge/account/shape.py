"""What is an account, once it is read? Values, and how they are called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from merge.account.mailbox import BounceSettings
from merge.account.providers import Provider, Security
from merge.account.secret import SecretReference
from merge.dkim import DkimSettings

Kind = Literal["smtp", "api", "program", "maildir", "mbox", "eml"]
"""The ways out: a mail server, a provider's web API, a sendmail program, folders on this computer."""


@dataclass(frozen=True, slots=True)
class PaceSettings:
    """How many messages in any second, minute, hour or rolling day; None is no limit.

    `gap` is the least and the most seconds from one message to the next.
    """

    per_second: int | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    gap: tuple[float, float] | None = None

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return any((self.per_second, self.per_minute, self.per_hour, self.per_day))


@dataclass(frozen=True, slots=True)
class OAuthSettings:
    """How a token is had instead of a password. `keep` says where it is kept between runs.

    `ask` and `redirect` are what the provider's own authorization request needs besides.
    """

    client_id: str
    authorize: str
    token: str
    scope: str
    device: str = ""
    client_secret: SecretReference | None = None
    flow: Literal["browser", "device"] = "browser"
    keep: Literal["file", "keyring"] = "file"
    ask: str = ""
    redirect: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """A way out, usually to a mail server.

    Of a web API `host`, `port` and `security` are those of `base_url`; a program or a folder has its name as
    `host`. `profile` is what is known of the provider, None for any other server; `found` says how the
    provider was recognised, `origin` where the account stands. `dkim` is the signature of letters that go
    this way.
    """

    name: str
    host: str
    port: int
    security: Security
    profile: Provider | None = None
    found: str = ""
    origin: str = ""
    user: str = ""
    secret: SecretReference = field(default_factory=SecretReference)
    oauth: OAuthSettings | None = None
    per_connection: int | None = None
    pipelining: Literal["auto", 0, 1, 2] = "auto"
    window: int = 0
    ca_file: str = ""
    pace: PaceSettings = field(default_factory=PaceSettings)
    dkim: DkimSettings | None = None
    bounces: BounceSettings | None = None
    kind: Kind = "smtp"
    command: tuple[str, ...] = ()
    path: str = ""
    base_url: str = ""
    per_call: int = 1

    @property
    def provider(self) -> str:
        """The name of the provider; empty where it is not a known one."""
        return self.profile.name if self.profile else ""

    @property
    def place(self) -> str:
        """Where the letters go, for people: of a mail server host:port and how the line is protected."""
        if self.kind != "smtp":
            return self.host
        protection = {"tls": "TLS", "starttls": "STARTTLS", "none": "not encrypted"}[self.security]
        return f"{self.host}:{self.port} ({protection})"

    @property
    def road(self) -> str:
        """How the letters get there, in words."""
        return {
            "smtp": f"via {self.place}",
            "api": f"via {self.profile.title if self.profile else 'a web API'} ({self.host})",
            "program": f"handed over to {self.host}",
            "maildir": f"written into the maildir {self.path}",
            "mbox": f"appended to the mbox file {self.path}",
            "eml": f"written as .eml files into {self.path}",
        }[self.kind]
