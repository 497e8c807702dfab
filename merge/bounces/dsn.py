"""What does a delivery status notification say? RFC 3464; RFC 6533 for addresses beyond ASCII."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from merge.address import normalise
from merge.bounces.blame import Kind, closest, kind_of
from merge.bounces.mail import Mail, addresses, own_words
from merge.errors import AddressError
from merge.words import plain

Action = Literal["failed", "delayed", "other"]

_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_ACTIONS: dict[str, Action] = {
    "failed": "failed",
    "failure": "failed",
    "delayed": "delayed",
    "delay": "delayed",
}
_LONGEST_REPLY = 500
STATUS = re.compile(
    r"(?<![\d.])([45])(?:\d\d[ \-]+#?\1\.\d{1,3}\.\d{1,3}"
    r"|\.\d{1,3}\.\d{1,3}|\d\d(?=[ \-#]))"
    r"(?![\d.]*\d)"
)
"""A status, as servers write it: 550 5.1.1, 550, 5.1.1."""

NEAR: Final = 600
"""Characters behind an address in which its status is looked for."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One address that a report names, in the form in which addresses are compared; "" if it names none.

    `others` are further names that the report gives to the same mailbox. `code` is the enhanced status code
    (RFC 3463), or empty, `reply` what the server said, with nothing in it that a terminal would obey.
    """

    recipient: str
    others: tuple[str, ...]
    code: str
    reply: str
    kind: Kind


def statuses(mail: Mail) -> list[tuple[Action, Failure]] | None:
    """Return what a report says of each address; None where the mail is no such report."""
    part = next((part for part in mail.parts() if part.type in _STATUS_TYPES), None)
    if part is None or not mail.type.startswith("multipart/"):
        return None
    return list(_told(part.fields, own_words(mail)))


def failure(recipient: str, others: tuple[str, ...], status: str, words: str) -> Failure:
    """Return a failure, with the closest code that its status and its words hold, and its kind."""
    words = " ".join(words.split())
    code = closest(status, words)
    return Failure(recipient, others, code, plain(words, _LONGEST_REPLY), kind_of(code, words))


def failure_near(words: str, address: str, others: tuple[str, ...] = (), status: str = "") -> Failure:
    """Return the failure of one address with what is said right behind it, or else anywhere."""
    place = words.lower().find(address)
    near = words[place + len(address) :][:NEAR] if place >= 0 else words[:NEAR]
    if place >= 0 and not STATUS.search(near) and STATUS.search(words):
        near = words[: NEAR * 2]
    found = STATUS.search(near)
    if found:
        near = near[near.rfind("\n", 0, found.start()) + 1 :].split("\n\n")[0]
    return failure(address.strip("\0"), others, status, near.lstrip(" \t\n>:;,"))


def address_of(field: str) -> str:
    r"""Return the address in a field like "rfc822; ada@example.org"; empty where there is none.

    A forwarder may write it in xtext (RFC 3461, 4), or with \x{...} for letters beyond ASCII (RFC 6533, 3).
    """
    kind, semicolon, text = field.partition(";")
    text = _EMBEDDED.sub(_letter, text if semicolon else kind).strip()
    for found in [*addresses(text)[:1], *addresses(_XTEXT.sub(_letter, text))[:1]]:
        if known := known_form(found):
            return known
    return ""


def known_form(address: str) -> str:
    """Return an address as addresses are compared; empty for what is none."""
    try:
        return normalise(address.strip(".,;:<>'\""))
    except AddressError:
        return ""


def _letter(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else ""  # noqa: PLR2004 - Unicode ends there, and has a gap


def _told(blocks: list[dict[str, str]], said: str) -> Iterator[tuple[Action, Failure]]:
    for block in blocks:
        names = [
            address_of(block[name])
            for name in (
                "original-recipient",
                "x-original-recipient",
                "final-recipient",
                "x-actual-recipient",
            )
            if name in block
        ]
        if not names and "action" not in block:
            continue
        known = tuple(dict.fromkeys(filter(None, names)))
        action = _ACTIONS.get(block.get("action", "").split("(")[0].strip().lower(), "other")
        status = block.get("status", "")
        if action == "other" and "action" not in block and status[:1] in ("4", "5"):
            action = "failed" if status[0] == "5" else "delayed"
        _, _, words = block.get("diagnostic-code", "").partition(";")
        words = words or block.get("diagnostic-code", "")
        recipient, others = known[0] if known else "", known[1:]
        if words.strip():
            yield action, failure(recipient, others, status, words)
        else:
            yield action, failure_near(said, recipient or "\0", others, status)
