"""What is shown, asked and heard? Talk goes to stderr, data to stdout."""

from __future__ import annotations

import getpass
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, TextIO

from tqdm import tqdm

from merge import screens
from merge.account import AccountSettings
from merge.clock import Clock
from merge.config import Settings
from merge.errors import ApprovalError, MergeError, UsageError
from merge.model import Outcome, Record, State
from merge.plan import Proposal
from merge.watch import Unwatched, Watch
from merge.words import moment

_RED, _YELLOW, _PLAIN = "\x1b[1;31m", "\x1b[1;33m", "\x1b[0m"
_PLAIN_SECONDS = 30.0
_LINE_SECONDS = 1.0
_LOOK_UP_SECONDS = 0.2
_ASKED_ONE_BY_ONE = 10
_COMMAND = re.compile(
    r"\bmergepost (?:(?:check|preview|send|status|bounces|doctor)\b(?! [^-\s]*[./])|test ADDRESS\b)"
)
"""A command that is proposed, without a campaign."""

Progress = Literal["bar", "plain", "none"]


class Console:
    """A person's terminal, or the pipe that stands in its place.

    `standing` is what to say of the campaign when the person stops the command now. `place` is how the
    campaign was named on the command line: commands that are proposed name it, too, and work as they stand.
    """

    def __init__(self, clock: Clock, *, quiet: bool = False, no_color: bool = False, place: str = "") -> None:
        self.clock = clock
        self._place = place
        self.standing = "Nothing was sent."
        self._quiet = quiet
        self._color = (
            sys.stderr.isatty()
            and not no_color
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )

    def data(self, text: str) -> None:
        """Print what was asked for to stdout."""
        _write(sys.stdout, text)

    def talk(self, lines: Iterable[str]) -> None:
        """Print to stderr, unless quiet."""
        if not self._quiet:
            self.insist(lines)

    def insist(self, lines: Iterable[str]) -> None:
        """Print to stderr, quiet or not."""
        with _heard_or_not():
            for line in lines:
                _write(sys.stderr, self._colored(self.placed(line)))

    def placed(self, line: str) -> str:
        """Return a line whose commands name the campaign as the person did."""
        return _COMMAND.sub(lambda command: f"{command[0]} {self._place}", line) if self._place else line

    def error(self, error: MergeError) -> None:
        """Print an error to stderr, quiet or not."""
        self.insist(screens.failure(error))

    def _colored(self, line: str) -> str:
        for word, color in (("error", _RED), ("warning", _YELLOW)):
            if self._color and line.lstrip().startswith(word):
                return line.replace(word, f"{color}{word}{_PLAIN}", 1)
        return line

    @property
    def can_ask(self) -> bool:
        """Whether there is a person who can answer."""
        return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()

    def question(self, words: str) -> str:
        """Ask on stderr, and return the answer without blanks around it; empty at the end of input.

        Ctrl-C raises KeyboardInterrupt, whatever it does elsewhere.
        """
        with _ctrl_c_at_once():
            sys.stderr.write(words)
            sys.stderr.flush()
            _wait_for_line(sys.stdin)
            return sys.stdin.readline().strip()

    def agrees(self, words: str) -> bool:
        """Ask for a yes or a no on stderr; anything but a yes is a no."""
        return self.question(words).casefold() in ("y", "yes")

    def secret(self, words: str) -> str:
        """Ask for what must not be seen."""
        return getpass.getpass(words, stream=sys.stderr)


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


@contextmanager
def _heard_or_not() -> Iterator[None]:
    """Let nothing be said where nobody hears it any more: a closed terminal or pipe must not end a run."""
    try:
        yield
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _has_width(stream: TextIO) -> bool:
    """Whether a stream is a terminal that knows how wide it is: some consoles say 0, and show no bar."""
    try:
        return stream.isatty() and os.get_terminal_size(stream.fileno()).columns > 0
    except OSError:
        return False


