"""The link with which a person leaves: signed, theirs alone, in both headers, dead in what is only shown."""

from __future__ import annotations

import hashlib
import re
import sys
from email import message_from_bytes, policy
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

import merge
from merge.config import read_settings
from merge.errors import AddressError, ConfigError
from merge.model import State
from merge.seal import seal
from merge.unsubscribe import SALT, STAND_IN, Tokens, personal

SECRET = "a secret that nobody else has".replace(" ", "-")
URL = "https://club.example/unsubscribe"
BOTH = f'[unsubscribe]\nurl = "{URL}"\nmailto = "leave@club.example"\nsecret = {{env = "UNSUB"}}\n'
LETTER = "Subject: Hi {{ name }}\nUnsubscribe: {{ unsubscribe_url }}\n\nbye: <{{ unsubscribe_url }}>\n"
PEOPLE = "name,email\nAda,ada@x.example\nBob,Bob@X.example\n"


def campaign(
    folder: Path, toml: str = BOTH, letter: str = LETTER, name: str = "letter.txt", people: str = PEOPLE
) -> merge.Campaign:
    (folder / "people.csv").write_text(people, "utf-8")
    (folder / name).write_text(letter, "utf-8")
    head = f'list = "people.csv"\nletter = "{name}"\nfrom = "Club <news@club.example>"\n'
    (folder / "campaign.toml").write_text(head + toml, "utf-8")
    return merge.Campaign.load(folder)


def headers(letter) -> dict[str, str]:
    return {name: value for name, value in letter.headers if name.startswith("List-")}


@given(st.from_regex(r"[a-z0-9.+_'-]{1,40}@[a-z0-9]{1,30}\.example", fullmatch=True))
def test_a_token_names_its_address_survives_mail_programs_and_is_the_same_each_time(address):
    tokens = Tokens(SECRET)
    try:
        token = tokens.token(address)
    except AddressError:
        return
    assert token == Tokens(SECRET).token(address)
    assert tokens.address(token) == address
    assert re.fullmatch(r"[A-Za-z0-9_.-]+[A-Za-z0-9]", token)
    assert list(tokens.addresses(f"Re: AW: unsubscribe {token}")) == [address]


def test_a_token_of_another_secret_of_another_use_or_changed_anywhere_is_nobodys():
    tokens = Tokens(SECRET)
    token = tokens.token("ada@x.example")
    assert tokens.address(Tokens(SECRET + "x").token("ada@x.example")) == ""
    for place in range(len(token)):
        for other in "Aa0-_.=":
            changed = token[:place] + other + token[place + 1 :]
            if changed != token:
                assert tokens.address(changed) == ""
    for hostile in ("", ".", "..", STAND_IN, token + "A", "A" * 100_000, token.swapcase(), "é" + token):
        assert tokens.address(hostile) == ""


def test_the_addresses_in_a_subject_are_found_whatever_stands_around_them():
    tokens = Tokens(SECRET)
    token = tokens.token("ada@x.example")
    for subject in (f"unsubscribe {token}", f"Re: unsubscribe {token}.", f"WG: [club] <{token}>", token):
        assert list(tokens.addresses(subject)) == ["ada@x.example"]
    assert list(tokens.addresses(f"unsubscribe {STAND_IN}")) == []


def test_an_old_secret_keeps_old_links_alive():
    old = Tokens(SECRET).token("ada@x.example")
    rotated = Tokens(f"a-new-secret-of-this-year {SECRET}")
    assert rotated.address(old) == "ada@x.example"
    assert Tokens("a-new-secret-of-this-year").address(rotated.token("ada@x.example")) == "ada@x.example"


def test_a_signature_is_what_the_documentation_says_it_is():
    keys = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    made = URLSafeSerializer(SECRET, salt=SALT, signer_kwargs=keys).dumps("ada@x.example")
    assert made == Tokens(SECRET).token("ada@x.example")


