"""How much may a letter use while it is rendered?

Nothing here measures time: what a letter does is counted instead, so that the same letter is stopped at the
same place on every machine, in every thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sized
from contextvars import ContextVar
from itertools import islice
from typing import Final

from jinja2 import Undefined
from jinja2.exceptions import SecurityError

LONGEST_TEXT: Final = 4 * 2**20
"""Characters that any one text may have while a letter is rendered."""
MOST_TURNS: Final = 200_000
"""Turns that all loops of one letter may make together."""
WIDEST: Final = 10_000
"""The largest number that a filter or a method may be given for padding, indenting or cutting."""
MOST_WORK: Final = 10_000_000
"""Characters that filters, calls and operators may look at, together, for one row."""
ELEMENT: Final = 20
"""As how many characters an element of a list counts."""

_CALL = 100
"""What a call costs, whatever it does: a macro may call itself twice, and so on."""
_WIDE_FORMAT = re.compile(r"%[-+ #0]*(?:\*|\d{5,})|%[^%a-zA-Z]*\.(?:\*|\d{5,})|:[^}]*\d{5,}|\{[^}]*\{")
_WIDTH = re.compile(r"\d{2,5}")
_CONTAINERS = (list, tuple, set, frozenset, dict)


Text = tuple[tuple[str, ...], tuple[str, ...]]
"""A text of a letter, with tokens for values, and the values."""


class Account:
    """What one render may still use, loop turns and characters, and what it made so far.

    `slots` are the values that were put aside, `texts` what stands around them, `done` both of each text
    of the letter that is complete.
    """

    __slots__ = ("done", "room", "slots", "texts", "turns", "work")

    def __init__(self) -> None:
        self.turns = MOST_TURNS
        self.room = LONGEST_TEXT
        self.work = MOST_WORK
        self.slots: list[str] = []
        self.texts: list[str] = []
        self.done: list[Text] = []

    @property
    def nearly_spent(self) -> bool:
        """Whether a render took so much that it should not be done once more."""
        return self.work < MOST_WORK // 2 or self.turns < MOST_TURNS // 2 or self.room < LONGEST_TEXT // 2

    def closed(self) -> Text:
        """Return the text that was made last, and begin the next."""
        found = tuple(self.texts), tuple(self.slots)
        self.texts, self.slots = [], []
        return found

    def charge(self, length: int) -> None:
        """Take the room of a text. Raises SecurityError when there is no more."""
        self.room -= length
        if self.room < 0:
            raise SecurityError(f"the letter grows beyond {LONGEST_TEXT:,} characters")

    def effort(self, amount: int) -> None:
        """Take some work: a unit for each character that is looked at."""
        self.work -= amount
        if self.work < 0:
            raise SecurityError("the letter takes too long: it works on too many values and texts")


ACCOUNT: ContextVar[Account] = ContextVar("account")
"""The account of the render that is going on."""


def account() -> Account:
    """Return the account of the render that is going on, or a new one while a letter is compiled."""
    return ACCOUNT.get(None) or Account()


def weigh(value: object, budget: Account) -> None:
    """Charge for all that hangs on a value; raises SecurityError where that is too much.

    A list that holds another one twice counts it twice, as printing and comparing would.
    """
    if isinstance(value, str):
        budget.effort(len(value) + 1)
        return
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, _CONTAINERS):
            budget.effort(ELEMENT * len(current) + 1)
            waiting += current
            if isinstance(current, dict):
                waiting += current.values()
        elif isinstance(current, str):
            budget.effort(len(current) + 1)
        elif isinstance(current, Sized) and not isinstance(current, (Mapping, Undefined)):
            budget.effort(ELEMENT * len(current) + 1)


def weighed(value: object) -> object:
    """Return a value after charging for it."""
    weigh(value, account())
    return value


def counted(value: object) -> object:
    """Return what has no length yet, such as what `map` gives, as a list, after charging for it."""
    if not isinstance(value, Iterator):
        return value
    return weighed(list(islice(value, MOST_WORK // ELEMENT + 1)))


def accounted(function: Callable[..., object]) -> Callable[..., object]:
    """Charge for what goes into a filter, and for what comes out of it."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0

    def filtered(*args: object, **kwargs: object) -> object:
        budget = account()
        for value in args[first:]:
            weigh(value, budget)
        result = function(*args, **kwargs)
        if isinstance(result, str):
            budget.effort(len(result))
        elif isinstance(result, Sized) and not isinstance(result, Undefined):
            budget.effort(len(result) * ELEMENT)
        return result

    if first:
        filtered.jinja_pass_arg = function.jinja_pass_arg  # type: ignore[attr-defined] # how Jinja2 marks them
    return filtered


def charge_file(length: int) -> None:
    """Charge for a file of so many characters that comes in."""
    account().effort(_CALL + length)


def charge_call(values: tuple[object, ...]) -> None:
    """Charge for a call and its arguments."""
    budget = account()
    budget.effort(_CALL)
    for value in values:
        weigh(value, budget)


def refuse_length(length: int) -> None:
    """Raise SecurityError for a text that would be too long."""
    if length > LONGEST_TEXT:
        raise SecurityError(f"a text of more than {LONGEST_TEXT:,} characters")


def refuse_beyond(*values: object) -> None:
    """Raise SecurityError for a number that is too much for padding, indenting or cutting."""
    for value in values:
        if isinstance(value, (int, float)) and abs(value) > WIDEST:
            raise SecurityError(f"{str(value)[:20]} is too much for a letter: {WIDEST:,} is the most")


def refuse_wide_format(text: str) -> None:
    """Raise SecurityError for a format that pads without end."""
    if _WIDE_FORMAT.search(text):
        raise SecurityError("a format this wide is not for letters")
    refuse_length(sum(map(int, _WIDTH.findall(text))))


def refuse_growth(text: str, old: object = "", new: object = "") -> None:
    """Raise SecurityError where replacing would make a text too long."""
    if isinstance(new, str) and isinstance(old, str):
        refuse_length((len(text) // len(old) if old else len(text) + 1) * len(new))


def refuse_join(separator: object, values: object) -> None:
    """Raise SecurityError where joining would make a text too long."""
    if isinstance(separator, str) and isinstance(values, Sized) and not isinstance(values, Undefined):
        refuse_length(len(separator) * len(values))
