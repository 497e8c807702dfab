"""A server that may do anything, against the dialogue: no row wrongly sent, none doubled, none lost.

The model is the server's own book: which messages it has taken, and which it has refused for good. Whatever
it says, and however little of that arrives, the rows' states have to agree with the book.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from script import delivery

from merge.smtp.dialogue import Dialogue
from merge.smtp.docket import Docket, Phase
from merge.smtp.line import Habits
from merge.smtp.meaning import QUIT, Run
from merge.smtp.opening import Terms
from merge.smtp.steps import Ask, Commit, Done, Handshake, Hangup, Idle, Lost, Read, Refill, Tick, Unread

REFUSALS = [
    "421",
    "450",
    "451",
    "452 4.2.2",
    "454",
    "500",
    "501",
    "502",
    "503",
    "530",
    "550 5.1.1",
    "550 5.4.5",
    "552",
    "553",
    "554",
]


@dataclass
class Book:
    """What the server has really done, by the row's address."""

    accepted: list[str] = field(default_factory=list)


@dataclass
class Fickle:
    """A server that follows RFC 5321, 2920 and 3030, but refuses, closes and hides what it offers at will.

    With a `slip` it does not close, and what it says arrives whole, but it leaves out an answer (-1), or says
    one too many before it (1): not before the answer to an end of data that nothing rides behind, though,
    where nobody could tell the one from the other.
    """

    draw: object
    book: Book
    extensions: tuple[str, ...]
    trouble: float
    inbox: bytes = b""
    outbox: bytes = b""
    closed: bool = False
    sender: bool = False
    rcpts: list[str] = field(default_factory=list)
    reading: bool = False
    chunk: int = 0
    slip: int = 0
    silent: bool = False

    def __post_init__(self) -> None:
        self.slips = self.slip != 0

    def say(self, line: str, *, end: bool = False) -> None:
        if self.closed:
            return
        if self.slip and (self.inbox or not end) and self.draw(st.integers(0, 9)) == 0:
            self.slip, self.silent = 0, self.slip < 0
            if self.silent:
                return
            self.outbox += b"250 nobody asked\r\n"
        self.outbox += line.encode() + b"\r\n"

    def chance(self) -> bool:
        return self.draw(st.floats(0, 1)) < self.trouble

    def hear(self, data: bytes) -> None:
        self.inbox += data
        while not self.closed and self._one():
            pass

    def _one(self) -> bool:
        if self.chunk:
            if len(self.inbox) < self.chunk:
                return False
            self.inbox = self.inbox[self.chunk :]
            self.chunk = 0
            self._message()
            return True
        if self.reading:
            end = 0 if self.inbox.startswith(b".\r\n") else self.inbox.find(b"\r\n.\r\n") + 2
            if end < 2 and not self.inbox.startswith(b".\r\n"):
                return False
            self.inbox = self.inbox[end + 3 :]
            self.reading = False
            self._message()
            return True
        line, found, rest = self.inbox.partition(b"\r\n")
        if not found:
            return False
        self.inbox = rest
        self._command(line.decode())
        return True

    def _message(self) -> None:
        """Take it or leave it, and say so, or close before saying it."""
        if not self.rcpts:
            self.say("554 no valid recipients", end=True)
        elif self.chance():
            self.refuse(end=True)
        else:
            self.book.accepted += self.rcpts
            if self.chance() and not self.slips:
                self.closed = True  # taken, and nobody was told
                if self.draw(st.booleans()):
                    self.outbox += self.draw(st.sampled_from([b"2", b"250 o", b"250-2.0.0 ok\r\n"]))
            else:
                self.say(
                    self.draw(
                        st.sampled_from(["250 2.0.0 ok", "250 ok", "200 ok", "250-2.0.0 a\r\n250 2.0.0 b"])
                    ),
                    end=True,
                )
        self.sender, self.rcpts = False, []

    def refuse(self, *, end: bool = False) -> None:
        code = self.draw(st.sampled_from(REFUSALS[1:] if self.slips else REFUSALS))
        self.say(f"{code} no", end=end)
        if code == "421" or (self.draw(st.integers(0, 9)) == 0 and not self.slips):
            self.closed = True

    def _command(self, line: str) -> None:  # noqa: C901 - one branch a command
        verb = line.partition(" ")[0].upper()
        if verb == "BDAT":
            self.chunk = int(line.split()[1])
            if self.rcpts:
                return
            self.inbox, dropped = self.inbox[self.chunk :], len(self.inbox) < self.chunk
            self.chunk = 0
            self.closed |= dropped
            self.say("503 no recipients")
        elif verb == "EHLO":
            self.say("\r\n".join(["250-me", *(f"250-{word}" for word in self.extensions), "250 HELP"]))
        elif verb == "QUIT":
            self.say("221 bye")
            self.closed = True
        elif verb in {"RSET", "NOOP"}:
            self.sender, self.rcpts = False, []
            self.say("250 ok")
        elif self.chance():
            self.refuse() if self.slips or self.draw(st.booleans()) else setattr(self, "closed", True)
        elif verb == "MAIL":
            self.say("503 sender already given" if self.sender else "250 ok")
            self.sender = True
        elif verb == "RCPT":
            self.say("250 ok" if self.sender else "503 no sender")
            if self.sender:
                self.rcpts.append(line)
        elif verb == "DATA":
            self.reading = bool(self.rcpts) or self.draw(st.booleans())
            self.say("354 go" if self.reading else "554 no valid recipients")
        else:
            self.say("500 what")


