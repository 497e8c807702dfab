"""Where do bounces go, and how are they read? The table [bounces], of a campaign or of its account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from merge.account.providers import LOOPBACK
from merge.account.secret import SecretReference, secret_reference
from merge.address import LONGEST_LOCAL_PART, parse_mailbox
from merge.errors import AddressError

if TYPE_CHECKING:
    from merge.toml import Kinds, TomlFile

Security = Literal["tls", "starttls", "none"]

_MARK = 32
"""Characters that a tag adds to the return path, after its plus sign."""

_IMAP: dict[str, Kinds] = {
    "port": (int,),
    "security": (str,),
    "user": (str,),
    "password": (dict, str),
    "password_command": (str,),
    "folder": (str,),
    "move_to": (str,),
    "mark_seen": (bool,),
    "ca_file": (str,),
}
BOUNCE_KEYS: dict[str, Kinds] = {
    "return_path": (str,),
    "verp": (bool,),
    "maildir": (str,),
    "mbox": (str,),
    "imap": (str,),
    **_IMAP,
}


@dataclass(frozen=True, slots=True)
class ImapSettings:
    """A mailbox on a server. `secret` is None where the account's own login holds for it, too.

    `move_to` and `mark_seen` say what becomes of mails that were understood; without them the mailbox is
    only looked at.
    """

    host: str
    port: int
    security: Security
    user: str
    secret: SecretReference | None
    folder: str = "INBOX"
    move_to: str = ""
    mark_seen: bool = False
    ca_file: str = ""

    @property
    def writes(self) -> bool:
        """Whether the mailbox is changed."""
        return self.mark_seen or bool(self.move_to)


@dataclass(frozen=True, slots=True)
class BounceSettings:
    """Where bounces are sent to, and where they are found. At most one of the three places is set.

    `return_path` is the envelope's sender; with `verp` each letter has its own, with a tag after a plus.
    """

    return_path: str = ""
    verp: bool = False
    maildir: Path | None = None
    mbox: Path | None = None
    imap: ImapSettings | None = None


def bounces_from_table(table: Mapping[str, Any], check: TomlFile) -> BounceSettings:
    """Read the table [bounces]; paths in it begin at the folder of its file. Raises ConfigError."""
    check.keys(table, BOUNCE_KEYS, "bounces")
    places = [key for key in ("maildir", "mbox", "imap") if table.get(key)]
    if len(places) > 1:
        check.refuse(places[1], f"[bounces] names {' and '.join(places)}", hint="bounces are in one place")
    for key in _IMAP:
        if key in table and "imap" not in table:
            check.refuse(
                key, f"{key} in [bounces] is for imap, which is not there", hint='imap = "imap.club.example"'
            )
    return BounceSettings(
        return_path=_return_path(table, check),
        verp=table.get("verp", False),
        maildir=check.folder / Path(table["maildir"]).expanduser() if table.get("maildir") else None,
        mbox=check.folder / Path(table["mbox"]).expanduser() if table.get("mbox") else None,
        imap=_imap(table, check) if table.get("imap") else None,
    )


def _return_path(table: Mapping[str, Any], check: TomlFile) -> str:
    if "return_path" not in table:
        if table.get("verp"):
            check.refuse("verp", "verp needs a return_path", hint='return_path = "bounces@club.example"')
        return ""
    try:
        address = parse_mailbox(table["return_path"]).address
    except AddressError as error:
        check.refuse("return_path", f"return_path is no address: {error.message}", hint=error.hint)
    if table.get("verp") and len(address.rpartition("@")[0]) + 1 + _MARK > LONGEST_LOCAL_PART:
        check.refuse(
            "return_path",
            f"{address} is too long for verp: its tag leaves {LONGEST_LOCAL_PART - _MARK - 1} characters",
            hint='a short name does: return_path = "bounces@club.example"',
        )
    return address


def _imap(table: Mapping[str, Any], check: TomlFile) -> ImapSettings:
    host = table["imap"]
    here = LOOPBACK.fullmatch(host) is not None
    security: Any = table.get("security") or ("starttls" if table.get("port") == 143 else "tls")  # noqa: PLR2004 - IMAP's port without TLS
    if security not in ("tls", "starttls", "none"):
        check.refuse("security", f"security is {security!r}", hint='it can be "tls" or "starttls"')
    if security == "none" and not here:
        check.refuse("security", "a password goes to no other machine without TLS", hint='security = "tls"')
    port = table.get("port", 993 if security == "tls" else 143)
    if not 0 < port < 2**16:
        check.refuse("port", f"{port} is not a port", hint="993 is usual, 143 with starttls")
    reference = None
    if "password_command" in table:
        reference = SecretReference("command", table["password_command"])
    elif "password" in table:
        reference = secret_reference(table["password"], "password", check)
    return ImapSettings(
        host=host,
        port=port,
        security=security,
        user=table.get("user", ""),
        secret=reference,
        folder=table.get("folder", "INBOX"),
        move_to=table.get("move_to", ""),
        mark_seen=table.get("mark_seen", False),
        ca_file=table.get("ca_file", ""),
    )
