"""How does Mailjet want up to 50 letters, and what does it answer for each?

A call of POST /v3.1/send carries whole messages, and each is accepted or refused by itself, whatever the
status of the call. An answer counts only as a whole: as many entries as messages, none of them about somebody
else. There is no protection against a call that is made twice, and Mailjet writes a Message-ID of its own:
ours goes along as CustomID, which finds the message in Mailjet, and in the header X-Mergepost-ID.

dev.mailjet.com/email/guides/send-api-v31, read 23 November 2026.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from merge.api.meaning import Answer, Reading, Run, excerpt, in_doubt, outcome, parsed, whole
from merge.api.parts import Box, File, Parts, Unsayable
from merge.errors import CarrierError
from merge.model import Delivery, State

OUR_ID: Final = "X-Mergepost-ID"

_OK, _TOO_MANY = 200, 429
_SERVER_ERROR = 500
_FORBIDDEN = frozenset(
    {
        *("sender", "return-path", "delivered-to", "dkim-signature", "domainkey-status", "received-spf"),
        *("authentication-results", "received", "bcc", "user-agent", "x-mailer", "x-feedback-id", "list-id"),
        "x-csa-complaints",
    }
)
_ITS_OWN = ("x-mj-", "x-mailjet-")
_MOST = 50
_SUBJECT = 255
_GRAVITY = (Run.GO_ON, Run.PAUSE, Run.DOUBT, Run.STOP)
_HINTS = {
    "401": "The user is the API key, the password the secret key: https://app.mailjet.com/account/apikeys",
    "403": "From must be a validated sender, or of a validated domain: https://app.mailjet.com/account/sender",
    "404": "This is not Mailjet's API v3.1: look at base_url.",
}


class Mailjet:
    """The Send API v3.1."""

    title: Final = "Mailjet"
    path: Final = "/v3.1/send"
    per_call: Final = _MOST
    most_bytes: Final = 15_000_000

    @staticmethod
    def authorization(user: str, secret: str) -> str:
        """Return the Authorization header's value (RFC 7617)."""
        return f"Basic {b64encode(f'{user}:{secret}'.encode()).decode('ascii')}"

    @staticmethod
    def letter(parts: Parts) -> bytes:
        """Return one letter as Mailjet wants it. Raises Unsayable for what it would change or refuse."""
        _check(parts)
        message: dict[str, Any] = {
            "From": _box(parts.sender),
            "To": _boxes(parts.to),
            "Subject": parts.subject,
            "CustomID": custom_id(parts.message_id),
            "Headers": {OUR_ID: parts.message_id, **dict(parts.headers)},
            # What the person approved is what goes out: nothing filled in, no link replaced.
            "TemplateLanguage": False,
            "TrackOpens": "disabled",
            "TrackClicks": "disabled",
        }
        maybe = {
            "Cc": _boxes(parts.cc),
            "Bcc": _boxes(parts.bcc),
            "ReplyTo": next(map(_box, parts.reply_to), None),
            "TextPart": parts.text,
            "HTMLPart": parts.html,
            "Attachments": [_file(file) for file in parts.files if not file.content_id],
            "InlinedAttachments": [_file(file) for file in parts.files if file.content_id],
        }
        message |= {name: value for name, value in maybe.items() if value}
        return json.dumps(message, separators=(",", ":")).encode("ascii")

    @staticmethod
    def request(letters: Sequence[bytes]) -> bytes:
        """Return the body of a call for these letters."""
        return b'{"Messages":[%s]}' % b",".join(letters)

    @staticmethod
    def read(answer: Answer, deliveries: Sequence[Delivery], now: float) -> Reading:
        """Say what an answer means, for each message by itself. `now` is seconds since the epoch."""
        found = parsed(answer)
        entries = found.get("Messages") if isinstance(found, dict) else None
        if entries is None:
            if answer.status < 300:  # noqa: PLR2004 - the class of success, without what it must say
                return in_doubt(deliveries, "answered something else than what became of the messages")
            return whole(answer, deliveries, _explained(found) or excerpt(answer), now=now, hints=_HINTS)
        if answer.status >= _SERVER_ERROR or not _is_about(entries, deliveries):
            return in_doubt(deliveries, f"answered {answer.status}, not for these messages", answer.status)
        return _each(entries, deliveries)

    @staticmethod
    def look(sender: str) -> tuple[str, bytes]:
        """Return a call in sandbox mode, which is checked and not sent; without a sender, one for the key."""
        if not sender:
            return "/v3/REST/apikey", b""
        box = {"Email": sender}
        message = {"From": box, "To": [box], "Subject": "mergepost doctor", "TextPart": "Nothing is sent."}
        return Mailjet.path, json.dumps({"SandboxMode": True, "Messages": [message]}).encode("ascii")

    @staticmethod
    def welcome(answer: Answer) -> str:
        """Say what Mailjet thinks of key and sender. Raises CarrierError where it is a no."""
        found = parsed(answer)
        entry = next(iter(_listed(found, "Messages")), None) if isinstance(found, dict) else None
        errors = _listed(entry, "Errors") if entry else []
        if answer.status == _OK and not errors:
            return "the key is right" + (", and this sender may send (nothing was sent)" if entry else "")
        status = next((error.get("StatusCode") for error in errors), answer.status)
        words = f"Mailjet answered {status}: {_explained(entry or found) or excerpt(answer)}"
        raise CarrierError(words, hint=_HINTS.get(str(status), ""))


