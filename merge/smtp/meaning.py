"""What does this reply mean, for the row and for the run? A table.

Who is to blame decides. This row: it is deferred or failed. The line, the login or the sender: the row keeps
waiting, no attempt is charged, and the run reconnects, pauses or stops. Order: stage, class, code, enhanced
code, then what is known of a provider's texts (RFC 5321, 4.2; RFC 3463). The first rule that fits decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache

from merge.model import State
from merge.smtp.reply import Reply

BANNER, EHLO, HELO, STARTTLS, AUTH = "banner", "EHLO", "HELO", "STARTTLS", "AUTH"
MAIL, RCPT, DATA, BODY, END_OF_DATA = "MAIL", "RCPT", "DATA", "body", "end of data"
RSET, NOOP, QUIT = "RSET", "NOOP", "QUIT"
AFTERWARDS = "the conversation so far"


class Run(Enum):
    """What the run does after a reply."""

    GO_ON = "goes on"
    RECONNECT = "reconnects"  # at once if this line has already had a row answered, else by the schedule
    PAUSE = "pauses"  # by the schedule, always: the server has asked for it
    STOP = "stops"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reply means.

    `row` is None where the row is not concerned: it goes on, or keeps waiting. `least` is the shortest
    pause in seconds, `tries` how often in all before the run stops (0: as the schedule says). `slow` says
    that the server finds us too fast.
    """

    row: State | None
    run: Run
    hint: str = ""
    least: float = 0.0
    tries: int = 0
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table. Empty fields fit everything.

    `codes` are reply codes ("550"), classes ("5") or a mixture; `enhanced` a regular expression for the whole
    enhanced code; `text` one that is searched for in the reply's text, whatever its case.
    `who` and `source` say where it was learnt.
    """

    stages: tuple[str, ...]
    codes: tuple[str, ...]
    verdict: Verdict
    enhanced: str = ""
    text: str = ""
    who: str = ""
    source: str = ""

    def fits(self, stage: str, reply: Reply) -> bool:
        """Whether this rule speaks about that reply."""
        code = str(reply.code)
        return (
            (not self.stages or stage in self.stages)
            and (not self.codes or code in self.codes or code[0] in self.codes)
            and (not self.enhanced or re.fullmatch(self.enhanced, reply.enhanced) is not None)
            and (not self.text or re.search(self.text, reply.text, re.IGNORECASE) is not None)
        )


_OPENING = (BANNER, EHLO, HELO, STARTTLS, AUTH)
_ENVELOPE = (MAIL, RCPT, DATA)
_ANY_OF_A_MESSAGE = (MAIL, RCPT, DATA, BODY, END_OF_DATA)

_GO_ON = Verdict(None, Run.GO_ON)
_SENT = Verdict(State.SENT, Run.GO_ON)
_DEFERRED = Verdict(State.DEFERRED, Run.GO_ON)
_FAILED = Verdict(State.FAILED, Run.GO_ON)
_RECONNECT = Verdict(None, Run.RECONNECT)
_PAUSE = Verdict(None, Run.PAUSE)
_SLOW = Verdict(None, Run.PAUSE, slow=True)
_STOP = Verdict(None, Run.STOP)

_TOMORROW = "The provider's daily limit is reached. Send the rest in 24 hours: mergepost send"
_ASK_PROVIDER = "Nothing is wrong with the list. Ask the mail provider, and try again later."
_SENDER = 'Check "from" in campaign.toml: the server must allow this account to send as that address.'
_BASIC_AUTH_OFF = (
    "Your organisation has switched off password logins for sending."
    " Ask its administrator, or use a token (oauth)."
)

SOURCES_OF_2026 = "provider's help pages, November 2026"

PROVIDERS: tuple[Rule, ...] = (
    Rule(
        _ANY_OF_A_MESSAGE,
        ("550",),
        Verdict(None, Run.STOP, _TOMORROW),
        enhanced=r"5\.4\.5",
        who="Gmail",
        source=SOURCES_OF_2026,
    ),
    Rule(
        _ANY_OF_A_MESSAGE,
        ("550",),
        Verdict(None, Run.STOP, _TOMORROW),
        enhanced=r"5\.7\.1",
        text="relay quota|quota exceeded|sending limit",
        who="Gmail",
        source=SOURCES_OF_2026,
    ),
    Rule(
        (*_ENVELOPE, END_OF_DATA),
        ("421", "450"),
        _SLOW,
        enhanced=r"4\.7\.28|4\.2\.1",
        text="unusual rate|too quickly|rate limit|peak.*limit",
        who="Gmail",
        source=SOURCES_OF_2026,
    ),
    Rule(
        _ENVELOPE,
        ("421",),
        _SLOW,
        enhanced=r"4\.7\.0",
        text="try again later|unusual rate",
        who="Gmail",
        source=SOURCES_OF_2026,
    ),
    Rule(_ENVELOPE, ("421",), _PAUSE, enhanced=r"4\.4\.5", who="Gmail", source=SOURCES_OF_2026),
    Rule((), ("432",), _PAUSE, enhanced=r"4\.3\.2", who="Exchange Online", source=SOURCES_OF_2026),
    Rule(
        _ANY_OF_A_MESSAGE,
        ("554",),
        Verdict(None, Run.STOP, _TOMORROW),
        enhanced=r"5\.2\.0",
        text="STOREDRV|SubmissionQuotaExceeded",
        who="Exchange Online",
        source=SOURCES_OF_2026,
    ),
    Rule(
        (MAIL, DATA, END_OF_DATA),
        ("554",),
        Verdict(
            None, Run.STOP, "Your own mailbox is full: copies of what you send are kept there. Make room."
        ),
        enhanced=r"5\.2\.2",
        who="Exchange Online",
        source=SOURCES_OF_2026,
    ),
    Rule(
        _ANY_OF_A_MESSAGE,
        ("550",),
        Verdict(
            None, Run.STOP, "The provider has slowed this sender down because of errors. " + _ASK_PROVIDER
        ),
        enhanced=r"5\.2\.25[1-5]",
        who="Exchange Online",
        source=SOURCES_OF_2026,
    ),
    Rule(
        _ANY_OF_A_MESSAGE,
        ("554",),
        Verdict(None, Run.STOP, _SENDER),
        enhanced=r"5\.2\.252",
        who="Exchange Online",
        source="experience reports",
    ),
    Rule(
        (),
        ("550",),
        Verdict(None, Run.STOP, _BASIC_AUTH_OFF),
        enhanced=r"5\.7\.30",
        who="Exchange Online",
        source=SOURCES_OF_2026,
    ),
    Rule(
        _ANY_OF_A_MESSAGE,
        ("454",),
        Verdict(None, Run.STOP, _TOMORROW),
        text="daily message quota",
        who="Amazon SES",
        source="SES developer guide, 2026",
    ),
    Rule(
        _ANY_OF_A_MESSAGE,
        ("454",),
        _SLOW,
        text="throttling failure|maximum sending rate",
        who="Amazon SES",
        source="SES developer guide, 2026",
    ),
    Rule(
        (RCPT,),
        ("450",),
        _SLOW,
        enhanced=r"4\.7\.1",
        text="too (much mail|many recipients) from",
        who="Postfix",
        source="Postfix 3.7, smtpd",
    ),
    Rule(
        _ANY_OF_A_MESSAGE,
        ("550",),
        _SLOW,
        enhanced=r"5\.7\.0",
        text="too many emails per second",
        who="Mailtrap",
        source="experience reports",
    ),
    Rule((RCPT,), ("452",), _PAUSE, text="space shortage", who="Exim", source="Exim 4.96, smtp_in"),
    Rule(
        (AUTH,),
        ("534",),
        Verdict(
            None,
            Run.STOP,
            "An app password is needed here, not the usual one: turn on 2-step verification, then make one"
            " at https://myaccount.google.com/apppasswords",
        ),
        text="google|gsmtp|application-specific",
        who="Gmail",
        source=SOURCES_OF_2026,
    ),
    Rule(
        (AUTH,),
        ("535",),
        Verdict(
            None,
            Run.STOP,
            "Either the password was mistyped, or it is your usual one: this server wants an app password"
            " (https://myaccount.google.com/apppasswords).",
        ),
        text="google|gsmtp",
        who="Gmail",
        source=SOURCES_OF_2026,
    ),
    Rule(
        (AUTH,),
        ("535",),
        Verdict(None, Run.STOP, _BASIC_AUTH_OFF),
        enhanced=r"5\.7\.139",
        who="Exchange Online",
        source="experience reports",
    ),
)
"""What the texts and codes of particular providers mean; asked first."""

TABLE: tuple[Rule, ...] = (
    Rule((BANNER,), ("220",), _GO_ON),
    Rule((BANNER,), ("4",), _RECONNECT),
    Rule((EHLO, HELO), ("250",), _GO_ON),
    Rule((EHLO, HELO), ("4",), _RECONNECT),
    Rule((STARTTLS,), ("220",), _GO_ON),
    Rule((STARTTLS,), ("4",), Verdict(None, Run.PAUSE, tries=3)),
    Rule((AUTH,), ("235", "334"), _GO_ON),
    Rule((AUTH,), ("432",), _PAUSE),
    Rule((AUTH,), ("4",), Verdict(None, Run.PAUSE, "Too many logins: wait a while.", least=60.0, tries=3)),
    Rule(
        (AUTH,),
        ("534",),
        Verdict(None, Run.STOP, "The provider wants an app password, or a stronger way to log in."),
    ),
    Rule(
        (AUTH,),
        ("5",),
        Verdict(
            None,
            Run.STOP,
            "Check user and password; some providers want an app password of their own making.",
        ),
    ),
    Rule(_OPENING, (), _STOP),
    Rule((MAIL,), ("2",), _GO_ON),
    Rule((MAIL,), ("421",), _RECONNECT),
    Rule((MAIL,), ("4",), _PAUSE),
    Rule(
        (MAIL,),
        ("530",),
        Verdict(None, Run.RECONNECT, "The server wants a login: set user and password.", tries=2),
    ),
    Rule((MAIL,), ("552",), _FAILED),
    Rule((MAIL,), ("553",), _FAILED, enhanced=r"5\.6\.7"),
    Rule((MAIL,), ("5",), Verdict(None, Run.STOP, _SENDER)),
    Rule((RCPT,), ("2",), _GO_ON),
    Rule((RCPT,), ("421",), _RECONNECT),
    Rule((RCPT,), ("4",), _DEFERRED),
    Rule(
        (RCPT,),
        ("530",),
        Verdict(None, Run.RECONNECT, "The server wants a login: set user and password.", tries=2),
    ),
    Rule((RCPT,), ("5",), _FAILED),
    Rule((DATA,), ("354",), _GO_ON),
    Rule((DATA,), ("421",), Verdict(State.DEFERRED, Run.RECONNECT)),
    Rule((DATA,), ("4",), _DEFERRED),
    Rule((DATA,), ("5",), _FAILED),
    Rule((BODY,), ("4",), Verdict(State.DEFERRED, Run.RECONNECT)),
    Rule((BODY,), ("5",), Verdict(State.FAILED, Run.RECONNECT)),
    Rule((END_OF_DATA,), ("2",), _SENT),
    Rule((END_OF_DATA,), ("421",), Verdict(State.DEFERRED, Run.RECONNECT)),
    Rule((END_OF_DATA,), ("4",), _DEFERRED),
    Rule((END_OF_DATA,), ("5",), _FAILED),
    Rule((RSET, NOOP), ("250",), _GO_ON),
    Rule((RSET, NOOP), ("2", "4", "5"), _RECONNECT),
)
"""What RFC 5321 says, stage by stage. What fits no rule has no place at that stage."""


def judge(stage: str, reply: Reply) -> Verdict | None:
    """Return what the reply means at that stage, or None if it has no place there (1xx, a stray 3xx).

    A message that was refused in full, but for a fault of the sender's or the line's, is DEFERRED: it was on
    record as committing, so it needs an outcome, and it is worth another try.
    """
    if not reply.refused:
        return _consent(stage, reply.code)
    for rule in (*PROVIDERS, *TABLE):
        if rule.fits(stage, reply):
            verdict = rule.verdict
            if stage == END_OF_DATA and verdict.row is None:
                return replace(verdict, row=State.DEFERRED)
            return verdict
    return None


@cache
def _consent(stage: str, code: int) -> Verdict | None:
    """Return what a reply that is no refusal means: its text plays no part."""
    return next((rule.verdict for rule in TABLE if rule.fits(stage, Reply(code))), None)
