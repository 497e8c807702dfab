"""Header lines, judged by a reader that shares nothing with their writer."""

from __future__ import annotations

import judge
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merge import header, proof
from merge.errors import LetterError

WORDS = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters="\u2028\u2029"),
    max_size=30,
)
TEXTS = st.lists(
    st.one_of(WORDS, st.sampled_from(["Zoë", "山田", "  ", "שלום", "x" * 90, "?=", "é" * 40])), max_size=12
)
VALUES = TEXTS.map(" ".join).map(lambda text: text.strip(" ").replace("=?", "=")).filter(str.isprintable)
ADDRESSES = st.from_regex(r"[a-z0-9+-]{1,9}(\.[a-z0-9]{1,5})?@[a-z]{1,12}\.example", fullmatch=True)
NAMES = st.sampled_from(
    ["Subject", "X-Note", "Comments", "X-A-Header-With-A-Rather-Long-Name-Of-More-Than-Seventy-Two-Letters"]
)


def raw(line: str) -> tuple[str, str]:
    assert line.endswith("\r\n")
    ((name, value),) = judge._headers(line[:-2].encode())
    return name, value


@settings(max_examples=250, deadline=None)
@given(NAMES, VALUES)
def test_text_is_read_back_as_it_was(name, value):
    line = header.write(name, value)
    found, text = raw(line)
    assert found == name
    assert judge.phrase(text.strip(" ")) == value
    assert all(len(physical) <= 78 for physical in line.split("\r\n")) or len(name) > 60
    assert proof.text(proof.field(proof.headers(line.encode())[0])[1]) == value


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["To", "Reply-To"]), st.lists(st.tuples(VALUES, ADDRESSES), min_size=1, max_size=6))
def test_mailboxes_are_read_back_as_they_were(name, boxes):
    line = header.write_mailboxes(name, boxes)
    _, text = raw(line)
    assert judge.mailboxes(text) == boxes
    assert list(proof.mailboxes(proof.field(proof.headers(line.encode())[0])[1])) == boxes
    assert all(len(physical) <= 78 for physical in line.split("\r\n"))


@settings(max_examples=200, deadline=None)
@given(VALUES.filter(bool))
def test_file_names_are_read_back_as_they_were(value):
    line = header.write_parameters(
        "Content-Disposition", "attachment", header.write_parameter("filename", value)
    )
    _, text = raw(line)
    assert judge._with_parameters(text) == ("attachment", {"filename": value})
    assert all(len(physical) <= 78 for physical in line.split("\r\n"))


@pytest.mark.parametrize(
    "bad",
    [
        "a\nb",
        "a\rb",
        "a\r\n b",
        "a\0b",
        "a\x0bb",
        "a\x85b",
        "a\u2028b",
        "a\x1bb",
        "=?utf-8?q?=0A?=",
        "\ud800",
        "a\n",
    ],
)
def test_what_could_begin_another_header_is_never_written(bad):
    assert header.flaw("Subject", bad)
    with pytest.raises(LetterError):
        header.write("Subject", bad)
    with pytest.raises(LetterError):
        header.write_mailboxes("To", [(bad, "a@b.example")])
    with pytest.raises(LetterError):
        header.write_mailboxes("To", [("", f"a@b.example{bad}")])
    with pytest.raises(LetterError):
        header.write_parameter("filename", bad)


def test_links_of_list_headers_are_never_encoded():
    urls = ", ".join(f"<https://club.example/leave/{'x' * 60}/{n}>" for n in range(4))
    line = header.write("List-Unsubscribe", urls)
    assert "=?" not in line
    assert raw(line)[1].strip() == urls
    assert line.count("\r\n") == 4


def test_token_headers_refuse_what_they_would_have_to_encode():
    assert header.flaw("List-Id", "Zoë")
    assert header.flaw("References", "x" * 990)
    assert not header.flaw("List-Id", "<news.ada.example>")
    with pytest.raises(LetterError):
        header.write("List-Id", "Zoë")


@pytest.mark.parametrize(
    "name", ["Resent-To", "date", "Message-ID", "Return-Path", "ARC-Seal", "Sender", "Received"]
)
def test_headers_that_are_not_the_letters_to_set(name):
    assert header.unwelcome(name)


def test_a_long_quoted_name_keeps_its_comma_inside():
    name = "A" * 60 + ", evil@x.example, " + "B" * 60
    assert judge.mailboxes(raw(header.write_mailboxes("To", [(name, "a@b.example")]))[1]) == [
        (name, "a@b.example")
    ]


@pytest.mark.parametrize(
    "line",
    [
        "Subject: =?utf-8?q?" + "x" * 80 + "?=\r\n",
        "Subject: =?iso-8859-1?q?x?=\r\n",
        "Subject: =?utf-8?b?!?=\r\n",
        "Subject: =?utf-8?b?/w==?=\r\n",
    ],
)
def test_the_check_refuses_words_that_this_project_never_writes(line):
    with pytest.raises(proof.Misread):
        proof.text(proof.field(proof.headers(line.encode())[0])[1])


@pytest.mark.parametrize(
    "block",
    [
        *(b"Subject\r\n", b" folded\r\n", b"Sub ject: x\r\n", b"A: \x07\r\n", b"A: \xc3\xa9\r\n"),
        *(b"A: x", b"A: x\r\nB: y", b"A: x\nB: y\r\n", b"A: x\rB: y\r\n"),
    ],
)
def test_the_check_refuses_header_blocks_that_are_none(block):
    with pytest.raises(proof.Misread):
        [proof.field(line) for line in proof.headers(block)]


@pytest.mark.parametrize(("before", "after"), [(b"a" * 900, b"b\r\n"), (b"a\r", b"\nb\r\n"), (b"a", b"\r\n")])
def test_the_check_refuses_a_piece_that_a_shared_line_would_lengthen(before, after):
    shared = proof.proven(b"c" * 900 + b"\r\n")
    assert proof.lines([b"a\r\n", shared, b"b\r\n"]) == b"a\r\nb\r\n"
    with pytest.raises(proof.Misread):
        proof.lines([before, shared, after])


@pytest.mark.parametrize(
    "content",
    [
        b"a\nb\r\n",
        b"a\rb\r\n",
        b"a\r\nb",
        b"\0\r\n",
        b"x" * 999 + b"\r\n",
        b"a\r\n" + b"x" * 5000 + b"\r\n",
        b"a\x0bb\n",
    ],
)
def test_the_check_refuses_lines_that_servers_would(content):
    with pytest.raises(proof.Misread):
        proof.lines([content])
    with pytest.raises(proof.Misread):
        proof.proven(content)


def test_no_piece_of_a_message_may_end_within_a_line():
    shared = proof.proven(b"shared\r\n")
    for pieces in ([b"half", shared], [b"a\r\n", b"half", shared, b"\r\n"]):
        with pytest.raises(proof.Misread):
            proof.lines(pieces)
    assert proof.lines([b"a\r\n", shared, b"b\r\n"]) == b"a\r\nb\r\n"


@pytest.mark.parametrize("length", [996, 997, 998])
def test_the_check_allows_lines_of_998(length):
    proof.lines([b"a\r\n" + (b"x" * length + b"\r\n") * 3])
