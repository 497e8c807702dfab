"""Did somebody call the letter spam? Abuse reports of mailbox providers (ARF, RFC 5965)."""

from __future__ import annotations

from merge.bounces.dsn import address_of
from merge.bounces.mail import Mail

_COMPLAINTS = frozenset({"abuse", "fraud", "opt-out", "opt-out-list"})
"""Feedback types that come from a person; "not-spam", "auth-failure" and "virus" do not mean no."""


def complaint(mail: Mail) -> tuple[str, str] | None:
    """Return the type of the feedback and whom the letter had gone to, "" where that is not told.

    None for any other mail. Providers often black out the address, so that only the letter itself, which
    is returned with the report, tells whose it was.
    """
    part = next((part for part in mail.parts() if part.type == "message/feedback-report"), None)
    if part is None or not mail.type.startswith("multipart/"):
        return None
    fields: dict[str, str] = {}
    for block in part.fields:
        fields = {**block, **fields}
    kind = fields.get("feedback-type", "").split(";")[0].strip().lower()
    if kind not in _COMPLAINTS:
        return None
    return kind, address_of(fields.get("original-rcpt-to", "") or fields.get("removal-recipient", ""))