def _check(parts: Parts) -> None:
    """Raise Unsayable for what Mailjet would change or refuse."""
    if parts.invitation:
        raise Unsayable(
            "an invitation that asks for an answer cannot go by Mailjet's web API:"
            ' use provider = "mailjet", which is SMTP'
        )
    for name, _ in parts.headers:
        if name.lower() in _FORBIDDEN or name.lower().startswith(_ITS_OWN):
            raise Unsayable(f"Mailjet's web API does not take the header {name}")
    if len(parts.subject) > _SUBJECT:
        raise Unsayable(f"Mailjet's web API takes subjects of {_SUBJECT} characters at most")
    if len(parts.reply_to) > 1:
        raise Unsayable("Mailjet's web API takes one address in Reply-To")
    if len(parts.headers) >= _MOST:
        raise Unsayable(f"Mailjet's web API takes {_MOST} headers at most")


def custom_id(message_id: str) -> str:
    """Return what finds a message in Mailjet: /v3/REST/message?CustomID=..."""
    return message_id.strip("<>")


def _is_about(entries: object, deliveries: Sequence[Delivery]) -> bool:
    """Whether an answer has one entry for each message, in their order, and none about somebody else."""
    if not isinstance(entries, list) or len(entries) != len(deliveries):
        return False
    return all(_matches(entry, delivery) for entry, delivery in zip(entries, deliveries, strict=True))


def _matches(entry: object, delivery: Delivery) -> bool:
    if not isinstance(entry, dict):
        return False
    if named := entry.get("CustomID"):
        return bool(named == custom_id(delivery.message_id))
    if entry.get("Status") != "success":
        return True  # an error names nobody
    named = {str(one.get("Email")).lower() for one in _listed(entry, "To")}
    return bool(named) and named <= {address.lower() for address in delivery.envelope.recipients}


def _each(entries: Sequence[Mapping[str, Any]], deliveries: Sequence[Delivery]) -> Reading:
    """Read an answer entry by entry; for the run, the gravest counts."""
    readings = [_one(entry, delivery) for entry, delivery in zip(entries, deliveries, strict=True)]
    gravest = max(readings, key=lambda reading: _GRAVITY.index(reading.run))
    return replace(
        gravest,
        outcomes=tuple(outcome for reading in readings for outcome in reading.outcomes),
        back=tuple(delivery for reading in readings for delivery in reading.back),
    )


def _one(entry: Mapping[str, Any], delivery: Delivery) -> Reading:
    """Read what became of one message."""
    said = _explained(entry)
    codes = [code for error in _listed(entry, "Errors") if isinstance(code := error.get("StatusCode"), int)]
    status = entry.get("Status")
    if status == "success" and not entry.get("Errors"):
        return Reading((outcome(delivery, State.SENT, f"accepted by Mailjet{_its_id(entry)}", _OK),))
    if status != "error" or any(code >= _SERVER_ERROR for code in codes):
        return in_doubt([delivery], f"did not say what became of a letter{said and f': {said}'}")
    if stop := next((code for code in codes if str(code) in _HINTS), None):
        reason = f"answered {stop}: {said}"
        return Reading(back=(delivery,), run=Run.STOP, reason=reason, hint=_HINTS[str(stop)])
    if _TOO_MANY in codes:
        return Reading(back=(delivery,), run=Run.PAUSE, reason=f"answered {_TOO_MANY}: {said}")
    words = said or "refused without a reason"
    code = codes[0] if codes else None
    return Reading((outcome(delivery, State.FAILED, words, code, of_recipient=_of_recipient(entry)),))


def _of_recipient(entry: Mapping[str, Any]) -> bool:
    """Whether an error is about nothing but recipients."""
    named = [error.get("ErrorRelatedTo") for error in _listed(entry, "Errors")]
    about = [str(name) for names in named if isinstance(names, list) for name in names]
    return bool(about) and all(name.startswith(("To", "Cc", "Bcc")) for name in about)


def _listed(entry: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list in an answer; none where it is no such list."""
    found = entry.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _explained(found: object) -> str:
    """Return what Mailjet says is wrong with a call, or with one message of it."""
    if not isinstance(found, dict):
        return ""
    said = []
    for error in _listed(found, "Errors") or [found]:
        words = error.get("ErrorMessage")
        code = error.get("ErrorCode")
        if words:
            said.append(f"{words}" + (f" ({code})" if code else ""))
    return "; ".join(said[:5])


def _its_id(entry: Mapping[str, Any]) -> str:
    known = next((one.get("MessageID") for one in _listed(entry, "To")), None)
    return f", MessageID {known}" if known else ""


def _box(box: Box) -> dict[str, str]:
    name, address = box
    return {"Email": address, "Name": name} if name else {"Email": address}


def _boxes(boxes: Sequence[Box]) -> list[dict[str, str]]:
    return [_box(box) for box in boxes]


def _file(file: File) -> dict[str, str]:
    if not file.content:
        raise Unsayable(f"Mailjet's web API takes no empty file: {file.name}")
    found = {"ContentType": file.media_type, "Filename": file.name, "Base64Content": file.content}
    return {**found, "ContentID": file.content_id} if file.content_id else found
