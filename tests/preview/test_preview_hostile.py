"""What a letter or a cell may hold does nothing to the person who looks, nor to the page around it."""

from __future__ import annotations

import http.server
import subprocess
import threading
import time

import pytest
from preview_kit import COMMAND, campaign, previewing

EVIL = """\
Subject: {{{{ first_name }}}}
Content-Language: en

<script>top.document.title = "owned"; new Image().src = "{there}/script"</script>
<img src="{there}/image" alt="x" onload="fetch('{there}/onload')"
onerror="fetch('{there}/onerror')">
<img src="data:image/png;base64,AA" alt="y" onerror="top.location = '{there}/top'">
<link rel="stylesheet" href="{there}/style">
<style>@import "{there}/import"; p {{ background: url({there}/css) }}
@font-face {{ font-family: f; src: url({there}/font) }} p {{ font-family: f }}</style>
<iframe src="{there}/frame"></iframe><object data="{there}/object"></object><embed src="{there}/embed">
<video src="{there}/video" autoplay></video><audio src="{there}/audio" autoplay></audio>
<meta http-equiv="refresh" content="0;url={there}/refresh">
<base href="{there}/base/">
<form action="{there}/form" method="post"><button id="send" autofocus>Send</button></form>
<a id="away" href="{there}/link" target="_top">away</a> <a id="js" href="#">x</a>
<svg onload="fetch('{there}/svg')"><image href="{there}/svgimage"></image></svg>
<p style="position: fixed; inset: 0; background: url({there}/inline)">Over everything</p>
<p>{{{{ first_name }}}}</p>
"""

NAME = """<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>"""


@pytest.fixture(scope="module")
def there():
    """A server that notes who comes."""
    visits = []

    class Noting(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            visits.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - the name is the library's

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Noting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.visits = visits
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def evil(there, tmp_path_factory):
    letter = EVIL.format(there=f"http://127.0.0.1:{there.server_port}")
    quoted = NAME.replace('"', '""')
    people = f'email,first_name\nada@example.org,"{quoted}"\n"<b>x</b>@example.org",\u202eBob\n'
    folder = campaign(tmp_path_factory.mktemp("evil") / '<i>"news"', letter, people, "letter.html")
    with previewing(folder) as running:
        running.until(lambda state: state.get("finished"))
        running.folder = folder
        yield running


def test_a_hostile_letter_does_nothing(chromium, evil, there):
    chromium.size(1440, 900)
    chromium.get(evil.address)
    chromium.settled()
    there.visits.clear()
    for key in "dwdw1234jkj1":
        chromium.keys(key)
    time.sleep(1)
    assert there.visits == []
    assert "owned" not in chromium.title
    assert chromium.current_url == evil.address


def test_links_forms_and_refreshes_in_a_letter_lead_nowhere(chromium, evil, there):
    chromium.size(1440, 900)
    chromium.get(evil.address)
    chromium.settled()
    there.visits.clear()
    chromium.switch_to.frame(chromium.one("#sheet iframe"))
    chromium.js("document.querySelectorAll('p').forEach((p) => p.remove())")
    chromium.one("#away").click()
    chromium.one("#send").click()
    time.sleep(0.7)
    chromium.switch_to.default_content()
    assert there.visits == []
    assert chromium.current_url == evil.address
    assert len(chromium.window_handles) == 1


def test_asking_for_pictures_fetches_pictures_and_nothing_else(chromium, evil, there):
    chromium.size(1440, 900)
    chromium.get(evil.address)
    chromium.settled()
    there.visits.clear()
    chromium.keys("i")
    time.sleep(1)
    assert "/image" in there.visits
    assert set(there.visits) <= {"/image", "/css", "/inline", "/svgimage"}
    chromium.keys("i")


def test_cells_are_text_in_the_page_around_the_letter(chromium, evil):
    chromium.size(1440, 900)
    chromium.get(evil.address)
    chromium.settled()
    assert chromium.text("#name") == NAME
    assert chromium.text("#row-2 .name") == NAME
    assert NAME in chromium.text("#facts")
    assert chromium.text("#title") == '<i>"news"'
    assert not chromium.js("return document.querySelectorAll('main img, .list img, header i').length")
    assert "owned" not in chromium.title


def test_the_frame_has_no_rights_but_to_be_looked_at_by_the_page(chromium, evil):
    chromium.get(evil.address)
    chromium.settled()
    frame = chromium.one("#sheet iframe")
    assert frame.get_attribute("sandbox") == "allow-same-origin"
    assert frame.get_attribute("referrerpolicy") == "no-referrer"
    policy = evil.ask("frame/2").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert policy.endswith("; sandbox allow-same-origin")


TRIES = """\
Subject: {{ first_name }}
Content-Language: en

<script>parent.document.title = "owned"</script>
<a id="js" href="#" onclick="parent.document.title='owned'">js</a>
<a id="up" href="../" target="_parent">up</a> <a id="beside" href="../eml/2">beside</a>
<a id="new" href="../" target="_blank">new</a>
<details open ontoggle="parent.document.title='owned'"><summary>x</summary>y</details>
<iframe src="../"></iframe><iframe srcdoc="<script>parent.parent.document.title='owned'</script>"></iframe>
<form action="../search" target="_parent"><input name="q"><button id="send">Send</button></form>
<style>@import "../page.css"; body::before { content: url(../eml/2) }</style>
"""


def test_that_a_letter_is_of_the_origin_of_the_page_helps_it_to_nothing(chromium, tmp_path):
    folder = campaign(tmp_path / "c", TRIES, name="letter.html")
    with previewing(folder) as running:
        chromium.size(1440, 900)
        chromium.get(running.address)
        chromium.settled()
        for place in ("js", "up", "beside", "new", "send"):
            chromium.switch_to.frame(chromium.one("#sheet iframe"))
            found = chromium.find_elements("id", place)
            if found:
                found[0].click()
            time.sleep(0.3)
            chromium.switch_to.default_content()
            for button, row in (("#next", "3"), ("#previous", "2")):
                chromium.click(button)
                chromium.until(f"document.body.dataset.row === '{row}'")
                chromium.settled()
        assert "owned" not in chromium.title
        assert chromium.current_url == running.address
        assert len(chromium.window_handles) == 1
        assert running.json("state")["total"] == 5


def test_a_letter_opened_by_itself_is_as_harmless(chromium, evil, there):
    there.visits.clear()
    chromium.get(f"{evil.address}frame/2")
    time.sleep(0.7)
    assert there.visits in ([], ["/refresh"])
    assert chromium.title != "owned"


def test_the_exported_page_does_nothing_either(chromium, evil, there, tmp_path):
    out = tmp_path / "look.html"
    subprocess.run(
        [*COMMAND, "preview", "--out", str(out), str(evil.folder)], check=True, capture_output=True
    )
    there.visits.clear()
    chromium.size(1000, 900)
    chromium.get(out.as_uri())
    time.sleep(1)
    assert there.visits == []
    assert "owned" not in chromium.title
    assert chromium.current_url == out.as_uri()
