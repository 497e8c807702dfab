"""The bytes: the same message as the EmailMessage, and nothing in them that the letter did not hold."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime

import judge
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from merge import header
from merge import seal as sealing
from merge.errors import SealError
from merge.message import email_message
from merge.model import Attachment, Envelope, Letter, Mailbox, Woven
from merge.seal import seal, transfer

CHARACTERS = st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"))
VALUES = (
    st.text(CHARACTERS, max_size=60)
    .map(lambda text: text.strip(" ").replace("=?", "?="))
    .filter(lambda text: text.isprintable())
)
LINES = st.one_of(
    st.text(CHARACTERS, max_size=100),
    st.sampled_from(
        [
            "",
            "From here",
            ".",
            "..",
            "--=_mixed_",
            "a" * 999,
            "é" * 1200,
            "tail ",
            "tab\t",
            "=20",
            "=\n",
            "🙂" * 30,
        ]
    ),
)
BODIES = st.lists(LINES, max_size=8).map("\n".join)
ADDRESSES = st.from_regex(r"[a-z0-9+-]{1,9}(\.[a-z0-9]{1,5})?@[a-z]{1,12}\.example", fullmatch=True)
BOXES = st.lists(st.builds(Mailbox, VALUES, ADDRESSES), min_size=1, max_size=3).map(tuple)
FILES = st.builds(
    Attachment,
    VALUES.filter(lambda name: name and "/" not in name),
    st.sampled_from(
        [
            "application/pdf",
            "text/csv; charset=utf-8",
            "image/png",
            "text/calendar; charset=utf-8; method=REQUEST",
        ]
    ),
    st.binary(max_size=300),
)
PICTURES = st.builds(
    Attachment, st.just("logo.png"), st.just("image/png"), st.binary(max_size=100), st.just("abc@mergepost")
)


@st.composite
def letters(draw: st.DrawFn) -> Letter:
    boxes = {"from": (draw(st.builds(Mailbox, VALUES, ADDRESSES)),), "to": draw(BOXES)}
    headers = [("From", ""), ("To", ""), ("Subject", draw(VALUES.filter(bool)))]
    if draw(st.booleans()):
        boxes["cc"] = draw(BOXES)
        headers.insert(2, ("Cc", ""))
    if draw(st.booleans()):
        headers.append(
            (
                "List-Unsubscribe",
                "<https://x.example/" + "u" * draw(st.integers(0, 200)) + ">, <mailto:a@b.example>",
            )
        )
        headers.append(("X-Note", draw(VALUES.filter(bool))))
        headers.append(("Content-Language", "de"))
    kinds = draw(st.sampled_from([(True, False), (False, True), (True, True)]))
    text, html = (draw(BODIES) if wanted else None for wanted in kinds)
    files = tuple(draw(st.lists(FILES, max_size=2)))
    if html is not None and draw(st.booleans()):
        files += (draw(PICTURES),)
    return Letter(
        key="k",
        row=2,
        envelope=Envelope(boxes["from"][0].address, tuple({box.address for box in boxes["to"]})),
        headers=tuple(
            (name, value or ", ".join(box.address for box in boxes[name.lower()])) for name, value in headers
        ),
        mailboxes=boxes,
        text=text,
        html=html,
        attachments=files,
        message_id="<abc@ada.example>",
        date=datetime(2026, 11, 23, 9, 30, tzinfo=UTC),
        digest="d" * 64,
    )


def on_the_wire(text: str) -> bytes:
    return (text if text.endswith("\n") else text + "\n").replace("\n", "\r\n").encode()


def leaves(part: judge.Part) -> list[tuple[str, dict[str, str], str, str, str, bytes]]:
    """What a person gets, whatever the encodings: type, parameters, disposition, name, id, content."""
    found = []
    for leaf in part.walk():
        parameters = {name: value for name, value in leaf.parameters.items() if name != "boundary"}
        if parameters.get("charset") == "us-ascii":
            parameters["charset"] = "utf-8"
        found.append(
            (
                leaf.media_type,
                parameters,
                leaf.disposition,
                leaf.filename,
                leaf.get("Content-ID"),
                leaf.content,
            )
        )
    return found


def plain_headers(part: judge.Part) -> list[tuple[str, str]]:
    mime = ("content-type", "content-transfer-encoding")
    return [(name, judge.phrase(value)) for name, value in part.headers if name.lower() not in mime]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(letters())
def test_bytes_and_email_message_are_the_same_message(letter):
    sealed = judge.read(seal(letter).content)
    plain = judge.read(email_message(letter).as_bytes())
    assert plain_headers(sealed) == plain_headers(plain)
    assert leaves(sealed) == leaves(plain)
    assert sum(part.names().count("MIME-Version") for part in plain.walk()) == 1


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(letters())
def test_the_message_is_the_letter(letter):
    delivery = seal(letter)
    message = judge.read(delivery.content)
    for name, value in letter.headers:
        if name.lower() in letter.mailboxes:
            assert judge.mailboxes(message.get(name)) == [
                (b.name, b.address) for b in letter.mailboxes[name.lower()]
            ]
        else:
            assert judge.phrase(message.get(name)) == value
    own = ["Date", "Message-ID", "MIME-Version", "Content-Type"]
    assert [n for n in message.names() if n != "Content-Transfer-Encoding"] == [
        n for n, _ in letter.headers
    ] + own
    if letter.text is not None:
        assert message.text("text/plain") == on_the_wire(letter.text).decode()
    if letter.html is not None:
        assert message.text("text/html") == on_the_wire(letter.html).decode()
    files = [(file.name, file.content) for file in letter.attachments]
    assert sorted((part.filename, part.content) for part in message.files()) == sorted(files)
    assert delivery.content.isascii()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(letters())
def test_the_same_letter_is_the_same_bytes(letter):
    assert seal(letter).content == seal(replace(letter)).content


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(letters())
def test_the_standard_library_finds_the_same_parts(letter):
    parsed = email.message_from_bytes(seal(letter).content, policy=email.policy.default)
    assert not parsed.defects
    sealed = [part for part in judge.read(seal(letter).content).walk() if not part.parts]
    theirs = [part for part in parsed.walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in theirs] == [part.media_type for part in sealed]
    for ours, other in zip(sealed, theirs, strict=True):
        assert other.get_payload(decode=True).replace(b"\r\n", b"\n") == ours.content.replace(b"\r\n", b"\n")


@settings(max_examples=200, deadline=None)
@given(st.lists(BODIES, min_size=1, max_size=6), st.data())
@example(["a\n", "\nb"], None)
@example(["", ""], None)
@example(["x\n", ""], None)
def test_a_body_in_pieces_is_encoded_as_the_whole(parts, data):
    values = [data.draw(LINES) if data else "v" for _ in parts[1:]]
    if not values:
        parts, values = [*parts, ""], ["v"]
    whole = "".join(piece for pair in zip(parts, [*values, ""], strict=True) for piece in pair)
    cast = sealing._mould(tuple(parts)).cast(tuple(values))
    expected = transfer(whole)
    if expected[0] == "base64":
        assert cast is None
    else:
        assert cast is not None
        assert cast[0] == expected[0]
        assert judge._decoded(b"".join(cast[1]), cast[0]) == on_the_wire(whole)


LETTER = Letter(
    key="k",
    row=7,
    envelope=Envelope("news@ada.example", ("zoe@x.example",)),
    headers=(("From", "news@ada.example"), ("To", "zoe@x.example"), ("Subject", "Hello")),
    mailboxes={"from": (Mailbox("", "news@ada.example"),), "to": (Mailbox("", "zoe@x.example"),)},
    text="Hello\n",
    html=None,
    attachments=(),
    message_id="<abc@ada.example>",
    date=datetime(2026, 11, 23, 9, 30, tzinfo=UTC),
    digest="d" * 64,
)
HOSTILE = [
    "x\r\nBcc: evil@x.example",
    "x\nBcc: evil@x.example",
    "x\rBcc: e@x.example",
    "=?utf-8?q?=0ABcc:_e@x.example?=",
    "x\0",
    "x\x85y",
]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["Subject", "X-Note", "List-Id"])
def test_a_letter_made_by_hand_cannot_inject_a_header(name, value):
    with pytest.raises(SealError):
        seal(replace(LETTER, headers=(*LETTER.headers[:2], ("Subject", "s"), (name, value))))


@pytest.mark.parametrize("value", HOSTILE)
def test_a_mailbox_made_by_hand_cannot_inject_a_header(value):
    for box in (
        Mailbox(value, "a@b.example"),
        Mailbox("", f"a@b.example{value}"),
        Mailbox("", f"a@b.example> {value}"),
    ):
        with pytest.raises(SealError):
            seal(replace(LETTER, mailboxes={**LETTER.mailboxes, "to": (box,)}))


@pytest.mark.parametrize(
    "address", ["a@b.example, evil@x.example", "a@b.example> <evil@x.example", "<a@b.example>"]
)
def test_an_address_that_is_two_is_caught(address):
    with pytest.raises(SealError):
        seal(replace(LETTER, mailboxes={**LETTER.mailboxes, "to": (Mailbox("Zoë", address),)}))


@pytest.mark.parametrize("blank", [" ", "\t"])
def test_no_line_grows_by_a_blank_at_its_end(blank):
    for length in range(60, 90):
        for end in (blank, blank * 3):
            encoding, body = transfer("é" + "x" * length + end + "\n")
            assert encoding == "quoted-printable"
            assert judge._decoded(body, encoding).decode() == "é" + "x" * length + end + "\r\n"


def test_a_control_character_in_a_body_is_refused():
    for bad in "\0\1\2":
        with pytest.raises(SealError):
            seal(replace(LETTER, text=f"a{bad}b"))
    with pytest.raises(SealError):
        seal(replace(LETTER, text="a\0b", woven_text=Woven(("a", "b"), ("\0",))))


@pytest.mark.parametrize(
    ("what", "broken"),
    [
        ("a header more", lambda name, value: f"{name}: {value}\r\nBcc: evil@x.example\r\n"),
        ("another name", lambda name, value: f"X-{name}: {value}\r\n"),
        ("another value", lambda name, value: f"{name}: {value}!\r\n"),
        ("a bare LF", lambda name, value: f"{name}: {value}\n x\r\n"),
        ("the end of the block", lambda name, value: f"{name}: {value}\r\n\r\n"),
        ("a long line", lambda name, value: f"{name}: {value}{' ' * 999}\r\n"),
        ("a long word", lambda name, value: f"{name}: =?utf-8?q?{'x' * 70}?=\r\n"),
        ("eight bits", lambda name, value: f"{name}: {value}é\r\n"),
    ],
)
def test_the_check_catches_a_writer_that_fails(monkeypatch, what, broken):
    monkeypatch.setattr(header, "write", broken)
    with pytest.raises(SealError):
        seal(LETTER)


def test_the_check_catches_a_recipient_too_many(monkeypatch):
    monkeypatch.setattr(
        header,
        "write_mailboxes",
        lambda name, boxes: f"{name}: {', '.join(a for _, a in boxes)}, evil@x.example\r\n",
    )
    boxes = {name: (Mailbox("", found[0].address),) for name, found in LETTER.mailboxes.items()}
    with pytest.raises(SealError, match="From"):
        seal(replace(LETTER, mailboxes=boxes))


def test_the_check_catches_a_part_too_many(monkeypatch):
    mark = sealing.boundary(LETTER, "mixed").encode()
    monkeypatch.setattr(sealing, "transfer", lambda text: ("7bit", b"x\r\n--" + mark + b"\r\n\r\nforged\r\n"))
    with pytest.raises(SealError, match="parts"):
        seal(replace(LETTER, attachments=(Attachment("a.pdf", "application/pdf", b"x"),)))


def test_addresses_beyond_ascii_are_written_as_they_are_for_smtputf8():
    boxes = {"from": LETTER.mailboxes["from"], "to": (Mailbox("Jörg", "jörg@x.example"),)}
    delivery = seal(
        replace(LETTER, envelope=Envelope("news@ada.example", ("jörg@x.example",)), mailboxes=boxes)
    )
    assert "<jörg@x.example>" in delivery.content.decode()
    assert delivery.envelope.needs_smtputf8


def test_a_retry_is_the_same_bytes_with_another_count():
    first, second = seal(LETTER), seal(LETTER, attempts=2, not_before=99.0)
    assert first.content == second.content
    assert (second.attempts, second.not_before) == (2, 99.0)


def test_each_file_is_encoded_once():
    content = bytes(100_000)
    encoded = sealing._ENCODED.lines(content)
    assert sealing._ENCODED.lines(content) is encoded


def test_encoded_files_are_forgotten_when_there_are_too_many():
    files = sealing._EncodedFiles(budget=10_000)
    first = files.lines(b"a" * 3_000)
    files.lines(b"b" * 3_000)
    assert files.lines(b"a" * 3_000) is not first
    assert files._used <= 10_000


def test_the_check_catches_a_header_among_those_of_the_content(monkeypatch):
    heads = {key: b"Bcc: evil@x.example\r\n" + head for key, head in sealing._TEXT_HEADS.items()}
    monkeypatch.setattr(sealing, "_TEXT_HEADS", heads)
    with pytest.raises(SealError, match="headers"):
        seal(LETTER)


@pytest.mark.parametrize(
    ("written", "altered"),
    [
        (b"Date: Mon", b"Date: Tue"),
        (b"<abc@ada", b"<abd@ada"),
        (b"MIME-Version: 1.0", b"MIME-Version: 1.1"),
        (b"MIME-Version: 1.0\r\n", b""),
        (b"From: ", b"Bcc: eve@x.example\r\nFrom: "),
        (b"Content-Type: ", b"Bcc: eve@x.example\r\nContent-Type: "),
        (b"To: zoe", b"Cc: zoe"),
        (b"To: zoe", b"Bo: zoe"),
        (b"zoe@x.example", b"eve@x.example"),
        (b"zoe@x.example", b"zoe@x.example, eve@x.example"),
        (b"zoe@x.example", b"Eve <zoe@x.example>"),
        (b"Subject: Hello", b"Subject: Hallo"),
        (b"Subject: Hello", b"Object: Hello"),
        (b"Subject: ", b"=?utf-8?q?Subject?=: "),
        (b"Subject: Hello", b"Subject: =?utf-8?q?Hello=0ABcc:_e@x.example?="),
        (b"Subject: Hello", b"Subject: =?utf-16?q?Hello?="),
        (b"Subject: Hello", b"Subject: Hello\r\nBcc: eve@x.example"),
        (b"Subject: Hello", b"Subject: Hello\r\n\r\nBcc: eve@x.example"),
        (b"Subject: Hello", b"Subject: Hello\x07"),
        (b"Subject: Hello", b"Subject: Hello\0"),
        (b"Subject: Hello", b"Subject: Hell\xc3\xb6"),
        (b"\r\nSubject", b"\nSubject"),
        (b"\r\nSubject", b"\rSubject"),
        (b"\r\n\r\n", b"\r\n"),
        (b"\r\n\r\n", b"\r\n\r\n\r\n"),
    ],
)
def test_the_check_catches_every_other_header_block(monkeypatch, written, altered):
    message = sealing._message
    seal(LETTER)

    def forged(*given):
        head, *pieces = message(*given)
        assert written in head
        return [head.replace(written, altered), *pieces]

    monkeypatch.setattr(sealing, "_message", forged)
    with pytest.raises(SealError):
        seal(LETTER)


def test_a_name_that_is_none_is_caught_though_it_was_planned():
    for name in ("Sub ject", "", "Sübject", "X\t"):
        with pytest.raises(SealError):
            seal(replace(LETTER, headers=(*LETTER.headers, (name, "x"))))


def test_the_check_catches_bytes_beyond_seven_bits_that_the_plan_holds(monkeypatch):
    monkeypatch.setattr(header, "write", lambda name, value: f"{name}: {value}\r\n")
    with pytest.raises(SealError, match="ASCII"):
        seal(replace(LETTER, headers=(*LETTER.headers, ("X-Note", "ö"))))


def test_the_check_catches_a_header_line_that_is_too_long(monkeypatch):
    monkeypatch.setattr(header, "write", lambda name, value: f"{name}: {value}\r\n")
    with pytest.raises(SealError, match="more than 998"):
        seal(replace(LETTER, headers=(*LETTER.headers, ("X-Note", "x" * 999))))
