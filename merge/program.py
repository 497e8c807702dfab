"""How is a letter handed over to a sendmail program?

The program gets the message from a file, not through a pipe: so it can never take half a letter for a whole
one, whatever becomes of this process. Arguments go to it as they are, without a shell. Its answer is its exit
code (sysexits.h).
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from merge.carrier import BeforeCommit, OneByOne, Undone
from merge.errors import CarrierError, ConfigError
from merge.model import Delivery, Envelope, Outcome, State
from merge.proof import Misread, field, headers, mailboxes

DEADLINE: Final = 600.0
"""Seconds that a program has for one letter: as long as an SMTP server has for the end of data."""

_OUTPUT_CAP = 8 * 1024
_LAST_WORDS = 0.5
_UNCLEAR = 3
_SENDER_OPTIONS = ("-f", "-r", "--from")
_OURS = ("MERGEPOST_PASSWORD",)

_BY_HAND = "run it by hand, and see what it says"

_FAILED = {
    65: "the letter is not as the program wants it",
    67: "the program does not know this recipient",
    68: "the program does not know this recipient's host",
    69: "the program cannot deliver this letter",
}
_DEFERRED = {73: "the program could not store the letter", 75: "the program asks to try again later"}
_STOP = {
    64: "does not understand its arguments",
    66: "cannot open its input",
    72: "misses a file of its own",
    77: "was refused: login or permission",
    78: "is not configured",
}


def found(command: Sequence[str]) -> str:
    """Return the path of a command's program. Raises ConfigError where there is none that can be run."""
    path = shutil.which(command[0])
    if path is None:
        there = Path(command[0]).is_file()
        raise ConfigError(
            f"the program {command[0]} is not executable" if there else f"there is no program {command[0]}",
            hint="sendmail names a program on this computer, with its path if it is not in PATH: "
            'sendmail = "/usr/sbin/sendmail"',
        )
    return path


def arguments(command: Sequence[str], envelope: Envelope) -> list[str]:
    """Return the whole command line for one letter.

    `-i` keeps a lone dot from ending the letter. With `-t`, which is the person's to give, the program reads
    the recipients from the letter; else they stand behind `--`, where none can pass for an option.
    """
    words = list(command)
    if "i" not in _flags(command):
        words.append("-i")
    if not any(word.startswith(_SENDER_OPTIONS) for word in command[1:]):
        words += ["-f", envelope.sender]
    if not reads_recipients(command):
        words += ["--", *envelope.recipients]
    return words


def reads_recipients(command: Sequence[str]) -> bool:
    """Whether the program is to take the recipients from the headers: `-t`, also as `-ti`."""
    return "t" in _flags(command)


def _flags(command: Sequence[str]) -> set[str]:
    """Return which of the options i and t are given; `-oi` is an older name of `-i`."""
    letters = {"i"} if "-oi" in command[1:] else set()
    return letters.union(*(word[1:] for word in command[1:] if re.fullmatch("-[ti]+", word)))


