"""What does the person read of an examination? Lines, or JSON for programs."""

from __future__ import annotations

from typing import Any

from merge.doctor.examination import Examination
from merge.finding import Finding
from merge.fit import day
from merge.words import column, count, plain

_TOPIC_CELLS = 10
_HINT_CELLS = 1_000
"""Room for a DKIM record, which has to be copied whole."""


def lines(found: Examination) -> list[str]:
    """Return an examination, one finding a line, what to do below it, and what it comes to last."""
    shown = [line for finding in found.findings for line in _finding(finding)]
    warnings = sum(finding.grade == "warning" for finding in found.findings)
    shown.append("")
    if any(finding.grade == "error" for finding in found.findings):
        shown.append("It does not work yet: see the error above. Nothing was sent.")
    elif warnings:
        shown.append(f"It works; {count(warnings, 'warning')}. Nothing was sent.")
    else:
        shown.append("All is well. Nothing was sent.")
    return shown


def invitation(address: str, code: str) -> list[str]:
    """Return what a person is asked to do to sign in; without a code the browser is on this computer."""
    if code:
        return [f"Open {plain(address)} on any device, sign in, and type this code: {plain(code, 40)}"]
    return ["Sign in with the browser that opens now. If none does, open this on this computer:", address]


def _finding(finding: Finding) -> list[str]:
    start = f"{finding.grade:<8} {column(finding.topic, _TOPIC_CELLS)} "
    indent = " " * len(start)
    hints = [f"{indent}{plain(line, _HINT_CELLS)}" for line in finding.hint.splitlines()]
    return [start + plain(finding.message, 500), *hints]


def as_json(found: Examination) -> dict[str, Any]:
    """Return an examination for programs."""
    way, greeting, sending = found.account, found.greeting, found.sending
    known = way.profile
    return {
        "account": {
            "name": way.name,
            "origin": way.origin,
            "provider": way.provider,
            "found_by": way.found,
            "host": way.host,
            "port": way.port,
            "security": way.security,
            "user": way.user,
        },
        "limits": known
        and {
            "words": known.limits,
            "source": known.source,
            "read": known.read.isoformat(),
            "per_second": known.per_second,
            "per_minute": known.per_minute,
            "per_hour": known.per_hour,
            "per_day": known.per_day,
            "per_connection": known.per_connection,
            "recipients": known.recipients,
            "size": known.size,
        },
        "server": greeting
        and {
            "banner": greeting.banner,
            "extensions": dict(greeting.extensions),
            "tls": greeting.tls,
            "certificate": {"issuer": greeting.issuer, "expires": day(greeting.expires)},
            "login": greeting.mechanism,
            "pipelining": greeting.level if greeting.grouped else 0,
            "size": greeting.size_limit,
            "round_trip_ms": round(greeting.round_trip * 1000, 2),
        },
        "campaign": sending
        and {
            "sender": sending.sender,
            "rows": sending.rows,
            "seconds": None if found.seconds is None else round(found.seconds, 1),
        },
        "dkim": found.dkim
        and {
            "domain": found.dkim.settings.domain,
            "selector": found.dkim.settings.selector,
            "name": found.dkim.settings.place,
            "record": found.dkim.key().record,
        },
        "findings": [
            {"grade": one.grade, "topic": one.topic, "message": one.message, "hint": one.hint}
            for one in found.findings
        ],
        "exit_code": found.exit_code,
    }
