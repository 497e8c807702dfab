"""The doctor on a signature: the key in the DNS held against that in the file; the record to publish."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from accounts_kit import Manners, mail_server, name_server
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from dkim_kit import PLACE, key_file, pem, signer

from merge.account import AccountSettings
from merge.account.providers import providers
from merge.doctor import authenticity
from merge.doctor.authenticity import Sender
from merge.doctor.dns import Resolver
from merge.doctor.signature import examine
from merge.finding import Finding
from merge.fit import of_signature


@pytest.fixture
def ours(tmp_path):
    return signer(tmp_path)


def quoted(*texts: str) -> tuple[str, ...]:
    """Return TXT records, each in strings of at most 255, as the DNS wants them."""
    return tuple(" ".join(f'"{piece}"' for piece in re.findall(".{1,255}", text)) for text in texts)


def found(signer, *texts: str, domain: str = "club.example") -> tuple[list[Finding], bool]:
    zone = {(PLACE, "TXT"): quoted(*texts)} if texts else {("club.example", "MX"): ("0 .",)}
    with name_server(zone) as address:
        return examine(signer, domain, Resolver(address))


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_the_right_key_is_known_and_counts(ours):
    findings, counts = found(ours, ours.key().record)
    assert only(findings).grade == "ok"
    assert "the pair of the key at news._domainkey.club.example (2,048 bits)" in findings[0].message
    assert counts


@pytest.mark.parametrize(
    "record",
    [
        *("p={}", "k=rsa; p={}", "v=DKIM1;p={};", "v=DKIM1; h=sha1:sha256; s=email; p={}"),
        "v=DKIM1; n=a note; t=s; p={}",
    ],
)
def test_the_right_key_in_other_words(ours, record):
    findings, counts = found(ours, record.format(ours.key().public))
    assert (only(findings).grade, counts) == ("ok", True)


def test_the_right_key_in_its_other_form_and_with_blanks(ours):
    data = load_pem_private_key(pem(), None).public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    encoded = base64.b64encode(data).decode()
    findings, counts = found(ours, f"v=DKIM1; p={encoded[:100]} {encoded[100:]}")
    assert (only(findings).grade, counts) == ("ok", True)


def other() -> str:
    key = load_pem_private_key(pem("rsa", 3072), None).public_key()
    data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(data).decode()


FAULTS = {
    "no record": ([], "there is no DKIM key at news._domainkey.club.example"),
    "a wildcard's answer": (["v=spf1 -all"], "there is no DKIM key at"),
    "another key": (["v=DKIM1; k=rsa; p={other}"], "the key in DNS is not this key"),
    "another kind": (["v=DKIM1; k=ed25519; p={own}"], "the key in DNS is not this key"),
    "half a key": (["v=DKIM1; k=rsa; p={half}"], "the key in DNS is not this key"),
    "revoked": (["v=DKIM1; k=rsa; p="], "is revoked"),
    "two": (["v=DKIM1; p={own}", "v=DKIM1; p={other}"], "there are 2 DKIM keys"),
    "not for mail": (["v=DKIM1; s=tlsrpt; p={own}"], "has the right key, but is not valid"),
    "only for the old hash": (["v=DKIM1; h=sha1; p={own}"], "has the right key, but is not valid"),
    "another version": (["v=DKIM2; p={own}"], "has the right key, but is not valid"),
}


@pytest.mark.parametrize(("texts", "words"), FAULTS.values(), ids=FAULTS)
def test_what_receivers_would_not_believe_is_told(ours, texts, words):
    own = ours.key().public
    records = [text.format(own=own, half=own[:200], other=other()) for text in texts]
    findings, counts = found(ours, *records)
    assert only(findings).grade == "warning"
    assert words in findings[0].message
    assert findings[0].hint
    assert not counts


@pytest.mark.parametrize("texts", [[], ["v=DKIM1; k=rsa; p={other}"]])
def test_the_record_to_publish_is_shown_whole(ours, texts):
    findings, _ = found(ours, *[text.format(other=other()) for text in texts])
    lines = findings[0].hint.splitlines()
    assert f"name   {PLACE}" in lines
    assert f"value  {ours.key().record}" in lines


def test_a_key_under_test_counts_and_is_told(ours):
    findings, counts = found(ours, f"v=DKIM1; t=y; p={ours.key().public}")
    assert [(finding.grade, "t=y" in finding.message) for finding in findings] == [
        ("ok", False),
        ("note", True),
    ]
    assert counts


def test_a_signature_of_another_domain_counts_for_nothing(ours):
    findings, counts = found(ours, ours.key().record, domain="other.example")
    assert [finding.grade for finding in findings] == ["warning", "ok"]
    assert "for DMARC it does not count" in findings[0].message
    assert not counts
    assert found(ours, ours.key().record, domain="mail.club.example")[1]


def test_an_old_and_an_odd_key_are_told(tmp_path):
    old = signer(tmp_path, pem("rsa", 1024))
    findings, counts = found(old, old.key().record)
    assert [finding.grade for finding in findings] == ["note", "ok"]
    assert "has 1024 bits" in findings[0].message
    assert counts
    odd = signer(tmp_path, pem("ed25519"))
    findings, counts = found(odd, odd.key().record)
    assert [finding.grade for finding in findings] == ["warning", "ok"]
    assert "Ed25519" in findings[0].message
    assert counts
    findings, counts = found(odd, f"v=DKIM1; k=ed25519; p={'A' * 43}=")
    assert "not this key" in findings[1].message
    assert not counts


def test_silence_and_no_question_are_notes_with_the_record(ours):
    findings, counts = examine(ours, "club.example", None)
    assert only(findings).grade == "note"
    assert ours.key().record in findings[0].hint
    assert not counts
    with name_server({}, silent=True) as address:
        findings, counts = examine(ours, "club.example", Resolver(address, seconds=0.3))
    assert only(findings).grade == "note"
    assert "nothing can be told" in findings[0].message
    assert not counts


def test_without_the_judge_the_key_alone_decides(ours, monkeypatch):
    monkeypatch.setitem(sys.modules, "dkim", None)
    assert found(ours, ours.key().record)[1]


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "club"
    folder.mkdir()
    (folder / "people.csv").write_text("email\nzoe@x.example\n")
    (folder / "letter.md").write_text("Subject: Hi\n\nHi\n")
    key_file(folder)
    return folder


def doctor(folder: Path, port: int, *words: str, table: str = "") -> subprocess.CompletedProcess[str]:
    server = f'[account]\nhost = "localhost"\nport = {port}\nsecurity = "none"\n'
    (folder / "campaign.toml").write_text(
        'from = "Ada <ada@club.example>"\n'
        '[dkim]\ndomain = "club.example"\nselector = "news"\nkey_file = "dkim.pem"\n' + (table or server)
    )
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", "from merge.cli import main; main()", "doctor", *words],
        cwd=folder, env={**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}, text=True,
        capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip


GOOD = {
    ("club.example", "SOA"): ("ns.club.example. x.club.example. 1 1 1 1 1",),
    ("club.example", "MX"): ("10 mail.club.example.",),
    ("club.example", "TXT"): ('"v=spf1 -all"',),
    ("_dmarc.club.example", "TXT"): ('"v=DMARC1; p=reject"',),
}


def test_the_command_holds_file_and_dns_together(folder, ours):
    zone = {**GOOD, (PLACE, "TXT"): quoted(ours.key().record)}
    with mail_server(Manners()) as port, name_server(zone) as address:
        done = doctor(folder, port, "--resolver", address)
        told = json.loads(doctor(folder, port, "--resolver", address, "--json").stdout)
    assert done.returncode == 0, done.stderr
    assert "letters are signed with dkim.pem, the pair of the key at" in done.stdout
    assert "ok       dmarc" in done.stdout
    assert "usual selectors" not in done.stdout
    assert told["dkim"] == {
        "domain": "club.example", "selector": "news", "name": PLACE, "record": ours.key().record,
    }  # fmt: skip


def test_the_command_shows_the_record_in_one_piece(folder, ours):
    with mail_server(Manners()) as port, name_server(GOOD) as address:
        done = doctor(folder, port, "--resolver", address)
    assert done.returncode == 0
    assert any(line.endswith(f"value  {ours.key().record}") for line in done.stdout.splitlines())


@pytest.mark.parametrize(("signature", "grade"), [(True, "ok"), (False, "warning"), (None, "warning")])
def test_dmarc_is_met_by_a_signature_that_counts_and_by_no_other(signature, grade):
    with name_server({**GOOD, ("mail.club.example", "A"): ("192.0.2.1",)}) as address:
        sender = Sender("club.example", host="mail.club.example", signature=signature)
        told = [one for one in authenticity.examine(sender, Resolver(address)) if one.topic == "dmarc"]
    assert only(told).grade == grade
    assert ("neither SPF nor DKIM matches club.example" in told[0].message) is (grade == "warning")


def test_a_key_that_cannot_be_read_is_an_error_and_the_rest_is_looked_at(folder):
    (folder / "dkim.pem").unlink()
    with mail_server(Manners()) as port, name_server(GOOD) as address:
        done = doctor(folder, port, "--resolver", address)
    assert done.returncode == 2
    assert re.search(r"error +dkim +the DKIM key dkim\.pem cannot be read", done.stdout)
    assert "club.example takes mail at" in done.stdout


def test_letters_that_a_program_takes_are_judged_as_well(folder, ours):
    zone = {**GOOD, (PLACE, "TXT"): quoted(ours.key().record)}
    with name_server(zone) as address:
        table = '[account]\nsendmail = "true"\n'
        done = doctor(folder, 25, "--resolver", address, table=table)
    assert "letters are signed with dkim.pem" in done.stdout
    assert "club.example takes mail at" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_service_that_signs_itself_is_told():
    for name, told in (("ses", True), ("gmail", True), ("localhost", False), ("mailpit", False)):
        known = providers()[name]
        way = AccountSettings("work", known.host, known.port, known.security, profile=known)
        assert bool(list(of_signature(way))) is told
    assert not list(of_signature(AccountSettings("work", "mail.club.example", 587, "starttls")))