class Program(OneByOne):
    """Hands each letter over to a program that is called like sendmail; one at a time.

    The program is looked for at once: ConfigError where there is none. It is killed, and the row UNCERTAIN,
    when it is not done after `deadline` seconds.
    """

    stage = "program"

    def __init__(
        self, command: Sequence[str], before_commit: BeforeCommit | None = None, *, deadline: float = DEADLINE
    ) -> None:
        super().__init__(before_commit)
        self._command = (found(command), *command[1:])
        self._name = Path(command[0]).name
        self._deadline = deadline
        self._unclear = 0

    def _hand_over(self, delivery: Delivery) -> Outcome:
        if reads_recipients(self._command) and (why := beyond_headers(delivery)):
            return self._outcome(delivery, State.FAILED, why)
        with tempfile.TemporaryFile() as message:
            message.write(delivery.content.replace(b"\r\n", os.linesep.encode()))
            message.flush()  # a full disk must be known before the program sees a part of the letter
            message.seek(0)
            self._commit(delivery)
            try:
                process = self._started(arguments(self._command, delivery.envelope), message.fileno())
            except OSError as error:
                raise Undone(f"{self._name} cannot be started: {error.strerror}") from None
        code, said = self._ended(process)
        return self._meaning(delivery, code, said)

    def _complaint(self, error: OSError) -> str:
        return f"the letter cannot be laid ready for {self._name}: {super()._complaint(error)}"

    def _started(self, words: list[str], message: int) -> subprocess.Popen[bytes]:
        """Start the program in a session of its own: Ctrl-C is for this run, not for the letter in hand."""
        environment = {name: value for name, value in os.environ.items() if name not in _OURS}
        return subprocess.Popen(  # noqa: S603 - the person's own command, started without a shell
            words,
            stdin=message,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )

    def _ended(self, process: subprocess.Popen[bytes]) -> tuple[int | None, str]:
        """Wait for the end; return the exit code, None at the deadline, and what was said first."""
        codes: queue.SimpleQueue[int] = queue.SimpleQueue()
        said = bytearray()
        listener = threading.Thread(target=_listen, args=(process, said), daemon=True)
        listener.start()
        threading.Thread(target=lambda: codes.put(process.wait()), daemon=True).start()
        code: int | None = None
        try:
            code = codes.get(timeout=self._deadline)
        except queue.Empty:
            pass
        finally:
            if code is None:
                _kill(process)
        # A child of the program may keep the pipe open for ever; it is not waited for.
        listener.join(_LAST_WORDS)
        return code, bytes(said).decode("utf-8", "replace").strip()

    def _meaning(self, delivery: Delivery, code: int | None, said: str) -> Outcome:
        """Say what an exit code means for the row and for the run."""
        words = f": {said}" if said else ""
        if code == 0:
            self._unclear = 0
            return self._outcome(delivery, State.SENT, f"handed over to {self._name}{words}", 0)
        for state, meanings in ((State.FAILED, _FAILED), (State.DEFERRED, _DEFERRED)):
            if code in meanings:
                self._unclear = 0
                return self._outcome(delivery, state, f"{meanings[code]} ({self._name}){words}", code)
        if code in _STOP:
            raise Undone(
                f"{self._name} {_STOP[code]} (exit code {code}){words}",
                hint=_BY_HAND,
            )
        why = _doubt(code)
        self._unclear += 1
        if self._unclear >= _UNCLEAR:
            self._closed = CarrierError(
                f"{self._name} {why}, {_UNCLEAR} times in a row{words}",
                hint=f"whether it took these letters is not known; {_BY_HAND}",
            )
        shown = code if code is not None and code > 0 else None
        return self._outcome(delivery, State.UNCERTAIN, f"{self._name} {why}{words}", shown)


def _doubt(code: int | None) -> str:
    if code is None:
        return "was not done in time, and was killed"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"died of {signal.Signals(-code).name}"
        return f"died of signal {-code}"
    return f"ended with exit code {code}, which does not tell whether it took the letter"


def _listen(process: subprocess.Popen[bytes], said: bytearray) -> None:
    """Read all that a program says, so that it never waits for a reader; keep the beginning."""
    output = process.stdout
    if output is None:
        return
    with contextlib.suppress(OSError), output:
        while data := os.read(output.fileno(), _OUTPUT_CAP):
            said += data[: _OUTPUT_CAP - len(said)]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a program, and whatever it has started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def beyond_headers(delivery: Delivery) -> str:
    """Say why `-t` would not reach exactly the envelope's recipients; empty where it does."""
    try:
        top = delivery.content.partition(b"\r\n\r\n")[0] + b"\r\n"
        found = dict.fromkeys(
            address.lower()
            for name, value in map(field, headers(top, utf8=True))
            if name.lower() in ("to", "cc", "bcc")
            for _, address in mailboxes(value)
        )
    except Misread as error:
        return f"the recipients cannot be read back from the letter: it has {error}"
    wanted = {address.lower() for address in delivery.envelope.recipients}
    if wanted - found.keys():
        return "a letter with Bcc cannot go by -t: its recipients stand in the headers; leave -t out"
    if found.keys() - wanted:
        return "a header names somebody whom this letter must not reach; leave -t out"
    return ""
