"""What is worth a look in a letter: each remark when it is due, and none for a good letter."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from merge.model import Attachment, Envelope, Letter
from merge.preview.advice import advice
from merge.preview.anatomy import anatomy

GOOD = '<html lang="en"><body><p>{words}</p><a href="https://a.example/">Read on</a></body></html>'
WORDS = "word " * 40


def letter(html, text="text", subject="Hello", attachments=()):
    return Letter(
        key="k", row=2, envelope=Envelope("a@b.example", ("c@d.example",)), headers=(("Subject", subject),),
        mailboxes={}, text=text, html=html, attachments=tuple(attachments), message_id="<1@b>",
        date=datetime(2026, 1, 1, tzinfo=UTC), digest="d",
    )  # fmt: skip


def told(html, octets=1000, **rest):
    return [remark.message for remark in advice(letter(html, **rest), anatomy(html or ""), octets)]


def good(inside):
    return GOOD.format(words=WORDS + inside)


def test_a_good_letter_gets_no_remark():
    assert told(good('<img src="cid:x" alt="A boat"> <a href="mailto:a@b.example">a@b.example</a>')) == []
    assert told(None) == []


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ('<img src="cid:x">', "no alt text"),
        ('<a href="http://a.example/">old</a>', "not encrypted"),
        ('<a href="">Here</a>', "leads nowhere"),
        ('<a href="#">Here</a>', "leads nowhere"),
        ('<a href="https://a.example/"></a>', "no words to click on"),
        ('<a href="page.html">Here</a>', "works in no mail program"),
        ('<a href="https://evil.example/">www.bank.example/login</a>', "leads elsewhere"),
        ('<img src="https://a.example/x.png" alt="x">', "fetched from the network"),
        ('<p style="background: url(//a.example/x.png)">x</p>', "fetched from the network"),
        ("<style>@import 'https://a.example/x.css'</style>", "fetched from the network"),
        ("<form><input></form>", "drop <form>"),
        ("<p>" + "x" * 110_000 + "</p>", "Gmail cuts letters"),
    ],
)
def test_each_remark_when_it_is_due(inside, words):
    [remark] = told(good(inside))
    assert words in remark


def test_remarks_on_the_whole():
    assert "does not say its language" in told(f"<p>{WORDS}</p>")[0]
    assert told(good(""), text=None) == ["there is no plain text beside the HTML"]
    assert "pictures" in told('<html lang="en"><img src="cid:x" alt="All of it"></html>')[0]
    assert "servers refuse" in told(good(""), octets=21_000_000)[0]
    assert "phones show about 40" in told(good(""), subject="x" * 90)[0]
    empty = Attachment("a.txt", "text/plain", b"")
    assert told(good(""), attachments=[empty]) == ["the file is empty"]


def test_a_link_that_shows_its_own_address_is_honest():
    for text in ("a.example", "https://a.example/", "www.a.example", "Click here. Now!"):
        assert told(good(f'<a href="https://www.a.example/x">{text}</a>')) == []


def test_the_first_words_are_those_of_an_inbox():
    html = (
        "<head><title>No</title><style>p{}</style></head><body><div hidden>Preheader&#847;&zwnj;&nbsp;</div>"
    )
    assert anatomy(html + "<p>Hi <b>Ada</b>,</p><p>news</p>").first_words == "Preheader Hi Ada, news"


def test_broken_html_is_read_as_far_as_it_goes():
    found = anatomy('<a href="x">a<a href="y">b</p></div>')
    assert [(link.href, link.text) for link in found.links] == [("x", "a"), ("y", "b")]
