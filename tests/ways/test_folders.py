"""Letters in folders: whole or not at all, never twice, readable by those who know such folders."""

from __future__ import annotations

import contextlib
import errno
import mailbox
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ways_kit import delivery, letter

from merge import folders
from merge.carrier import OneByOne
from merge.clock import TestClock, WallClock
from merge.errors import CarrierError
from merge.folders import Folder, Maildir, Mbox, mbox_entry
from merge.model import Delivery, Outcome, State
from merge.seal import seal

HERE = Path(__file__).parent


def in_mbox(path: Path) -> list[mailbox.mboxMessage]:
    """What a mail program finds in an mbox file."""
    with contextlib.closing(mailbox.mbox(path, create=False)) as box:
        return list(box)


def put(way: OneByOne, one: Delivery) -> Outcome:
    way.offer(one)
    (outcome,) = way.collect(0.0)
    return outcome


def test_a_maildir_as_mail_programs_read_it(tmp_path):
    way = Maildir(tmp_path / "box")
    for row in (2, 3):
        assert put(way, delivery(row)).state is State.SENT
    box = mailbox.Maildir(tmp_path / "box", create=False)
    assert sorted(message["Message-ID"] for message in box) == [
        "<0002.token@ada.example>",
        "<0003.token@ada.example>",
    ]
    assert not list((tmp_path / "box" / "tmp").iterdir())
    (first, _) = (tmp_path / "box" / "new").iterdir()
    assert first.stat().st_mode & 0o777 == 0o600
    assert b"\r" not in first.read_bytes()
    assert (tmp_path / "box").stat().st_mode & 0o077 == 0


def test_a_maildir_never_has_a_letter_twice_even_when_it_was_read_meanwhile(tmp_path):
    put(Maildir(tmp_path / "box"), delivery(2))
    (file,) = (tmp_path / "box" / "new").iterdir()
    for _ in range(2):
        again = put(Maildir(tmp_path / "box"), delivery(2))
        assert (again.state, again.reply) == (State.SENT, "was in the folder already")
        if file.exists():
            file.rename(tmp_path / "box" / "cur" / f"{file.name}:2,RS")
    assert len(mailbox.Maildir(tmp_path / "box", create=False)) == 1


def test_another_version_of_a_letter_is_another_letter(tmp_path):
    put(Maildir(tmp_path / "box"), delivery(2))
    changed = letter(2, text="Corrected.\n")
    object.__setattr__(changed, "digest", "f" * 64)
    assert put(Maildir(tmp_path / "box"), seal(changed)).reply.startswith("written")
    assert len(mailbox.Maildir(tmp_path / "box", create=False)) == 2


def test_eml_files_are_what_is_sent_byte_for_byte(tmp_path):
    one = delivery(2)
    assert put(Folder(tmp_path / "deep" / "out"), one).state is State.SENT
    assert (tmp_path / "deep" / "out" / "0002-r2@people.example.eml").read_bytes() == one.content
    assert put(Folder(tmp_path / "deep" / "out"), one).reply == "was in the folder already"
    other = letter(2, text="Of another campaign.\n")
    object.__setattr__(other, "message_id", "<other@ada.example>")
    for reply in ("written as 0002-r2@people.example-", "was in the folder already"):
        assert put(Folder(tmp_path / "deep" / "out"), seal(other)).reply.startswith(reply)
    assert (tmp_path / "deep" / "out" / "0002-r2@people.example.eml").read_bytes() == one.content
    assert len(list((tmp_path / "deep" / "out").iterdir())) == 2


@pytest.mark.parametrize(
    "address", ["../../etc/passwd@x.example", "a b@x.example", "$(rm)@x.example", "ü@x.example"]
)
def test_an_address_cannot_choose_the_path(tmp_path, address):
    one = delivery(2)
    object.__setattr__(one, "envelope", type(one.envelope)("news@ada.example", (address,)))
    put(Folder(tmp_path / "out"), one)
    (file,) = (tmp_path / "out").iterdir()
    assert file.parent == tmp_path / "out"
    assert file.name.startswith("0002-")


