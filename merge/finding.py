"""What was found out? One sentence, how good the news is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Grade = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found out about an account, its server or its sender; `topic` groups them.

    `message` may hold foreign text, raw: whoever prints it escapes it. `hint` may have several lines.
    """

    grade: Grade
    topic: str
    message: str
    hint: str = ""
