"""The page in a real browser: each thing that it offers, by keyboard and by mouse."""

from __future__ import annotations

import pytest
from preview_kit import LETTER, PEOPLE, campaign, previewing

RICH = """\
Subject: A very long subject for {{ first_name|default("you") }}, so long that no inbox shows it all
Preheader: Three dates for your diary
Content-Language: en
Bcc: archive@club.example
Attach: notes.txt
Attach: {{ file }}

<p>Dear {{ first_name|default("friend") }}</p>
<p><img src="https://pictures.example/a.png" alt="A boat" width="40"><a href="http://old.example/">Old</a>
<a href="https://evil.example/">https://bank.example/</a></p>
<style>@media (prefers-color-scheme: dark) { p { color: rgb(1, 2, 3) } }</style>
"""
RICH_PEOPLE = """\
email,first_name,file
ada@example.org,Ada,notes.txt
bob@example.org,Bob,missing.pdf
not an address,Zoë,notes.txt
ada@example.org,Ada again,notes.txt
taro@example.org,太郎,notes.txt
"""


@pytest.fixture(scope="module")
def page(chromium, preview):
    chromium.size(1440, 900)
    return _opened(chromium, preview)


@pytest.fixture(scope="module")
def rich(chromium, tmp_path_factory):
    folder = campaign(tmp_path_factory.mktemp("rich") / "news", RICH, RICH_PEOPLE, "letter.html")
    (folder / "notes.txt").write_text("Bring a coat.\n", "utf-8")
    with previewing(folder) as running:
        running.until(lambda state: state.get("finished"))
        yield running


@pytest.fixture
def fresh(page, preview):
    """The page as it is when it was just opened."""
    return _opened(page, preview)


@pytest.fixture
def rich_page(chromium, rich):
    chromium.size(1440, 900)
    return _opened(chromium, rich)


def _opened(browser, running):
    browser.get(running.address)
    browser.settled()
    return browser


def row(page):
    return page.js("return document.body.dataset.row")


def goes_to(page, number):
    page.until(f"document.body.dataset.row === '{number}'")


def test_the_page_opens_without_an_error(page, preview):
    page.get_log("browser")
    fresh = _opened(page, preview)
    assert fresh.text("#sum") == "3 kinds of letter, 5 rows, no problems"
    assert fresh.text("#title") == "spring"
    assert row(fresh) == "2"
    assert not [entry for entry in fresh.get_log("browser") if entry["level"] == "SEVERE"]


def test_next_and_previous_by_key_and_by_button(fresh):
    fresh.keys("j")
    goes_to(fresh, 3)
    assert fresh.text("#name") == "Bob"
    fresh.keys("k")
    goes_to(fresh, 2)
    fresh.click("#next")
    goes_to(fresh, 3)
    fresh.click("#previous")
    goes_to(fresh, 2)
    fresh.keys("k")
    assert row(fresh) == "2"
    assert "row 2, 1 of 5" in fresh.text("#place")


def test_arrows_in_the_list_and_the_mouse(fresh):
    fresh.js("document.querySelector('#rows').focus()")
    fresh.keys("ARROW_DOWN", "ARROW_DOWN")
    goes_to(fresh, 4)
    fresh.keys("END")
    goes_to(fresh, 6)
    fresh.click("#row-3")
    goes_to(fresh, 3)
    assert fresh.one("#row-3").get_attribute("aria-selected") == "true"
    assert fresh.one("#rows").get_attribute("aria-activedescendant") == "row-3"


def test_search_looks_into_every_cell(fresh):
    fresh.keys("/", "k", "ö", "l")
    fresh.until("document.querySelectorAll('.row').length === 1")
    assert fresh.text(".row .name") == "Zoë"
    assert fresh.text("#found") == "1 of 5"
    fresh.keys("ENTER")
    goes_to(fresh, 4)
    fresh.keys("/", "ESCAPE")
    fresh.until("document.querySelectorAll('.row').length === 5")


def test_kinds_come_with_their_numbers_and_filter_the_list(fresh):
    shares = [element.text for element in fresh.find_elements("css selector", ".kind:not(.extreme) .share")]
    assert shares == ["2", "2", "1"] or sum(map(int, shares)) == 5
    words = fresh.text("#kinds")
    assert 'if plan == "pro"' in words
    fresh.click(".kind[data-kind='0']")
    fresh.until("document.querySelector('.kind').getAttribute('aria-pressed') === 'true'")
    assert fresh.js("return document.querySelectorAll('.row').length") == int(shares[0])
    fresh.click("#all")
    fresh.until("document.querySelectorAll('.row').length === 5")