def test_an_mbox_as_mail_programs_read_it(tmp_path):
    way = Mbox(tmp_path / "out.mbox", WallClock())
    text = "From here on\n>From there\n>>From everywhere\n\nFrom\n"
    put(way, delivery(2, text=text))
    put(way, delivery(3))
    found = in_mbox(tmp_path / "out.mbox")
    assert [message["Message-ID"] for message in found] == [
        "<0002.token@ada.example>",
        "<0003.token@ada.example>",
    ]
    raw = (tmp_path / "out.mbox").read_text("utf-8")
    assert "\n>From here on\n>>From there\n>>>From everywhere\n\nFrom\n" in raw
    assert raw.startswith("From news@ada.example Mon Nov 23 09:30:00 2026\n")
    assert (tmp_path / "out.mbox").stat().st_mode & 0o777 == 0o600


@given(text=st.text(st.sampled_from("From >\n\tx"), max_size=120))
@settings(max_examples=150, deadline=None)
def test_mboxrd_can_be_undone(text):
    """Taking one > from each quoted line gives the message back."""
    one = delivery(2, text=text)
    entry = mbox_entry(one)
    _, _, body = entry.partition(b"\n")
    back = re.sub(rb"(?m)^>(>*From )", rb"\1", body)
    assert back == one.content.replace(b"\r\n", b"\n") + b"\n"
    assert len(re.findall(rb"(?m)^From ", entry)) == 1


@pytest.mark.parametrize("tail", [b"", b"From x\n\ntorn", b"From x\n\ntorn\n", b"From x\n\nwhole\n\n"])
def test_what_was_left_unfinished_does_not_swallow_the_next_letter(tmp_path, tail):
    path = tmp_path / "out.mbox"
    path.write_bytes(tail)
    put(Mbox(path, WallClock()), delivery(2))
    assert in_mbox(path)[-1]["Message-ID"] == "<0002.token@ada.example>"
    assert path.read_bytes().startswith(tail)
    assert b"\n\nFrom news@ada.example" in b"\n\n" + path.read_bytes()


def full_disk(after: int, real: Callable[..., int] = os.write) -> Callable[[int, Any], int]:
    """A disk that takes so many bytes, and then none."""
    left = [after]

    def write(handle: int, data: Any) -> int:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = real(handle, bytes(data)[: left[0]])
        left[0] -= part
        return part

    return write


@pytest.mark.parametrize("after", [0, 1, 100, 300])
def test_a_full_disk_leaves_nothing_half_in_an_mbox(tmp_path, monkeypatch, after):
    path = tmp_path / "out.mbox"
    way = Mbox(path, WallClock())
    put(way, delivery(2))
    before = path.read_bytes()
    monkeypatch.setattr(folders.os, "write", full_disk(after))
    way.offer(delivery(3))
    with pytest.raises(CarrierError, match="No space left on device"):
        way.collect(0.0)
    assert path.read_bytes() == before
    assert [one.row for one in way.recall()] == [3]


@pytest.mark.parametrize("after", [0, 1, 200])
@pytest.mark.parametrize("make", [Maildir, Folder])
def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch, after, make):
    commits: list[Delivery] = []
    way = make(tmp_path / "out", commits.append)
    monkeypatch.setattr(folders.os, "write", full_disk(after))
    way.offer(delivery(2))
    with pytest.raises(CarrierError, match="No space left on device"):
        way.collect(0.0)
    assert [one.row for one in way.recall()] == [2]
    assert not commits
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", ["maildir", "eml", "mbox"])
def test_a_sync_that_fails_behind_the_commit_leaves_the_row_uncertain_and_stops(tmp_path, monkeypatch, kind):
    make: dict[str, Callable[[], OneByOne]] = {
        "maildir": lambda: Maildir(tmp_path / "out"),
        "eml": lambda: Folder(tmp_path / "out"),
        "mbox": lambda: Mbox(tmp_path / "out", WallClock()),
    }
    way = make[kind]()
    syncs: list[int] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        syncs.append(handle)
        if kind == "mbox" or len(syncs) > 1:  # of a file of its own the first sync is before the commit
            raise OSError(errno.EIO, "Input/output error")
        real(handle)

    monkeypatch.setattr(folders.os, "fsync", fsync)
    way.offer(delivery(2))
    (outcome,) = way.collect(0.0)
    assert outcome.state is State.UNCERTAIN
    with pytest.raises(CarrierError, match="Input/output error"):
        way.collect(0.0)
    assert list(way.recall()) == []


