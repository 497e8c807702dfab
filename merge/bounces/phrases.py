"""What do mail servers and answering machines say? The words stand in phrases.toml."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path


@cache
def phrases(name: str, around: str = "{}") -> re.Pattern[str]:
    """Return what matches any phrase of a list; `around` is an expression that holds it at `{}`."""
    alternatives = "|".join(_lists()[name])
    return re.compile(around.replace("{}", f"(?:{alternatives})"), re.IGNORECASE | re.MULTILINE)


@cache
def _lists() -> dict[str, list[str]]:
    return tomllib.loads(Path(__file__).with_name("phrases.toml").read_text("utf-8"))
