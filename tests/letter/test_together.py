"""The fast way to render a letter says what the careful way says, in every thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from letter_kit import DATE, recipient

from merge.errors import LetterError
from merge.seal import seal
from merge.template import read_template
from merge.template.letter import Apart
from merge.template.limits import ACCOUNT, LONGEST_TEXT, Account
from merge.template.together import Together

LETTERS = [
    ("letter.txt", "Subject: Hi {{ name }}\n\nHello {{ name }} of {{ town }},\n{{ note }}\n"),
    (
        "letter.md",
        "Subject: {{ name|upper }}{{ note|default('x') }}\n\n{{ name|default('you') }}{{ 7 }} {{ 7000 }}",
    ),
    (
        "letter.html",
        """Subject: x
{% if town %}
X-Town: {{ town }}
{% endif %}
X-Two: {{ name }}{{ town }}

{% for word in note|split(' ') %}
{{ loop.index }} {{ word }}{{ town }}
{% else %}
none
{% endfor %}
""",
    ),
    (
        "letter.html",
        """{% set who = name|title %}
Subject: {{ who }}

{% if who == town %}a{% elif note %}{{ who }}{% endif %}
""",
    ),
    (
        "letter.txt",
        "Subject: {{ row.name }}\n\n{{ 'a' if name else town }}{{ name ~ town }}{{ name|length * 2 }}\n",
    ),
]
ODD = ["", " ", "a\r\nb", "\r", "\t", "a b c", "\x02\x03", "Zoë"]
CELLS = st.one_of(st.text(max_size=12), st.sampled_from(ODD))


def answer(texts, variables):
    account = Account()
    ACCOUNT.set(account)
    try:
        head, main, own = texts.render(variables, account, lambda *_: None)
    except Exception as error:  # noqa: BLE001 - which error it is, is what is compared
        return type(error), str(error)
    headers = [(line.name, line.filled(head.values), line.line) for line in head.lines]
    return headers, "".join(main.pattern), main.values, own and ("".join(own.pattern), own.values)


@pytest.mark.parametrize(("name", "text"), LETTERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(CELLS, CELLS, CELLS))
def test_both_ways_say_the_same(desk, text, name, cells):
    made = read_template(desk.write(name, text))
    fast = made._texts
    assert isinstance(fast, Together)
    variables = made._variables(recipient(dict(zip(("name", "town", "note"), cells, strict=True))))
    assert answer(fast, variables) == answer(fast._apart, variables)


def test_the_usual_letter_does_not_need_the_careful_way(desk, monkeypatch):
    made = read_template(desk.write("letter.html", LETTERS[2][1]))
    monkeypatch.delattr(Apart, "render")
    for note in ("one two", ""):
        made.render(recipient({"name": "Zoë", "town": "Köln", "note": note}))


@pytest.mark.parametrize("kind", ["md", "html", "txt"])
def test_rows_that_take_the_same_branches_share_their_texts(desk, kind):
    made = read_template(desk.write(f"letter.{kind}", "Subject: {{ name }}\n\nHi {{ name }}\n"))
    one, two = (made.render(recipient({"name": name})) for name in ("Ada", "Bob"))
    assert [id(text) for text in one.main.pattern] == [id(text) for text in two.main.pattern]
    assert one.head.lines is two.head.lines


@pytest.mark.parametrize(
    "body",
    ["Hi {{ name }},\n{{ name }}\n", "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(name) }} {{ name }}\n"],
)
def test_threads_may_share_a_composer(desk, body):
    head = "Subject: {{ name }}\nTo: {{ name }} <{{ email }}>\n\n"
    composer = desk.composer(head + body, "letter.html")
    rows = [recipient({"name": f"Person {n}"}, row=n) for n in range(300)]

    def made(row):
        return seal(composer.compose(row, key="k", message_id=f"<{row.row}@ada.example>", date=DATE)).content

    one_by_one = [made(row) for row in rows]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(made, rows)) == one_by_one


def test_an_error_on_the_fast_way_has_its_place(desk):
    made = read_template(desk.write("letter.txt", "Subject: x\n\none\ntwo {{ name|date }}\n"))
    with pytest.raises(LetterError) as error:
        made.render(recipient({"name": "soon"}, row=9))
    (problem,) = error.value.problems
    assert (problem.line, problem.row) == (4, 9)


@pytest.mark.parametrize("body", ["{{ name }}{{ name }}", "{% if name %}{{ name }}{{ name }}{% endif %}"])
def test_a_letter_that_long_values_make_too_long_is_refused(desk, body):
    template = read_template(desk.write("letter.txt", f"Subject: x\n\n{body}\n"))
    assert isinstance(template._texts, Together)
    template.render(recipient({"name": "a" * (LONGEST_TEXT // 2 - 100)}))
    with pytest.raises(LetterError, match="grows beyond"):
        template.render(recipient({"name": "a" * (LONGEST_TEXT // 2 + 1)}))
