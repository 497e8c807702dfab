"""One mailbox is one mailbox, and whatever else a cell holds is named."""

import string
import subprocess
import sys
import time

import email_validator
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from merge import address as room
from merge.address import normalise, parse_mailbox, parse_mailboxes, remarks
from merge.domains import WELL_KNOWN, likely_domain
from merge.errors import AddressError
from merge.model import Mailbox

# The machine may be busy with other tests.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("ann@example.org", "", "ann@example.org"),
        ("Ann.O'Neill+club@Example.ORG", "", "Ann.O'Neill+club@example.org"),
        (" ann@example.org\t", "", "ann@example.org"),
        ("\u200bann@example.org\ufeff", "", "ann@example.org"),
        ("\u00a0ann@example.org\u202c", "", "ann@example.org"),
        ("<ann@example.org>", "", "ann@example.org"),
        ("Ann <ann@example.org>", "Ann", "ann@example.org"),
        ('"Smith, Ann" <ann@example.org>', "Smith, Ann", "ann@example.org"),
        (r'"A \"B\" C" <ann@example.org>', 'A "B" C', "ann@example.org"),
        ("Zoë  Müller <zoe@example.org>", "Zoë Müller", "zoe@example.org"),
        ("山田 太郎 <taro@example.jp>", "山田 太郎", "taro@example.jp"),
        ("Dr. Ann <ann@example.org>", "Dr. Ann", "ann@example.org"),
        ("ann@example.org <Ann@Example.org>", "", "ann@example.org"),
        ("a@müller.de", "", "a@xn--mller-kva.de"),
        ("a@xn--mller-kva.de", "", "a@xn--mller-kva.de"),
        ("jörg@example.org", "", "jörg@example.org"),
        ("jo\u0308rg@example.org", "", "jörg@example.org"),
        ("a" * 64 + "@example.org", "", "a" * 64 + "@example.org"),
        ("a@example.museum", "", "a@example.museum"),
    ],
)
def test_mailboxes(text, name, address):
    assert parse_mailbox(text) == Mailbox(name, address)


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("", "empty", ""),
        (" \u200b\u00a0", "empty", ""),
        ("a@b.de, c@d.de", "two addresses in one cell", "row of its own"),
        ("a@b.de; c@d.de", "two addresses", ""),
        ("a@b.de c@d.de", "two addresses", ""),
        ("a@b.de\u200bc@d.de", "", ""),
        ("alice@example.org)bob@example.com", "two addresses", ""),
        ("alice@example.org <bob@example.com>", "two addresses", ""),
        ("<a@b.de> ORCPT=rfc822;x", "", ""),
        ("a@b.de> NOTIFY=NEVER", "", ""),
        ("a@b.de\r\nBcc: c", "U+000D", ""),
        ("a@b.de\x00", "U+0000", ""),
        ("Ann\n <a@b.de>", "U+000A", ""),
        ("Ann\x1b[31m <a@b.de>", "U+001B", ""),
        ("\ud800@b.de", "U+D800", ""),
        ("@r1,@r2:a@b.de", "", ""),
        ("a%b@c.de", "source route", ""),
        ("a!b@c.de", "source route", ""),
        ('"a b"@c.de', "", ""),
        ("a(b)@c.de", "", ""),
        ("a@[127.0.0.1]", "", ""),
        ("a@127.0.0.1", "", ""),
        ("team: a@b.de;", "", ""),
        ("team: a@b.de, c@d.de;", "two addresses", ""),
        ("=?utf-8?q?a?=@b.de", "encoded word", ""),
        ("=?utf-8?q?Ann?= <a@b.de>", "encoded word", ""),
        ("a@b", "", ""),
        ("a@x..org", "", "did you mean a@x.org?"),
        (".a@x.de", "", "did you mean a@x.de?"),
        ("a@-x.org", "", ""),
        ("a@x_y.org", "", "did you mean a@x-y.org?"),
        ("a@x.test", "special-use", ""),
        ("a@x.local", "special-use", ""),
        ("a" * 65 + "@example.org", "too long", ""),
        ("ö" * 33 + "@example.org", "too long", ""),
        ("a@" + ".".join(["b" * 60] * 5) + ".org", "too long", ""),
        ("a@" + "b" * 64 + ".org", "", ""),
        ("bob at example.com", "", "did you mean bob@example.com?"),
        ("bob(at)example.com", "", "did you mean bob@example.com?"),
        ("bob [at] example [dot] com", "", "did you mean bob@example.com?"),
        ("bob @ example.com", "", "did you mean bob@example.com?"),
        ("bob@example,com", "", "did you mean bob@example.com?"),
        ("bob@example.com.", "", "did you mean bob@example.com?"),
        ("bob@@example.com", "", "did you mean bob@example.com?"),
        ("mailto:bob@example.com?subject=x", "", "did you mean bob@example.com?"),
        ("ｂｏｂ＠ｅｘａｍｐｌｅ．ｃｏｍ", "", "did you mean bob@example.com?"),
        ("bo\u200bb@example.com", "", "did you mean bob@example.com?"),
        ("Smith, Ann <a@b.de>", "", ""),
        ("Ann", "the address must have an @-sign", ""),
        ("n/a", "", ""),
        ("x" * 2000, "longer than 998", ""),
    ],
)
def test_what_is_not_one_mailbox(text, says, hint):
    with pytest.raises(AddressError) as caught:
        parse_mailbox(text)
    assert says in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message
    assert not caught.value.message.startswith(("The ", "An "))


