"""Rows that take the same way through the letter are of one kind."""

from __future__ import annotations

import time

import pytest

from merge.model import Recipient
from merge.template import read_template
from merge.template.branches import Branches
from merge.variants import Kinds, Tally


def tally(tmp_path, body, rows, *, name="letter.md", **files):
    for file, text in files.items():
        (tmp_path / file.replace("_", ".")).write_text(text, "utf-8")
    letter = tmp_path / name
    letter.write_text(f"Subject: Hello\n\n{body}\n", "utf-8")
    made = Tally(Branches(letter))
    people = [
        Recipient(number, {"email": "a@b.example", **cells}, "a@b.example")
        for number, cells in enumerate(rows, 2)
    ]
    return made, [made.add(person) for person in people]


def test_branches_make_kinds_the_most_frequent_first(tmp_path):
    body = '{% if plan == "pro" %}\nA\n{% elif plan == "team" %}\nB\n{% else %}\nC\n{% endif %}'
    made, numbers = tally(
        tmp_path, body, [{"plan": plan} for plan in ("free", "pro", "free", "team", "free", "pro")]
    )
    assert numbers == [0, 1, 0, 2, 0, 1]
    kinds = made.kinds()
    assert [(kind.rows, kind.example) for kind in kinds] == [(3, 2), (2, 3), (1, 5)]
    assert [kind.words for kind in kinds] == [
        ('line 3: else of if plan == "pro"',),
        ('line 3: if plan == "pro"',),
        ('line 5: elif plan == "team"',),
    ]
    assert made.order() == {0: 0, 1: 1, 2: 2}


def test_an_if_without_else_makes_two_kinds(tmp_path):
    made, _ = tally(tmp_path, "{% if vip %}V{% endif %}", [{"vip": "x"}, {"vip": ""}])
    assert [kind.words for kind in made.kinds()] == [("line 3: if vip",), ()]


@pytest.mark.parametrize(
    ("body", "yes", "no"),
    [
        ('{{ name|default("there") }}', "Ada", ""),
        ('{{ name|d("there") }}', "Ada", "  "),
        ('{{ name or "there" }}', "Ada", ""),
        ('{{ "A" if name else "B" }}', "Ada", ""),
        ("{% for part in name|split %}{{ part }}{% endfor %}", "Ada", ""),
        ("{% for part in name|split %}{{ part }}{% else %}none{% endfor %}", "Ada", ""),
        ("{% if name %}{% if name == 'Ada' %}x{% endif %}{% endif %}", "Ada", "Bob"),
        ("{% set x %}{% if name %}y{% endif %}{% endset %}{{ x }}", "Ada", ""),
        ("{% macro m(n) %}{% if n %}y{% endif %}{% endmacro %}{{ m(name) }}", "Ada", ""),
        ("{% include 'part.txt' %}", "Ada", ""),
    ],
)
def test_each_way_to_differ_is_seen(tmp_path, body, yes, no):
    (tmp_path / "part.txt").write_text("{% if name %}Dear {{ name }}{% endif %}", "utf-8")
    _, numbers = tally(tmp_path, body, [{"name": yes}, {"name": no}, {"name": yes}])
    assert numbers == [0, 1, 0]


def test_branches_in_headers_count(tmp_path):
    letter = tmp_path / "letter.md"
    letter.write_text('Subject: {{ "Renew" if late else "Hello" }}\n\nHi\n', "utf-8")
    made = Tally(Branches(letter))
    assert made.add(Recipient(2, {"email": "", "late": ""}, "")) != made.add(
        Recipient(3, {"email": "", "late": "x"}, "")
    )
    assert {words for kind in made.kinds() for words in kind.words} == {
        "line 1: if late",
        "line 1: else of if late",
    }


def test_the_number_of_turns_and_the_values_make_no_kinds(tmp_path):
    body = "{{ name }}{% for part in name|split %}{{ part }}{% endfor %}"
    _, numbers = tally(tmp_path, body, [{"name": "a,b"}, {"name": "c"}, {"name": "d,e,f"}])
    assert numbers == [0, 0, 0]