@pytest.mark.parametrize("secret", ["", "short", "   ", f"{SECRET} short"])
def test_a_secret_that_could_be_guessed_is_refused_without_being_shown(secret):
    with pytest.raises(ConfigError, match="could be guessed") as refused:
        Tokens(secret)
    assert "short " not in str(refused.value)


def test_a_missing_library_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "itsdangerous", None)
    with pytest.raises(ConfigError, match="not installed") as refused:
        Tokens(SECRET)
    assert 'pip install "mergepost[unsubscribe]"' in refused.value.hint


@pytest.mark.parametrize("shown", ["Unsubscribe: {{ unsubscribe_url }}\n", ""])
def test_both_headers_are_right_with_and_without_a_line_in_the_letter(tmp_path, shown):
    made = campaign(tmp_path, letter=f"Subject: Hi\n{shown}\nbye\n")
    ada, bob = (personal(letter, Tokens(SECRET)) for letter in made.letters())
    for letter, address in ((ada, "ada@x.example"), (bob, "bob@x.example")):
        token = Tokens(SECRET).token(address)
        links = f"<{URL}?{token}>, <mailto:leave@club.example?subject=unsubscribe%20{token}>"
        assert headers(letter) == {
            "List-Unsubscribe": links,
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }


def test_a_mailbox_alone_has_no_one_click_header(tmp_path):
    toml = '[unsubscribe]\nmailto = "leave@club.example"\nsecret = {env = "UNSUB"}\n'
    (ada, _) = (personal(letter, Tokens(SECRET)) for letter in campaign(tmp_path, toml).letters())
    assert "List-Unsubscribe-Post" not in headers(ada)
    (token,) = re.findall(r"subject=unsubscribe%20([^>]+)>", headers(ada)["List-Unsubscribe"])
    assert Tokens(SECRET).address(unquote(token)) == "ada@x.example"


def test_a_letter_with_links_of_its_own_keeps_them(tmp_path):
    letter = "Subject: Hi\nUnsubscribe: https://other.example/bye\n\nbye\n"
    (ada, _) = campaign(tmp_path, letter=letter).letters()
    assert headers(ada)["List-Unsubscribe"] == "<https://other.example/bye>"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("letter.txt", "bye: <{{ unsubscribe_url }}>"),
        ("letter.md", "[bye]({{ unsubscribe_url }}) and {{ unsubscribe_url }}"),
        ("letter.html", '<p><a href="{{ unsubscribe_url }}">bye</a> Grüße</p>'),
        (
            "letter.html",
            '<p>{% if "x" in unsubscribe_url %}<a href="{{ unsubscribe_url|e }}">bye</a>{% endif %}</p>',
        ),
        ("letter.md", "{% set link = unsubscribe_url %}<{{ link }}>"),
    ],
)
def test_the_link_arrives_whole_in_every_kind_of_letter(tmp_path, name, body):
    made = campaign(tmp_path, letter=f"Subject: Hi\n\nHi {{{{ name }}}}, {body}\n", name=name)
    for letter in made.letters():
        token = Tokens(SECRET).token(letter.envelope.recipients[0])
        raw = seal(personal(letter, Tokens(SECRET))).content
        message = message_from_bytes(raw, policy=policy.default)
        assert STAND_IN.encode() not in raw
        for part in message.walk():
            if part.get_content_maintype() == "text":
                assert f"{URL}?{token}" in part.get_content(), part
        lines = raw.split(b"\r\n\r\n")[0].decode("ascii")
        assert f"<{URL}?{token}>" in re.sub(r"\r\n[ \t]", " ", lines)
        assert "=?" not in lines.partition("List-Unsubscribe")[2].partition("\r\n")[0]


def test_what_is_only_looked_at_unsubscribes_nobody(tmp_path):
    made = campaign(tmp_path)
    for message in made.messages():
        assert STAND_IN in message["List-Unsubscribe"]
        assert f"{URL}?{STAND_IN}" in message.get_content()
    assert made.check() == []


