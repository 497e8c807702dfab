"""How does SendGrid want a letter, and what does it answer?

One call of POST /v3/mail/send has one body for all its recipients, so each letter is a call of its own. 202
means that the message is valid and queued. There is no protection against a call that is made twice: the
Message-ID, in the header and as the custom argument `message_id`, makes a double visible.

www.twilio.com/docs/sendgrid/api-reference/mail-send, read 23 November 2026.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from merge.api.meaning import Answer, Reading, excerpt, outcome, parsed, whole
from merge.api.parts import Box, File, Parts, Unsayable
from merge.errors import CarrierError
from merge.model import Delivery, State

_ACCEPTED, _HERE = 202, 200
_SENDING = "mail.send"
_RESERVED = frozenset({"x-sg-id", "x-sg-eid", "received", "dkim-signature", "bcc"})
_HINTS = {
    "401": "The password of this account is an API key (SG.…) that may send mail:"
    " https://app.sendgrid.com/settings/api_keys\nIf it speaks of credits, the plan's number is used up.",
    "403": "The key must have the permission Mail Send, and From must be a verified sender or of an"
    " authenticated domain:\nhttps://app.sendgrid.com/settings/sender_auth",
    "404": "This is not SendGrid's v3 API: look at base_url.",
}


class SendGrid:
    """The v3 Mail Send endpoint."""

    title: Final = "SendGrid"
    path: Final = "/v3/mail/send"
    per_call: Final = 1
    most_bytes: Final = 30_000_000

    @staticmethod
    def authorization(_: str, secret: str) -> str:
        """Return the Authorization header's value; the key alone says who it is."""
        return f"Bearer {secret}"

    @staticmethod
    def letter(parts: Parts) -> bytes:
        """Return one letter as SendGrid wants it. Raises Unsayable for what it would change or refuse."""
        if parts.invitation:
            raise Unsayable(
                "an invitation that asks for an answer cannot go by SendGrid's web API:"
                ' use provider = "sendgrid", which is SMTP'
            )
        for name, _ in parts.headers:
            if name.lower() in _RESERVED:
                raise Unsayable(f"SendGrid's web API does not take the header {name}")
        recipients: dict[str, Any] = {"to": _boxes(parts.to)}
        if parts.cc:
            recipients["cc"] = _boxes(parts.cc)
        if parts.bcc:
            recipients["bcc"] = _boxes(parts.bcc)
        texts = (("text/plain", parts.text), ("text/html", parts.html))
        mail: dict[str, Any] = {
            "personalizations": [recipients],
            "from": _box(parts.sender),
            "subject": parts.subject,
            "content": [{"type": kind, "value": value} for kind, value in texts if value is not None],
            "headers": {"Message-ID": parts.message_id, **dict(parts.headers)},
            # What the person approved is what goes out: nothing added, no link replaced.
            "tracking_settings": {
                "click_tracking": {"enable": False, "enable_text": False},
                "open_tracking": {"enable": False},
                "subscription_tracking": {"enable": False},
                "ganalytics": {"enable": False},
            },
            "mail_settings": {"footer": {"enable": False}},
        }
        recipients["custom_args"] = {"message_id": parts.message_id.strip("<>")}
        if len(parts.reply_to) == 1:
            mail["reply_to"] = _box(parts.reply_to[0])
        elif parts.reply_to:
            mail["reply_to_list"] = _boxes(parts.reply_to)
        if parts.files:
            mail["attachments"] = [_file(file) for file in parts.files]
        return json.dumps(mail, separators=(",", ":")).encode("ascii")

    @staticmethod
    def request(letters: Sequence[bytes]) -> bytes:
        """Return the body of a call for these letters: one."""
        return letters[0]

    @staticmethod
    def read(answer: Answer, deliveries: Sequence[Delivery], now: float) -> Reading:
        """Say what an answer means. `now` is seconds since the epoch."""
        if answer.status == _ACCEPTED:
            known = answer.headers.get("x-message-id", "")
            words = f"accepted by SendGrid, X-Message-Id {known}" if known else "accepted by SendGrid"
            return Reading(tuple(outcome(delivery, State.SENT, words, _ACCEPTED) for delivery in deliveries))
        errors = _errors(answer)
        fields = [str(error.get("field")) for error in errors]
        return whole(
            answer,
            deliveries,
            explanation(answer),
            now=now,
            hints=_HINTS,
            of_recipient=bool(fields) and all(field.startswith("personalizations") for field in fields),
        )

    @staticmethod
    def look(_: str) -> tuple[str, bytes]:
        """Return the call for what the key may do (GET /v3/scopes)."""
        return "/v3/scopes", b""

    @staticmethod
    def welcome(answer: Answer) -> str:
        """Say what the key may do. Raises CarrierError where it may not send."""
        if answer.status != _HERE:
            words = f"SendGrid answered {answer.status}: {explanation(answer)}"
            raise CarrierError(words, hint=_HINTS.get(str(answer.status), ""))
        found = parsed(answer)
        scopes = found.get("scopes") if isinstance(found, dict) else None
        if not isinstance(scopes, list) or _SENDING not in scopes:
            raise CarrierError("the key is right, but may not send mail", hint=_HINTS["403"])
        return "the key is right and may send mail"


def explanation(answer: Answer) -> str:
    """Return what SendGrid says is wrong: its messages, each with the field it is about."""
    errors = _errors(answer)
    if not errors:
        return excerpt(answer)
    return "; ".join(
        f"{error.get('message')}" + (f" ({error['field']})" if error.get("field") else "")
        for error in errors[:5]
    )


def _errors(answer: Answer) -> list[dict[str, Any]]:
    found = parsed(answer)
    errors = found.get("errors") if isinstance(found, dict) else None
    return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


def _box(box: Box) -> dict[str, str]:
    name, address = box
    return {"email": address, "name": name} if name else {"email": address}


def _boxes(boxes: Sequence[Box]) -> list[dict[str, str]]:
    return [_box(box) for box in boxes]


def _file(file: File) -> dict[str, str]:
    if not file.content:
        raise Unsayable(f"SendGrid's web API takes no empty file: {file.name}")
    found = {"content": file.content, "type": file.media_type, "filename": file.name}
    if file.content_id:
        return {**found, "disposition": "inline", "content_id": file.content_id}
    return {**found, "disposition": "attachment"}
