"""A signature is believed by two strangers, dkimpy and OpenDKIM; and by neither once a byte has changed."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from dkim.canonicalization import Relaxed
from dkim_kit import (
    DOMAIN,
    SELECTOR,
    USUAL,
    delivery,
    opendkim_there,
    passes_dkimpy,
    passes_opendkim,
    pem,
    signer,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merge.dkim.signature import body_hash

needs_opendkim = pytest.mark.skipif(not opendkim_there(), reason="OpenDKIM is not installed here")

BODY = b"\r\nHello\r\n"
MESSAGES = {
    "plain": USUAL + BODY,
    "folded headers": USUAL
    + b"Cc: one@x.example,\r\n two@x.example,\r\n\tthree@x.example\r\nReferences: <a@b.c>\r\n  <d@e.f>\r\n"
    + BODY,
    "blanks around and inside": USUAL.replace(b"Subject: News", b"Subject:  a \t  b\t ") + BODY,
    "a header of one long line": USUAL
    + b"List-Unsubscribe: <https://x.example/"
    + b"u" * 955
    + b">\r\n"
    + BODY,
    "a body of long lines": USUAL + b"\r\n" + b"x" * 998 + b"\r\n" + b"y " * 499 + b"\r\n",
    "headers beyond ASCII": USUAL.replace(b"zoe@x.example", "zoë@x.example".encode())
    + "Reply-To: Bücher <bücher@club.example>\r\n".encode()
    + BODY,
    "8-bit body": USUAL + "\r\nGrüße, 山田 太郎\r\n".encode(),
    "no body": USUAL + b"\r\n",
    "an empty line as body": USUAL + b"\r\n\r\n",
    "only blanks as body": USUAL + b"\r\n \t \r\n  \r\n",
    "empty lines at the end": USUAL + b"\r\nHello\r\n\r\n \r\n\r\n",
    "blanks at line ends": USUAL + b"\r\nHello  there \t\r\n  indented\r\n\ttab\r\n",
    "dots at line starts": USUAL + b"\r\n.\r\n..\r\n.hidden\r\n",
    "lines like those of a mailbox": USUAL + b"\r\nFrom here on\r\nDKIM-Signature: none\r\n",
    "a header twice": USUAL + b"List-Help: <mailto:a@x.example>\r\nList-Help: <mailto:b@x>\r\n" + BODY,
    "an empty header": USUAL + b"In-Reply-To:\r\nReferences: \r\n" + BODY,
    "a header like tags": USUAL.replace(b"Subject: News", b"Subject: b=abc; bh=def; h=x") + BODY,
    "a header in capitals": USUAL.replace(b"Subject:", b"SUBJECT:").replace(b"To:", b"TO:") + BODY,
    "other headers": USUAL + b"X-Club: a  b\r\nX-Club:\r\n" + BODY,
    "one click": USUAL
    + b"List-Unsubscribe: <https://x.example/u/1>, <mailto:u@x.example>\r\n"
    + b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    + BODY,
    "an attachment": USUAL.replace(b"text/plain; charset=us-ascii", b'multipart/mixed; boundary="b"')
    + b"\r\n--b\r\nContent-Type: text/plain\r\n\r\nHi\r\n--b\r\nContent-Type: application/pdf\r\n"
    + b"Content-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(bytes(range(256)) * 400).replace(b"\n", b"\r\n")
    + b"--b--\r\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return signer(tmp_path_factory.mktemp("key"))


@pytest.mark.parametrize("content", MESSAGES.values(), ids=MESSAGES)
def test_dkimpy_believes_it(ours, content):
    assert passes_dkimpy(ours.sign(delivery(content)).content, ours.key().record)


@needs_opendkim
def test_opendkim_believes_it(ours):
    verdicts = passes_opendkim(
        [ours.sign(delivery(content)).content for content in MESSAGES.values()], ours.key().record
    )
    assert dict(zip(MESSAGES, verdicts, strict=True)) == dict.fromkeys(MESSAGES, True)


TAMPERED = {
    "another body": (b"Hello", b"Hullo"),
    "a longer body": (b"Hello\r\n", b"Hello\r\nP.S. pay here\r\n"),
    "another subject": (b"Subject: News", b"Subject: Nevvs"),
    "another sender": (b"news@club.example>\r\nTo", b"evil@club.example>\r\nTo"),
    "another name": (b"Ada Club", b"Bank"),
    "another recipient": (b"To: zoe", b"To: max"),
    "another date": (b"09:30:00", b"09:30:01"),
    "another number": (b"<1@club", b"<2@club"),
    "another type": (b"Content-Type: text/plain", b"Content-Type: text/html"),
    "another link to unsubscribe": (b"/u/1", b"/u/2"),
    "another way to unsubscribe": (b"=One-Click", b"=Two-Click"),
    "no way to unsubscribe": (b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", b""),
    "a second sender on top": (b"From: Ada", b"From: evil@x.example\r\nFrom: Ada"),
    "a second sender below": (b"\r\n\r\nHello", b"\r\nFrom: evil@x.example\r\n\r\nHello"),
    "a second subject": (b"Subject: News", b"Subject: Won!\r\nSubject: News"),
    "a copy that was not there": (b"Subject: News", b"Cc: max@x.example\r\nSubject: News"),
    "an answer to somebody else": (b"Subject: News", b"Reply-To: evil@x.example\r\nSubject: News"),
    "another selector's time": (b"t=1795426200", b"t=1795426201"),
}
TAMPER = pytest.mark.parametrize(("before", "after"), TAMPERED.values(), ids=TAMPERED)


def tampered(content: bytes, before: bytes, after: bytes) -> bytes:
    assert content.count(before) == 1, content
    return content.replace(before, after)


@TAMPER
def test_dkimpy_believes_no_changed_copy(ours, before, after):
    signed = ours.sign(delivery(MESSAGES["one click"])).content
    assert not passes_dkimpy(tampered(signed, before, after), ours.key().record)


@needs_opendkim
def test_opendkim_believes_no_changed_copy(ours):
    signed = ours.sign(delivery(MESSAGES["one click"])).content
    copies = [tampered(signed, *change) for change in TAMPERED.values()]
    verdicts = passes_opendkim([signed, *copies], ours.key().record)
    assert dict(zip(("as signed", *TAMPERED), verdicts, strict=True)) == {
        "as signed": True,
        **dict.fromkeys(TAMPERED, False),
    }


def test_what_servers_may_do_on_the_way_does_no_harm(ours):
    signed = ours.sign(delivery(MESSAGES["folded headers"])).content
    carried = b"Received: from a by b; Mon, 23 Nov 2026 09:30:01 +0000\r\n" + signed
    carried = carried.replace(b"one@x.example,\r\n two@", b"one@x.example, \r\n\ttwo@")
    carried = carried.replace(b"\r\nHello", b"\r\nHello  ") + b"\r\n\r\n"
    assert passes_dkimpy(b"X-Spam: no\r\n" + carried, ours.key().record)


def tags(content: bytes) -> dict[str, str]:
    field = re.match(rb"DKIM-Signature: (.*?)\r\n(?! )", content, re.DOTALL)
    assert field
    pairs = (pair.partition("=") for pair in field[1].decode().replace("\r\n ", "").split(";"))
    return {name.strip(): value.replace(" ", "") for name, _, value in pairs}


def test_the_signature_says_what_it_covers(ours):
    found = tags(ours.sign(delivery(MESSAGES["one click"])).content)
    assert (found["v"], found["a"], found["c"]) == ("1", "rsa-sha256", "relaxed/relaxed")
    assert (found["d"], found["s"], found["t"]) == (DOMAIN, SELECTOR, "1795426200")
    covered = found["h"].split(":")
    assert covered.count("from") == 2
    for name in ("to", "subject", "date", "message-id", "mime-version", "content-type"):
        assert name in covered
    assert {"list-unsubscribe", "list-unsubscribe-post", "content-transfer-encoding"} <= set(covered)
    assert not {"l", "x", "i"} & set(found)


def test_one_message_has_one_signature(ours, tmp_path):
    again = signer(tmp_path)
    assert ours.sign(delivery(MESSAGES["plain"])) == again.sign(delivery(MESSAGES["plain"]))


def test_the_message_itself_is_left_as_it_was(ours):
    for content in MESSAGES.values():
        signed = ours.sign(delivery(content)).content
        assert signed.endswith(content)
        head = signed[: -len(content)]
        assert head.endswith(b"\r\n")
        assert head.isascii()
        assert max(map(len, head.splitlines())) <= 78
        assert signed.count(b"\r\n\r\n", 0, len(head) + 4) == 0


def test_named_headers_take_the_place_of_the_usual_ones_but_never_of_the_sender_and_the_way_out(tmp_path):
    ours = signer(tmp_path, None, "subject", "x-club")
    content = MESSAGES["one click"].replace(b"Subject", b"X-Club: a\r\nSubject")
    signed = ours.sign(delivery(content)).content
    assert tags(signed)["h"].split(":") == [
        *("from", "x-club", "subject", "list-unsubscribe", "list-unsubscribe-post"),
        *("from", "subject"),
    ]
    record = ours.key().record
    assert passes_dkimpy(signed, record)
    assert passes_dkimpy(signed.replace(b"<1@club", b"<2@club"), record)
    assert not passes_dkimpy(signed.replace(b"X-Club: a", b"X-Club: b"), record)


def test_an_elliptic_curve_signs_as_well(tmp_path):
    ours = signer(tmp_path, pem("ed25519"))
    for content in MESSAGES.values():
        signed = ours.sign(delivery(content)).content
        assert tags(signed)["a"] == "ed25519-sha256"
        assert passes_dkimpy(signed, ours.key().record)
    assert not passes_dkimpy(signed.replace(b"Hi", b"Ho"), ours.key().record)


_BLANKS = st.text("  \t", max_size=3)
_VALUES = st.lists(
    st.one_of(st.text("ab=;:ü.", max_size=5), _BLANKS, st.just("\r\n "), st.just("\r\n\t"))
).map(lambda parts: re.sub(r"(\r\n[ \t]+)+", r"\1", "".join(parts)).rstrip("\r\n \t"))
_NAMES = st.sampled_from(["To", "Cc", "Subject", "SUBJECT", "X-A", "List-Unsubscribe", "References", "Date"])
_LINES = st.lists(st.text("ab. \t=", max_size=12), max_size=8)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_NAMES, _BLANKS, _VALUES), max_size=6), _LINES)
def test_whatever_the_message_the_judge_agrees(ours, headers, lines):
    fields = [f"{name}:{blanks}{value}" for name, blanks, value in headers]
    content = "".join(f"{line}\r\n" for line in ("From: a@club.example", *fields, "", *lines)).encode()
    assert passes_dkimpy(ours.sign(delivery(content)).content, ours.key().record)


_PIECES = st.lists(
    st.sampled_from([b"a", b"bc", b" ", b"  ", b"\t", b".", b"=", b"\r\n", b" \r\n"]), max_size=14
)


@settings(max_examples=400, deadline=None)
@given(_PIECES, st.sampled_from([b"", b"Zm9v\r\nYmFy\r\n"]))
def test_a_body_is_hashed_as_dkimpy_canonicalises_it(pieces, file):
    body = b"".join((*pieces, b"\r\n", file))
    head = b"A: b  c \r\n\r\n"
    expected = hashlib.sha256(Relaxed.canonicalize_body(body)).digest()
    assert body_hash(head + body, len(head)) == expected
