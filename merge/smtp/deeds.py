"""How is one step done on a wire? It reads while it writes, waits in total, records before the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from merge.model import Delivery
from merge.smtp.docket import BEGUN, DOUBTFUL, Docket
from merge.smtp.steps import (
    Ask,
    Commit,
    Deadlines,
    Done,
    Event,
    Handshake,
    Idle,
    Lost,
    Read,
    Refill,
    Step,
    Tick,
    Unread,
)
from merge.smtp.wire import CHUNK, Broken, Clock, Wire

DONE = Done()

SLICE = 0.25
"""How long, in seconds, a wait may last before an interrupt is seen."""

HEARD_CAP = 16 * 1024 * 1024
"""Bytes that are kept of what is said while a message is written; the answers to a window are fewer."""


class Hands:
    """Does what a dialogue asks for.

    `record` is called with the deliveries of a commit before a byte of it is written; `secure` starts TLS on
    a wire. Nothing but what they raise is ever raised: a line that breaks is an event. While `timed` is set,
    `waited` grows by the seconds that answers are waited for.
    """

    def __init__(
        self,
        clock: Clock,
        deadlines: Deadlines,
        docket: Docket,
        *,
        record: Callable[[Sequence[Delivery]], None],
        secure: Callable[[Wire], None],
    ) -> None:
        self._clock = clock
        self._deadlines = deadlines
        self._docket = docket
        self._record = record
        self._secure = secure
        self._current: Step | None = None  # the step that `_until` belongs to
        self._until = 0.0
        self._overdue: Step | None = None
        self._asked: Ask | None = None  # it is written, its answer is not here yet
        self.timed = False
        self.waited = 0.0
        self._handed = 0  # up to here the bytes of the last write may have left

    def do(self, step: Step, wire: Wire | None, patience: float) -> Event | None:
        """Do one step. None: the patience, or the run, ended first; the step is still to be done."""
        event: Event | None = None
        if wire is None:
            return Lost("closed the connection")
        try:
            match step:
                case Commit():
                    event = self._commit(wire, step)
                case Ask():
                    event = self._ask(wire, step, patience)
                case Read():
                    event = self._read(wire, step, patience)
                case Idle():
                    event = self._idle(wire, step, patience)
                case Refill():
                    event = DONE
                case Handshake():
                    event = _waiting(wire) or self._handshake(wire)
        except Broken as broken:
            event = Lost(broken.message)
        return event

    def _handshake(self, wire: Wire) -> Event:
        self._secure(wire)
        return DONE

    def _idle(self, wire: Wire, step: Idle, patience: float) -> Event | None:
        if self._docket.pending:
            return _waiting(wire) or DONE
        until = self._deadline(step, self._clock.monotonic())
        while True:
            if (event := _waiting(wire)) is not None:
                return event
            left = until - self._clock.monotonic()
            if left <= 0:
                return Tick()
            if patience <= 0 or self._clock.interrupted:
                return None
            wait = min(SLICE, patience, left)
            wire.wait(wait)
            patience -= wait

    def _read(self, wire: Wire, step: Read, patience: float) -> Event | None:
        clock, docket = self._clock, self._docket
        began = clock.monotonic()
        left = self._deadline(step, began) - began
        wait = min(SLICE, left)
        if left <= 0:
            if self._overdue is step:
                return _late(step)
            self._overdue = step  # what has come is heard; what has not is too late
        while True:
            ready = wire.wait(wait)
            if ready and (data := wire.receive()) is not None:
                break
            if left <= 0:
                return _late(step)
            if not ready and not docket.doubtful:
                patience -= 0 if docket.pending else wait  # where a row depends on it, nobody is in a hurry
                if clock.interrupted or patience <= 0:
                    return None
            left = self._until - clock.monotonic()
            # What is in doubt is waited for, whatever the person wants.
            wait = left if docket.doubtful else min(SLICE, left)
        if self.timed:
            self.waited += clock.monotonic() - began
        return Done(data) if data else Lost("closed the connection")

    def _ask(self, wire: Wire, step: Ask, patience: float) -> Event | None:
        if self._asked is not step:
            event = _waiting(wire) or self._write(wire, step.data)
            if event is not DONE:
                return event
            self._asked = step
        return self._read(wire, step.read, patience)

    def _commit(self, wire: Wire, step: Commit) -> Event | None:
        if step.body and (event := self._write(wire, step.body, stop_early=True)) is not DONE:
            return event
        self._record([case.delivery for case in step.cases])
        for case in step.cases:
            case.phase = DOUBTFUL
        self._handed = 0
        # Whatever came while the body was written, or while recording took its time, comes first.
        event = _waiting(wire) or self._write(wire, step.data)
        if event is DONE:
            return self._read(wire, step.read, math.inf)
        for case, end in zip(step.cases, step.ends, strict=True):
            if self._handed < end:
                case.phase = BEGUN  # its last byte never left this program
        return event

    def _write(self, wire: Wire, data: bytes, *, stop_early: bool = False) -> Event:
        """Write it all. DONE: it is written, and nothing was heard."""
        size = len(data)
        self._handed = min(size, CHUNK)
        try:
            done = wire.send(data if size <= CHUNK else memoryview(data)[:CHUNK])
        except Broken as broken:
            return Lost(broken.message, _rest(wire))
        return DONE if done == size else self._write_on(wire, memoryview(data), done, stop_early=stop_early)

    def _write_on(self, wire: Wire, data: memoryview, done: int, *, stop_early: bool) -> Event:
        """Write the rest, reading meanwhile: two full buffers would wait for each other for ever."""
        heard, stalled = b"", self._clock.monotonic() + self._deadlines.block
        try:
            while done < len(data):
                if (more := wire.receive()) is not None:
                    heard += more
                    if not more:
                        return Lost("closed the connection", heard)
                    if stop_early:
                        return Unread(heard)
                    if len(heard) > HEARD_CAP:
                        return Lost("talked on and on, and did not take the message", heard)
                self._handed = min(len(data), done + CHUNK)
                taken = wire.send(data[done : self._handed])
                done += taken
                if taken:
                    stalled = self._clock.monotonic() + self._deadlines.block
                elif self._clock.monotonic() >= stalled:
                    reason = f"took nothing more of the message for {self._deadlines.block:g} s"
                    return Lost(reason, heard)
                else:
                    wire.wait(SLICE, write=True)
        except Broken as broken:
            return Lost(broken.message, heard + _rest(wire))
        return Done(heard) if heard else DONE

    def _deadline(self, step: Read | Idle, now: float) -> float:
        """Return the moment at which this step's time is up; the same step keeps its moment."""
        if self._current is not step:
            self._current, self._until = step, now + step.seconds
        return self._until


def _waiting(wire: Wire) -> Event | None:
    """Look for what has arrived unasked."""
    try:
        if not wire.wait(0):
            return None
        data = wire.receive()
    except Broken as broken:
        return Lost(broken.message)
    if data is None:
        return None
    return Unread(data) if data else Lost("closed the connection")


def _late(step: Read) -> Lost:
    return Lost(f"gave no complete answer to {step.stage} in {step.seconds:g} s", late=True)


def _rest(wire: Wire) -> bytes:
    """Return what can still be read of a line that broke: often the server's reason."""
    rest = b""
    try:
        while data := wire.receive():
            rest += data
    except Broken:
        pass
    return rest
