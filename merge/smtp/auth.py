"""Who are we? SASL mechanisms as pure steps (RFC 4422, RFC 4954): challenge in, answer out.

No I/O, no base64: `dialogue` wraps and unwraps. A secret stands in local variables and in the bytes that go
to the server, nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import stringprep
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from merge.errors import MergeError

MIN_ITERATIONS = 4096
"""RFC 7677, 4: a server that asks for fewer makes the password cheap to guess."""

MAX_ITERATIONS = 2_000_000
"""Beyond this a hostile server would only keep us computing."""


class ExchangeError(MergeError):
    """The server does not follow the mechanism, or could not prove that it knows the password."""


class Exchange(Protocol):
    """One attempt with one mechanism."""

    @property
    def name(self) -> str:
        """The mechanism's registered name."""

    @property
    def initial(self) -> bytes | None:
        """The initial response, or None where the server speaks first."""

    def answer(self, challenge: bytes) -> bytes:
        """Return the answer to a challenge. Raises ExchangeError where there is none."""

    def finish(self) -> None:
        """Hear that the server is content. Raises ExchangeError if it has not proven itself."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who logs in, and with what; `token` wins over `password`. The secrets are asked for when needed.

    `host` and `port` are those of the server: OAUTHBEARER signs them in.
    """

    user: str
    password: Callable[[], str] | None = None
    token: Callable[[], str] | None = None
    host: str = ""
    port: int = 0


SHOWING = frozenset({"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"})
"""Mechanisms that put the password or the token itself on the line."""


def choose(
    offered: Collection[str], credentials: Credentials, *, private: bool, allowed: Sequence[str] = ()
) -> str | None:
    """Return the mechanism to use, or None if none fits.

    A token takes OAUTHBEARER or XOAUTH2. A password goes by PLAIN or LOGIN on a `private` line (TLS), where
    the mechanisms that hide it add little and many servers' databases lack what they need; on an open line
    those that do not show it come first. `allowed`, if not empty, narrows the choice and gives the order.
    """
    if credentials.token is not None:
        order: Sequence[str] = ("OAUTHBEARER", "XOAUTH2")
    elif private:
        order = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5")
    else:
        order = ("SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN")
    if allowed:
        order = [name for name in (word.upper() for word in allowed) if name in order]
    heard = {name.upper() for name in offered}
    return next((name for name in order if name in heard), None)


def begin(mechanism: str, credentials: Credentials) -> Exchange:
    """Return the exchange for a mechanism that `choose` has named; asks for the secret now."""
    source = credentials.token or credentials.password
    secret = source() if source is not None else ""
    match mechanism:
        case "PLAIN":
            return Plain(credentials.user, secret)
        case "LOGIN":
            return Login(credentials.user, secret)
        case "CRAM-MD5":
            return CramMd5(credentials.user, secret)
        case "SCRAM-SHA-256":
            return ScramSha256(credentials.user, secret)
        case "XOAUTH2":
            return XOAuth2(credentials.user, secret)
        case "OAUTHBEARER":
            return OAuthBearer(credentials.user, secret, credentials.host, credentials.port)
    raise ExchangeError(f"no such mechanism: {mechanism}")


class _Steps:
    """Answers prepared in advance, or worked out one after the other."""

    __slots__ = ("_steps", "initial")

    name = ""

    def __init__(self, initial: bytes | None, *steps: Callable[[bytes], bytes]) -> None:
        self.initial = initial
        self._steps = list(steps)

    def answer(self, challenge: bytes) -> bytes:
        """Return the next answer. Raises ExchangeError when there is none left."""
        if not self._steps:
            raise ExchangeError(f"the server asks more than {self.name} answers")
        return self._steps.pop(0)(challenge)

    def finish(self) -> None:
        """Accept the server's word: these mechanisms prove only the client."""


class Plain(_Steps):
    """PLAIN (RFC 4616): everything at once, in UTF-8."""

    name = "PLAIN"

    def __init__(self, user: str, password: str) -> None:
        first = b"\0".join((b"", user.encode(), password.encode()))
        super().__init__(first, lambda _: first)


class Login(_Steps):
    """LOGIN (never standardised): the user, then the password, whatever the prompts say."""

    name = "LOGIN"

    def __init__(self, user: str, password: str) -> None:
        super().__init__(None, lambda _: user.encode(), lambda _: password.encode())