@pytest.mark.parametrize("kind", ["maildir", "eml"])
def test_the_file_is_on_disk_before_the_commit_and_its_name_after(tmp_path, monkeypatch, kind):
    order: list[str] = []
    way = (Maildir if kind == "maildir" else Folder)(tmp_path / "out", lambda _: order.append("commit"))
    real_sync, real_rename = os.fsync, Path.rename
    monkeypatch.setattr(folders.os, "fsync", lambda handle: (order.append("sync"), real_sync(handle))[1])
    monkeypatch.setattr(Path, "rename", lambda self, to: (order.append("rename"), real_rename(self, to))[1])
    put(way, delivery(2))
    assert order == ["sync", "commit", "rename", "sync"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from ways_kit import delivery
from merge import folders
from merge.clock import WallClock
from merge.folders import Folder, Maildir, Mbox
kind, moment = sys.argv[1], int(sys.argv[2])
here = Path(sys.argv[4])
def die(): os.kill(os.getpid(), signal.SIGKILL)
calls = [0]
def counting(real):
    def step(*a, **k):
        if calls[0] == moment: die()
        calls[0] += 1
        return real(*a, **k)
    return step
for name in ("write", "fsync", "open", "ftruncate"):
    setattr(folders.os, name, counting(getattr(os, name)))
Path.rename = counting(Path.rename)
def commit(_):
    (here / "committed").write_text("yes")
make = {"maildir": lambda: Maildir(here / "out", commit), "eml": lambda: Folder(here / "out", commit),
        "mbox": lambda: Mbox(here / "out", WallClock(), commit)}
way = make[kind]()
way.offer(delivery(2))
way.collect(0.0)
print("done")
"""


def whole(kind: str, path: Path) -> list[bytes]:
    """The letters that somebody who reads this folder finds."""
    if kind == "maildir":
        return [file.read_bytes() for file in sorted((path / "new").iterdir())] if path.exists() else []
    if kind == "eml":
        return [file.read_bytes() for file in path.glob("*.eml")] if path.exists() else []
    return [bytes(message) for message in in_mbox(path)] if path.exists() else []


@pytest.mark.parametrize("kind", ["maildir", "eml", "mbox"])
def test_killed_at_every_step_no_letter_is_there_before_the_commit(tmp_path, kind):
    """And of maildir and .eml: what is there is whole, and a second attempt does not write it twice."""
    for moment in range(12):
        home = tmp_path / str(moment)
        home.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", KILLED, kind, str(moment), str(HERE), str(home)],
            capture_output=True,
            check=False,
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        found = whole(kind, home / "out")
        committed = (home / "committed").exists()
        assert committed or not found
        if kind != "mbox":
            for content in found:
                assert message_from_bytes(content)["Message-ID"] == "<0002.token@ada.example>"
                assert b"your number is 7." in content
            make = {"maildir": Maildir, "eml": Folder}[kind]
            assert put(make(home / "out"), delivery(2)).state is State.SENT
            assert len(whole(kind, home / "out")) == 1
        if done.returncode == 0:
            assert moment > 3
            return
    raise AssertionError("never came to an end")


def test_an_mbox_that_another_program_has_locked_stops_the_run_untouched(tmp_path):
    path = tmp_path / "out.mbox"
    path.write_bytes(b"")
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX);"
        " print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout
        holder.stdout.readline()
        clock = TestClock()
        way = Mbox(path, clock)
        way.offer(delivery(2))
        with pytest.raises(CarrierError, match="another program has locked"):
            way.collect(0.0)
        assert sum(clock.slept) >= 10
        assert [one.row for one in way.recall()] == [2]
        assert path.read_bytes() == b""
    finally:
        holder.communicate()


def test_an_mbox_that_is_put_in_place_anew_is_the_one_that_is_written(tmp_path):
    path = tmp_path / "out.mbox"
    way = Mbox(path, WallClock())
    put(way, delivery(2))
    path.rename(tmp_path / "old.mbox")
    put(way, delivery(3))
    assert len(in_mbox(path)) == 1
    assert len(in_mbox(tmp_path / "old.mbox")) == 1


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (Maildir, "file"),
        (Folder, "file"),
        (lambda path: Mbox(path, WallClock()), "folder"),
        (lambda path: Maildir(path / "deep" / "er"), "missing"),
        (lambda path: Mbox(path / "deep" / "er", WallClock()), "missing"),
    ],
)
def test_a_place_that_cannot_be_is_told_before_anything(tmp_path, make, what):
    path = tmp_path / "there"
    if what == "file":
        path.write_text("")
    elif what == "folder":
        path.mkdir()
    with pytest.raises(CarrierError, match="there"):
        make(path)
