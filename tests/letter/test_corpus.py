"""A corpus of letters: every kind with every header, each written, read back, and made in two ways."""

from __future__ import annotations

import judge
import pytest
from test_seal import leaves, on_the_wire, plain_headers

from merge.message import email_message
from merge.seal import seal

CELLS = {
    "First Name": "Zoë",
    "last": "Álvarez, Dr.",
    "email": "zoe@x.example",
    "boss": "boss@x.example",
    "nr": "12",
    "tags": "red; green",
    "plan": "pro",
    "city": "京都市",
    "note": "line one\nline <two> & three",
}
HEADERS = {
    "subject": "Subject: Hello",
    "subject with a name": "Subject: Hello {{ first_name }} {{ last }}",
    "subject in other scripts": (
        "Subject: Привет {{ city }}, שלום 😀 und noch viel mehr Wörter für {{ first_name "
        "}} in einer langen Zeile"
    ),
    "long subject": "Subject: {% for i in range(40) %}word{{ i }} {% endfor %}",
    "named recipient": "Subject: x\nTo: {{ first_name }} {{ last }} <{{ email }}>",
    "two recipients": "Subject: x\nTo: {{ email }}, Boss <{{ boss }}>",
    "cc and bcc": "Subject: x\nCc: {{ boss }}\nBcc: secret@x.example",
    "from and reply-to": (
        "Subject: x\nFrom: Ädä Club <ada@ada.example>\nReply-To: {{ city }} <desk@ada.example>"
    ),
    "preheader": "Subject: x\nPreheader: For {{ first_name }} <only>",
    "unsubscribe": (
        "Subject: x\nUnsubscribe: https://x.example/leave?{{ email|urlencode }}, mailto:leave@x.example"
    ),
    "attachment": "Subject: x\nAttach: files/{{ nr }}.pdf",
    "named attachment": (
        "Subject: x\nAttach: files/{{ nr }}.pdf\nAttach-As: Rechnung für {{ first_name }} "
        "{{ last }} in {{ city }}.pdf"
    ),
    "two attachments": "Subject: x\nAttach: files/12.pdf\nAttach: files/notes.txt",
    "invitation": "Subject: x\nAttach: files/party.ics",
    "conditional": (
        "Subject: {% if plan == 'pro' %}Pro{% else %}Free{% endif %}\n"
        "{% if boss %}\nCc: {{ boss }}\n{% endif %}"
    ),
    "other headers": (
        "Subject: x\nX-Campaign: spring {{ nr }}\n"
        "List-Id: <news.ada.example>\nContent-Language: de\n"
        "In-Reply-To: <a@b.example>\nReferences: <a@b.example> <c@d.example>"
    ),
    "remark and set": "{# a remark #}\n{% set who = first_name|upper %}\nSubject: {{ who }}",
    "folded": "Subject: one\n two\n three",
}
BODIES = {
    "letter.txt": {
        "plain": "Hello,\nbye\n",
        "values": "Hi {{ first_name }} {{ row['last'] }},\n\n{{ note }}\n\n{{ city }}\n",
        "loop": "{% for t in tags|split(';') %}\n* {{ loop.index }} {{ t }}\n{% endfor %}\nend",
        "included": "{% include 'foot.txt' %}",
        "empty": "",
    },
    "letter.md": {
        "plain": "# Hello\n\nbye\n",
        "values": (
            "Hi **{{ first_name }}** {{ last }},\n\n{{ note }}\n"
            "\n> {{ city }}\n\n[link](https://x.example/{{ nr }})\n"
        ),
        "loop": (
            "{% for t in tags|split(';') %}\n- {{ t }}\n"
            "{% endfor %}\n\n| a | b |\n|--|--|\n{% for t in tags|split(';') %}\n"
            "| {{ t }} | {{ loop.index }} |\n{% endfor %}\n"
        ),
        "picture": "![Logo](files/logo.png)\n\nHi {{ first_name }}\n",
        "block": "{% set x %}*{{ note }}*{% endset %}{{ x }} {% if plan == 'pro' %}**pro**{% endif %}\n",
    },
    "letter.html": {
        "plain": "<p>Hello</p>",
        "values": (
            "<!DOCTYPE html><html lang='en'><body><p title=\"{{ note }}\">Hi {{ first_name }} "
            "{{ last }} &amp; {{ note }}</p></body></html>"
        ),
        "loop": (
            "<style>li:first-child{color:red}</style><ul>{% for t in tags|split(';') %}<li>{{ "
            "t }}</li>{% endfor %}</ul>"
        ),
        "picture": "<img src='files/logo.png' alt='Logo'><p class=\"{{ plan }}\">{{ city }}</p>",
        "macro": "{% from 'macros.html' import button %}{{ button(first_name, 'https://x.example/') }}",
        "extended": "{% extends 'base.html' %}{% block content %}<p>{{ note }}</p>{% endblock %}",
    },
    "letter.mjml": {
        "values": (
            "<mjml><mj-body><mj-section><mj-column><mj-text>Hi {{ first_name }} {{ last }}, "
            "{{ note }}</mj-text></mj-column></mj-section></mj-body></mjml>"
        ),
    },
}
CORPUS = [
    pytest.param(name, f"{head}\n\n{body}", id=f"{name}: {head_name}, {body_name}")
    for name, bodies in BODIES.items()
    for body_name, body in bodies.items()
    for head_name, head in HEADERS.items()
    if body_name in ("values", "loop", "picture") or head_name == "subject with a name"
]


@pytest.fixture
def furnished(desk):
    desk.write("files/12.pdf", b"%PDF-1.7\n" + bytes(range(256)))
    desk.write("files/notes.txt", "Notizen\n".encode("utf-16"))
    desk.write("files/party.ics", b"BEGIN:VCALENDAR\nMETHOD:REQUEST\nEND:VCALENDAR\n")
    desk.write("files/logo.png", b"\x89PNG\r\n\x1a\n")
    desk.write("foot.txt", "-- \n{{ city }}\n")
    desk.write(
        "macros.html", '{% macro button(label, url) %}<a href="{{ url }}">{{ label }}</a>{% endmacro %}'
    )
    desk.write(
        "base.html", "<html><body><h1>{{ first_name }}</h1>{% block content %}{% endblock %}</body></html>"
    )
    return desk


def test_the_corpus_is_large():
    assert len(CORPUS) >= 150


@pytest.mark.parametrize(("name", "text"), CORPUS)
def test_a_letter_is_written_read_back_and_made_in_two_ways(furnished, name, text):
    letter = furnished.letter(text, CELLS, name)
    delivery = seal(letter)
    message = judge.read(delivery.content)
    for header, value in letter.headers:
        boxes = letter.mailboxes.get(header.lower())
        if boxes:
            assert judge.mailboxes(message.get(header)) == [(box.name, box.address) for box in boxes]
        else:
            assert judge.phrase(message.get(header)) == value
    assert {"From", "To", "Subject", "Date", "Message-ID", "MIME-Version"} <= set(message.names())
    assert "secret" not in delivery.content.decode("ascii")
    assert message.text("text/plain").encode() == on_the_wire(letter.text)
    if name != "letter.txt":
        assert message.text("text/html").encode() == on_the_wire(letter.html)
    assert "{{" not in letter.text
    assert "mz" not in letter.text
    other = judge.read(email_message(letter).as_bytes())
    assert plain_headers(other) == plain_headers(message)
    assert leaves(other) == leaves(message)
