"""What the tests of the journal share: letters, outcomes, a list in one line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from merge.journal import Journal, Listed, Plan
from merge.model import Delivery, Envelope, Outcome, State

DATE = datetime(2027, 1, 15, 8, tzinfo=UTC)


def delivery(journal: Journal, key: str, *, digest: str = "d1", row: int = 2) -> Delivery:
    return Delivery(
        key,
        row,
        Envelope("news@ada.example", (f"{key}@x.example",)),
        b"Subject: hello\r\n\r\nhello\r\n",
        journal.message_id(key, "ada.example"),
        DATE,
        digest,
    )


def outcome(key: str, state: State, code: int | None = None, *, stage: str = "end of data") -> Outcome:
    codes = {State.SENT: 250, State.FAILED: 550, State.DEFERRED: 450, State.UNCERTAIN: None}
    return Outcome(key, 2, state, stage, code or codes[state], "", f"{state} it is")


def enrol(
    journal: Journal, rows: Iterable[str | tuple[str, State] | tuple[str, State, str]], *, commit: bool = True
) -> Plan:
    """Enrol rows from number 2 on: a key, or a key with a state, or those with a digest."""
    with journal.enrolment() as enrolment:
        for number, item in enumerate(rows, 2):
            given = (item,) if isinstance(item, str) else item
            key, state, digest = (*given, *(State.WAITING, "d1")[len(given) - 1 :])
            assert enrolment.seen(key) is None
            reason = "" if state is State.WAITING else "because"
            enrolment.add(Listed(number, key, f"{key}@x.example", digest, state=state, reason=reason))
        plan = enrolment.plan()
        if commit:
            enrolment.commit()
    return plan


def bring(journal: Journal, key: str, state: State, *, digest: str = "d1") -> None:
    """Bring an enrolled row into a state by the way that leads there."""
    if state in (State.WAITING, State.INVALID, State.SKIPPED):
        return
    journal.committing(delivery(journal, key, digest=digest))
    journal.record(outcome(key, state), attempts=1, due=journal_due(state))


def journal_due(state: State) -> float | None:
    return 1_800_000_300.0 if state is State.DEFERRED else None
