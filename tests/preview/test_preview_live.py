"""The page follows the files, and keeps the last good letter while they are broken."""

from __future__ import annotations

import asyncio
import subprocess

import pytest
from preview_kit import COMMAND, LETTER, PEOPLE, campaign, many, previewing

from merge import Campaign
from merge.preview.live import FIRST_ROWS, Desk


@pytest.fixture
def live(tmp_path):
    folder = campaign(tmp_path / "spring")
    with previewing(folder) as running:
        running.until(lambda state: state.get("finished"))
        running.folder = folder
        yield running


def test_saving_the_letter_is_seen_within_half_a_second(live):
    waits = []
    for turn in range(3):
        version = live.json("state")["version"]
        (live.folder / "letter.md").write_text(LETTER.replace("going pro", f"being here {turn}"), "utf-8")
        waits.append(live.until(lambda state, seen=version: state["version"] > seen)[1])
        assert f"being here {turn}" in live.json("letter/2")["text"]
    assert min(waits) < 0.5, waits


def test_saving_as_editors_do_by_renaming_is_seen(live):
    version = live.json("state")["version"]
    draft = live.folder / "letter.md.new"
    draft.write_text(LETTER.replace("going pro", "being with us"), "utf-8")
    draft.replace(live.folder / "letter.md")
    live.until(lambda state: state["version"] > version)
    live.until(lambda state: "being with us" in live.json("letter/2")["text"])


def test_saving_the_list_is_seen_and_the_list_given_anew(live):
    before = live.json("state")
    (live.folder / "people.csv").write_text(PEOPLE + "new@example.org,Nour,pro,Rabat\n", "utf-8")
    state, _ = live.until(lambda state: state["total"] == 6)
    assert state["list_version"] > before["list_version"]
    assert live.json("rows")["to"][-1] == "new@example.org"


def test_a_letter_alone_leaves_the_list_as_it_is(live):
    before = live.json("state")
    (live.folder / "letter.md").write_text(LETTER + "\nBye\n", "utf-8")
    state, _ = live.until(lambda state: state["version"] > before["version"])
    assert state["list_version"] == before["list_version"]


def test_saving_the_settings_is_seen(live):
    toml = live.folder / "campaign.toml"
    toml.write_text(toml.read_text("utf-8").replace("Ada Club", "Ada Society"), "utf-8")
    live.until(lambda state: live.json("letter/2")["from"] == "Ada Society")


def test_an_error_is_told_with_its_place_and_the_last_good_letter_stays(live):
    (live.folder / "letter.md").write_text(LETTER.replace("{% endif %}", "{% endif"), "utf-8")
    state, _ = live.until(lambda state: state["error"])
    [problem] = state["error"]["problems"]
    assert problem["file"] == "letter.md"
    assert problem["line"] >= 11
    assert problem["source"]
    assert "going pro" in live.json("letter/2")["text"]
    (live.folder / "letter.md").write_text(LETTER, "utf-8")
    live.until(lambda state: state["error"] is None)


def test_a_missing_column_is_told_with_its_place(live):
    (live.folder / "letter.md").write_text(LETTER + "\n{{ first_nme }}\n", "utf-8")
    state, _ = live.until(lambda state: state["general"])
    [problem] = state["general"]
    assert (problem["severity"], problem["column"]) == ("error", 4)
    assert "first_name" in problem["message"] + problem["hint"]


def test_a_campaign_that_cannot_be_opened_is_shown_as_soon_as_it_can(tmp_path):
    folder = campaign(tmp_path / "spring", letter=LETTER.replace("{% endif %}", ""))
    with previewing(folder) as running:
        state, _ = running.until(lambda state: state["error"])
        assert state["error"]["problems"]
        assert "title" not in state
        (folder / "letter.md").write_text(LETTER, "utf-8")
        state, _ = running.until(lambda state: state["error"] is None and state.get("finished"))
        assert state["total"] == 5


def test_the_fingerprint_is_the_one_that_send_expects(live):
    state, _ = live.until(lambda state: state["fingerprint"])
    done = subprocess.run(
        [*COMMAND, "send", "--dry-run", "--expect", state["fingerprint"], str(live.folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (live.folder / "letter.md").write_text(LETTER + "\nBye\n", "utf-8")
    fresh, _ = live.until(lambda fresh: fresh["fingerprint"] not in ("", state["fingerprint"]))
    assert fresh["version"] > state["version"]


def test_a_letter_can_be_read_while_a_long_list_is_still_checked(tmp_path):
    folder = campaign(tmp_path / "long", people=many(20_000))
    with previewing(folder) as running:
        running.until(lambda state: state.get("total"))
        assert "Person 19999" in running.json("letter/20001")["subject"]
        assert not running.json("state")["finished"]


def test_letters_are_never_mixed_up_while_the_check_runs(tmp_path):
    folder = campaign(tmp_path / "long", people=many(6_000))
    with previewing(folder) as running:
        running.until(lambda state: state.get("total"))
        for row in range(2, 402):
            shown = running.json(f"letter/{row}")
            assert shown["subject"] == f"Spring news for Person {row - 2}"
            assert f"Person {row - 2}," in shown["text"]


def test_a_list_that_breaks_off_is_told_although_its_first_rows_were_shown(tmp_path):
    folder = campaign(tmp_path / "spring", people=many(FIRST_ROWS * 400) + '"never closed\n')
    with previewing(folder) as running:
        state, _ = running.until(lambda state: state["error"])
        assert "never closed" in str(state["error"]) or "quote" in str(state["error"])
        assert "total" not in state
        (folder / "people.csv").write_text(PEOPLE, "utf-8")
        state, _ = running.until(lambda state: state.get("finished"))
        assert (state["total"], state["error"]) == (5, None)


@pytest.mark.parametrize("when", ["while it is read", "before the watch begins"])
def test_a_file_saved_before_the_watch_begins_is_seen(tmp_path, when):
    folder = campaign(tmp_path / "spring")

    def save() -> None:
        (folder / "letter.md").write_text(LETTER.replace("going pro", "being early"), "utf-8")

    class Saved(Campaign):
        """A campaign whose letter is saved anew just when it has been read for the first time."""

        saved = False

        @property
        def parts(self):
            parts = super().parts
            if not Saved.saved and when == "while it is read":
                Saved.saved = True
                save()
            return parts

    def words(desk: Desk) -> str:
        return desk.book.letter(desk.book.people[0]).text if desk.book else ""

    async def follow() -> None:
        desk = Desk(lambda: Saved.load(folder), [folder])
        await desk.load()
        assert "being early" not in words(desk)
        if when == "before the watch begins":
            save()
        watching = asyncio.create_task(desk.watch())
        try:
            async with asyncio.timeout(10):
                while "being early" not in words(desk):
                    await desk.wait(desk.news, 5)
            version = desk.state()["version"]
            await asyncio.sleep(2.5)
            assert desk.state()["version"] == version
        finally:
            desk.close()
            await watching

    asyncio.run(follow())