ATOM = string.ascii_letters + string.digits + "!#$%&'*+-/=?^_`{|}~."
LOOSE = st.text(st.sampled_from(ATOM + "@@..--") | st.sampled_from("xn-- testlocal"), max_size=30)
LABEL = st.text(st.sampled_from(string.ascii_letters + string.digits + "-"), min_size=1, max_size=12)
TOPS = (
    st.sampled_from(["org", "test", "LOCAL", "x1", "invalid", "arpa", "onion", "localhost", "c", "example"])
    | LABEL
)
LIKELY = st.builds(
    "{}@{}.{}".format,
    st.text(st.sampled_from(ATOM), min_size=1, max_size=70),
    st.lists(LABEL, min_size=1, max_size=5).map(".".join),
    TOPS,
)


def test_all_blanks_and_invisible_characters_are_dropped_around_an_address():
    around = [
        character for character in map(chr, range(sys.maxunicode + 1)) if room._BLANK.fullmatch(character)
    ]
    assert set(around) == set(room._OUTER)


def test_an_everyday_address_needs_no_validator():
    """It takes 60 ms to load, which each command would pay that reads a sender."""
    code = (
        "import sys; from merge.address import parse_mailbox;"
        "parse_mailbox('ann@example.org'); parse_mailbox('Ann B. <Ann@Example.org>');"
        "sys.exit('email_validator' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@settings(UNHURRIED, max_examples=1_500)
@given(text=LOOSE | LIKELY)
@example("a@xn--a.org")
@example("a@ab--c.org")
@example("a@x.Test")
@example("A" * 65 + "@example.org")
@example("a@" + ".".join(["b" * 60] * 4) + ".organisation")
@example("=?a@example.org")
@example("NOC@0.AA")
@example("Info@Example.org")
def test_the_quick_way_accepts_nothing_that_the_validator_refuses(text):
    address = room._plain(text)
    if not address:
        return
    found = email_validator.validate_email(text, check_deliverability=False, strict=True)
    assert found.ascii_email == address
    assert not found.smtputf8


@settings(UNHURRIED, max_examples=300)
@given(text=st.text(max_size=40) | LIKELY)
def test_any_text_is_a_mailbox_or_an_address_error(text):
    try:
        mailbox = parse_mailbox(text)
    except AddressError:
        return
    assert parse_mailbox(mailbox.address).address == mailbox.address
    assert not set(mailbox.address) & set(' <>,;:()[]\\"\r\n\t')
    assert mailbox.address.count("@") == 1
    assert normalise(text) == normalise(mailbox.address)
    remarks(text)


def test_everyday_addresses_take_the_quick_way(monkeypatch):
    monkeypatch.setattr(room, "_checked", None)
    for text in ("ann@example.org", "a.b+c@sub.example.co.uk", "O'Neill_1@example-club.museum"):
        assert parse_mailbox(text).address == text


def test_hostile_lengths_take_no_time():
    started = time.perf_counter()
    for text in (
        "a" * 200_000,
        " " * 100_000 + "a",
        "a" + " " * 100_000 + "b",
        "a." * 100_000,
        "<" * 100_000,
    ):
        with pytest.raises(AddressError):
            parse_mailbox(text)
    assert time.perf_counter() - started < 1


def test_lists_of_mailboxes():
    assert parse_mailboxes('Ann <a@x.de>, "B, C" <b@x.de>,, c@x.de ,') == (
        Mailbox("Ann", "a@x.de"),
        Mailbox("B, C", "b@x.de"),
        Mailbox("", "c@x.de"),
    )
    assert parse_mailboxes(" ") == ()
    for text in ("a@x.de; b@x.de", "team: a@x.de, b@x.de;", "Smith, Ann <a@x.de>", 'a@x.de, "'):
        with pytest.raises(AddressError):
            parse_mailboxes(text)


def test_two_spellings_are_one_address():
    same = ["Ann@Example.ORG", "ann@example.org", " ANN@EXAMPLE.ORG\u200b", "Ann <ann@example.org>"]
    assert {normalise(text) for text in same} == {"ann@example.org"}
    assert normalise("A@MÜLLER.de") == normalise("a@xn--mller-kva.de")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ann@example.org", []),
        ("ann@exmaple.com", ["did you mean example.com?"]),
        ("ann@gmial.com", ["did you mean gmail.com?"]),
        ("ann@gmail.con", ["did you mean gmail.com?"]),
        ("ann@gamil.com", ["did you mean gmail.com?"]),
        ("ann@hotmial.com", ["did you mean hotmail.com?"]),
        ("ann@my-club.con", ["did you mean my-club.com?"]),
        ("ann@mail.com", []),
        ("ann@ymail.com", []),
        ("ann@web.de", []),
        (" ann@example.org", ["blanks around the address were dropped"]),
        ("ann@example.org\u200b", ["U+200B ZERO WIDTH SPACE"]),
        ("a@müller.de", ["müller.de is sent as xn--mller-kva.de"]),
        ("a@gmаil.com", ["is sent as xn--gmil-63d.com", "mixes letters of several scripts"]),
        ("a@почта.рф", ["is sent as"]),
        ("太郎@日本メール.jp", ["is sent as", "SMTPUTF8"]),
        ("jörg@example.org", ["SMTPUTF8"]),
    ],
)
def test_remarks(text, says):
    found = remarks(text)
    assert len(found) == len(says)
    for words, remark in zip(says, found, strict=True):
        assert words in remark


def test_well_known_domains_are_no_slips():
    assert not [domain for domain in WELL_KNOWN if likely_domain(domain)]


@settings(UNHURRIED)
@given(st.sampled_from(sorted(d for d in WELL_KNOWN if len(d) >= 10)), st.data())
def test_one_slip_is_noticed(domain, data):
    place = data.draw(st.integers(0, len(domain.split(".")[0]) - 2))
    swapped = domain[:place] + domain[place + 1] + domain[place] + domain[place + 2 :]
    if swapped != domain and swapped not in WELL_KNOWN:
        assert likely_domain(swapped) in WELL_KNOWN
