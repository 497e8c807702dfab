"""Attachments can be looked at, and nothing in them can run."""

from __future__ import annotations

import base64
import email
from email import policy

import pytest
from preview_kit import LETTER, campaign, previewing

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FILES = {
    "boat.png": PNG,
    "page.html": b"<script>alert(1)</script>",
    "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    'Größe "x".txt': "ä".encode(),
    "empty.txt": b"",
}


@pytest.fixture(scope="module")
def filed(tmp_path_factory):
    attach = "".join(f"Attach: {name}\n" for name in FILES)
    letter = LETTER.replace("Content-Language", f"{attach}Content-Language") + "\n![A boat](boat.png)\n"
    folder = campaign(tmp_path_factory.mktemp("files") / "spring", letter)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    with previewing(folder) as running:
        running.until(lambda state: state.get("finished"))
        yield running


def test_each_file_is_listed_with_its_size(filed):
    files = filed.json("letter/2")["files"]
    assert [(file["name"], file["size"]) for file in files] == [(n, len(c)) for n, c in FILES.items()]
    assert [file["opens"] for file in files] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("number", "kind"), [(0, "inline"), (1, "attachment"), (2, "attachment"), (3, "attachment")]
)
def test_what_could_run_is_saved_and_not_shown(filed, number, kind):
    answer = filed.ask(f"file/2/{number}/x")
    assert answer.body == list(FILES.values())[number]
    assert answer.headers["Content-Disposition"].startswith(f"{kind}; ")
    harmless = "image/png" if kind == "inline" else "application/octet-stream"
    assert answer.headers["Content-Type"].partition(";")[0] == harmless
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "script-src" not in answer.headers["Content-Security-Policy"]


def test_names_reach_the_browser_whole_and_break_no_header(filed):
    header = filed.ask("file/2/3/x").headers["Content-Disposition"]
    assert header == "attachment; filename=\"Gr__e__x_.txt\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%22x%22.txt"


def test_an_empty_file_is_worth_a_look(filed):
    assert "the file is empty" in [remark["message"] for remark in filed.json("letter/2")["advice"]]


def test_the_letters_own_pictures_are_shown_without_a_network(filed):
    html = filed.ask("frame/2").body.decode()
    assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in html
    assert "cid:" not in html


def test_the_eml_is_the_message(filed):
    answer = filed.ask("eml/2")
    message = email.message_from_bytes(answer.body, policy=policy.default)
    assert message["Subject"] == "Spring news for Ada"
    assert [part.get_filename() for part in message.iter_attachments()] == list(FILES)
    assert answer.headers["Content-Disposition"].startswith("attachment; ")


def test_a_file_that_changes_is_seen(filed):
    version = filed.json("state")["version"]
    folder = filed.process.args[-1]
    with open(f"{folder}/empty.txt", "wb") as file:  # noqa: PTH123 - the path is an argument of the command
        file.write(b"now full")
    filed.until(lambda state: state["version"] > version)
    assert filed.json("letter/2")["files"][4]["size"] == 8
