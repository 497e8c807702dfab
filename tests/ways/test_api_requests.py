"""What is asked of a web API: by its published schema, and saying exactly what the letter says."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ways_kit import DATE, USER, VALID, VENDORS, carry, delivery, letter, session

from merge.api.mailjet import Mailjet
from merge.api.parts import Parts, Unsayable, parts_of
from merge.api.sendgrid import SendGrid
from merge.model import Attachment, Mailbox, State
from merge.seal import seal

PICTURE = Attachment("logo ü.png", "image/png", b"\x89PNG\r\n" + bytes(range(256)), "logo@ada.example")
INVOICE = Attachment("Rechnung für Zoë, März.pdf", "application/pdf", b"%PDF-1.7 " * 400)
NOTES = Attachment("notes.txt", "text/plain; charset=utf-8", "Größe\n".encode())
ICS = "BEGIN:VCALENDAR\r\nMETHOD:{}\r\nEND:VCALENDAR\r\n"


def said(name: str, **more: Any) -> Any:
    """The request for one letter, as JSON that is by the schema."""
    vendor = VENDORS[name]()
    body = json.loads(vendor.request([vendor.letter(parts_of(delivery(**more)))]))
    assert not list(VALID[name].iter_errors(body))
    return body if name == "sendgrid" else body["Messages"][0]


def test_a_whole_letter_to_sendgrid():
    mail = said(
        "sendgrid",
        html="<p>Hi Zoë <img src='cid:logo@ada.example'></p>\n",
        cc=["boss@people.example"],
        bcc=["quiet@people.example"],
        reply_to=[Mailbox("Büro", "office@ada.example")],
        attachments=[PICTURE, INVOICE, NOTES],
        headers=[
            ("List-Unsubscribe", "<https://ada.example/u?t=a%20b>, <mailto:leave@ada.example>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("X-Note", "für Zoë"),
        ],
    )
    one = mail["personalizations"][0]
    assert one["to"] == [{"email": "r2@people.example", "name": "Zoë Álvarez, Dr."}]
    assert one["cc"] == [{"email": "boss@people.example"}]
    assert one["bcc"] == [{"email": "quiet@people.example"}]
    assert one["custom_args"] == {"message_id": "0002.token@ada.example"}
    assert mail["from"] == {"email": "news@ada.example", "name": "Ada Club"}
    assert mail["reply_to"] == {"email": "office@ada.example", "name": "Büro"}
    assert mail["subject"] == "Spring news für Zoë"
    assert mail["content"] == [
        {"type": "text/plain", "value": "Hi Zoë,\n\nyour number is 7.\n"},
        {"type": "text/html", "value": "<p>Hi Zoë <img src='cid:logo@ada.example'></p>\n"},
    ]
    assert mail["headers"] == {
        "Message-ID": "<0002.token@ada.example>",
        "List-Unsubscribe": "<https://ada.example/u?t=a%20b>, <mailto:leave@ada.example>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "X-Note": "=?utf-8?b?ZsO8ciBab8Or?=",
    }
    files = {file["filename"]: file for file in mail["attachments"]}
    assert base64.b64decode(files[PICTURE.name]["content"]) == PICTURE.content
    assert files[PICTURE.name]["content_id"] == "logo@ada.example"
    assert files[PICTURE.name]["disposition"] == "inline"
    assert base64.b64decode(files[INVOICE.name]["content"]) == INVOICE.content
    assert files[INVOICE.name]["disposition"] == "attachment"
    assert files[NOTES.name]["type"] == "text/plain"  # SendGrid refuses a type with parameters


def test_a_whole_letter_to_mailjet():
    message = said(
        "mailjet",
        html="<p>Hi Zoë <img src='cid:logo@ada.example'></p>\n",
        cc=["boss@people.example"],
        bcc=["quiet@people.example"],
        reply_to=[Mailbox("Büro", "office@ada.example")],
        attachments=[PICTURE, INVOICE],
        headers=[("List-Unsubscribe", "<https://ada.example/u>"), ("X-Note", "für Zoë")],
    )
    assert message["To"] == [{"Email": "r2@people.example", "Name": "Zoë Álvarez, Dr."}]
    assert message["Cc"] == [{"Email": "boss@people.example"}]
    assert message["Bcc"] == [{"Email": "quiet@people.example"}]
    assert message["ReplyTo"] == {"Email": "office@ada.example", "Name": "Büro"}
    assert message["Subject"] == "Spring news für Zoë"
    assert message["TextPart"] == "Hi Zoë,\n\nyour number is 7.\n"
    assert message["CustomID"] == "0002.token@ada.example"
    assert message["Headers"] == {
        "X-Mergepost-ID": "<0002.token@ada.example>",
        "List-Unsubscribe": "<https://ada.example/u>",
        "X-Note": "=?utf-8?b?ZsO8ciBab8Or?=",
    }
    (picture,) = message["InlinedAttachments"]
    assert (picture["ContentID"], base64.b64decode(picture["Base64Content"])) == (
        "logo@ada.example",
        PICTURE.content,
    )
    (invoice,) = message["Attachments"]
    assert (invoice["Filename"], base64.b64decode(invoice["Base64Content"])) == (
        INVOICE.name,
        INVOICE.content,
    )


def test_what_was_approved_is_not_touched():
    mail = said("sendgrid")
    assert [kind["enable"] for kind in mail["tracking_settings"].values()] == [False] * 4
    assert mail["mail_settings"]["footer"] == {"enable": False}
    message = said("mailjet", text="{{ braces }} are braces\n")
    assert (message["TemplateLanguage"], message["TrackOpens"], message["TrackClicks"]) == (
        False,
        "disabled",
        "disabled",
    )


def test_several_addresses_to_answer_to():
    both = [Mailbox("", "a@ada.example"), Mailbox("", "b@ada.example")]
    mail = said("sendgrid", reply_to=both)
    assert mail["reply_to_list"] == [{"email": "a@ada.example"}, {"email": "b@ada.example"}]
    assert "reply_to" not in mail
    with pytest.raises(Unsayable, match="one address in Reply-To"):
        Mailjet.letter(parts_of(delivery(reply_to=both)))


@pytest.mark.parametrize(
    ("vendor", "more", "why"),
    [
        ("sendgrid", {"headers": [("X-SG-EID", "1")]}, "does not take the header X-SG-EID"),
        ("sendgrid", {"headers": [("DKIM-Signature", "v=1")]}, "does not take the header DKIM-Signature"),
        ("mailjet", {"headers": [("List-Id", "<news.ada.example>")]}, "does not take the header List-Id"),
        ("mailjet", {"headers": [("X-Mailer", "ours")]}, "does not take the header X-Mailer"),
        ("mailjet", {"headers": [("X-MJ-CustomID", "1")]}, "does not take the header X-MJ-CustomID"),
        ("mailjet", {"subject": "s" * 256}, "subjects of 255 characters"),
        ("mailjet", {"headers": [(f"X-{n}", "1") for n in range(50)]}, "takes 50 headers at most"),
        *(
            (vendor, more, why)
            for vendor in VENDORS
            for more, why in (
                (
                    {
                        "attachments": [
                            Attachment(
                                "i.ics", "text/calendar; method=REQUEST", ICS.format("REQUEST").encode()
                            )
                        ]
                    },
                    "invitation",
                ),
                ({"attachments": [Attachment("empty.txt", "text/plain", b"")]}, "empty file: empty.txt"),
                ({"headers": [("X-A", "1"), ("x-a", "2")]}, "a second x-a"),
                ({"to": "jörg@people.example"}, "letters beyond ASCII"),
            )
        ),
    ],
)
def test_what_cannot_be_said_is_refused_in_words(vendor, more, why):
    with pytest.raises(Unsayable, match=why):
        VENDORS[vendor].letter(parts_of(delivery(**more)))


def test_an_invitation_without_a_question_is_a_file_like_others():
    ics = Attachment("i.ics", "text/calendar; charset=utf-8; method=PUBLISH", ICS.format("PUBLISH").encode())
    assert said("sendgrid", attachments=[ics])["attachments"][0]["type"] == "text/calendar"


def test_a_letter_that_cannot_go_fails_alone_and_nothing_of_it_is_sent(vendor, desks):
    desk = desks(vendor)
    odd = delivery(3, attachments=[Attachment("empty.txt", "text/plain", b"")])
    outcomes = {outcome.row: outcome for outcome in carry(session(desk), [delivery(2), odd, delivery(4)])}
    assert [outcomes[row].state for row in (2, 3, 4)] == [State.SENT, State.FAILED, State.SENT]
    assert "not sent: " in outcomes[3].reply
    assert len(desk.accepted) == 2


def test_only_the_envelope_decides_who_gets_it():
    """A To that names somebody outside the envelope must not add him, nor may anybody be left out."""
    wider = letter(cc=["boss@people.example"])
    narrow = seal(wider)
    object.__setattr__(narrow, "envelope", type(narrow.envelope)("news@ada.example", ("r2@people.example",)))
    with pytest.raises(Unsayable, match=r"names boss@people\.example, whom this letter must not reach"):
        parts_of(narrow)
    elsewhere = delivery()
    object.__setattr__(
        elsewhere, "envelope", type(narrow.envelope)("news@ada.example", ("other@people.example",))
    )
    with pytest.raises(Unsayable, match="must not reach"):
        parts_of(elsewhere)


def test_the_same_person_in_to_and_cc_is_named_once():
    one = said("sendgrid", cc=["R2@people.example"])["personalizations"][0]
    assert "cc" not in one


TEXT = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\u2028\u2029\x85"),
    min_size=1,
    max_size=60,
)


@given(
    subject=TEXT.filter(lambda text: "=?" not in text and text.strip() == text and len(text) < 200),
    text=st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=2000),
    html=st.none() | st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=500),
    name=TEXT.filter(lambda text: "=?" not in text and text.strip() == text),
    content=st.binary(min_size=1, max_size=300),
    file=TEXT.filter(lambda text: "=?" not in text and text.strip() == text),
)
@settings(max_examples=60, deadline=None)
def test_whatever_a_letter_says_arrives_as_it_is(*, subject, text, html, name, content, file):
    sealed = delivery(
        subject=subject,
        text=text,
        html=html,
        name=name,
        attachments=[Attachment(file, "application/octet-stream", content)],
    )
    parts: Parts = parts_of(sealed)
    assert parts.subject == subject
    assert parts.to == ((name, "r2@people.example"),)
    assert parts.text == (text if text.endswith("\n") else f"{text}\n")
    assert html is None or parts.html == (html if html.endswith("\n") else f"{html}\n")
    assert base64.b64decode(parts.files[0].content) == content
    assert parts.files[0].name == file
    for vendor, make in VENDORS.items():
        body = json.loads(make.request([make.letter(parts)]))
        assert not list(VALID[vendor].iter_errors(body))


def test_the_key_is_where_the_vendor_wants_it():
    assert SendGrid.authorization("apikey", "SG.x") == "Bearer SG.x"
    basic = base64.b64encode(f"{USER}:secret".encode()).decode()
    assert Mailjet.authorization(USER, "secret") == f"Basic {basic}"


def test_mailjet_gets_many_letters_in_a_call_but_never_too_many_bytes(desks):
    desk = desks("mailjet")
    big = Attachment("big.bin", "application/octet-stream", bytes(4_000_000))
    carry(
        session(desk),
        [*(delivery(row, attachments=[big]) for row in range(2, 7)), *map(delivery, range(7, 30))],
    )
    sizes = [len(body["Messages"]) for body in desk.bodies]
    assert sizes[0] == 2  # 5.4 MB each, as base64
    assert sum(sizes) == 28
    assert max(len(json.dumps(body)) for body in desk.bodies) < Mailjet.most_bytes + 10_000


def test_the_date_is_the_only_thing_left_to_the_vendor():
    sealed = delivery()
    assert b"Date: " in sealed.content
    assert DATE.year == sealed.date.year
    assert "Date" not in said("sendgrid")["headers"]
