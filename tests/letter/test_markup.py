"""How letters look: Markdown, HTML, their text parts, and that rows sharing a pattern lose nothing by it."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from letter_kit import DATE, recipient

from merge import markup
from merge.errors import LetterError


class Shown(HTMLParser):
    """What a browser shows of a document: its text outside head, and its links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.links: list[str] = []
        self._hidden = 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._hidden += tag in ("head", "style")
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_endtag(self, tag):
        self._hidden -= tag in ("head", "style")

    def handle_data(self, data):
        if not self._hidden:
            self.text += data


def test_markdown_becomes_a_document_and_a_readable_text(desk):
    text = (
        "Subject: x\nContent-Language: en\nPreheader: Come {{ name }}\n"
        "\n# Hello {{ name }}\n\n**Bring** [a book](https://x.example/b?c={{ name|urlencode "
        "}}) or <https://y.example>.\n\n- one\n- two\n"
        "\n| a | b |\n|---|---|\n| 1 | {{ name }} |\n"
    )
    letter = desk.letter(text, {"name": "Zoë & <co>"})
    shown = Shown(letter.html)
    assert letter.html.startswith("<!DOCTYPE html>")
    assert '<html lang="en" dir="auto">' in letter.html
    assert 'name="viewport"' in letter.html
    assert "prefers-color-scheme" in letter.html
    assert shown.links == ["https://x.example/b?c=Zo%C3%AB%20%26%20%3Cco%3E", "https://y.example"]
    assert shown.text.split()[:3] == ["Come", "Zoë", "&"]
    assert "Hello Zoë & <co>" in shown.text
    assert "co" not in shown.tags
    assert letter.text == (
        "Hello Zoë & <co>\n\nBring a book (https://x.example/b?c=Zo%C3%AB%20%26%20%3Cco%3E) "
        "or https://y.example.\n\n"
        "  • one\n  • two\na\t\tb\n1\t\tZoë & <co>\n"
    )


@pytest.mark.parametrize(
    "cell",
    [
        *("**bold**", "[x](https://evil.example)", "# head", "- item", "<b>x</b>", "`code`", "&amp;", "a|b"),
        *("1. x", "> q", "![x](y.png)", "<https://evil.example>", "\\", "---", "~~x~~", "![](http://x/a)"),
    ],
)
@pytest.mark.parametrize(
    "around",
    [
        "{{ c }}",
        "**{{ c }}**",
        "# {{ c }}",
        "- {{ c }}",
        "| a |\n|---|\n| {{ c }} |",
        "[{{ c }}](https://x.example/)",
        "> {{ c }}",
        "{% set x %}{{ c }}{% endset %}{{ x }}",
    ],
)
def test_a_cell_is_shown_in_markdown_as_it_is_written(desk, around, cell):
    letter = desk.letter(f"Subject: x\n\n{around}\n", {"c": cell})
    plain = desk.letter(f"Subject: x\n\n{around}\n", {"c": "word"})
    assert Shown(letter.html).text == Shown(plain.html).text.replace("word", cell)
    assert Shown(letter.html).tags == Shown(plain.html).tags
    assert Shown(letter.html).links == Shown(plain.html).links


@pytest.mark.parametrize("kind", ["md", "html", "txt"])
@pytest.mark.parametrize(
    "body",
    [
        "{% set x %}{{ c }}{% endset %}{{ x|upper }}",
        "{% filter upper %}{{ c }}{% endfilter %}",
        "{% macro m(v) %}{{ v }}{% endmacro %}{{ m(c)|upper }}",
    ],
)
def test_a_filter_sees_the_values_inside_a_block(desk, body, kind):
    letter = desk.letter(f"Subject: x\n\n{body}\n", {"c": "abc"}, f"letter.{kind}")
    assert letter.text.strip() == "ABC"
    assert letter.html is None or "ABC" in letter.html


def test_line_breaks_in_a_cell_are_kept(desk):
    letter = desk.letter("Subject: x\n\n{{ a }}\n", {"a": "Main St 1\r\nTown\n\nLand"})
    assert "Main St 1<br>\nTown<br>\n<br>\nLand" in letter.html
    assert "Main St 1\nTown\n\nLand" in letter.text


def test_safe_cells_may_hold_markdown_and_html(desk):
    letter = desk.letter("Subject: x\n\n{{ a|safe }} {{ b|safe }}\n", {"a": "**bold**", "b": "<u>under</u>"})
    assert "<strong>bold</strong> <u>under</u>" in letter.html


