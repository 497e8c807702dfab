"""A list and a letter become delivered, personal mail: over one line, once each, with their own values."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
import xlsxwriter
from whole_kit import PASSWORD, Server, campaign, people, results, run, serving, states


def everyone_has_their_own(server: Server, rows: list[dict[str, str]]) -> None:
    assert server.counts == {row["email"]: 1 for row in rows}
    letters = {mail.recipients[0]: mail for mail in server.mails}
    for row in rows:
        letter = letters[row["email"]]
        assert letter.sender == "news@ada.example"
        assert letter.message["Subject"] == f"News for {row['name']}"
        assert letter.message["To"] == row["email"]
        assert letter.text == f"Hi {row['name']},\n\nyour number is {row['number']}.\n"
    assert len({mail.message["Message-ID"] for mail in server.mails}) == len(rows)


def test_500_rows_of_a_csv_go_through_one_line_in_one_write_each(tmp_path):
    rows = people(500)
    with serving() as server:
        folder = campaign(tmp_path / "c", rows, server=server)
        said = run("send", "--confirm", "500", cwd=folder)
        assert said.code == 0, said
        assert server.lines == 1
        everyone_has_their_own(server, rows)
        at_once = [
            piece
            for piece in server.written
            if b".\r\nMAIL FROM:" in piece and piece.endswith(b"\r\nDATA\r\n")
        ]
        assert len(at_once) > 400, "the end of one message and the next envelope belong in one write"
    assert states(folder) == {"sent": 500}
    assert [row["to"] for row in results(folder)] == [row["email"] for row in rows]


def test_500_rows_of_an_xlsx_go_through_one_line(tmp_path):
    rows = people(500)
    with serving(pipelining=False) as server:
        folder = campaign(tmp_path / "c", rows, server=server)
        (folder / "people.csv").unlink()
        with xlsxwriter.Workbook(folder / "people.xlsx") as book:
            sheet = book.add_worksheet()
            for place, row in enumerate([{name: name for name in rows[0]}, *rows]):
                for column, cell in enumerate(row.values()):
                    sheet.write_string(place, column, cell)
        toml = folder / "campaign.toml"
        toml.write_text(toml.read_text().replace("people.csv", "people.xlsx"))
        said = run("send", "--confirm", "500", cwd=folder)
        assert said.code == 0, said
        assert server.lines == 1
        everyone_has_their_own(server, rows)
        assert not any(piece.count(b"\r\n") > 1 and b"MAIL FROM" in piece for piece in server.written)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def context(authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def secured(folder: Path, server: Server, security: str, ca: Path | None) -> Path:
    account = (
        f'[account]\nhost = "localhost"\nport = {server.port}\nsecurity = "{security}"\n'
        'user = "ada@ada.example"\npassword = {env = "ADA_PASSWORD"}\n'
    )
    return campaign(folder, account=account + (f'ca_file = "{ca}"\n' if ca else ""))


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_the_login_goes_over_verified_tls(tmp_path, authority, context, security):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    logins = {"ada@ada.example": PASSWORD}
    with serving(secure=context, starttls=security == "starttls", logins=logins) as server:
        folder = secured(tmp_path / "c", server, security, tmp_path / "ca.pem")
        said = run("send", "--confirm", "3", cwd=folder, env={"ADA_PASSWORD": PASSWORD})
        assert said.code == 0, said
        assert server.users == ["ada@ada.example"]
        assert len(server.mails) == 3


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path, context):
    with serving(secure=context, logins={"ada@ada.example": PASSWORD}) as server:
        folder = secured(tmp_path / "c", server, "tls", None)
        said = run("send", "--confirm", "3", cwd=folder, env={"ADA_PASSWORD": PASSWORD})
        assert said.code == 4
        assert "certificate" in said.err
        assert not server.users
    assert states(folder) == {"waiting": 3}


def test_the_environment_alone_can_say_where_to_send(tmp_path):
    with serving(logins={"ada": PASSWORD}) as server:
        folder = campaign(tmp_path / "c")
        where = {
            "MERGEPOST_HOST": "127.0.0.1",
            "MERGEPOST_PORT": str(server.port),
            "MERGEPOST_SECURITY": "none",
        }
        who = {"MERGEPOST_USER": "ada", "MERGEPOST_PASSWORD": PASSWORD}
        said = run("send", "--confirm", "3", cwd=folder, env=where | who)
        assert said.code == 0, said
        assert len(server.mails) == 3
        assert server.users == ["ada"]
    assert PASSWORD.encode() not in b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize(("security", "told"), [("tls", "does not speak TLS"), ("starttls", "STARTTLS")])
def test_a_server_without_the_tls_that_was_asked_for_never_hears_the_password(tmp_path, security, told):
    with serving(logins={"ada@ada.example": PASSWORD}) as server:
        folder = secured(tmp_path / "c", server, security, None)
        said = run("send", "--confirm", "3", cwd=folder, env={"ADA_PASSWORD": PASSWORD})
        assert said.code == 4, said
        assert told in said.err
        assert not server.users
        assert not any(b"AUTH" in piece for piece in server.written)
    assert states(folder) == {"waiting": 3}