def _wait_for_line(stream: TextIO) -> None:
    """Wait until a line can be read, looking up now and then.

    A Ctrl-C ends a read that blocks only if it comes neither an instant before it nor to another thread.
    """
    try:
        while not select.select([stream], [], [], _LOOK_UP_SECONDS)[0]:
            continue
    except (OSError, ValueError):  # where a console is nothing to wait on: the read itself waits
        return


@contextmanager
def _ctrl_c_at_once() -> Iterator[None]:
    """While a person is asked nothing is in flight, so that Ctrl-C need not wait for anything."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


class Conversation:
    """Talks a sending through with the person: the campaign's Talk on a console."""

    def __init__(  # noqa: PLR0913 - the flags that shape it
        self,
        console: Console,
        *,
        confirm: int | None,
        ask_nothing: bool,
        progress: Progress,
        sandbox: bool,
        dry_run: bool = False,
    ) -> None:
        self._console = console
        self._confirm = confirm
        self._may_ask = console.can_ask and not ask_nothing
        self._progress = progress
        self._sandbox = sandbox
        self._dry_run = dry_run
        self._bar: Bar | None = None

    @property
    def ask(self) -> Callable[[str], str] | None:
        """Return what asks for a password without showing it, where there is somebody."""
        return self._secret if self._may_ask else None

    def approve(self, proposal: Proposal, way: AccountSettings | None, settings: Settings) -> bool:
        """Show the plan and have its number typed, unless it was given or nothing leaves this machine.

        Raises ApprovalError for a wrong number, UsageError where nobody can be asked.
        """
        asks = self._may_ask and self._confirm is None and not (self._dry_run or self._sandbox)
        show = self._console.insist if asks else self._console.talk
        show(screens.plan(proposal, way, settings, sandbox=self._sandbox, now=self._console.clock.now()))
        if self._dry_run:
            return True
        number = proposal.tries
        if self._confirm is not None:
            if self._confirm != number:
                raise ApprovalError(
                    f"this run would send {number:,}, not the confirmed {self._confirm:,}",
                    hint=f"look at the plan again: mergepost send --dry-run; then --confirm {number}",
                )
            return True
        if self._sandbox:
            return True
        if not self._may_ask:
            raise UsageError(
                f"sending needs a confirmation: pass --confirm {number} (the number in the plan)",
                hint="nothing was sent",
            )
        answer = self._console.question(f"Type {number} to send, anything else to stop: ")
        if answer.replace(",", "") == str(number):
            return True
        self._console.insist(["Nothing was sent."])
        return False

    def doubt(self, records: Sequence[Record]) -> Literal["again", "skip"] | None:
        """Ask what becomes of the rows that a server may have accepted."""
        if not self._may_ask:
            return None
        lines = screens.rows_in_doubt(records[:_ASKED_ONE_BY_ONE])
        if len(records) > _ASKED_ONE_BY_ONE:
            lines.append(f"  ... and {len(records) - _ASKED_ONE_BY_ONE:,} more")
        self._console.insist(
            ["The line broke while these were being accepted: the server may have taken them.", *lines]
        )
        answer = self._console.question("[s]kip them or send them [a]gain? (default: skip) ").casefold()
        return "again" if answer in ("a", "again") else "skip"

    def tell(self, words: str) -> None:
        """Show a line without tearing the progress bar."""
        if self._bar:
            self._bar.interject(words)
        else:
            self._console.talk([words])

    def watch(self, proposal: Proposal) -> Watch:
        """Return the progress display that was asked for."""
        if self._progress == "none":
            return Unseen(self._console, may_ask=self._may_ask)
        shows_bar = self._progress == "bar" and _has_width(sys.stderr)
        self._bar = Bar(self._console, proposal.tries, lines=not shows_bar, may_ask=self._may_ask)
        return self._bar

    def done(self) -> None:
        """Take the progress display away."""
        if self._bar:
            self._bar.close()
            self._bar = None

    def _secret(self, question: str) -> str:
        with _ctrl_c_at_once():
            try:
                return getpass.getpass(question, stream=sys.stderr)
            except EOFError:
                return ""


