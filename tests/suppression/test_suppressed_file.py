"""suppressed.csv as people and programs write it: read exactly or refused, added to whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
import stat
from datetime import date
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from merge.address import normalise
from merge.errors import AddressError, JournalError, ListError
from merge.suppression import Entry, Suppression, append, parse, read

WHERE = Path("suppressed.csv")
DAY = date(2026, 11, 23)


def addresses(text: str | bytes) -> list[str]:
    content = text.encode() if isinstance(text, str) else text
    return [entry.address for entry in parse(content, WHERE)]


def refused(text: str | bytes) -> list[tuple[int | None, str]]:
    with pytest.raises(ListError) as refusal:
        addresses(text)
    assert refusal.value.exit_code == 1
    assert "nothing is sent" in refusal.value.message
    assert refusal.value.hint
    assert all(problem.file == "suppressed.csv" for problem in refusal.value.problems)
    return [(problem.line, problem.message) for problem in refusal.value.problems]


def test_address_reason_and_date() -> None:
    text = "address,reason,date\nbob@x.org,unsubscribed,2026-11-23\n@y.org,asked by their office,\n"
    assert parse(text.encode(), WHERE) == (
        Entry("bob@x.org", "unsubscribed", DAY),
        Entry("@y.org", "asked by their office"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "bob@x.org\n",
        "bob@x.org",
        "\ufeffbob@x.org\r\n",
        "\ufeffaddress\r\nbob@x.org\r\n",
        "ADDRESS , Reason\n BOB@X.ORG , no\n",
        "\n\n address,reason,date \n\n   \nbob@x.org\n,,\n",
        "date;reason;address\n2026-11-23;no, never;Bob@x.org\n",
        "E-Mail\tnote\nbob@x.org\tasked on the phone\n",
        'address,reason,date\n"bob@x.org","no, never",2026-11-23\n',
        "bob@x.org,left,2026-11-23T08:00:00Z\r",
        "Bob <bob@x.org>\n",
        '"bob@x.org"\n',
        "address,reason\n'bob@x.org,quoted\n".replace("'bob", "bob"),
    ],
)
def test_files_as_hands_write_them(text: str) -> None:
    assert addresses(text) == ["bob@x.org"]


def test_a_domain_beyond_ascii_is_the_one_that_goes_on_the_wire() -> None:
    assert addresses("Info@Bücher.example\n@BÜCHER.example\n") == [
        "info@xn--bcher-kva.example",
        "@xn--bcher-kva.example",
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("bob@x.org\nbob at x.org\n", 2, "@"),
        ("bob@x.org\n\n\nno,bob@x.org\n", 4, "@"),
        ("Adresse,Grund\nbob@x.org,nein\n", 1, "@"),
        ("bob@x.org;no;2026-11-23\n", 1, ""),
        ("bob@x.org,left,23.11.2026\n", 1, "23.11.2026 is no date"),
        ("bob@x.org,left,11/23/2026\n", 1, "is no date"),
        ("address,reason,date\nbob@x.org,no, never,2026-11-23\n", 2, "4 values where 3 belong"),
        ('a@x.org\nbob@x.org,"he said no\nann@x.org\n', 2, "quote"),
        ("@\n", 1, ""),
        ("@x\n", 1, ""),
        ("@@x.org\n", 1, ""),
        ("*@x.org.\n", 1, ""),
        ("address,reason\n,no name\n", 2, "empty"),
        ("bob@x.org, ann@x.org\n", 1, "second address"),
        ("bob@x.org ann@x.org\n", 1, "two addresses"),
        ("bob@x.org\x00\n", 1, ""),
    ],
)
def test_a_line_that_cannot_be_understood_stops_everything(text: str, line: int, words: str) -> None:
    assert [at for at, said in refused(text) if words in said] == [line]


def test_other_encodings_are_refused_with_their_line() -> None:
    assert refused(b"a@x.org\nb@x.org\ngr\xfc\xdfe@x.org\n") == [(3, "this line is not UTF-8")]
    assert refused("a@x.org\n".encode("utf-16"))


def test_every_bad_line_is_told_at_once_up_to_a_number() -> None:
    assert [line for line, _ in refused("x\n" * 3)] == [1, 2, 3]
    assert len(refused("x\n" * 50)) == 20


def test_a_domain_covers_itself_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "suppressed.csv"
    path.write_text("@x.org,their wish,2026-11-23\n")
    listed = Suppression(path)
    assert listed.reason("Anyone@X.org") == "on the suppression list: their wish, 2026-11-23"
    for other in ("a@sub.x.org", "a@xx.org", "a@x.org.uk", "x.org@y.org"):
        assert listed.reason(other) is None


@pytest.mark.parametrize("spelling", ["BOB@x.org", " bob@X.ORG ", "Bob <bob@x.org>"])
def test_every_spelling_of_an_address_is_that_address(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / "suppressed.csv"
    path.write_text("Bob@x.org\n")
    assert Suppression(path).reason(spelling) == "on the suppression list"
    assert Suppression(path).reason("bob2@x.org") is None
    with pytest.raises(AddressError):
        Suppression(path).reason("no address")


def test_two_files_and_none(tmp_path: Path) -> None:
    first, second = tmp_path / "one.csv", tmp_path / "two.csv"
    listed = Suppression(first, second)
    assert listed.reason("bob@x.org") is None
    second.write_text("bob@x.org,two\n")
    assert listed.reason("bob@x.org") == "on the suppression list: two"


def test_a_change_is_seen_at_the_next_question(tmp_path: Path) -> None:
    path = tmp_path / "suppressed.csv"
    listed = Suppression(path)
    for number in range(50):  # several within one tick of the file system's clock, of one length
        path.write_text(f"p{number:02}@x.org\n")
        assert listed.reason(f"p{number:02}@x.org"), number


def test_a_change_that_leaves_time_and_size_is_seen_while_the_file_is_young(tmp_path: Path) -> None:
    path = tmp_path / "suppressed.csv"
    path.write_text("ann@x.org\n")
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    listed = Suppression(path)
    assert listed.reason("ann@x.org")
    path.write_text("bob@x.org\n")
    os.utime(path, ns=times)
    assert listed.reason("bob@x.org")


def test_a_clock_too_coarse_to_tell_two_changes_apart_hides_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "suppressed.csv"
    path.write_text("ann@x.org\n")
    as_it_was = path.stat()
    listed = Suppression(path)
    monkeypatch.setattr(os, "stat", lambda _: as_it_was)
    assert listed.reason("ann@x.org")
    path.write_text("bob@x.org\n")
    assert listed.reason("bob@x.org")


def test_an_old_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "suppressed.csv"
    path.write_text("ann@x.org\n")
    os.utime(path, (1e9, 1e9))
    listed = Suppression(path)
    assert listed.reason("ann@x.org")
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read again"))
    assert listed.reason("ann@x.org")
    assert listed.reason("bob@x.org") is None


def test_who_was_on_the_list_stays_on_it_while_the_file_is_being_saved(tmp_path: Path) -> None:
    path = tmp_path / "suppressed.csv"
    path.write_text("ann@x.org\n")
    listed = Suppression(path)
    assert listed.reason("ann@x.org")
    path.write_text("")
    assert listed.reason("ann@x.org")
    path.unlink()
    assert listed.reason("ann@x.org")


def test_a_file_that_goes_bad_is_told_at_every_question(tmp_path: Path) -> None:
    path = tmp_path / "suppressed.csv"
    path.write_text("ann@x.org\n")
    listed = Suppression(path)
    assert listed.reason("bob@x.org") is None
    path.write_text("ann@x.org\nrubbish\n")
    for _ in range(2):
        with pytest.raises(ListError):
            listed.reason("bob@x.org")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs rights that can be taken away")
def test_a_file_that_may_not_be_read_stops_everything(tmp_path: Path) -> None:
    path = tmp_path / "suppressed.csv"
    path.write_text("ann@x.org\n")
    path.chmod(0)
    with pytest.raises(ListError, match="cannot be read"):
        Suppression(path).reason("bob@x.org")


def test_a_folder_in_its_place_stops_everything(tmp_path: Path) -> None:
    with pytest.raises(ListError, match="cannot be read"):
        Suppression(tmp_path).reason("bob@x.org")


def test_a_new_file_begins_with_the_header(tmp_path: Path) -> None:
    path = tmp_path / "new" / "suppressed.csv"
    assert append(path, [Entry("Bob@X.org", "bounced", DAY), Entry("@y.org")]) == 2
    assert path.read_bytes() == b"address,reason,date\nbob@x.org,bounced,2026-11-23\n'@y.org,,\n"
    assert [entry.address for entry in read(path)] == ["bob@x.org", "@y.org"]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "suppressed.csv"
    old = "\ufeff\r\nDate;Address\r\n\r\n2026-01-01;ANN@x.org\r\n;last@x.org".encode()
    path.write_bytes(old)
    path.chmod(0o640)
    assert append(path, [Entry("ann@x.org"), Entry("bob@x.org", "lost in this layout", DAY)]) == 1
    assert path.read_bytes() == old + b"\r\n2026-11-23;bob@x.org\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_nobody_is_added_twice(tmp_path: Path) -> None:
    path = tmp_path / "suppressed.csv"
    entries = [Entry("ann@x.org", "first"), Entry("ANN@x.org", "second")]
    assert append(path, entries) == 1
    before = path.stat().st_mtime_ns, path.read_bytes()
    assert append(path, entries) == 0
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert read(path)[0].reason == "first"


def test_nothing_is_added_to_what_cannot_be_understood(tmp_path: Path) -> None:
    path = tmp_path / "suppressed.csv"
    path.write_text("rubbish\n")
    with pytest.raises(ListError):
        append(path, [Entry("ann@x.org")])
    with pytest.raises(AddressError):
        append(tmp_path / "other.csv", [Entry("ann@x.org"), Entry("rubbish")])
    assert not (tmp_path / "other.csv").exists()
    assert path.read_text() == "rubbish\n"


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "suppressed.csv"
    path.write_text("ann@x.org\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JournalError, match="No space left"):
        append(path, [Entry("bob@x.org")])
    assert path.read_text() == "ann@x.org\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["suppressed.csv", "suppressed.csv.lock"]


@pytest.mark.skipif(os.name != "posix", reason="links are made as on POSIX")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.csv", tmp_path / "suppressed.csv"
    real.write_text("ann@x.org\n")
    link.symlink_to(real)
    append(link, [Entry("bob@x.org")])
    assert link.is_symlink()
    assert real.read_text() == "ann@x.org\nbob@x.org,,\n"


def test_hostile_reasons_stay_one_line_that_no_spreadsheet_obeys(tmp_path: Path) -> None:
    path = tmp_path / "suppressed.csv"
    append(path, [Entry("=cmd|calc@x.org", '=1+1\r\n"x",\x1b[2J\x00evil@x.org', DAY), Entry("b@x.org")])
    assert path.read_bytes().count(b"\n") == 3
    assert [(entry.address, entry.day) for entry in read(path)] == [
        ("=cmd|calc@x.org", DAY),
        ("b@x.org", None),
    ]
    assert b"\x1b" not in path.read_bytes()
    assert not [line for line in path.read_text().split("\n") if line.startswith("=")]
    assert Suppression(path).reason("=cmd|calc@x.org")
    assert Suppression(path).reason("'=cmd|calc@x.org")


def write_some(path: Path, who: int) -> None:
    for number in range(20):
        append(path, [Entry(f"p{who}-{number}@x.org"), Entry(f"shared{number}@x.org")])


def test_two_writers_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "suppressed.csv"
    fork = multiprocessing.get_context("spawn")
    writers = [fork.Process(target=write_some, args=(path, who)) for who in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = [entry.address for entry in read(path)]
    assert len(found) == len(set(found)) == 3 * 20 + 20


LOCAL = st.from_regex(r"[A-Za-z0-9=+'&-]{1,20}", fullmatch=True)
DOMAIN = st.sampled_from(["x.org", "Y.Example.COM", "bücher.example", "sub.x.org"])
TEXT = st.text(max_size=40) | st.just("ann@x.org")


@settings(max_examples=60, deadline=None)
@given(
    people=st.lists(st.tuples(LOCAL, DOMAIN, TEXT, st.none() | st.dates()), max_size=8),
    before=st.sampled_from([b"", b"zoe@x.org", b"\xef\xbb\xbfreason;address\r\n", b"date\taddress\n"]),
)
@example(people=[("''", "x.org", "", None)], before=b"")
def test_what_is_appended_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    people: list[tuple[str, str, str, date | None]],
    before: bytes,
) -> None:
    path = tmp_path_factory.mktemp("list") / "suppressed.csv"
    path.write_bytes(before)
    entries = [Entry(f"{local}@{domain}", reason, day) for local, domain, reason, day in people]
    append(path, entries)
    assert path.read_bytes().startswith(before)
    listed = Suppression(path)
    for entry in entries:
        assert listed.reason(entry.address)
    assert {normalise(entry.address).removeprefix("'") for entry in entries} >= {
        entry.address.removeprefix("'") for entry in read(path) if entry.address != "zoe@x.org"
    }
    assert append(path, entries) == 0