def test_the_next_kind_by_key(fresh):
    seen = {row(fresh)}
    for _ in range(3):
        before = row(fresh)
        fresh.keys("n")
        fresh.until(f"document.body.dataset.row !== '{before}'")
        seen.add(row(fresh))
    assert len(seen) >= 3


def test_views_by_key_and_by_arrows(fresh):
    for key, name in (("2", "text"), ("3", "headers"), ("4", "source"), ("1", "html")):
        fresh.keys(key)
        fresh.until(f"!document.getElementById('view-{name}').hidden")
        assert fresh.js("return document.querySelectorAll('[role=tabpanel]:not([hidden])').length") == 1
    fresh.click("#tab-html")
    fresh.keys("ARROW_RIGHT")
    assert fresh.one("#tab-text").get_attribute("aria-selected") == "true"
    assert "Thank you for" in fresh.text("#text")
    fresh.keys("ARROW_RIGHT")
    assert "Ada Club <news@ada.example>" in fresh.text("#headers")
    fresh.keys("ARROW_RIGHT")
    assert "Subject: Spring news for Ada" in fresh.text("#source")
    fresh.keys("1")


def test_the_letter_is_shown_at_phone_and_desktop_width(fresh):
    for name, width in (("Phone", 375), ("Tablet", 600), ("Desktop", 1024)):
        fresh.one(f"[data-width='{width}']").click()
        fresh.until(
            f"document.querySelector('[data-width=\"{width}\"]').getAttribute('aria-pressed') === 'true'"
        )
        assert fresh.js("return document.querySelector('#sheet iframe').offsetWidth") == width, name
    fresh.keys("w")
    fresh.until("document.querySelector('#sheet iframe').offsetWidth === 375")
    assert fresh.one(".phone-line").is_displayed()
    assert not fresh.one(".wide-line").is_displayed()
    fresh.keys("w")


def test_dark_is_labelled_as_what_the_letter_itself_defines(rich_page):
    assert _colour(rich_page) != "rgb(1, 2, 3)"
    rich_page.keys("d")
    rich_page.until("document.querySelector('#sheet iframe:not(.coming)').style.colorScheme === 'dark'")
    assert "not shown" in rich_page.text("#dark-note")
    assert _colour(rich_page) == "rgb(1, 2, 3)"
    rich_page.keys("d")


def test_light_is_light_for_a_person_who_prefers_dark(chromium, rich):
    chromium.size(1440, 900, dark=True)
    page = _opened(chromium, rich)
    assert _colour(page) != "rgb(1, 2, 3)"
    page.keys("d")
    assert _colour(page) == "rgb(1, 2, 3)"
    page.keys("d")


def _colour(page):
    page.settled()
    page.switch_to.frame(page.one("#sheet iframe"))
    try:
        return page.js("return getComputedStyle(document.querySelector('p:not(:empty)')).color")
    finally:
        page.switch_to.default_content()


def test_remote_pictures_are_blocked_until_they_are_asked_for(rich_page):
    asked = "performance.getEntriesByType('resource').length"
    assert "images=0" in rich_page.one("#sheet iframe").get_attribute("src")
    rich_page.get_log("browser")
    rich_page.keys("i")
    rich_page.until("document.querySelector('#sheet iframe').src.includes('images=1')")
    assert rich_page.one("#images").get_attribute("aria-pressed") == "true"
    assert rich_page.js(f"return {asked}") > 0


def test_facts_of_a_letter(rich_page):
    facts = rich_page.text("#facts")
    assert "Attachments (2)" in facts
    assert "notes.txt" in facts
    assert "14 bytes, text/plain" in facts
    assert "Links (2)" in facts
    assert "http://old.example/" in facts
    assert "not encrypted" in facts
    assert "the link shows bank.example and leads elsewhere" in facts
    assert "Gmail shows 102 kB" in facts
    assert "fetched from the network" in facts
    rich_page.keys("3")
    assert "archive@club.example" in rich_page.text("#headers")
    rich_page.keys("1")


def test_the_inbox_line_cuts_as_an_inbox_does(rich_page):
    assert rich_page.text(".wide-line .snippet").startswith("Three dates for your diary")
    cut = "(() => { const e = document.querySelector('.about'); return e.scrollWidth > e.clientWidth; })()"
    assert rich_page.js(f"return {cut}")