def converse(dialogue: Dialogue, server: Fickle, draw, recorded: list[int]) -> Hangup:
    """Carry bytes between the two, cut anywhere, until the dialogue hangs up."""
    server.say("220 me")
    for _ in range(3000):
        step = dialogue.step
        if isinstance(step, Hangup):
            return step
        if isinstance(step, Idle | Refill | Handshake):
            if isinstance(step, Idle) and dialogue.docket.next() is None:
                return Hangup(Run.GO_ON, "is idle")
            dialogue.resume(Done())
        elif isinstance(step, Read):
            dialogue.resume(_read(server, step, draw))
        elif isinstance(step, Ask | Commit):
            dialogue.resume(_write(server, step, recorded) or _read(server, step.read, draw))
    raise AssertionError("the conversation has no end")


def _read(server: Fickle, step: Read, draw) -> Done | Lost:
    if not server.outbox:
        excused = server.silent or step.stage == QUIT
        assert server.closed or excused, f"the client waits for an answer to {step.stage} that never comes"
        return Lost("closed the connection", late=not server.closed)
    size = len(server.outbox) if server.slips else draw(st.integers(1, len(server.outbox)))
    data, server.outbox = server.outbox[:size], server.outbox[size:]
    return Done(data)


def _write(server: Fickle, step: Ask | Commit, recorded: list[int]) -> Unread | Lost | None:
    if isinstance(step, Commit) and step.body:
        _hear(server, step.body)
    if server.outbox:
        data, server.outbox = server.outbox, b""
        return Unread(data)
    if server.closed:
        return Lost("closed the connection")
    if isinstance(step, Ask):
        _hear(server, step.data)
        return None
    for case in step.cases:
        recorded.append(case.delivery.row)
        case.phase = Phase.DOUBTFUL
    server.hear(step.data)
    return None


def _hear(server: Fickle, data: bytes) -> None:
    taken = len(server.book.accepted)
    server.hear(data)
    assert len(server.book.accepted) == taken, "a message was accepted without being on record"


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow]
)
@given(st.data())
def test_the_rows_agree_with_the_servers_book(data):
    offered = tuple(word for word in ("PIPELINING", "CHUNKING", "SIZE 100000") if data.draw(st.booleans()))
    agree(data.draw, data.draw(st.integers(0, 3)), offered)


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow]
)
@given(st.data())
def test_the_rows_agree_with_the_book_of_a_server_that_answers_once_too_often_or_too_seldom(data):
    agree(data.draw, data.draw(st.sampled_from([1, 2, 3])), ("PIPELINING", "CHUNKING"), (-1, 1))