def test_each_language_is_a_kind_of_its_own(tmp_path):
    (tmp_path / "letter.de.md").write_text("Subject: Hallo\n\n{% if vip %}V{% endif %}\n", "utf-8")
    rows = [{"lang": lang, "vip": vip} for lang, vip in (("", "x"), ("de", ""), ("de", "x"), ("fr", ""))]
    made, numbers = tally(tmp_path, "Hi", rows)
    assert numbers == [0, 1, 2, 0]
    assert [kind.words for kind in made.kinds()] == [
        ("letter.md",),
        ("letter.de.md",),
        ("letter.de.md", "line 3: if vip"),
    ]


@pytest.mark.parametrize(
    ("body", "number"), [("Hi {{ name }}", 1), ("{% if name %}x{% endif %}{{ city|default('y') }}", 4)]
)
def test_kinds_are_counted_without_a_word_of_the_rows(tmp_path, body, number):
    rows = [{"name": name, "city": city} for name in ("", "Ada", "Bob") for city in ("", "Paris")]
    made, _ = tally(tmp_path, body, rows)
    counted = Kinds(Branches(tmp_path / "letter.md"))
    assert counted.number == 0
    for place, cells in enumerate(rows):
        counted.add(Recipient(place, {"email": "a@b.example", **cells}, "a@b.example"))
    assert counted.number == len(made.kinds()) == number


def test_rows_without_a_letter_are_of_no_kind(tmp_path):
    made, numbers = tally(tmp_path, "{{ {'a': 'x'}[name] }}", [{"name": "a"}, {"name": "b"}])
    assert numbers == [0, -1]
    assert made.kinds()[0].rows == 1


def test_a_branch_in_an_included_file_is_named_by_that_file_line(tmp_path):
    made, _ = tally(
        tmp_path,
        "{% include 'part.txt' %}",
        [{"name": "x"}, {"name": ""}],
        part_txt="\n\n{% if name %}y{% endif %}",
    )
    assert made.kinds()[0].words == ("line 3: if name",)


def test_rows_that_get_no_letter_are_not_counted(tmp_path):
    made, _ = tally(tmp_path, "{% if vip %}V{% endif %}", [{"vip": v} for v in ("x", "x", "", "x", "")])
    assert [(kind.rows, kind.example) for kind in made.kinds()] == [(3, 2), (2, 4)]
    assert [(kind.rows, kind.example) for kind in made.kinds({2, 3})] == [(2, 4), (1, 5)]
    assert made.order({2, 3}) == {1: 0, 0: 1}
    [kind] = made.kinds({2, 3, 5})
    assert kind.words == ()


def test_rows_that_stand_out(tmp_path):
    rows = [
        {"name": "Ada", "city": "x"},
        {"name": "Wolfeschlegelsteinhausen", "city": "y"},
        {"name": "", "city": ""},
    ]
    made, _ = tally(tmp_path, "{{ name }} {{ city }}", rows)
    assert (made.extremes().longest, made.extremes().emptiest) == (3, 4)
    made, _ = tally(tmp_path, "{{ name }}", [{"name": "Ada"}, {"name": "Bob"}])
    assert (made.extremes().longest, made.extremes().emptiest) == (None, None)


def test_the_letter_that_is_sent_knows_nothing_of_the_count(tmp_path):
    body = '{% if name %}{{ name|default("x") }}{% endif %}{{ "a" if name else "b" }}'
    tally(tmp_path, body, [{"name": "Ada"}])
    template = read_template(tmp_path / "letter.md")
    for part in template._texts.parts:
        assert part.environment.watcher is None
        assert not any("taken" in name for name in part.environment.filters)


def test_a_thousand_rows_are_quick(tmp_path):
    body = '{% if plan == "pro" %}A{% else %}B{% endif %}{{ name|default("x") }}'
    began = time.perf_counter()
    tally(tmp_path, body, [{"plan": "pro", "name": str(n)} for n in range(1000)])
    assert time.perf_counter() - began < 1