def test_rows_with_problems(rich_page):
    assert rich_page.text("#problems") == "With problems 3"
    rich_page.keys("p")
    rich_page.until("document.querySelectorAll('.row').length === 3")
    goes_to(rich_page, 3)
    assert "there is no file missing.pdf" in rich_page.text("#row-problems")
    assert "There is no letter for this row" in rich_page.text("#sheet")
    assert rich_page.text("#row-3 .badge") == "can't be sent"
    rich_page.keys("j")
    goes_to(rich_page, 4)
    assert "can't be sent" in rich_page.text("#standing")
    rich_page.keys("j")
    goes_to(rich_page, 5)
    assert "same address as row 2" in rich_page.text("#standing")
    rich_page.keys("p")


def test_help_by_key_and_single_keys_can_be_switched_off(fresh):
    fresh.keys("?")
    fresh.until("document.getElementById('keys').open")
    fresh.click("#single")
    fresh.keys("ESCAPE")
    fresh.until("!document.getElementById('keys').open")
    fresh.keys("j")
    assert row(fresh) == "2"
    fresh.click("#help")
    fresh.click("#single")
    fresh.click("#keys button")
    fresh.keys("j")
    goes_to(fresh, 3)


def test_keys_work_after_a_click_into_the_letter(fresh):
    fresh.click("#sheet iframe")
    fresh.keys("j")
    goes_to(fresh, 3)
    fresh.keys("k")
    goes_to(fresh, 2)


def test_everything_can_be_reached_by_tab(fresh):
    fresh.js("document.activeElement.blur()")
    seen = []
    for _ in range(40):
        fresh.keys("TAB")
        seen.append(
            fresh.js("const e = document.activeElement; return e.id || e.dataset.width || e.className")
        )
        visible = fresh.js(
            "const e = document.activeElement; const s = getComputedStyle(e);"
            "return e === document.body || e.tagName === 'IFRAME' || s.outlineStyle !== 'none'"
        )
        assert visible, seen[-1]
    for name in (
        "fingerprint",
        "help",
        "search",
        "all",
        "problems",
        "rows",
        "previous",
        "next",
        "tab-html",
        "600",
    ):
        assert name in seen, (name, seen)


def test_the_page_follows_a_change_and_keeps_its_place(chromium, tmp_path):
    folder = campaign(tmp_path / "spring")
    chromium.size(1440, 900)
    with previewing(folder) as running:
        page = _opened(chromium, running)
        page.keys("j", "j", "2")
        goes_to(page, 4)
        waits = []
        for words in ("Would you take", "Could we send", "May we offer"):
            (folder / "letter.md").write_text(LETTER.replace("Would you like", words), "utf-8")
            waits.append(page.until(f"document.getElementById('text').textContent.includes('{words}')"))
        assert min(waits) < 0.5, waits
        assert row(page) == "4"
        assert not page.one("#view-text").get_attribute("hidden")
        (folder / "letter.md").write_text(LETTER.replace("{% endif %}", "{% endif"), "utf-8")
        page.until("!document.getElementById('trouble').hidden")
        assert "letter.md:" in page.text("#trouble")
        assert page.js("return document.body.classList.contains('behind')")
        assert "last good letter" in page.text("#stale")
        assert "May we offer" in page.text("#text")
        (folder / "letter.md").write_text(LETTER, "utf-8")
        page.until("document.getElementById('trouble').hidden")
        page.until("document.getElementById('text').textContent.includes('Would you like')")
        (folder / "people.csv").write_text(PEOPLE.replace("ada@example.org,Ada,pro,London\n", ""), "utf-8")
        page.until("document.getElementById('found').textContent === '4'")
        goes_to(page, 3)
        assert page.text("#name") == "Zoë"


def test_the_page_keeps_the_height_at_which_the_letter_is_read(chromium, tmp_path):
    long = LETTER + "".join(f"\nParagraph {n} of many.\n" for n in range(200))
    folder = campaign(tmp_path / "spring", long)
    inside = "document.querySelector('#sheet iframe:not(.coming)').contentDocument"
    chromium.size(1440, 900)
    with previewing(folder) as running:
        page = _opened(chromium, running)
        page.js(f"{inside}.scrollingElement.scrollTop = 1200")
        page.js("document.getElementById('text').scrollTop = 0")
        (folder / "letter.md").write_text(long.replace("Paragraph 0", "Hello"), "utf-8")
        page.until(f"{inside}.body.textContent.includes('Hello of many')")
        assert page.js(f"return {inside}.scrollingElement.scrollTop") == 1200
        assert page.js("return document.querySelectorAll('#sheet > *').length") == 1
        page.keys("d")
        page.until("document.querySelector('#sheet iframe:not(.coming)').style.colorScheme === 'dark'")
        assert page.js(f"return {inside}.scrollingElement.scrollTop") == 1200
        page.keys("2")
        page.js("document.getElementById('text').scrollTop = 900")
        (folder / "letter.md").write_text(long.replace("Paragraph 0", "Hullo"), "utf-8")
        page.until("document.getElementById('text').textContent.includes('Hullo of many')")
        assert page.js("return document.getElementById('text').scrollTop") == 900
        page.keys("1", "j")
        goes_to(page, 3)
        page.until(f"{inside}.body.textContent.includes('Bob')")
        assert page.js(f"return {inside}.scrollingElement.scrollTop") == 0
        assert page.js("return document.getElementById('text').scrollTop") == 0