def test_html_letters_are_escaped_inlined_and_given_a_text(desk):
    text = """Subject: {{ n }}

<!DOCTYPE html><html lang="en"><head><style>p{color:#112233}.vip{font-weight:bold}
@media (max-width:600px){p{font-size:18px}}</style></head>
<body><p class="{{ k }}">Hi {{ n }}</p>
<p><a href="https://x.example/{{ n|urlencode }}">link</a></p></body></html>
"""
    letter = desk.letter(text, {"n": "Tom & <b>", "k": "vip"}, "letter.html")
    assert "Hi Tom &amp; &lt;b&gt;" in letter.html
    assert "font-weight: bold" in letter.html.split("<body")[1]
    assert "@media (max-width:600px)" in letter.html
    assert letter.text == "Hi Tom & <b>\n\nlink (https://x.example/Tom%20%26%20%3Cb%3E)\n"
    plain = desk.letter(text, {"n": "x", "k": ""}, "letter.html")
    assert "font-weight: bold" not in plain.html.split("<body")[1]


def test_an_own_text_beside_html_is_the_plain_part(desk):
    desk.write("letter.txt", "Hi {{ n }} & you\n{% if n %}\nyes\n{% endif %}\n")
    letter = desk.letter("Subject: x\n\n<p>Hi {{ n }}</p>", {"n": "<Zoë>"}, "letter.html")
    assert letter.text == "Hi <Zoë> & you\nyes\n"
    assert "Hi &lt;Zoë&gt;" in letter.html


def test_a_fragment_of_html_becomes_a_document(desk):
    assert desk.letter("Subject: x\n\n<p>Hi</p>", name="letter.html").html.startswith("<!DOCTYPE html>")


def test_the_preheader_is_hidden_first_in_the_html_and_not_in_the_text(desk):
    letter = desk.letter(
        "Subject: x\nPreheader: Look, {{ n }}\n\n<html><body id=a><p>Hi</p></body></html>",
        {"n": "<Z>"},
        "letter.html",
    )
    body = letter.html.split("<body")[1]
    assert body.index("Look, &lt;Z&gt;") < body.index("<p")
    assert "display:none" in body
    assert "Look" not in letter.text


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        " JavaScript:x",
        "java\nscript:x",
        "vbscript:x",
        "data:text/html,x",
        "file:///etc/passwd",
        "\tjavascript:x",
    ],
)
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("html", '<a href="{{ u }}">x</a>'),
        ("md", "[x]({{ u }})"),
        ("md", "<{{ u }}>"),
        ("html", "<style>a[href]{color:red}</style><a href='{{ u }}'>x</a>"),
        ("html", "{% set v %}{{ u }}{% endset %}<a href='{{ v }}'>x</a>"),
    ],
)
def test_a_cell_cannot_make_a_link_run_a_script(desk, kind, body, link):
    examined = desk.examine(f"Subject: x\n\n{body}\n", {"u": link}, f"letter.{kind}")
    assert [problem for problem in examined.problems if "run a script" in problem.message]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("html", '<a href="{{ a }}{{ b }}">x</a>'),
        ("html", '<a href=" {{ a }}{{ b }}#{{ b }}">x</a>'),
        ("html", '<a href="{{ a }}script:{{ b }}">x</a>'),
        ("html", "<style>a[href]{color:red}</style><a href='{{ a }}{{ b }}'>x</a>"),
        ("md", "[x]({{ a }}{{ b }})"),
        ("md", "<{{ a }}{{ b }}>"),
        ("md", "<{{ a }}script:x/{{ b }}>"),
    ],
)
def test_two_cells_together_cannot_make_a_link_run_a_script(desk, kind, body):
    text = f"Subject: x\n\n{body}\n"
    examined = desk.examine(text, {"a": "java", "b": "script:alert(1)"}, f"letter.{kind}")
    assert [problem for problem in examined.problems if "run a script" in problem.message]
    letter = desk.letter(text, {"a": "https://x.example/", "b": "y?z=&"}, f"letter.{kind}")
    assert "https://x.example/" in letter.html


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("html", '<img alt="" src="images/grüße 1.png">'),
        ("html", '<img alt="" src="images/gr%C3%BC%C3%9Fe%201.png">'),
        ("html", '<img alt="1 > 0" src="images/grüße 1.png">'),
        ("html", "<img alt='src=\"x.png\" src=' src = 'images/grüße 1.png'>"),
        ("html", "<img alt='' src=images/gr%C3%BC%C3%9Fe%201.png>"),
        ("html", "<style>p{color:red}</style><img alt=x src=images/gr%C3%BC%C3%9Fe%201.png>"),
        ("html", '<img alt="" src="./images/grüße 1.png"><img alt="" src="images/grüße 1.png">'),
        ("md", "![x](<images/grüße 1.png>)"),
        ("md", "![x](images/grüße%201.png)"),
        ("md", '![{{ a }}](<images/{{ a }} 1.png> "x")'),
    ],
)
def test_a_picture_is_found_by_its_name_however_html_writes_it(desk, kind, body):
    desk.write("images/grüße 1.png", b"\x89PNG\r\n\x1a\n")
    letter = desk.letter(f"Subject: x\n\n{body}\n", {"a": "grüße"}, f"letter.{kind}")
    assert [file.name for file in letter.attachments] == ["grüße 1.png"]
    assert f"cid:{letter.attachments[0].content_id}" in letter.html


