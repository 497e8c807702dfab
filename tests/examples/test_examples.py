"""Everything in examples/ runs: no complaint, each letter its person's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from email import policy
from email.parser import BytesParser
from pathlib import Path

import pytest

from merge import Campaign, State

ROOT = Path(__file__).parents[2]


@pytest.fixture
def example(request, tmp_path):
    shutil.copytree(ROOT / "examples" / request.param, tmp_path / request.param)
    return Campaign.load(tmp_path / request.param)


def arrived(campaign: Campaign):
    files = sorted((campaign.settings.folder / "sandbox").glob("*.eml"))
    return [BytesParser(policy=policy.default).parsebytes(path.read_bytes()) for path in files]


@pytest.mark.parametrize("example", ["newsletter", "certificates", "conference"], indirect=True)
def test_an_example_has_no_problem_and_arrives_whole(example):
    assert example.check() == []
    summary = example.send(sandbox=True)
    assert summary.exit_code == 0
    letters = arrived(example)
    assert len(letters) == summary.states[State.SENT] == summary.tried
    assert len({letter["To"] for letter in letters}) == len(letters)
    assert len({letter["Message-ID"] for letter in letters}) == len(letters)


@pytest.mark.parametrize("example", ["newsletter"], indirect=True)
def test_the_newsletter_has_html_text_and_the_plot_as_the_sheet_shows_it(example):
    example.send(sandbox=True)
    taro = next(letter for letter in arrived(example) if "taro" in letter["To"])
    html, text = (taro.get_body([kind]).get_content() for kind in ("html", "plain"))
    assert "太郎" in taro["Subject"]
    assert "太郎 山田" in html
    assert "number <strong>3</strong>" in html
    assert "0012" in text
    assert "mailto:office@garden.example" in taro["List-Unsubscribe"]


@pytest.mark.parametrize("example", ["certificates"], indirect=True)
def test_each_certificate_goes_to_its_own_person(example):
    example.send(sandbox=True)
    for letter in arrived(example):
        [attached] = letter.iter_attachments()
        assert attached.get_filename().removesuffix(".pdf") in letter.get_body(["plain"]).get_content()
        assert attached.get_content().startswith(b"%PDF")


@pytest.mark.parametrize("example", ["conference"], indirect=True)
def test_the_invitation_takes_its_branches(example):
    summary = example.send(sandbox=True)
    assert summary.states[State.SKIPPED] == 1
    by_name = {letter["To"].split("@")[0]: letter for letter in arrived(example)}
    speaker = by_name["ana.quispe"].get_body(["html"]).get_content()
    guest = by_name["mikel"].get_body(["html"]).get_content()
    assert speaker.count("twenty minutes") == 2
    assert "Counting in Aymara" in speaker
    assert "Your seat is reserved" in guest
    assert "please tell us by 1 May" in guest


def test_the_demo_runs(tmp_path):
    for name in ("examples", "merge", "templates"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, tmp_path / "examples" / "demo.py"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "What became of each row" in done.stdout
    assert len(list((tmp_path / "demo" / "sandbox").glob("*.eml"))) == 10