def test_a_letter_that_breaks_for_one_row_shows_the_last_good_one_greyed(chromium, tmp_path):
    folder = campaign(tmp_path / "spring")
    chromium.size(1440, 900)
    with previewing(folder) as running:
        page = _opened(chromium, running)
        (folder / "letter.md").write_text(LETTER + "\n{{ {'free': 'x'}[plan] }}\n", "utf-8")
        page.until("document.getElementById('stage').classList.contains('old')")
        assert "row 2" in page.text("#row-problems")
        assert page.one("#stale").is_displayed()
        page.keys("j")
        goes_to(page, 3)
        assert not page.one("#stale").is_displayed()


@pytest.mark.parametrize("width", [360, 480, 768, 1000, 1440, 2200])
def test_nothing_sticks_out_at_any_width(chromium, preview, width):
    chromium.size(width, 800)
    page = _opened(chromium, preview)
    assert page.js("return document.documentElement.scrollWidth") <= width
    small = page.js(
        "return [...document.querySelectorAll('button')].filter((b) => b.offsetParent && "
        "(b.getBoundingClientRect().height < 24 || b.getBoundingClientRect().width < 24)).map((b) => b.id)"
    )
    assert small == []


def test_on_a_phone_the_list_opens_over_the_letter(chromium, preview):
    chromium.size(360, 780)
    page = _opened(chromium, preview)
    assert not page.one("#list").is_displayed()
    page.click("#toggle")
    assert page.one("#list").is_displayed()
    page.click("#row-4")
    goes_to(page, 4)
    page.until("getComputedStyle(document.getElementById('list')).display === 'none'")
    assert page.js("return document.querySelector('#sheet iframe').offsetWidth") == 375
    assert page.js("return document.querySelector('#sheet iframe').getBoundingClientRect().height") > 400


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_all_of_the_letter_is_in_sight_however_narrow_the_page(chromium, preview, width):
    chromium.size(width, 900)
    page = _opened(chromium, preview)
    for name in ("375", "600", "1024"):
        page.one(f"[data-width='{name}']").click()
        sheet, frame = page.js(
            "return ['#sheet', '#sheet iframe'].map((s) => {"
            "const r = document.querySelector(s).getBoundingClientRect();"
            "return [r.left, r.right, r.height]; })"
        )
        assert frame[0] == pytest.approx(sheet[0], abs=1)
        assert frame[1] == pytest.approx(sheet[1], abs=1.5)
        assert frame[2] > 300


def test_a_list_without_rows_says_what_to_do(chromium, tmp_path):
    folder = campaign(tmp_path / "spring", people="email,first_name,plan,city\n")
    chromium.size(1440, 900)
    with previewing(folder) as running:
        chromium.get(running.address)
        chromium.until("document.body.classList.contains('empty-page')")
        assert "Add one row for each person" in chromium.text("#sheet")
        assert not chromium.one(".tools").is_displayed()
        (folder / "people.csv").write_text(PEOPLE, "utf-8")
        chromium.until("document.body.dataset.row === '2'")
        chromium.settled()
        assert chromium.one(".tools").is_displayed()


def test_a_letter_that_was_never_good_is_told_and_shown_once_it_is(chromium, tmp_path):
    folder = campaign(tmp_path / "spring", LETTER.replace("plan ==", "plann =="))
    chromium.size(1440, 900)
    with previewing(folder) as running:
        chromium.get(running.address)
        chromium.until("document.body.dataset.finished === 'yes' && document.body.dataset.row === '2'")
        assert "the letter can't be sent as it is" in chromium.text("#sum")
        assert "did you mean plan?" in chromium.text("#trouble")
        assert chromium.text("#row-problems") == ""
        assert "until this is mended" in chromium.text("#sheet")
        (folder / "letter.md").write_text(LETTER.replace("{% endif %}", "{% endif"), "utf-8")
        chromium.until("document.body.classList.contains('behind')")
        (folder / "letter.md").write_text(LETTER, "utf-8")
        chromium.until("document.getElementById('trouble').hidden")
        chromium.settled()
        assert "no problems" in chromium.text("#sum")