@pytest.mark.parametrize("tag", ["<img ", "<img alt='", '<a href=x title="'])
def test_tags_that_never_end_take_no_time(desk, tag):
    start = time.process_time()
    desk.letter("Subject: x\n\n{{ a|safe }}\n", {"a": tag * 20_000}, "letter.html")
    assert time.process_time() - start < 3


def test_mjml_is_rendered_after_jinja(desk):
    text = (
        "Subject: x\n\n<mjml><mj-body>{% for n in names|split %}<mj-section><mj-column><mj-text "
        'color="{{ c }}">Hi {{ n }} &amp; co</mj-text></mj-column></mj-section>{% endfor '
        "%}</mj-body></mjml>\n"
    )
    letter = desk.letter(text, {"names": "Zoë,<Bob>", "c": "#ff0000"}, "letter.mjml")
    assert "Hi Zoë &amp; co" in letter.html
    assert "Hi &lt;Bob&gt; &amp; co" in letter.html
    assert "mj-text" not in letter.html
    assert "Hi Zoë & co" in letter.text


def test_broken_mjml_is_an_error_of_the_letter(desk):
    examined = desk.examine("Subject: x\n\n<mjml><mj-body>\n", name="letter.mjml")
    assert "MJML" in examined.problems[0].message


def test_mjml_without_its_extra_says_what_to_install(monkeypatch):
    def missing(name):
        raise ImportError(name)

    markup._mjml_engine.cache_clear()
    monkeypatch.setattr(markup, "import_module", missing)
    with pytest.raises(LetterError) as error:
        markup._mjml_engine()
    assert "mergepost[mjml]" in error.value.hint


def test_languages_of_the_right_come_from_the_right(desk):
    letter = desk.letter("Subject: {{ n }}\n\nשלום {{ n }}\n", {"n": "דנה"})
    assert 'dir="auto"' in letter.html
    assert dict(letter.headers)["Subject"] == "דנה"


# Setting a pattern once and filling in the values must come to the same as setting each row by itself.

CELLS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20).map(str.strip)
BODIES = [
    (
        "letter.html",
        (
            "<style>p{color:red}.a{margin:1px}p+p{top:1px}td:first-child{left:1px}</style><table>"
            "{% for x in c|split %}<tr><td>{{ x }}</td><td>{{ a }}</td></tr>{% endfor %}</table>"
            '<p class="a">{{ a }}</p><p>{{ b }}<a href="https://x.example/{{ c|urlencode }}" '
            'title="{{ a }}">{{ b }}</a></p>{% if a %}<p class="a">{{ a|upper }}</p>{% endif '
            '%}<img src="https://x.example/a.png" alt="{{ b }}">'
        ),
    ),
    (
        "letter.html",
        (
            '<p class="{{ a }}">{{ b }}</p><style>.vip{color:red}[title]{top:1px}</style><p '
            'title="{{ c }}">x</p>'
        ),
    ),
    (
        "letter.html",
        ("{% macro row(x) %}<li>{{ x }}</li>{% endmacro %}<ul>{{ row(a) }}{{ row(b) }}</ul>{{ c }}"),
    ),
]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.sampled_from(BODIES), CELLS, CELLS, CELLS)
def test_a_filled_pattern_is_the_row_set_by_itself(desk, letter, a, b, c):
    name, body = letter
    composer = desk.composer(f"Subject: x\n\n{body}", name)
    row = recipient({"a": a, "b": b, "c": c})
    composed = composer.compose(row, key="k", message_id="<m@x.example>", date=DATE)
    alone = markup.Typesetter("html", composer._template.token).set(
        (composer._template.render(row).body,), ()
    )
    assert Shown(composed.html).text.split() == Shown("".join(alone.html.parts)).text.split()
    assert Shown(composed.html).tags == Shown("".join(alone.html.parts)).tags
    assert Attributes(composed.html).found == Attributes("".join(alone.html.parts)).found


class Attributes(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, attrs))


@pytest.mark.parametrize("cells", [{"a": "", "b": "x"}, {"a": "x", "b": ""}, {"a": "x", "b": "x"}])
def test_rows_with_empty_cells_have_a_pattern_of_their_own(desk, cells):
    letter = desk.letter(
        "Subject: x\n\n<style>p:empty{color:red}</style><p>{{ a }}</p><p>{{ b }}</p>", cells, "letter.html"
    )
    body = letter.html.split("<body")[1]
    assert body.count("color: red") == sum(1 for cell in cells.values() if not cell)


def test_slow_work_is_done_once_for_rows_that_share_a_pattern(desk, monkeypatch):
    calls = []
    inlined = markup._inlined
    monkeypatch.setattr(markup, "_inlined", lambda html: calls.append(html) or inlined(html))
    composer = desk.composer("Subject: x\n\n# Hi {{ n }}\n{% if v %}\nVIP\n{% endif %}\n")
    for number in range(20):
        composer.examine(recipient({"n": f"name {number}", "v": "1" if number % 2 else ""}))
    assert len(calls) == 2