class Bar:
    """How far a run is: a bar on a terminal, else one plain line every 30 s or 10 %."""

    def __init__(self, console: Console, total: int, *, lines: bool, may_ask: bool) -> None:
        self._console = console
        self._may_ask = may_ask
        self._total = total
        self._lines = lines
        self._tally = dict.fromkeys(State, 0)
        self._seen: set[str] = set()
        self._said_at = console.clock.monotonic()
        self._said_part = 0
        self._bar = tqdm(
            total=total,
            desc="Sending",
            bar_format="{desc}  {bar:24}  {n_fmt}/{total_fmt}  {percentage:.0f}%  {remaining} left{postfix}",
            file=sys.stderr,
            disable=lines,
            dynamic_ncols=True,
            leave=False,
        )

    def outcome(self, outcome: Outcome, attempts: int, due: float | None) -> None:
        """Count a row once it has its outcome."""
        again = attempts > 1 and outcome.key in self._seen
        if due is not None:
            self._seen.add(outcome.key)
        if again:
            self._tally[State.DEFERRED] -= 1
        self._tally[outcome.state] += 1
        if not again:
            self._bar.update(1)
        troubles = [
            f"{self._tally[state]:,} {state.value}"
            for state in (State.FAILED, State.DEFERRED, State.UNCERTAIN)
            if self._tally[state]
        ]
        if troubles:
            self._bar.set_postfix_str(", ".join(troubles), refresh=False)
        if self._lines:
            self._say()

    def waiting(self, until: float, why: Literal["pace", "retry"]) -> None:
        """Say what the silence is for, when it is a long one."""
        now = self._console.clock.now()
        if until - now > _PLAIN_SECONDS:
            reason = "for the pace" if why == "pace" else "to try deferred rows again"
            self.interject(f"Waiting {reason} until {moment(until, now)}")

    def go_on(self, tally: Mapping[State, int]) -> bool:
        """Ask whether the others may follow the first few."""
        return _may_follow(self._console, tally, may_ask=self._may_ask)

    def interject(self, words: str) -> None:
        """Show a line above the bar."""
        if self._lines:
            self._console.talk([words])
        else:
            with _heard_or_not():
                self._bar.write(words, file=sys.stderr)

    def close(self) -> None:
        """Take the bar away; the summary follows."""
        self._bar.close()

    def _say(self) -> None:
        done = sum(self._tally.values())
        now = self._console.clock.monotonic()
        part = done * 10 // max(1, self._total)
        since = now - self._said_at
        if (part > self._said_part and since >= _LINE_SECONDS) or since >= _PLAIN_SECONDS:
            self._said_at, self._said_part = now, part
            self._console.talk([f"{done:,} of {self._total:,}: {self._tally[State.SENT]:,} sent"])


class Unseen(Unwatched):
    """Shows no progress; what has to be asked is asked all the same."""

    def __init__(self, console: Console, *, may_ask: bool) -> None:
        self._console = console
        self._may_ask = may_ask

    def go_on(self, tally: Mapping[State, int]) -> bool:
        """Ask whether the others may follow the first few."""
        return _may_follow(self._console, tally, may_ask=self._may_ask)


def _may_follow(console: Console, tally: Mapping[State, int], *, may_ask: bool) -> bool:
    """Ask whether the others may follow the first few; where nobody can be asked, they may not."""
    shown = ", ".join(f"{number:,} {state.value}" for state, number in tally.items() if number)
    console.insist(["", f"The first ones are out: {shown}. Look at what arrived."])
    if not may_ask:
        return False
    try:
        return console.question("Type yes to go on with the others: ").casefold() in ("y", "yes")
    except KeyboardInterrupt:
        return False
