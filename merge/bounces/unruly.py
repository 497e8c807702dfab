"""Does a machine say in its own words that a letter did not arrive? What follows no standard."""

from __future__ import annotations

import logging
import re
from email import message_from_string, policy
from email.message import Message
from typing import Literal

from merge.bounces.dsn import NEAR, STATUS, Failure, failure, failure_near, known_form
from merge.bounces.mail import Mail, addresses, own_words
from merge.bounces.phrases import phrases

_WARNING = re.compile(r"\b(?:warning|delayed|delay|verz.gert|retard)\b", re.IGNORECASE)

Verdict = Literal["failed", "delayed"]


def looks_like_a_daemon(mail: Mail) -> bool:
    """Whether a mail server seems to have written a mail: no person, and no person's answering machine."""
    if mail.header("x-failed-recipients"):
        return True
    path = mail.header("return-path").strip()
    from_nobody = not path.strip("<> ")
    if not from_nobody and (mail.header("in-reply-to") or not _daemons().match(path.strip("<> "))):
        return False
    if phrases("answers", r"^\s*{}\s*(?:\[\d+\])?\s*:").match(mail.header("subject")):
        return False
    named = phrases("daemon_names").search(mail.header("from").partition("<")[0])
    return bool(_daemons().match(mail.sender)) or (bool(named) and bool(path) and from_nobody)


def judgement(mail: Mail) -> tuple[Verdict, list[Failure]] | None:
    """Return what a mail server says in its own words; None where it says nothing of the kind.

    Knows the forms that flufl.bounce knows, where that is installed, and any other that gives a status code
    or plain words in front of the letter that it returns. What a person quoted does not count.
    """
    if not looks_like_a_daemon(mail):
        return None
    words = own_words(mail)
    told = [
        known
        for text in mail.headers("x-failed-recipients")
        for a in addresses(text)
        if (known := known_form(a))
    ]
    temporary, permanent = _by_library(mail, words)
    if not (told or temporary or permanent):
        found = STATUS.search(words)
        if not (found or phrases("hopeless").search(f"{mail.header('subject')}\n{words}")):
            return None
        ours = {known_form(a) for text in mail.headers("to", "from", "delivered-to") for a in addresses(text)}
        permanent = [known for a in addresses(words) if (known := known_form(a)) and known not in ours]
        if (found and found[1] == "4") or (not found and phrases("waiting").search(words)):
            temporary, permanent = permanent, []
            if not temporary:
                return "delayed", []
    if _is_a_warning(mail, words) or (temporary and not permanent and not told):
        return "delayed", [failure_near(words, address) for address in temporary or permanent or told]
    names = list(dict.fromkeys([*told, *permanent]))
    return "failed", [failure_near(words, address) for address in names] or [
        failure("", (), "", words[:NEAR])
    ]


def returned_text(mail: Mail) -> str:
    """Return the rest: in which a letter of ours may be quoted, with its headers."""
    return "\n".join(part.text for part in mail.parts() if part.type.startswith("text/"))


def _daemons() -> re.Pattern[str]:
    return phrases("daemon_addresses", r"^{}(?:[-+.=].*)?@")


def _is_a_warning(mail: Mail, words: str) -> bool:
    subject = mail.header("subject")
    return bool(_WARNING.search(subject)) and bool(phrases("waiting").search(f"{subject}\n{words}"))


def _by_library(mail: Mail, words: str) -> tuple[list[str], list[str]]:
    """Ask flufl.bounce, which knows the forms of many servers; it may be missing, and is given text alone."""
    try:
        from flufl.bounce import all_failures  # noqa: PLC0415 - an extra
    except ImportError:
        return [], []
    log = logging.getLogger("flufl.bounce")
    if not log.handlers:
        log.addHandler(logging.NullHandler())
        log.propagate = False
    try:
        temporary, permanent = all_failures(_plain_copy(mail, words))
    except Exception:  # noqa: BLE001 - a detector that stumbles over a mail has recognised nothing
        return [], []
    return [_known(found) for found in sorted(temporary)], [_known(found) for found in sorted(permanent)]


def _plain_copy(mail: Mail, words: str) -> Message:
    copy = message_from_string("", policy=policy.compat32)
    for name in ("from", "to", "subject", "x-failed-recipients"):
        if value := mail.header(name):
            copy[name.title()] = value
    copy["Content-Type"] = "text/plain; charset=utf-8"
    copy.set_payload(words)
    return copy


def _known(found: bytes) -> str:
    return known_form(found.decode("utf-8", "replace"))
