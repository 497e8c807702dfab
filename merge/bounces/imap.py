"""How are the mails of a mailbox on a server read? IMAP (RFC 9051, RFC 3501), looked at and not touched.

The only room with imaplib. What the server says is measured: a line, a literal and everything together
that one command brings have their limits, and the whole has a deadline.
"""

from __future__ import annotations

import contextlib
import imaplib
import re
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from merge.bounces.mail import LARGEST
from merge.bounces.sighting import worth_a_look
from merge.errors import CarrierError
from merge.smtp.wire import trust
from merge.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from merge.account import ImapSettings
    from merge.clock import Clock

SECONDS: Final = 30.0
"""How long the server may be silent."""

_COMMAND_SECONDS = 180.0
_LONGEST_LINE = 8 * 2**20
_LONGEST_LITERAL = 2 * LARGEST
_MOST_BYTES = 32 * 2**20
_LONGEST_WORDS = 4_000
_SHOWN = 300
_HEADS_AT_ONCE = 200
_MAILS_AT_ONCE = 16
_HEAD = (
    "BODY.PEEK[HEADER.FIELDS (FROM SUBJECT DATE RETURN-PATH CONTENT-TYPE AUTO-SUBMITTED X-FAILED-RECIPIENTS"
    " PRECEDENCE)]"
)
_UID = re.compile(rb"\bUID (\d{1,10})\b")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class _Measured:
    """What both kinds of connection share: they read no more, and no longer, than they should."""

    sock: Any
    clock: Clock
    _ahead = b""
    _left = _MOST_BYTES
    _until = float("inf")

    def begin(self) -> None:
        """Give the next command its share of bytes and seconds."""
        self._left = _MOST_BYTES
        self._until = self.clock.monotonic() + _COMMAND_SECONDS

    def read(self, size: int) -> bytes:
        """Read so many bytes: a literal."""
        if size > _LONGEST_LITERAL:
            raise imaplib.IMAP4.abort(f"the server announces {size:,} bytes where a few are asked for")
        while len(self._ahead) < size:
            if not self._more():
                raise imaplib.IMAP4.abort("the server ended the line")
        found, self._ahead = self._ahead[:size], self._ahead[size:]
        return found

    def readline(self) -> bytes:
        """Read one line."""
        while b"\n" not in self._ahead:
            if len(self._ahead) > _LONGEST_LINE:
                raise imaplib.IMAP4.abort("the server sends a line without end")
            if not self._more():
                found, self._ahead = self._ahead, b""
                return found
        found, _, self._ahead = self._ahead.partition(b"\n")
        return found + b"\n"

    def _more(self) -> bool:
        if self.clock.interrupted:
            raise KeyboardInterrupt
        if self.clock.monotonic() > self._until or self._left <= 0:
            raise imaplib.IMAP4.abort("the server says more, or takes longer, than it should")
        found: bytes = self.sock.recv(65_536)
        self._left -= len(found)
        self._ahead += found
        return bool(found)


class _Plain(_Measured, imaplib.IMAP4):
    """A connection without TLS, or before STARTTLS."""

    def __init__(self, settings: ImapSettings, clock: Clock) -> None:
        self.clock = clock
        self._ca_file = settings.ca_file
        self.begin()
        super().__init__(settings.host, settings.port, timeout=SECONDS)

    def wrap_socket(self, plain_socket: Any, **about: Any) -> Any:  # noqa: ANN401 - what imaplib asks of a context
        """Begin TLS. What came in before it was put in by a stranger (RFC 9051, 11.1): it ends the line."""
        if self._ahead:
            raise imaplib.IMAP4.abort("something was put into the line before TLS began")
        return trust(self._ca_file).wrap_socket(plain_socket, **about)


class _Secure(_Measured, imaplib.IMAP4_SSL):
    """A connection inside TLS (RFC 8314, 3.2)."""

    def __init__(self, settings: ImapSettings, clock: Clock) -> None:
        self.clock = clock
        self.begin()
        context = trust(settings.ca_file)
        super().__init__(settings.host, settings.port, ssl_context=context, timeout=SECONDS)


