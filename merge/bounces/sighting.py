"""What is this mail? A bounce, a complaint, a goodbye, a machine's answer, or just a mail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from merge.bounces.complaint import complaint
from merge.bounces.dsn import Action, Failure, statuses
from merge.bounces.mail import Mail, Part, enclosed_headers, open_mail
from merge.bounces.phrases import phrases
from merge.bounces.unruly import judgement, looks_like_a_daemon, returned_text
from merge.unsubscribe import TOKEN, Tokens

Sort = Literal["bounce", "complaint", "unsubscribed", "delayed", "auto-reply", "other", "unreadable"]

_MARK = re.compile(r"(?<![A-Za-z0-9])([a-z2-7]{32})(?=@)", re.IGNORECASE)
"""The part of our Message-IDs before the @, which is also the tag of an address that bounces go to."""

_TEXT_ID = re.compile(r"message-id:\s{0,8}<([a-z2-7]{32})@", re.IGNORECASE)
_ARRIVED_AT = (
    *("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-delivered-to", "x-rcpt-to"),
    *("apparently-to", "to", "cc"),
)
_MACHINES = re.compile(
    r"\b(?:auto[-_ ]?(?:reply|respon\w*|antwort)|out[-_ ]of[-_ ]office|vacation)\b", re.IGNORECASE
)


_SORTS: dict[Action, Sort] = {"failed": "bounce", "delayed": "delayed", "other": "other"}


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one mail turned out to be.

    `ids` are marks out of the Message-ID of the letter it is about, `paths` out of the address it came to,
    `answers` out of the headers that name what it answers: each is a secret between us and whoever got the
    letter. `several` says that the returned letter went to more than one address. `gone` are the addresses
    whose own signed words unsubscribe them. `time` is in seconds since the epoch, `digest` tells the mail
    from any other. `seen` says when a report is only a warning: nothing is written down for it.
    """

    sort: Sort
    digest: str
    time: float | None = None
    failures: tuple[Failure, ...] = ()
    ids: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    several: bool = False
    gone: tuple[str, ...] = ()


def sighting(raw: bytes, tokens: Tokens | None = None) -> Sighting:
    """Say what a mail is, as it lies in the mailbox. `tokens` know our own signatures; never raises."""
    try:
        mail = open_mail(raw)
        return _judged(mail, tokens)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return Sighting("unreadable", "")


def _judged(mail: Mail, tokens: Tokens | None) -> Sighting:
    if (told := statuses(mail)) is not None:
        by_action: dict[Action, tuple[Failure, ...]] = {}
        for action, failure in told:
            by_action[action] = (*by_action.get(action, ()), failure)
        for action, sort in _SORTS.items():
            if action in by_action:
                return _about(mail, sort, by_action[action])
    if (said := complaint(mail)) is not None:
        return _about(mail, "complaint", (Failure(said[1], (), "", said[0], "soft"),))
    if tokens and (gone := tuple(dict.fromkeys(tokens.addresses(mail.header("subject"))))):
        return Sighting("unsubscribed", mail.digest, mail.time, gone=gone)
    if (verdict := judgement(mail)) is not None:
        return _about(mail, "bounce" if verdict[0] == "failed" else "delayed", tuple(verdict[1]))
    return Sighting("auto-reply" if _by_machine(mail) else "other", mail.digest, mail.time)


def _about(mail: Mail, sort: Sort, failures: tuple[Failure, ...]) -> Sighting:
    letters = [headers for part in mail.parts() if (headers := enclosed_headers(part)) is not None]
    ids = [
        mark
        for letter in letters
        for mark in _marks(letter.headers("message-id", "x-google-original-message-id"))
    ]
    if not ids:
        ids = [found.lower() for found in _TEXT_ID.findall(returned_text(mail))]
    paths = [*_marks(mail.headers(*_ARRIVED_AT))]
    paths += [
        mark for letter in letters for mark in _marks(letter.headers("return-path", "x-original-mail-from"))
    ]
    return Sighting(
        sort,
        mail.digest,
        mail.time,
        failures,
        tuple(dict.fromkeys(ids)),
        tuple(dict.fromkeys(paths)),
        tuple(dict.fromkeys(_marks(mail.headers("in-reply-to", "references")))),
        any(map(_went_to_several, letters)),
    )


def _marks(texts: Iterator[str]) -> Iterator[str]:
    for text in texts:
        yield from (found.lower() for found in _MARK.findall(text))


def _went_to_several(letter: Part) -> bool:
    return ",".join(letter.headers("to", "cc")).count("@") > 1


def _by_machine(mail: Mail) -> bool:
    """Whether a machine answered for a person (RFC 3834, 5; RFC 5230, and what was usual before)."""
    said = mail.header("auto-submitted").split(";")[0].split("(")[0].strip().lower()
    if said and said != "no":
        return True
    if any(
        mail.headers(
            "x-autoreply",
            "x-autorespond",
            "x-autoresponder",
            "x-auto-reply",
            "x-ms-exchange-generated-message-source",
        )
    ):
        return True
    if mail.header("precedence").lower() in ("auto_reply", "auto-reply"):
        return True
    subject = mail.header("subject")
    return bool(phrases("away", r"^\s*{}").match(subject) or _MACHINES.search(subject))


def worth_a_look(head: bytes) -> bool:
    """Whether a mail with this head can be anything but an ordinary mail."""
    try:
        mail = open_mail(head)
        path = mail.header("return-path").strip()
        return bool(
            mail.type.startswith("multipart/report")
            or path in ("<>", "< >")
            or looks_like_a_daemon(mail)
            or _by_machine(mail)
            or TOKEN.search(mail.header("subject"))
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return True