def agree(draw, level: int, offered: tuple[str, ...], slips: tuple[int, ...] = (0,)) -> None:
    """Send a few rows over lines of such servers, and compare what became of them with the book."""
    count = draw(st.integers(1, 6))
    trouble = draw(st.sampled_from([0.0, 0.05, 0.2, 0.5]))
    docket, habits = Docket(), Habits(min(level, 2), 3 if level == 3 else 0, draw(st.sampled_from([0, 2, 5])))
    for row in range(1, count + 1):
        several = draw(st.integers(0, 4)) == 0
        docket.add(delivery(row, *([f"r{row}@b.example", f"s{row}@b.example"] if several else ())))
    book, outcomes, recorded = Book(), [], []
    for _ in range(12):
        dialogue = Dialogue(Terms("ada.example", starttls=False, private=False), docket, habits)
        end = converse(
            dialogue, Fickle(draw, book, offered, trouble, slip=draw(st.sampled_from(slips))), draw, recorded
        )
        outcomes += docket.known()
        if end.run is Run.STOP or not docket.pending:
            break
    outcomes += docket.known()
    left = [letter.row for letter in docket.recall()]
    rows = [outcome.row for outcome in outcomes] + left
    assert sorted(rows) == list(range(1, count + 1)), "a row is lost, or came home twice"
    for outcome in outcomes:
        event(outcome.state)
        copies = sum(f"<r{outcome.row}@" in line for line in book.accepted)
        assert copies <= 1, "a row was accepted twice"
        if outcome.state == "sent":
            assert copies == 1, "called sent, never accepted"
        elif outcome.state in {"failed", "deferred"}:
            assert copies == 0, "accepted, and called refused"
        if outcome.state in {"sent", "uncertain"}:
            assert outcome.row in recorded
    for row in left:
        assert not any(f"<r{row}@" in line for line in book.accepted), "accepted, and given back"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b"250 ok\r\n",
                b"354 go\r\n",
                b"550 no\r\n",
                b"421 bye\r\n",
                b"450 no\r\n",
                b"503 no\r\n",
                b"25",
                b"250-x\r\n",
                b"\r\n",
                b"220 x\r\n",
                b"235 x\r\n",
                b"junk\r\n",
                b"\n",
                b"\x00",
            ]
        ),
        max_size=14,
    ),
    st.integers(0, 3),
    st.booleans(),
)
def test_no_reply_whatever_breaks_the_dialogue(replies, level, answers_first):
    """Whatever is said: every row has one fate, none is sent without being on record, nothing raises."""
    docket, habits = Docket(), Habits(min(level, 2), 3 if level == 3 else 0)
    for row in range(1, 4):
        docket.add(delivery(row))
    dialogue = Dialogue(Terms("ada.example", starttls=False, private=False), docket, habits)
    greeting = [b"220 hi\r\n", b"250-me\r\n250-PIPELINING\r\n250 CHUNKING\r\n"] if answers_first else []
    said = iter([*greeting, *replies])
    recorded = []
    for _ in range(200):
        step = dialogue.step
        if isinstance(step, Hangup):
            break
        if isinstance(step, Read):
            chunk = next(said, None)
            dialogue.resume(Lost("closed the connection") if chunk is None else Done(chunk))
        elif isinstance(step, Idle) and docket.next() is None:
            dialogue.resume(Tick())
        else:
            if isinstance(step, Commit):
                for case in step.cases:
                    recorded.append(case.delivery.row)
                    case.phase = Phase.DOUBTFUL
            dialogue.resume(Done())
    else:
        raise AssertionError("the conversation has no end")
    outcomes = docket.known()
    left = [letter.row for letter in docket.recall()]
    assert sorted([outcome.row for outcome in outcomes] + left) == [1, 2, 3]
    assert all(outcome.row in recorded for outcome in outcomes if outcome.state in {"sent", "uncertain"})
