"""How is one step done on a wire? It reads while it writes, waits in total, records before the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from merge.model import Delivery
from merge.smtp.docket import Docket, Phase
from merge.smtp.steps import (
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
    Write,
)
from merge.smtp.wire import CHUNK, Broken, Clock, Wire

SLICE = 0.25
"""How long, in seconds, a wait may last before an interrupt is seen."""


class Hands:
    """Does what a dialogue asks for.

    `record` is called with the deliveries of a commit before a byte of it is written; `secure` starts TLS on
    a wire. Nothing but what they raise is ever raised: a line that breaks is an event.
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
        self._due: tuple[Step | None, float] = (None, 0.0)
        self._overdue: Step | None = None

    def do(self, step: Step, wire: Wire, patience: float) -> Event | None:
        """Do one step. None: the patience, or the run, ended first; the step is still to be done."""
        event: Event | None = None
        try:
            match step:
                case Read():
                    event = self._read(wire, step, patience)
                case Idle():
                    event = self._idle(wire, step, patience)
                case Write():
                    event = _waiting(wire) or self._write(wire, step.data, stop_early=step.body)
                case Commit():
                    event = _waiting(wire) or self._commit(wire, step)
                case Refill():
                    event = Done()
                case Handshake():
                    event = _waiting(wire) or self._handshake(wire)
        except Broken as broken:
            event = Lost(broken.message)
        return event

    def _handshake(self, wire: Wire) -> Event:
        self._secure(wire)
        return Done()

    def _idle(self, wire: Wire, step: Idle, patience: float) -> Event | None:
        if self._docket.pending:
            return _waiting(wire) or Done()
        until = self._until(step, step.seconds)
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
        late = Lost(f"gave no complete answer to {step.stage} in {step.seconds:g} s")
        until = self._until(step, step.seconds)
        if self._overdue is step:
            return late
        data = None
        while data is None:
            left = until - self._clock.monotonic()
            # What is in doubt is waited for, whoever is in a hurry.
            wait = left if self._docket.doubtful else min(SLICE, left)
            if wire.wait(wait):
                data = wire.receive()
            elif left <= 0:
                return late
            elif not self._docket.doubtful:
                patience -= wait
                if self._clock.interrupted or patience <= 0:
                    return None
        if self._clock.monotonic() >= until:
            self._overdue = step  # what has come is heard; what has not is too late
        return Done(data) if data else Lost("closed the connection")

    def _commit(self, wire: Wire, step: Commit) -> Event:
        self._record([case.delivery for case in step.cases])
        for case in step.cases:
            case.phase = Phase.DOUBTFUL
        handed = 0

        def handing(end: int) -> None:
            nonlocal handed
            handed = end

        # Recording took its time: look again.
        event = _waiting(wire) or self._write(wire, step.data, handing=handing)
        for case, end in zip(step.cases, step.ends, strict=True):
            if handed < end:
                case.phase = Phase.BEGUN  # its last byte never left this program
        return event

    def _write(
        self,
        wire: Wire,
        data: bytes,
        *,
        stop_early: bool = False,
        handing: Callable[[int], None] = lambda _: None,
    ) -> Event:
        """Write it all, reading meanwhile: two full buffers would wait for each other for ever.

        `handing` is told, before each attempt, up to which offset the bytes may have left after it.
        """
        view, done, heard = memoryview(data), 0, bytearray()
        stalled = self._clock.monotonic() + self._deadlines.block
        try:
            while done < len(view):
                piece = view[done : done + CHUNK]
                handing(done + len(piece))
                taken = wire.send(piece)
                done += taken
                if done == len(view):
                    break
                if taken:
                    stalled = self._clock.monotonic() + self._deadlines.block
                elif self._clock.monotonic() >= stalled:
                    reason = f"took nothing more of the message for {self._deadlines.block:g} s"
                    return Lost(reason, bytes(heard))
                else:
                    wire.wait(SLICE, write=True)
                if (more := wire.receive()) is not None:
                    heard += more
                    if not more:
                        return Lost("closed the connection", bytes(heard))
                    if stop_early:
                        return Unread(bytes(heard))
        except Broken as broken:
            return Lost(broken.message, bytes(heard) + _rest(wire))
        return Done(bytes(heard))

    def _until(self, step: Step, seconds: float) -> float:
        """Return the moment at which this step's time is up; the same step keeps its moment."""
        if self._due[0] is not step:
            self._due = (step, self._clock.monotonic() + seconds)
        return self._due[1]


def _waiting(wire: Wire) -> Event | None:
    """Look for what has arrived unasked."""
    try:
        data = wire.receive() if wire.wait(0) else None
    except Broken as broken:
        return Lost(broken.message)
    if data is None:
        return None
    return Unread(data) if data else Lost("closed the connection")


def _rest(wire: Wire) -> bytes:
    """Return what can still be read of a line that broke: often the server's reason."""
    rest = b""
    try:
        while data := wire.receive():
            rest += data
    except Broken:
        pass
    return rest
