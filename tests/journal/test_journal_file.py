"""The file itself: who may read it, who holds it, and what happens when it is not as it should be."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
from journal_kit import bring, delivery, enrol

from merge.clock import TestClock, WallClock
from merge.errors import JournalError, LockedError
from merge.journal import Journal
from merge.model import State

HOLD = """
import sys, time
from pathlib import Path
from merge.clock import WallClock
from merge.journal import Journal
journal = Journal.open(Path(sys.argv[1]), edition="1", clock=WallClock())
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def opened(path: Path) -> Journal:
    return Journal.open(path, edition="1", clock=TestClock())


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_only_the_owner_can_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(path) as journal:
            enrol(journal, ["a"])
            for file in path.parent.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    finally:
        os.umask(before)


def test_it_is_one_file_when_nobody_has_it_open(path: Path) -> None:
    with opened(path) as journal:
        enrol(journal, ["a"])
    expected = ["journal.db"] if os.name == "posix" else ["journal.db", "journal.db.lock"]
    assert sorted(file.name for file in path.parent.iterdir()) == expected


def test_a_second_run_is_refused_at_once_and_the_first_goes_on(path: Path) -> None:
    with opened(path) as journal:
        enrol(journal, ["a"])
        began = time.monotonic()
        with pytest.raises(LockedError, match="another run") as refusal:
            opened(path)
        assert time.monotonic() - began < 1.0
        assert refusal.value.exit_code == 75
        sqlite3.connect(path).close()  # closing another handle of the file must not let go of it
        with pytest.raises(LockedError):
            opened(path)
        journal.committing(delivery(journal, "a"))
    opened(path).close()


def test_the_lock_ends_with_its_holder_however_that_ends(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError):
            Journal.open(path, edition="1", clock=WallClock())
        view = Journal.look(path, edition="1")
        assert view
        with view:
            assert view.running
        holder.kill()
    opened(path).close()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the lock is a file anyway")
def test_where_folders_cannot_be_locked_a_file_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl  # noqa: PLC0415 - POSIX alone has it

    real = fcntl.flock

    def as_on_nfs(handle: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    with opened(path), pytest.raises(LockedError):
        opened(path)
    opened(path).close()
    assert path.with_name("journal.db.lock").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs flock")
def test_no_locking_at_all_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl  # noqa: PLC0415 - POSIX alone has it

    def none(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(JournalError, match="No locks available") as refusal:
        opened(path)
    assert "local disk" in refusal.value.hint


def test_looking_never_makes_a_run_fail(path: Path) -> None:
    looker = textwrap.dedent("""
        import sys
        from pathlib import Path
        from merge.journal import Journal
        print("looking", flush=True)
        while True:
            view = Journal.look(Path(sys.argv[1]), edition="1")
            view.counts()
            view.close()
    """)
    opened(path).close()
    with subprocess.Popen([sys.executable, "-c", looker, str(path)], stdout=subprocess.PIPE) as looking:
        assert looking.stdout
        looking.stdout.readline()
        for _ in range(100):
            with Journal.open(path, edition="1", clock=WallClock()) as journal:
                enrol(journal, ["a"])
        assert looking.poll() is None
        looking.kill()


def test_looking_shows_a_run_as_it_goes_on(path: Path) -> None:
    assert Journal.look(path, edition="1") is None
    with opened(path) as journal:
        enrol(journal, ["a", "b"])
        journal.committing(delivery(journal, "a"))
        view = Journal.look(path, edition="1")
        assert view
        with view:
            assert view.running
            assert view.counts()[State.WAITING] == 2  # one of them is on its way
            bring(journal, "b", State.SENT)
            assert view.counts()[State.SENT] == 1
    view = Journal.look(path, edition="1")
    assert view
    with view:
        assert not view.running
        assert view.counts() == {**dict.fromkeys(State, 0), State.UNCERTAIN: 1, State.SENT: 1}
        assert [record.key for record in view.uncertain()] == ["a"]


def test_looking_writes_nothing(path: Path) -> None:
    with opened(path) as journal:
        enrol(journal, ["a"])
    before = path.read_bytes()
    view = Journal.look(path, edition="another")
    assert view
    with view:
        assert sum(view.counts().values()) == 0
        assert view.meta.get("x") is None
        with pytest.raises(JournalError):
            view.meta.set("x", "y")
    assert path.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "fork") or os.getuid() != 0, reason="only root can act for another user")
def test_a_folder_that_cannot_be_written_can_be_looked_at_and_not_run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        look_at_what_cannot_be_written(Path(folder) / "journal.db")