def test_a_new_secret_changes_no_letter_in_the_eyes_of_the_journal(tmp_path, monkeypatch):
    made = campaign(tmp_path)
    before = [letter.digest for letter in made.letters()]
    fingerprint = made.findings().fingerprint
    monkeypatch.setenv("UNSUB", "another secret altogether")
    again = merge.Campaign.load(tmp_path)
    assert [letter.digest for letter in again.letters()] == before
    assert again.findings().fingerprint == fingerprint
    moved = campaign(tmp_path, BOTH.replace("club.example/un", "club.example/new/un"))
    assert [letter.digest for letter in moved.letters()] != before


def test_a_try_in_the_sandbox_needs_no_secret_and_holds_no_live_link(tmp_path):
    summary = campaign(tmp_path).send(sandbox=True)
    assert summary.states[State.SENT] == 2
    for path in (tmp_path / "sandbox").glob("*.eml"):
        assert STAND_IN.encode() in path.read_bytes()


def test_without_the_table_the_name_is_unknown_and_the_hint_shows_the_table(tmp_path):
    (problem, *_) = campaign(tmp_path, "").check()
    assert problem.severity == "error"
    assert "[unsubscribe]" in problem.hint
    assert problem.line == 2


def test_a_column_of_the_same_name_stays_a_column_without_the_table(tmp_path):
    people = "name,email,Unsubscribe URL\nAda,ada@x.example,https://x.example/a\n"
    made = campaign(tmp_path, "", people=people)
    assert made.check() == []
    (letter,) = made.letters()
    assert headers(letter)["List-Unsubscribe"] == "<https://x.example/a>"
    with pytest.raises(ConfigError, match="column unsubscribe_url of its own"):
        _ = campaign(tmp_path, people=people).parts


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[unsubscribe]\n", "needs url, mailto"),
        ('[unsubscribe]\nurl = "https://x.example/u"\n', "needs a secret"),
        ('[unsubscribe]\nurl = "http://x.example/u"\nsecret = {env = "A"}\n', "one click"),
        ('[unsubscribe]\nurl = "https://x.example/u#a"\nsecret = {env = "A"}\n', "one click"),
        ('[unsubscribe]\nurl = "https://x.example/u> <b"\nsecret = {env = "A"}\n', "one click"),
        ('[unsubscribe]\nurl = "https://[x"\nsecret = {env = "A"}\n', "one click"),
        (
            '[unsubscribe]\nmailto = "a@b.example, c@d.example"\nsecret = {env = "A"}\n',
            "mailto is no address",
        ),
        ('[unsubscribe]\nurl = "https://x.example/u"\nsecret = "plain"\n', "does not belong into a file"),
        ('[unsubscribe]\nlink = "https://x.example/u"\n', "unknown key link"),
        ("unsubscribe = true\n", "must be a table"),
    ],
)
def test_a_table_that_cannot_be_followed_is_refused_with_its_place(tmp_path, toml, words):
    with pytest.raises(ConfigError, match=words) as refused:
        campaign(tmp_path, toml)
    assert "plain" not in "".join(problem.source for problem in refused.value.problems)


def test_a_query_that_is_there_already_is_kept(tmp_path):
    toml = '[unsubscribe]\nurl = "https://x.example/u?list=1"\nsecret = {env = "A"}\n'
    campaign(tmp_path, toml)
    assert read_settings((tmp_path,)).given["unsubscribe_url"] == f"https://x.example/u?list=1&{STAND_IN}"


def test_a_filter_that_spoils_the_link_stops_the_letter(tmp_path):
    made = campaign(tmp_path, letter="Subject: Hi\n\n{{ unsubscribe_url|upper }}\n")
    (problem, _) = made.check()
    assert problem.severity == "error"
    assert "a filter changes unsubscribe_url" in problem.message
