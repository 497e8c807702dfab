"""Replies, commands, logins and verdicts: the pure parts."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from script import delivery

from merge.errors import AddressError, ConfigError, SealError
from merge.model import State
from merge.smtp import auth, command, meaning
from merge.smtp.meaning import Run
from merge.smtp.reply import Garbled, Reply, ReplyReader, escape


def read(*pieces: bytes) -> list[Reply]:
    reader, replies = ReplyReader(), []
    for piece in pieces:
        reader.feed(piece)
        while reply := reader.next():
            replies.append(reply)
    return replies


# Replies.


@pytest.mark.parametrize(
    ("data", "code", "enhanced", "text"),
    [
        (b"250 ok\r\n", 250, "", "ok"),
        (b"250\r\n", 250, "", ""),
        (b"250 \r\n", 250, "", ""),
        (b"250-one\r\n250 two\r\n", 250, "", "one two"),
        (b"550-5.1.1 no\r\n550 5.1.1 such user\r\n", 550, "5.1.1", "no such user"),
        (b"250-2.0.0\r\n250 2.0.0 ok\r\n", 250, "2.0.0", "ok"),
        (b"250 5.7.1 contradicts\r\n", 250, "", "5.7.1 contradicts"),
        (b"550 2.0.0 contradicts\r\n", 550, "", "2.0.0 contradicts"),
        (b"550 5.7.1234 too long\r\n", 550, "", "5.7.1234 too long"),
        (b"250 caf\xc3\xa9 \x1b[0m\r\n", 250, "", "caf\\xc3\\xa9 \\x1b[0m"),
        (b"250 odd\r\r\n", 250, "", "odd\\x0d"),
    ],
)
def test_a_reply(data, code, enhanced, text):
    (reply,) = read(data)
    assert (reply.code, reply.enhanced, reply.text) == (code, enhanced, text)


@pytest.mark.parametrize(
    "data",
    [
        b"250 ok\n",
        b"250 ok\n250 ok\r\n",
        b"25 ok\r\n",
        b"2500 ok\r\n",
        b"250ok\r\n",
        b"250_ok\r\n",
        b"650 ok\r\n",
        b"050 ok\r\n",
        b"\r\n",
        b"ok\r\n",
        b" 250 ok\r\n",
        b"250-a\r\n251 b\r\n",
        b"250-a\r\n\r\n",
        b"\xff\xff\xff ok\r\n",
        b"\xb2\xb5\xb0 ok\r\n",
        b"250 " + b"x" * 8190 + b"\r\n",
        b"x" * 9000,
        b"250-x\r\n" * 101,
        (b"250-" + b"x" * 8000 + b"\r\n") * 9,
    ],
)
def test_what_is_no_reply(data):
    reader = ReplyReader()
    reader.feed(data)
    with pytest.raises(Garbled) as first:
        reader.next()
    assert first.value.message.isascii()
    assert first.value.message.isprintable()
    reader.feed(b"250 ok\r\n")
    with pytest.raises(Garbled):
        reader.next()
    assert reader.unread


@pytest.mark.parametrize("data", [b"", b"2", b"250", b"250 ok", b"250 ok\r", b"250-ok\r\n", b"250-ok\r\n25"])
def test_an_incomplete_reply_is_none(data):
    reader = ReplyReader()
    reader.feed(data)
    assert reader.next() is None
    assert reader.unread is bool(data)
    assert reader.fragment == data[:3] or reader.fragment == b"250"


def test_caps_hold_at_their_edge():
    (reply,) = read(b"250 " + b"x" * (8192 - 6) + b"\r\n")
    assert len(reply.text) == 500
    assert len(read(b"250-x\r\n" * 99 + b"250 x\r\n")) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(200, 559), st.lists(st.binary(max_size=30), min_size=1, max_size=4)), max_size=4
    ),
    st.data(),
)
def test_cuts_change_nothing(replies, data):
    raw = b""
    for code, texts in replies:
        clean = [text.replace(b"\n", b"").replace(b"\r", b"") for text in texts]
        lines = [
            b"%d%s%s\r\n" % (code, b"-" if n + 1 < len(clean) else b" ", text) for n, text in enumerate(clean)
        ]
        raw += b"".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    whole = read(raw)
    assert read(*pieces) == whole
    assert [reply.code for reply in whole] == [code for code, _ in replies]
    assert all(reply.text.isascii() and reply.text.isprintable() for reply in whole)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_escaped_text_is_printable_ascii(data):
    assert escape(data).isascii()
    assert escape(data).isprintable()


# Commands.


def test_commands():
    letter = delivery(1)
    size = len(letter.content)
    assert command.ehlo("[127.0.0.1]") == b"EHLO [127.0.0.1]\r\n"
    assert command.mail(letter, {}) == b"MAIL FROM:<ada@ada.example>\r\n"
    assert command.mail(letter, {"SIZE": ""}) == b"MAIL FROM:<ada@ada.example> SIZE=%d\r\n" % size
    assert command.mail(letter, {"8BITMIME": "", "SMTPUTF8": ""}) == b"MAIL FROM:<ada@ada.example>\r\n"
    assert command.rcpt("b@b.example") == b"RCPT TO:<b@b.example>\r\n"
    assert command.bdat(86) == b"BDAT 86 LAST\r\n"
    assert command.auth("PLAIN", b"eA==") == b"AUTH PLAIN eA==\r\n"
    assert command.auth("EXTERNAL", b"") == b"AUTH EXTERNAL =\r\n"
    assert command.auth("LOGIN", None) == b"AUTH LOGIN\r\n"


@pytest.mark.parametrize("char", [*map(chr, range(0x21)), "\x7f", "<", ">", "\udcff"])
def test_no_address_leaves_its_brackets(char):
    with pytest.raises(AddressError):
        command.rcpt(f"a{char}@b.example")


@pytest.mark.parametrize("name", ["", "a b", "a\r\nMAIL", "ä.example", "a\0"])
def test_no_greeting_is_more_than_a_word(name):
    with pytest.raises(ConfigError):
        command.ehlo(name)


@pytest.mark.parametrize(
    ("content", "stuffed"),
    [
        (b"a\r\n", b"a\r\n"),
        (b".\r\n", b"..\r\n"),
        (b"..\r\n.\r\na.b\r\n", b"...\r\n..\r\na.b\r\n"),
        (b"a\r\n.\r\n.\r\n", b"a\r\n..\r\n..\r\n"),
    ],
)
def test_dots_are_doubled(content, stuffed):
    assert command.stuff(content) == stuffed


@settings(deadline=None)
@given(st.lists(st.text("a.\r\n", max_size=5), max_size=12))
def test_stuffed_content_ends_nowhere_and_comes_back(lines):
    content = "\r\n".join(line.replace("\r", "").replace("\n", "") for line in lines).encode() + b"\r\n"
    dotted = command.check(delivery(1, content=content))
    assert dotted is (command.stuff(content) != content), (
        "what has no dots need not be stuffed, all else must"
    )
    wire = command.stuff(content) + command.END_OF_DATA
    body = []
    for line in wire.split(b"\r\n"):  # as RFC 5321, 4.5.2 reads it
        if line == b".":
            break
        body.append(line[1:] if line.startswith(b".") else line)
    assert b"".join(line + b"\r\n" for line in body) == content
    assert wire.find(b"\r\n.\r\n") in {len(wire) - 5, -1}


@pytest.mark.parametrize(
    "content",
    [
        b"a\n",
        b"a\r",
        b"a",
        b"a\r\n\n",
        b"\ra\r\n",
        b"a\r\r\n",
        b"a\n.\r\nb\r\n",
        b"a\r\n.b\r\nc\nd\r\n",
        b"\na\r\n",
    ],
)
def test_bare_line_ends_are_refused(content):
    with pytest.raises(SealError):
        command.check(delivery(1, content=content))


@settings(deadline=None)
@given(st.text("a.\r\n", max_size=12))
def test_a_message_passes_if_crlf_is_its_only_line_end(text):
    content = text.encode()
    fits = content.endswith(b"\r\n") and not content.replace(b"\r\n", b"").strip(b"a.")
    try:
        command.check(delivery(1, content=content or b"\n"))
    except SealError:
        assert not fits
    else:
        assert fits


# Logins.


def test_plain_login_and_cram_md5():
    plain = auth.Plain("tim", "tanstaaftanstaaf")  # RFC 4616, 4
    assert plain.initial == b"\0tim\0tanstaaftanstaaf"
    assert auth.Plain("ü", "pässword").initial == "\0ü\0pässword".encode()
    login = auth.Login("ada", "secret")
    assert [login.answer(b"any"), login.answer(b"thing")] == [b"ada", b"secret"]
    with pytest.raises(auth.ExchangeError):
        login.answer(b"more")
    cram = auth.CramMd5("tim", "tanstaaftanstaaf")  # RFC 2195, 2
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    assert cram.answer(challenge) == b"tim b913a602c7eda7a495b4e6e7334d3890"


RFC7677 = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
)


def scram() -> auth.ScramSha256:
    return auth.ScramSha256("user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO")


def test_scram_sha_256_as_in_rfc_7677():
    exchange = scram()
    assert exchange.initial == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert exchange.answer(RFC7677[0]) == RFC7677[1]
    with pytest.raises(auth.ExchangeError):
        exchange.finish()
    assert exchange.answer(RFC7677[2]) == b""
    exchange.finish()


@pytest.mark.parametrize(
    "challenge",
    [
        RFC7677[0].replace(b"rOpr", b"xxxx"),
        RFC7677[0].replace(b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", b""),
        RFC7677[0].replace(b"4096", b"1"),
        RFC7677[0].replace(b"4096", b"99999999999"),
        RFC7677[0].replace(b"W22Z", b"===="),
        b"",
        b"\xff",
    ],
)
def test_scram_challenges_that_are_refused(challenge):
    with pytest.raises(auth.ExchangeError):
        scram().answer(challenge)


@pytest.mark.parametrize("final", [b"v=AAAA", b"e=invalid-proof", b"v=?", b""])
def test_a_scram_server_must_prove_itself(final):
    exchange = scram()
    exchange.answer(RFC7677[0])
    with pytest.raises(auth.ExchangeError, match="does not know the password"):
        exchange.answer(final)


def test_scram_prepares_names_and_passwords():
    assert auth.prepare("I\u00adX") == "IX"  # RFC 4013, 3
    assert auth.prepare("\u00aa") == "a"
    assert auth.prepare("\u00a0x") == " x"
    with pytest.raises(auth.ExchangeError):
        auth.prepare("\u0007ä")
    assert auth.ScramSha256("a,b=c", "x", nonce="n").initial == b"n,,n=a=2Cb=3Dc,r=n"


def test_tokens():
    xoauth = auth.XOAuth2("ada@x.example", "TOKEN")
    assert xoauth.initial == b"user=ada@x.example\x01auth=Bearer TOKEN\x01\x01"
    assert xoauth.answer(b'{"status":"401"}') == b""
    bearer = auth.OAuthBearer("ada@x.example", "TOKEN", "mail.example", 587)
    expected = b"n,a=ada@x.example,\x01host=mail.example\x01port=587\x01auth=Bearer TOKEN\x01\x01"
    assert bearer.initial == expected
    assert bearer.answer(b"{}") == b"\x01"


PASSWORD = auth.Credentials("ada", password=lambda: "secret")
TOKEN = auth.Credentials("ada", token=lambda: "token")


@pytest.mark.parametrize(
    ("offered", "credentials", "private", "allowed", "chosen"),
    [
        ("PLAIN LOGIN", PASSWORD, True, (), "PLAIN"),
        ("login plain cram-md5 scram-sha-256", PASSWORD, True, (), "PLAIN"),
        ("LOGIN CRAM-MD5", PASSWORD, True, (), "LOGIN"),
        ("CRAM-MD5", PASSWORD, True, (), "CRAM-MD5"),
        ("PLAIN CRAM-MD5 SCRAM-SHA-256", PASSWORD, False, (), "SCRAM-SHA-256"),
        ("PLAIN CRAM-MD5", PASSWORD, False, (), "CRAM-MD5"),
        ("PLAIN", PASSWORD, False, (), "PLAIN"),
        ("PLAIN XOAUTH2", TOKEN, True, (), "XOAUTH2"),
        ("PLAIN XOAUTH2 OAUTHBEARER", TOKEN, True, (), "OAUTHBEARER"),
        ("PLAIN LOGIN", TOKEN, True, (), None),
        ("XOAUTH2", PASSWORD, True, (), None),
        ("PLAIN LOGIN", PASSWORD, True, ("login",), "LOGIN"),
        ("PLAIN", PASSWORD, True, ("CRAM-MD5",), None),
        ("", PASSWORD, True, (), None),
    ],
)
def test_choice_of_mechanism(offered, credentials, private, allowed, chosen):
    assert auth.choose(offered.split(), credentials, private=private, allowed=allowed) == chosen


@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
def test_a_mechanism_begins(name):
    assert auth.begin(name, PASSWORD).name == name
    with pytest.raises(auth.ExchangeError):
        auth.begin("NTLM", PASSWORD)


def test_credentials_show_no_secret():
    assert "secret" not in repr(PASSWORD)
    assert base64.b64encode(b"secret").decode() not in repr(auth.Plain("ada", "secret"))


# Verdicts.


def judge(stage: str, text: str) -> meaning.Verdict | None:
    (reply,) = read(text.encode() + b"\r\n")
    return meaning.judge(stage, reply)


@pytest.mark.parametrize(
    ("stage", "text", "row", "run"),
    [
        ("MAIL", "421 4.7.0 Try again later, closing connection. gsmtp", None, Run.PAUSE),
        ("MAIL", "421 4.7.28 Gmail has detected an unusual rate of email. gsmtp", None, Run.PAUSE),
        (
            "RCPT",
            "450 4.2.1 The user you are trying to contact is receiving mail too quickly. gsmtp",
            None,
            Run.PAUSE,
        ),
        ("RCPT", "450 4.2.1 Peak SMTP relay limit exceeded for customer. gsmtp", None, Run.PAUSE),
        ("RCPT", "550 5.7.1 Daily SMTP relay limit exceeded: relay quota. gsmtp", None, Run.STOP),
        ("RCPT", "550 5.4.5 Daily user sending limit exceeded. gsmtp", None, Run.STOP),
        ("DATA", "550 5.4.5 Daily user sending limit exceeded. gsmtp", None, Run.STOP),
        ("end of data", "550 5.4.5 Daily user sending limit exceeded. gsmtp", State.DEFERRED, Run.STOP),
        ("MAIL", "421 4.4.5 Too many concurrent connections. gsmtp", None, Run.PAUSE),
        ("RCPT", "452 4.2.2 The recipient's inbox is out of storage space. gsmtp", State.DEFERRED, Run.GO_ON),
        ("RCPT", "452 4.5.3 Your message has too many recipients. gsmtp", State.DEFERRED, Run.GO_ON),
        ("AUTH", "432 4.3.2 Concurrent connections limit exceeded", None, Run.PAUSE),
        (
            "end of data",
            "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
            State.DEFERRED,
            Run.PAUSE,
        ),
        (
            "end of data",
            "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
            State.DEFERRED,
            Run.STOP,
        ),
        ("end of data", "554 5.2.2 mailbox full", State.DEFERRED, Run.STOP),
        ("RCPT", "554 5.2.2 mailbox full", State.FAILED, Run.GO_ON),
        ("MAIL", "550 5.2.253 throttled because of errors", None, Run.STOP),
        ("end of data", "554 5.2.252 SendAsDenied; ada not allowed to send as bob", State.DEFERRED, Run.STOP),
        ("AUTH", "535 5.7.139 Authentication unsuccessful, basic authentication is disabled", None, Run.STOP),
        ("MAIL", "550 5.7.30 Basic authentication is not supported for Client Submission", None, Run.STOP),
        ("end of data", "454 Throttling failure: Maximum sending rate exceeded.", State.DEFERRED, Run.PAUSE),
        ("end of data", "454 Throttling failure: Daily message quota exceeded.", State.DEFERRED, Run.STOP),
        ("RCPT", "450 4.7.1 Error: too much mail from 192.0.2.1", None, Run.PAUSE),
        ("RCPT", "454 4.7.1 relay access denied", State.DEFERRED, Run.GO_ON),
        ("RCPT", "452 space shortage, please try later", None, Run.PAUSE),
        ("MAIL", "550 5.7.0 Requested action not taken: too many emails per second", None, Run.PAUSE),
        (
            "end of data",
            "550 5.7.0 Requested action not taken: too many emails per second",
            State.DEFERRED,
            Run.PAUSE,
        ),
        ("end of data", "550 5.7.0 Message rejected", State.FAILED, Run.GO_ON),
        ("end of data", "552 message size exceeds maximum permitted", State.FAILED, Run.GO_ON),
        (
            "end of data",
            "550 5.7.515 Access denied, sending domain does not meet the required level",
            State.FAILED,
            Run.GO_ON,
        ),
        ("RCPT", "530 5.7.0 Must issue a STARTTLS command first", None, Run.RECONNECT),
        ("RCPT", "599 whatever", State.FAILED, Run.GO_ON),
        ("RCPT", "499 whatever", State.DEFERRED, Run.GO_ON),
        ("end of data", "299 whatever", State.SENT, Run.GO_ON),
        ("AUTH", "599 whatever", None, Run.STOP),
        ("banner", "320 what", None, Run.STOP),
        ("STARTTLS", "501 what", None, Run.STOP),
        ("NOOP", "421 bye", None, Run.RECONNECT),
    ],
)
def test_what_a_reply_means(stage, text, row, run):
    verdict = judge(stage, text)
    assert verdict is not None
    assert (verdict.row, verdict.run) == (row, run)


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        ("end of data", "354 go on"),
        ("MAIL", "150 hm"),
        ("RCPT", "354 go"),
        ("DATA", "250 ok"),
        ("RSET", "354 x"),
        ("body", "250 ok"),
    ],
)
def test_a_reply_out_of_place_means_nothing(stage, text):
    assert judge(stage, text) is None


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "end of data", "body"])
@pytest.mark.parametrize("code", [*range(400, 600)])
def test_every_refusal_has_a_verdict_that_never_says_sent(stage, code):
    verdict = judge(stage, f"{code} text")
    assert verdict is not None
    assert verdict.row in {None, State.DEFERRED, State.FAILED}
    assert verdict.row is not None or verdict.run is not Run.GO_ON
    if code < 500:
        assert verdict.row is not State.FAILED


def test_every_rule_about_a_provider_names_it_and_its_source():
    for rule in meaning.PROVIDERS:
        assert rule.who
        assert rule.source
        assert rule.enhanced or rule.text
        assert all(code[0] in "45" for code in rule.codes), "asked for refusals only"