class Imap:
    """A mailbox on a server, opened read-only unless the person asked for more.

    `secret` gives the password, or the token where `oauth`; it is asked for once, and there is one attempt
    to log in. Raises CarrierError when server, TLS, login or folder refuse, ConfigError for what cannot be
    followed. `since` (seconds since the epoch) leaves out older mails.
    """

    def __init__(
        self,
        settings: ImapSettings,
        secret: Callable[[], str],
        clock: Clock,
        *,
        oauth: bool = False,
        since: float | None = None,
    ) -> None:
        self._settings = settings
        self._since = since
        self._spoken: set[str] = set()
        try:
            self._line = _connected(settings, clock)
            try:
                self._log_in(secret, oauth=oauth)
                self._open_folder()
            except BaseException:
                self.close()
                raise
        except (imaplib.IMAP4.error, OSError, EOFError, ValueError) as error:
            raise self._explained(error) from error

    @property
    def place(self) -> str:
        """The folder, and the server that has it."""
        return f"{self._settings.folder} on {self._settings.host}"

    def mails(self) -> Iterator[tuple[str, bytes]]:
        """Yield each mail by its UID; of those whose head says that they are none of ours, the head alone."""
        try:
            uids = self._search()
            for at in range(0, len(uids), _HEADS_AT_ONCE):
                heads = dict(self._fetch(uids[at : at + _HEADS_AT_ONCE], _HEAD))
                wanted = [uid for uid, head in heads.items() if worth_a_look(head)]
                yield from ((uid, head) for uid, head in heads.items() if uid not in set(wanted))
                for some in range(0, len(wanted), _MAILS_AT_ONCE):
                    yield from self._fetch(wanted[some : some + _MAILS_AT_ONCE], f"BODY.PEEK[]<0.{LARGEST}>")
        except (imaplib.IMAP4.error, OSError, EOFError, ValueError) as error:
            raise self._explained(error) from error

    def done(self, names: list[str]) -> None:
        """Mark mails as seen, or move them, if the person asked for that; deletes nothing else."""
        if not names or not self._settings.writes:
            return
        try:
            for at in range(0, len(names), _HEADS_AT_ONCE):
                self._put_away(",".join(names[at : at + _HEADS_AT_ONCE]))
        except (imaplib.IMAP4.error, OSError, EOFError, ValueError) as error:
            raise self._explained(error) from error

    def close(self) -> None:
        """Take leave; raises nothing."""
        try:
            self._line.begin()
            self._line.logout()
        except (imaplib.IMAP4.error, OSError, EOFError, ValueError):
            with contextlib.suppress(OSError):
                self._line.shutdown()

    def _log_in(self, secret: Callable[[], str], *, oauth: bool) -> None:
        user = self._settings.user
        if not user:
            return
        password = secret()
        both = f"\0{user}\0{password}"
        bearer = f"user={user}\x01auth=Bearer {password}\x01\x01"
        self._spoken = {password, *(b64encode(text.encode()).decode() for text in (password, both, bearer))}
        self._line.begin()
        words = self._line.capabilities
        if oauth:
            self._line.authenticate("XOAUTH2", lambda said: b"" if said else bearer.encode())
        elif "AUTH=PLAIN" in words:
            self._line.authenticate("PLAIN", lambda _: both.encode())
        elif "LOGINDISABLED" in words:
            raise imaplib.IMAP4.error("the server takes no password here")
        else:
            self._line.login(user, password)

    def _open_folder(self) -> None:
        self._line.begin()
        _, told = self._line.capability()  # a server may say more after the login
        self._can = b" ".join(word for word in told if isinstance(word, bytes)).upper().split()
        settings = self._settings
        kind, said = self._line.select(folder_name(settings.folder), readonly=not settings.writes)
        if kind != "OK":
            raise imaplib.IMAP4.error(f"the folder {settings.folder} cannot be opened: {_words(said)}")

    def _search(self) -> list[str]:
        self._line.begin()
        criteria = ["ALL"]
        if self._since is not None:
            # Days of the server's own zone (RFC 9051, 6.4.4): one more on the safe side.
            day = datetime.fromtimestamp(self._since, UTC) - timedelta(days=1)
            criteria = ["SINCE", f"{day.day}-{_MONTHS[day.month - 1]}-{day.year}"]
        kind, said = self._line.uid("SEARCH", *criteria)
        if kind != "OK":
            raise imaplib.IMAP4.error(f"the server does not search: {_words(said)}")
        return [
            uid.decode("ascii")
            for line in said
            if isinstance(line, bytes)
            for uid in line.split()
            if uid.isdigit()
        ]

    def _fetch(self, uids: list[str], what: str) -> Iterator[tuple[str, bytes]]:
        self._line.begin()
        kind, said = self._line.uid("FETCH", ",".join(uids), f"({what})")
        if kind != "OK":
            raise imaplib.IMAP4.error(f"the server does not give its mails: {_words(said)}")
        asked = set(uids)
        for place, item in enumerate(said):
            if not isinstance(item, tuple) or len(item) < 2:  # noqa: PLR2004 - what is announced, and a literal
                continue
            after = said[place + 1] if place + 1 < len(said) and isinstance(said[place + 1], bytes) else b""
            found = _UID.search(item[0]) or _UID.search(after)
            if found and (uid := found[1].decode("ascii")) in asked:
                yield uid, item[1]

    def _put_away(self, uids: str) -> None:
        self._line.begin()
        if self._settings.mark_seen:
            self._must(*self._line.uid("STORE", uids, "+FLAGS.SILENT", r"(\Seen)"))
        if not self._settings.move_to:
            return
        folder = folder_name(self._settings.move_to)
        if b"MOVE" in self._can:
            self._must(*self._line.uid("MOVE", uids, folder))
            return
        self._must(*self._line.uid("COPY", uids, folder))
        self._must(*self._line.uid("STORE", uids, "+FLAGS.SILENT", r"(\Deleted)"))
        if b"UIDPLUS" in self._can:
            self._must(*self._line.uid("EXPUNGE", uids))

    def _must(self, kind: str, said: list[Any]) -> None:
        if kind != "OK":
            raise imaplib.IMAP4.error(f"mails cannot be put away: {_words(said)}")

    def _explained(self, error: Exception) -> CarrierError:
        words = _words([str(error)])
        for spoken in sorted(self._spoken - {""}, key=len, reverse=True):
            words = words.replace(spoken, "(hidden)").replace(_words([spoken]), "(hidden)")
        words = plain(words, _SHOWN)
        settings = self._settings
        hint = ""
        if "AUTH" in words.upper() or "LOGIN" in words.upper():
            hint = "look at user and password of [bounces]; many providers want an app password, or OAuth"
        elif settings.security == "tls" and "WRONG_VERSION" in words.upper():
            hint = 'on port 143 it is security = "starttls"'
        return CarrierError(f"the mailbox on {settings.host}:{settings.port}: {words}", hint=hint)


def folder_name(name: str) -> str:
    """Write a folder's name as a quoted string, beyond ASCII in modified UTF-7 (RFC 3501, 5.1.3).

    Raises ValueError for control characters.
    """
    if not name or not name.isprintable():
        raise ValueError("the name of the folder holds a control character")
    pieces: list[str] = []
    for piece in re.findall(r"[\x20-\x7e]+|[^\x20-\x7e]+", name):
        if piece.isascii():
            pieces.append(piece.replace("&", "&-"))
        else:
            wide = b64encode(piece.encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
            pieces.append(f"&{wide}-")
    text = "".join(pieces).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _connected(settings: ImapSettings, clock: Clock) -> _Plain | _Secure:
    if settings.security == "tls":
        return _Secure(settings, clock)
    line = _Plain(settings, clock)
    if settings.security == "starttls":
        try:
            line.starttls(cast("Any", line))
        except BaseException:
            with contextlib.suppress(OSError):
                line.shutdown()
            raise
    return line


def _words(said: list[Any]) -> str:
    texts = [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in said if item
    ]
    return plain(" ".join(" ".join(texts).split()), _LONGEST_WORDS) or "no reason given"