class CramMd5(_Steps):
    """CRAM-MD5 (RFC 2195): a keyed digest of the server's challenge."""

    name = "CRAM-MD5"

    def __init__(self, user: str, password: str) -> None:
        key = password.encode()
        super().__init__(
            None, lambda text: user.encode() + b" " + hmac.new(key, text, "md5").hexdigest().encode("ascii")
        )


class XOAuth2(_Steps):
    """XOAUTH2 (Google, Microsoft): a bearer token; a challenge is an error and gets an empty answer."""

    name = "XOAUTH2"

    def __init__(self, user: str, token: str) -> None:
        super().__init__(f"user={user}\x01auth=Bearer {token}\x01\x01".encode(), lambda _: b"")


class OAuthBearer(_Steps):
    """OAUTHBEARER (RFC 7628): a bearer token; a challenge is an error and gets a single ^A (3.2.3)."""

    name = "OAUTHBEARER"

    def __init__(self, user: str, token: str, host: str, port: int) -> None:
        super().__init__(
            f"n,a={_saslname(user)},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01".encode(),
            lambda _: b"\x01",
        )


class ScramSha256(_Steps):
    """SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding: both sides prove themselves."""

    name = "SCRAM-SHA-256"

    __slots__ = ("_bare", "_nonce", "_password", "_proof_of_server", "_proven")

    def __init__(self, user: str, password: str, nonce: str = "") -> None:
        self._nonce = nonce or secrets.token_urlsafe(24)
        self._bare = f"n={_saslname(prepare(user))},r={self._nonce}"
        self._password = prepare(password).encode()
        self._proof_of_server = b""
        self._proven = False
        super().__init__(f"n,,{self._bare}".encode(), self._prove, self._verify)

    def _prove(self, challenge: bytes) -> bytes:
        said = _attributes(challenge)
        try:
            nonce, salt, rounds = said["r"], base64.b64decode(said["s"], validate=True), int(said["i"])
        except (KeyError, ValueError, binascii.Error):
            raise ExchangeError("the server's SCRAM challenge is incomplete") from None
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ExchangeError("the server's SCRAM challenge belongs to another exchange")
        if not MIN_ITERATIONS <= rounds <= MAX_ITERATIONS:
            raise ExchangeError(f"the server asks for {rounds} SCRAM iterations")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, rounds)
        client_key = _hmac(salted, b"Client Key")
        final = f"c=biws,r={nonce}"  # biws: base64 of the header "n,,"
        signed = f"{self._bare},{challenge.decode()},{final}".encode()
        signature = _hmac(hashlib.sha256(client_key).digest(), signed)
        self._proof_of_server = _hmac(_hmac(salted, b"Server Key"), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{final},p={base64.b64encode(proof).decode('ascii')}".encode()

    def _verify(self, challenge: bytes) -> bytes:
        said = _attributes(challenge)
        try:
            proof = base64.b64decode(said.get("v", ""), validate=True)
        except binascii.Error:
            proof = b""
        if not hmac.compare_digest(proof, self._proof_of_server):
            raise ExchangeError(
                "the server does not know the password: it may not be the one it claims to be"
            )
        self._proven = True
        return b""

    def finish(self) -> None:
        """Raise ExchangeError if the server did not prove that it knows the password."""
        if not self._proven:
            raise ExchangeError("the server accepted the login without proving that it knows the password")


def prepare(text: str) -> str:
    """Return the text as SASLprep has it (RFC 4013). Raises ExchangeError for what it forbids."""
    if text.isascii():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    mapped = unicodedata.normalize("NFKC", mapped)
    forbidden = (
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
    )
    if any(test(char) for char in mapped for test in forbidden):
        raise ExchangeError("the user name or the password holds a character that SCRAM forbids")
    return mapped


def _saslname(text: str) -> str:
    return text.replace("=", "=3D").replace(",", "=2C")


def _attributes(message: bytes) -> dict[str, str]:
    try:
        text = message.decode()
    except UnicodeDecodeError:
        raise ExchangeError("the server's SCRAM challenge is not text") from None
    return {part[0]: part[2:] for part in text.split(",") if part[1:2] == "="}


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")
