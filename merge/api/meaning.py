"""What does this answer mean, for the rows and for the run?

| status | the rows of the call | the run |
| --- | --- | --- |
| as the provider says | SENT | goes on |
| 400, 413, 422, other 4xx | FAILED; of several in one call, each is tried by itself | goes on |
| 408, 429 | not accepted, wait | pauses, then goes slower |
| 401 to 407, 410, 415 | not accepted, wait | stops: key, sender, or address of the API |
| 5xx | UNCERTAIN: neither provider says that it means "not accepted" | pauses; stops when it goes on so |
| anything else, redirects too | UNCERTAIN | stops |

Classes of status codes as in RFC 9110, 15; what 429 means, by the providers' own pages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Final

from merge.model import Delivery, Outcome, State
from merge.words import plain

STAGE: Final = "request"
"""What an Outcome calls the moment of acceptance by a web API."""

RECIPIENT: Final = "RCPT"
"""What it calls the refusal of one recipient, as SMTP does: merge.brake lets those pass."""

LONGEST_PAUSE: Final = 300.0
"""Seconds that a run pauses at a provider's word; asked for longer, it stops."""

_REPLY_CAP = 499
_STOPS = frozenset({401, 402, 403, 404, 405, 406, 407, 410, 415})
_PAUSES = frozenset({408, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer to a call. `headers` has names in lower case; `body` is not longer than the cap."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Run(Enum):
    """What an answer means for the run."""

    GO_ON = "go on"
    PAUSE = "pause, and go slower"
    DOUBT = "pause, and stop if it goes on so"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of one call.

    Each delivery of the call is in `outcomes`, or in `back`: not accepted, through no fault of its own.
    `singly` asks for a call of its own for each of those. `least` is the shortest pause in seconds; `reason`
    is a predicate of the provider, `hint` says what to do.
    """

    outcomes: tuple[Outcome, ...] = ()
    back: tuple[Delivery, ...] = ()
    run: Run = Run.GO_ON
    reason: str = ""
    hint: str = ""
    least: float = 0.0
    singly: bool = False


def outcome(
    delivery: Delivery, state: State, reply: str, code: int | None = None, *, of_recipient: bool = False
) -> Outcome:
    """Return what a call came to for one delivery; the reply is cut and made safe to show.

    `of_recipient` says that it speaks of one mailbox, not of sender or letter: an old list has many of those.
    """
    stage = RECIPIENT if of_recipient else STAGE
    return Outcome(delivery.key, delivery.row, state, stage, code, reply=plain(reply, _REPLY_CAP))


def whole(  # noqa: PLR0913 - an answer, and what its reader knows of it
    answer: Answer,
    deliveries: Sequence[Delivery],
    said: str,
    *,
    now: float,
    hints: Mapping[str, str],
    of_recipient: bool = False,
) -> Reading:
    """Read an answer that is about the call as a whole and is not its success.

    `said` is the provider's explanation, `now` seconds since the epoch; `hints` are by status. `of_recipient`
    says that the explanation is about nothing but recipients.
    """
    status = answer.status
    reason = f"answered {status}" + (f": {said}" if said else "")
    if status in _STOPS:
        hint = hints.get(str(status), "")
        return Reading(back=tuple(deliveries), run=Run.STOP, reason=reason, hint=hint)
    if status in _PAUSES:
        return _pause(answer, deliveries, reason, now)
    if 400 <= status < 500:  # noqa: PLR2004 - the class of client errors
        if len(deliveries) > 1:
            return Reading(back=tuple(deliveries), singly=True)
        words = said or reason
        failed = (
            outcome(delivery, State.FAILED, words, status, of_recipient=of_recipient)
            for delivery in deliveries
        )
        return Reading(tuple(failed))
    run = Run.DOUBT if 500 <= status < 600 else Run.STOP  # noqa: PLR2004 - the class of server errors
    return in_doubt(deliveries, reason, status, run)


def in_doubt(
    deliveries: Sequence[Delivery], reason: str, status: int | None = None, run: Run = Run.DOUBT
) -> Reading:
    """Return the reading of what may have been accepted, or not."""
    return Reading(
        tuple(outcome(delivery, State.UNCERTAIN, reason, status) for delivery in deliveries),
        run=run,
        reason=reason,
        hint="whether it took those letters is not known: look there before you let them go again",
    )


def parsed(answer: Answer) -> Any:  # noqa: ANN401 - whatever the provider sends
    """Return the JSON of an answer; None where there is none that can be read."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def excerpt(answer: Answer) -> str:
    """Return the beginning of an answer that is not what was expected."""
    return answer.body[:200].decode("utf-8", "replace").strip()


def _pause(answer: Answer, deliveries: Sequence[Delivery], reason: str, now: float) -> Reading:
    least = retry_after(answer.headers, now)
    if least > LONGEST_PAUSE:
        at = datetime.fromtimestamp(now + least).astimezone()
        hint = f"It takes no more before {at:%a %d %b %H:%M}: run mergepost send again then."
        return Reading(back=tuple(deliveries), run=Run.STOP, reason=reason, hint=hint)
    return Reading(back=tuple(deliveries), run=Run.PAUSE, reason=reason, least=least)


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """Return for how many seconds a provider asks to be left alone; 0 where it does not say.

    Retry-After is in seconds or a date (RFC 9110, 10.2.3); X-RateLimit-Reset, as SendGrid has it, a moment in
    seconds since the epoch.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    if value:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        return max(0.0, moment.timestamp() - now)
    reset = headers.get("x-ratelimit-reset", "").strip()
    return max(0.0, float(reset[:12]) - now) if reset.isascii() and reset.isdigit() else 0.0
