"""How does a person say no? With a link of their own, signed, so that nobody can say it for them.

While a letter is written, checked and shown, a stand-in takes the token's place: no secret is needed for
that, what is shown unsubscribes nobody, and a new secret makes no letter look changed. Only `send` puts
each person's own token in (`personal`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from merge.account import is_loopback
from merge.account.secret import SecretReference, secret_reference
from merge.address import normalise, parse_mailbox
from merge.errors import AddressError, ConfigError, LetterError
from merge.model import Letter, Woven
from merge.names import UNSUBSCRIBE

if TYPE_CHECKING:
    from merge.toml import Kinds, TomlFile

STAND_IN: Final = "this-is-a-test-and-unsubscribes-nobody"
"""Stands where a person's token will be; whoever receives it knows what it is."""

SUBJECT: Final = "unsubscribe"
"""The word before the token in the subject of a mail that unsubscribes."""

SALT: Final = "mergepost unsubscribe"
SHORTEST: Final = 16
"""Characters of a secret: what can be guessed lets anybody unsubscribe everybody."""

TOKEN: Final = re.compile(r"[A-Za-z0-9_.-]{40,600}")
"""What may be a token."""

_KEYS: dict[str, Kinds] = {"url": (str,), "mailto": (str,), "secret": (dict, str)}
_URL = re.compile(r"https?://[!-;=?-~]+", re.IGNORECASE)
_HINT = '[unsubscribe]\nurl = "https://club.example/unsubscribe"\nsecret = {env = "UNSUBSCRIBE_SECRET"}'


@dataclass(frozen=True, slots=True)
class UnsubscribeSettings:
    """The table [unsubscribe]: a page on the web, a mailbox, or both; `secret` says where the secret is."""

    url: str
    mailto: str
    secret: SecretReference

    @property
    def targets(self) -> tuple[str, ...]:
        """The links for List-Unsubscribe (RFC 2369), the preferred one first, with the stand-in in them.

        No `=` stands before the token on the web: mail programs that read quoted-printable badly have
        nothing to spoil.
        """
        found = []
        if self.url:
            found.append(f"{self.url}{'&' if urlsplit(self.url).query else '?'}{STAND_IN}")
        if self.mailto:
            found.append(f"mailto:{quote(self.mailto, safe='@+')}?subject={SUBJECT}%20{STAND_IN}")
        return tuple(found)

    @property
    def names(self) -> Mapping[str, str]:
        """What a letter may use besides the columns."""
        return {UNSUBSCRIBE: self.targets[0]}


def unsubscribe_from_table(table: Mapping[str, Any], check: TomlFile) -> UnsubscribeSettings:
    """Read the table [unsubscribe] of campaign.toml. Raises ConfigError."""
    check.keys(table, _KEYS, "unsubscribe")
    url, mailto = table.get("url", ""), table.get("mailto", "")
    if not url and not mailto:
        check.refuse("unsubscribe", "[unsubscribe] needs url, mailto or both", hint=_HINT)
    if url and not _sound(url):
        check.refuse(
            "url",
            f"{url[:80]!r} is no address for one click",
            hint="it begins with https:// (RFC 8058 asks for it) and has no # part",
        )
    if mailto:
        try:
            mailto = parse_mailbox(mailto).address
        except AddressError as error:
            check.refuse("mailto", f"mailto is no address: {error.message}", hint=error.hint)
    if "secret" not in table:
        check.refuse(
            "unsubscribe",
            "[unsubscribe] needs a secret, with which each link is signed",
            hint='secret = {env = "NAME"}, {keyring = "NAME"} or {file = "PATH"}; make one with:\n'
            'python3 -c "import secrets; print(secrets.token_urlsafe(32))"',
        )
    return UnsubscribeSettings(url, mailto, secret_reference(table["secret"], "secret", check))


def _sound(url: str) -> bool:
    if not _URL.fullmatch(url) or "#" in url or STAND_IN in url:
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.scheme == "https" or is_loopback(parts.hostname or ""))
    except ValueError:
        return False


class Tokens:
    """Makes tokens, and tells whose a token is. A token holds the address, readable, and a signature.

    `secret` may hold several, with blanks between: the first one signs, the others are still good, so that
    links in letters of long ago go on working. The signature is HMAC-SHA-256 by itsdangerous. Raises
    ConfigError for a secret that could be guessed, or where the library is missing.
    """

    __slots__ = ("_serializer",)

    def __init__(self, secret: str) -> None:
        keys = secret.split()
        if not keys or min(map(len, keys)) < SHORTEST:
            raise ConfigError(
                f"the secret of [unsubscribe] is shorter than {SHORTEST} characters: it could be guessed",
                hint='make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"',
            )
        try:
            from itsdangerous import URLSafeSerializer  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigError(
                "unsubscribe links are signed by a library that is not installed",
                hint='pip install "mergepost[unsubscribe]"',
            ) from None
        self._serializer = URLSafeSerializer(
            keys[::-1],
            salt=SALT,
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def __repr__(self) -> str:
        return "Tokens(hidden)"

    def token(self, address: str) -> str:
        """Return the token of an address: the same one each time, of A-Z, a-z, 0-9, "-", "_" and ".".

        It ends in a letter or a digit, so that no program takes its end for punctuation. Raises AddressError.
        """
        token: str | bytes = self._serializer.dumps(normalise(address))
        return token if isinstance(token, str) else token.decode("ascii")

    def address(self, token: str) -> str:
        """Return the address that a token unsubscribes; empty when it is not one of ours."""
        from itsdangerous import BadData  # noqa: PLC0415 - an extra

        try:
            found = self._serializer.loads(token)
        except BadData:
            return ""
        return found if isinstance(found, str) else ""

    def addresses(self, text: str) -> Iterator[str]:
        """Yield the addresses whose tokens stand in a text, such as the subject of a mail."""
        for token in TOKEN.findall(text):
            if address := self.address(token.strip(".")) or self.address(token):
                yield address


def refuse_spoiled(text: str) -> None:
    """Raise LetterError where a filter changed the stand-in, so that no token would take its place."""
    if STAND_IN in text.casefold().replace(STAND_IN, "", text.count(STAND_IN)):
        raise LetterError(
            f"a filter changes {UNSUBSCRIBE}, so that its link cannot work",
            hint=f"write {{{{ {UNSUBSCRIBE} }}}} as it is",
        )


def personal(letter: Letter, tokens: Tokens) -> Letter:
    """Return a letter with the token of the person it goes to in place of the stand-in.

    Raises AddressError where that is no mailbox.
    """
    token = tokens.token(letter.mailboxes["to"][0].address)

    def signed(text: str) -> str:
        return text.replace(STAND_IN, token)

    def woven(text: Woven | None) -> Woven | None:
        # In a shared piece the token would be one row's alone.
        if text is None or any(STAND_IN in part for part in text.parts):
            return None
        return Woven(text.parts, tuple(map(signed, text.values)))

    return replace(
        letter,
        headers=tuple((name, signed(value)) for name, value in letter.headers),
        text=letter.text and signed(letter.text),
        html=letter.html and signed(letter.html),
        woven_text=woven(letter.woven_text),
        woven_html=woven(letter.woven_html),
    )