def look_at_what_cannot_be_written(path: Path) -> None:
    with opened(path) as journal:
        enrol(journal, ["a"])
    path.chmod(0o644)
    script = textwrap.dedent("""
        import os, sys, urllib.parse  # nothing can be imported later, as another user
        from pathlib import Path
        from merge.clock import TestClock
        from merge.errors import JournalError
        from merge.journal import Journal
        path = Path(sys.argv[1])
        os.chdir(path.parent)
        os.setuid(65534)
        with Journal.look(Path(path.name), edition="1") as view:
            assert sum(view.counts().values()) == 1
        try:
            Journal.open(Path(path.name), edition="1", clock=TestClock())
        except JournalError as error:
            assert error.hint, error
            print(error.message)
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.stderr == ""
    assert "cannot be" in done.stdout


def test_no_folder_to_keep_it_in_is_said(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no folder"):
        opened(tmp_path / "none" / "journal.db")


def test_a_folder_in_its_place_is_said(path: Path) -> None:
    path.mkdir()
    with pytest.raises(JournalError, match="cannot be opened"):
        opened(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"this is a text, and long enough to be read as a database header. " * 99, "no journal"),
        (b"SQLite format 3\0" + b"\xff" * 4096, "(no journal|damaged)"),
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(path: Path, content: bytes, words: str) -> None:
    path.write_bytes(content)
    for attempt in (opened, lambda path: Journal.look(path, edition="1")):
        with pytest.raises(JournalError, match=words) as refusal:
            attempt(path)
        assert refusal.value.hint
        assert refusal.value.exit_code == 4
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_journal(path: Path) -> None:
    path.touch()
    assert Journal.look(path, edition="1") is None
    opened(path).close()


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    for attempt in (opened, lambda path: Journal.look(path, edition="1")):
        with pytest.raises(JournalError, match="not one that mergepost made"):
            attempt(path)
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
        assert other.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    other.close()


def test_a_newer_journal_is_refused_and_left_alone(path: Path) -> None:
    opened(path).close()
    with sqlite3.connect(path) as later:
        later.execute("PRAGMA user_version = 99")
    later.close()
    before = path.read_bytes()
    for attempt in (opened, lambda path: Journal.look(path, edition="1")):
        with pytest.raises(JournalError, match="newer mergepost") as refusal:
            attempt(path)
        assert "update" in refusal.value.hint
    assert path.read_bytes() == before


def test_a_damaged_journal_stops_the_run_and_never_lies(path: Path) -> None:
    with opened(path) as journal:
        enrol(journal, [f"person{number}" for number in range(500)])
    whole = path.read_bytes()
    pages = len(whole) // 4096
    outcomes = set()
    for page in range(pages):
        path.write_bytes(whole[: page * 4096] + b"\xa5" * 4096 + whole[(page + 1) * 4096 :])
        try:
            with opened(path) as journal:
                found = [journal.standing(f"person{number}") for number in range(500)]
        except JournalError as error:
            outcomes.add("refused" if error.hint else "refused without a word of advice")
        else:
            assert all(standing and standing.state is State.WAITING for standing in found)
            outcomes.add("unharmed")
    assert outcomes == {"refused", "unharmed"}


def test_a_truncated_journal_is_refused(path: Path) -> None:
    with opened(path) as journal:
        enrol(journal, [f"person{number}" for number in range(500)])
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(JournalError, match="damaged"), opened(path) as journal:
        enrol(journal, [f"person{number}" for number in range(500)])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs limits on file sizes, as POSIX has them")
def test_no_room_for_a_journal_is_said_and_forgotten_when_there_is(path: Path) -> None:
    script = textwrap.dedent("""
        import resource, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from journal_kit import delivery, enrol
        from merge.clock import TestClock
        from merge.errors import JournalError
        from merge.journal import Journal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        keys = [f"person{number}" for number in range(2000)]
        with Journal.open(Path(sys.argv[1]), edition="1", clock=TestClock()) as journal:
            enrol(journal, ["a", "b"])
            journal.committing(delivery(journal, "a"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            for attempt in (lambda: enrol(journal, keys), lambda: journal.committing(delivery(journal, "b"))):
                try:
                    attempt()
                except JournalError as error:
                    print(error.message, "|", error.hint)
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stderr == ""
    assert "disk" in done.stdout
    with opened(path) as journal:
        assert [record.state for record in journal.records()] == [State.UNCERTAIN, State.WAITING]
        enrol(journal, [f"person{number}" for number in range(2000)])


def test_a_journal_moves_with_its_folder(path: Path, tmp_path: Path) -> None:
    with opened(path) as journal:
        enrol(journal, ["a"])
        bring(journal, "a", State.SENT)
    target = tmp_path / "moved, with a ? and a # and a % in its name"
    target.mkdir()
    shutil.move(path, target)
    with opened(target / "journal.db") as journal:
        assert journal.counts()[State.SENT] == 1


def test_records_that_nobody_read_to_the_end_make_no_noise_when_the_journal_is_closed(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal.db", edition="1", clock=TestClock()) as journal:
        enrol(journal, ["a", "b", "c"])
        records = journal.records()
        next(records)
    records.close()  # type: ignore[attr-defined] # a generator in fact
