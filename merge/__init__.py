"""mergepost: a spreadsheet and a letter become personal e-mail.

`Campaign.load("folder")` opens a campaign; `check`, `messages`, `send` and `status` do what the
commands of the same names do. Errors are in `merge.errors`, the values that travel in `merge.model`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from merge.campaign import Campaign as Campaign
    from merge.errors import MergeError as MergeError
    from merge.errors import Problem as Problem
    from merge.model import State as State
    from merge.sending import Summary as Summary

__all__ = ["Campaign", "MergeError", "Problem", "State", "Summary"]

_ROOMS = {
    "Campaign": "merge.campaign",
    "Summary": "merge.sending",
    "MergeError": "merge.errors",
    "Problem": "merge.errors",
    "State": "merge.model",
}


def __getattr__(name: str) -> object:
    """Import a room when it is asked for, so that the command line starts quickly."""
    if name in _ROOMS:
        return getattr(import_module(_ROOMS[name]), name)
    raise AttributeError(f"module 'merge' has no attribute {name!r}")
