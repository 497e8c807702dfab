"""campaign.toml and accounts.toml mean what they say, and every mistake in them is shown where it stands."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merge.account import AccountSettings, read_account
from merge.config import _CAMPAIGN_KEYS, read_settings
from merge.errors import ConfigError, UsageError
from merge.toml import TomlFile, load_toml

QUIET = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
NAME = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).filter(str.strip)


def folder_with(tmp_path: Path, toml: str) -> Path:
    for name in ("people.csv", "letter.md"):
        (tmp_path / name).write_text("email\nada@x.example\n")
    (tmp_path / "campaign.toml").write_text(toml, "utf-8")
    return tmp_path


def read(tmp_path: Path, toml: str):
    return read_settings((folder_with(tmp_path, toml),))


@QUIET
@given(NAME, NAME, NAME, st.integers(1, 10**6))
def test_what_is_written_is_what_is_read(tmp_path, sender, email, edition, rate):
    quoted = [
        json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f") for text in (sender, email, edition)
    ]
    found = read(
        tmp_path,
        f"from = {quoted[0]}\nedition = {quoted[2]}\n[columns]\nemail = {quoted[1]}\n"
        f'[pace]\nper_hour = {rate}\n[retry]\nfirst = "{rate}s"\n',
    )
    assert (found.sender, found.email_column, found.edition) == (sender, email, edition)
    assert found.pace
    assert (found.pace.per_hour, found.pace.per_day) == (rate, None)
    assert found.retry.first == rate


@QUIET
@given(st.sampled_from(sorted(_CAMPAIGN_KEYS)), st.data())
def test_a_slip_of_the_finger_is_met_with_the_key_that_was_meant(tmp_path, key, data):
    place = data.draw(st.integers(0, len(key) - 1))
    wrong = key[:place] + key[place + 1 :] + "x"
    if wrong in _CAMPAIGN_KEYS:
        return
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, f"# a comment\n{wrong} = 1\n")
    (problem,) = refused.value.problems
    assert (problem.file, problem.line, problem.column, problem.width) == ("campaign.toml", 2, 1, len(wrong))
    if len(key) > 4:
        assert f"did you mean {key}?" in problem.hint


@QUIET
@given(st.text(max_size=60))
def test_no_text_at_all_ends_in_anything_but_a_config_error(tmp_path, text):
    with contextlib.suppress(ConfigError):
        read(tmp_path, text.encode("utf-8", "replace").decode("utf-8"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [('"30s"', 30), ('"5m"', 300), ('"2h"', 7200), ('"1d"', 86400), ("90", 90), ('"1.5m"', 90)],
)
def test_durations(tmp_path, text, seconds):
    assert read(tmp_path, f"[retry]\nfirst = {text}\n").retry.first == seconds


@pytest.mark.parametrize("text", ['"5 parsecs"', '"-5s"', '""', '"5 5"', "-3", "true", "nan"])
def test_no_durations(tmp_path, text):
    with pytest.raises(ConfigError):
        read(tmp_path, f"[retry]\nfirst = {text}\n")


def test_the_usual_names_need_not_be_written(tmp_path):
    found = read(tmp_path, 'from = "a@x.example"\n')
    assert (found.list.name, found.letter.name, found.edition) == ("people.csv", "letter.md", "1")
    (tmp_path / "people.xlsx").touch()
    with pytest.raises(ConfigError, match="list"):
        read(tmp_path, "")


def test_a_list_on_the_network_is_not_fetched(tmp_path):
    with pytest.raises(ConfigError, match="nothing is fetched"):
        read(tmp_path, 'list = "https://docs.example/x"\n')


def test_the_place_of_a_mistake_is_the_right_one_among_like_names(tmp_path):
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, '# port = "x"\nletter = "letter.md" # port = 3\n[account]\nhost = "h"\nport = "x"\n')
    assert refused.value.problems[0].line == 5


def test_broken_toml_is_shown_where_it_breaks_but_no_password_is(tmp_path):
    (tmp_path / "a.toml").write_text('list = "people.csv"\nletter = letter.md\n')
    with pytest.raises(ConfigError) as refused:
        load_toml(tmp_path / "a.toml", "a.toml")
    assert (refused.value.problems[0].line, refused.value.problems[0].source) == (2, "letter = letter.md")
    (tmp_path / "a.toml").write_text('[work]\npassword = "s3cret\n')
    with pytest.raises(ConfigError) as refused:
        load_toml(tmp_path / "a.toml", "a.toml")
    assert "s3cret" not in str(refused.value) + repr(refused.value.problems)


def test_paths_that_are_no_campaign(tmp_path):
    (tmp_path / "people.csv").touch()
    for paths, error in (
        ((tmp_path / "nowhere",), UsageError),
        ((tmp_path / "people.csv",), UsageError),
        ((tmp_path,), ConfigError),
        ((tmp_path / "people.csv", tmp_path / "letter.md"), UsageError),
    ):
        with pytest.raises(error):
            read_settings(paths)


FILE = TomlFile("campaign.toml")


@pytest.mark.parametrize(
    ("table", "port", "security"),
    [
        ({"host": "h.example"}, 587, "starttls"),
        ({"host": "h.example", "security": "tls"}, 465, "tls"),
        ({"host": "h.example", "port": 465}, 465, "tls"),
        ({"host": "h.example", "port": 25}, 25, "starttls"),
        ({"host": "localhost", "port": 1025}, 1025, "none"),
        ({"host": "h.example", "security": "none"}, 587, "none"),
    ],
)
def test_what_an_account_leaves_open_is_the_safe_usual(table, port, security):
    found = read_account(table, FILE, {})
    assert found
    assert (found.port, found.security) == (port, security)


def test_the_environment_overrides_an_account_and_its_provider():
    table = {"provider": "gmail", "user": "ada@gmail.com"}
    found = read_account(table, FILE, {"MERGEPOST_HOST": "mail.example", "MERGEPOST_USER": "bob"})
    assert found
    assert (found.host, found.port, found.security, found.user) == ("mail.example", 587, "starttls", "bob")
    with pytest.raises(ConfigError, match="MERGEPOST_PORT"):
        read_account(table, FILE, {"MERGEPOST_PORT": "twenty"})


def test_an_account_never_holds_a_password():
    names = {field.name for field in dataclasses.fields(AccountSettings)}
    assert "password" not in names
    found = read_account({"host": "h", "password": {"env": "X"}}, FILE, {"MERGEPOST_PASSWORD": "s3cret"})
    assert "s3cret" not in repr(found)
