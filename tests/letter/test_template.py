"""What a letter's source says: diagnostics with their place, languages, includes, limits."""

from __future__ import annotations

import time

import pytest
from letter_kit import recipient
from rich.cells import cell_len

from merge.errors import LetterError
from merge.screens.error import findings
from merge.template import choose, read_template

COLUMNS = ["email", "First Name", "company", "invoice"]


def template(desk, text, name="letter.md"):
    return read_template(desk.write(name, text))


def refused(desk, text, name="letter.md"):
    with pytest.raises(LetterError) as error:
        template(desk, text, name)
    return error.value.problems


def caret(problem):
    """Return what the span of a problem marks in its source line."""
    return problem.source[problem.column - 1 : problem.column - 1 + problem.width]


def test_all_unknown_columns_are_named_at_once_with_their_places(desk):
    text = (
        "Subject: News for {{ first_nme }}\nCc: {{ boss }}\n"
        "\nHi {{ frist_name }},\n{% if compny == 'x' %}{{ Invoice }}{% endif %}\n"
        "{{ row['Frist Name'] }}\n"
    )
    problems = template(desk, text).check_columns(COLUMNS, "people.csv")
    assert [(p.line, caret(p)) for p in problems] == [
        (1, "first_nme"),
        (2, "boss"),
        (4, "frist_name"),
        (5, "compny"),
        (5, "Invoice"),
        (6, "'Frist Name'"[0:10]),
    ]
    assert problems[0].message == "no column first_nme; did you mean first_name?"
    assert problems[0].hint == "columns in people.csv: email, First Name, company, invoice"
    assert problems[1].message == "no column boss"
    assert problems[4].message == "no column Invoice; did you mean invoice?"
    assert problems[5].message == "no column Frist Name; did you mean First Name?"
    assert {p.file for p in problems} == {"letter.md"}


def test_the_second_of_two_on_a_line_has_its_own_caret(desk):
    problems = template(desk, "Subject: x\n\n{{ nosuch }} and {{ nosuch }}\n").check_columns(COLUMNS)
    assert [(p.line, p.column) for p in problems] == [(3, 4), (3, 21)]


@pytest.mark.parametrize(
    "body",
    [
        '{{ nosuch|default("x") }}',
        "{{ nosuch|d }}",
        "{{ nosuch.part|default(1) }}",
        '{{ row["No Such"]|default("x") }}',
        "{% if nosuch is defined %}{{ nosuch }}{% endif %}",
        "{% if nosuch is not defined %}x{% else %}{{ nosuch }}{% endif %}",
        "{% if nosuch is defined and nosuch == 'a' %}x{% endif %}",
        "{{ nosuch if nosuch is defined else 'x' }}",
        "{% for x in [1, 2] %}{{ loop.index }}{{ x }}{% endfor %}",
        "{% set x = company %}{{ x }}",
        "{% set x %}a{% endset %}{{ x }}",
        "{% macro m(a, b=company) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}",
        "{% with x = company %}{{ x }}{% endwith %}",
        "{{ email }}",
        "{{ row['First Name'] }}{{ row.company }}",
        "{% raw %}{{ nosuch }}{% endraw %}",
        "{# {{ nosuch }} #}",
        "{{ 'nosuch' }}",
        "{{ company.nosuch|default('') }}",
        "{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    ],
)
def test_guarded_and_local_names_are_no_columns(desk, body):
    assert template(desk, f"Subject: x\n\n{body}\n").check_columns(COLUMNS) == ()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{{ first-name }}", 'columns use "_": write first_name'),
        ("{{ items }}", 'write row["items"]'),
        ("{% if nosuch %}x{% endif %}", "no column nosuch"),
        ("{{ company|replace(nosuch, 'x') }}", "no column nosuch"),
        ("{% for x in nosuch|split %}{{ x }}{% endfor %}{{ x }}", "no column nosuch"),
        ("{% if nosuch is defined %}{% endif %}{{ nosuch }}", "no column nosuch"),
        ("{% macro m() %}{{ nosuch }}{% endmacro %}", "no column nosuch"),
    ],
)
def test_what_is_said_of_unknown_names(desk, body, words):
    problems = template(desk, f"Subject: x\n\n{body}\n").check_columns([*COLUMNS, "items"])
    assert words in problems[0].message


def test_columns_with_one_short_name_need_their_whole_names(desk):
    text = 'Subject: x\n\n{{ first_name }} {{ row["First Name"] }}\n'
    (problem,) = template(desk, text).check_columns(["First Name", "first-name"])
    assert "several columns" in problem.message


def test_problems_of_included_files_name_that_file(desk):
    desk.write("foot.md", "one\n\nbye {{ nosuch }}\n")
    (problem,) = template(desk, 'Subject: x\n\n{% include "foot.md" %}\n').check_columns(COLUMNS)
    assert (problem.file, problem.line, caret(problem)) == ("foot.md", 3, "nosuch")


@pytest.mark.parametrize(
    ("text", "line", "marked", "words"),
    [
        ("Subject: x\n\n{% if a %}\nhello\n", 3, "{% if a %}", "never closed with {% endif %}"),
        ("Subject: {% for a in b %}\n\nhello\n", 1, "{% for a in b %}", "never closed with {% endfor %}"),
        ("Subject: x\n\nhi {{ a|nosuch }}\n", 3, "nosuch", "no filter called nosuch"),
        ("Subject: x\n\nhi {{ a|lower }} {{ a | uper }}\n", 3, "uper", "uper; did you mean upper?"),
        ("Subject: {{ a|tittle }}\n\nhi\n", 1, "tittle", "did you mean title?"),
        ("Subject: x\n\na\n{% filter uper %}b{% endfilter %}\n", 4, "uper", "did you mean upper?"),
        ("Subject: x\n\n{% if a is not defned %}b{% endif %}\n", 3, "defned", "did you mean defined?"),
        ("", 1, None, "letter.md is empty"),
        ("  \n\n", 1, None, "letter.md is empty"),
        ("\nHello\n", 1, None, "no Subject"),
        ("Subject: x\n\nhi {{ a b }}\n", 3, "{{ a b }}", "expected token"),
        ("Subject: x\n\n{% endif %}\n", 3, "{% endif %}", "unknown tag 'endif'"),
        ("Subject: x\nhello world\n\nhi\n", 2, "hello world", "no header"),
        ("Hello {{ name }},\n\nhi\n", 1, "Hello {{ name }},", "does not begin with header lines"),
        ("To: a@b.example\n\nhi\n", 1, None, "no Subject"),
        ("Subject: x\nDate: today\n\nhi\n", 2, "Date", "cannot set Date"),
        ("Subject: x\nResent-To: a@b.example\n\nhi\n", 2, "Resent-To", "who gets"),
        ("Subject: x\nSubjct: y\n\nhi\n", 2, "Subjct", "unknown header"),
        ("Subject: x\n\nhi\x07\n", 3, "\x07", "control character"),
        ('Subject: x\n\n{% include "no.md" %}\n', 3, "no.md", "no file no.md"),
        ('Subject: x\n\n{% include "../x.md" %}\n', 3, "../x.md", "outside"),
        ('Subject: x\n\n{% include "/etc/hostname" %}\n', 3, "/etc/hostname", "outside"),
        ('Subject: x\n\n{% import "link.md" as m %}\n', 3, "link.md", "outside"),
    ],
)
def test_what_is_wrong_with_a_letter_has_a_place(desk, text, line, marked, words):
    outside = desk.folder.parent / "secret.md"
    outside.write_text("secret")
    (desk.folder / "link.md").symlink_to(outside)
    problems = refused(desk, text)
    assert problems[0].line == line, problems
    if marked is not None:
        assert caret(problems[0]) == marked
    assert words in problems[0].message


def test_included_files_know_what_is_set_around_them(desk):
    desk.write("item.md", "- {{ item }} {{ who }}\n")
    text = (
        "Subject: x\n\n{% set who = company %}{% for item in company|split %}{% include "
        '"item.md" %}{% endfor %}\n'
    )
    assert template(desk, text).check_columns(COLUMNS) == ()


def test_several_problems_come_together(desk):
    problems = refused(desk, "Subject: {{ a|nosuch }}\nDate: x\n\n{{ b|nosuch }}\n")
    assert sorted(problem.line for problem in problems) == [1, 2, 4]


def test_a_letter_that_is_not_utf8_says_where(desk):
    (problem,) = refused(desk, b"Subject: x\n\nHi J\xf6rg\n")
    assert (problem.line, problem.message) == (3, "letter.md is not UTF-8")


def test_a_missing_letter_is_an_error(desk):
    with pytest.raises(LetterError, match=r"no\.md cannot be read"):
        read_template(desk.folder / "no.md")


@pytest.mark.parametrize(
    ("body", "words", "marked"),
    [
        ("{{ company.nosuch }}", "nosuch", "nosuch"),
        ("{{ company['x'] }}", "x", None),
        ("{{ none }}", "no text", None),
        ("{{ company|split }}", "join", None),
        ("{{ company is defined }}", "no text", None),
        ("{{ company + 1 }}", "can only concatenate", None),
        ("{{ company|int / 0 }}", "division by zero", None),
        ("{{ ''.__class__ }}", "unsafe", None),
        ("{{ company.format.__globals__ }}", "unsafe", None),
        ("{{ company|attr('__class__') }}", "unsafe", None),
        ("{{ company|random }}", "different letters", None),
        ("{{ company|date }}", "no date", None),
        ("{{ company|number }}", "no number", None),
    ],
)
@pytest.mark.parametrize("kind", ["md", "html", "txt"])
def test_what_goes_wrong_in_a_row_names_the_row_and_the_line(desk, body, words, marked, kind):
    text = f"Subject: x\n\nfirst\n{body}\n"
    with pytest.raises(LetterError) as error:
        template(desk, text, f"letter.{kind}").render(recipient({"company": "ACME"}, row=42))
    (problem,) = error.value.problems
    assert (problem.file, problem.line, problem.row) == (f"letter.{kind}", 4, 42)
    assert words in problem.message + problem.hint
    if marked:
        assert caret(problem) == marked


def test_an_error_in_an_included_file_names_that_file(desk):
    desk.write("foot.md", "one\n{{ company.nosuch }}\n")
    with pytest.raises(LetterError) as error:
        template(desk, 'Subject: x\n\n{% include "foot.md" %}\n').render(recipient({"company": "A"}))
    assert (error.value.problems[0].file, error.value.problems[0].line) == ("foot.md", 2)


RUNAWAYS = [
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "{% for a in range(1000000000) %}{% endfor %}",
    "{{ 'x' * 10**9 }}",
    "{{ 10**10**8 }}",
    "{{ 'x'|center(10**9) }}",
    "{{ 'x'.center(1000000000) }}",
    "{{ '%0999999999d' % 1 }}",
    "{{ '%0999999999d'|format(1) }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ '{:>{}}'.format(1, 999999999) }}",
    "{{ 'x'|indent(10**9) }}",
    (
        "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ns.x "
        "~ ns.x %}{% endfor %}{{ ns.x|length }}"
    ),
    (
        "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ns.x "
        "+ ns.x %}{% endfor %}{{ ns.x|length }}"
    ),
    (
        "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ns.x.replace("
        "'x', 'xx') %}{% endfor %}"
    ),
    (
        "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ns.x|replace("
        "'x', 'xx') %}{% endfor %}"
    ),
    "{% set ns = namespace(x=9) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    (
        "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set y %}{{ ns.x "
        "}}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}"
    ),
    "{% for i in range(5000) %}{{ 'x' * 4000 }}{% endfor %}",
    (
        "{% for i in range(200) %}{% for c in company.split() %}{% for d in range(100000) "
        "%}{% endfor %}{% endfor %}{% endfor %}"
    ),
    "{{ 1.5|round(10**9) }}",
    "{{ 'x'.zfill(10**9) }}",
    "{{ ['x']*10**9 }}",
    "{{ range(99999)|join('x' * 4000) }}",
    "{{ ('x' * 2000000).join(['a'] * 1000) }}",
    "{{ ('\t' * 100000).expandtabs(10000) }}",
    "{{ ('x' * 2000000).translate({120: 'y' * 2000000}) }}",
    "{{ ('{0:>9999}' * 90000).format(1) }}",
    "{{ ('%(a)9999s' * 90000) % {'a': 1} }}",
    "{{ ([[1] * 2000] * 2000)|sum(start=[]) }}",
    "{% for i in range(2000) %}{{ ([1] * 4000000)|length }}{% endfor %}",
    "{% for i in range(3000) %}{{ range(99999)|list|sort|length }}{% endfor %}",
    "{% for i in range(3000) %}{{ range(99999)|map('string')|list|length }}{% endfor %}",
    "{% for i in range(3000) %}{{ range(99999)|groupby('real')|length }}{% endfor %}",
    "{% for i in range(1000) %}{{ ('a,' * 2000000)|split|length }}{% endfor %}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
    (
        "{% macro m(x, n) %}{% if n %}{{ m([x, x], n - 1) }}{% else %}{{ x|string }}{% endif %}{% endmacro %}"
        "{{ m([1], 60) }}"
    ),
    "{% set x %}{% for i in range(100000) %}{{ 'y' * 4000 }}{% endfor %}{% endset %}",
    "{% set x %}{% for i in range(100000) %}" + "y" * 4000 + "{% endfor %}{% endset %}",
    "{% filter upper %}{% for i in range(100000) %}{{ 'y' * 4000 }}{% endfor %}{% endfilter %}",
    (
        "{% set ns = namespace(x=[company]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
        "{% endfor %}{{ ns.x|string|length }}"
    ),
    (
        "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}"
        "{% endfor %}{{ ns.x }}"
    ),
    "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    '{% include "itself.txt" %}',
    "{% set n = 0 %}{% include company %}",
    '{% set x %}{% for i in range(1000) %}{% include "long.txt" %}{% endfor %}{% endset %}',
    "{{ range(100000)|map('string')|join('x' * 100000) }}",
    "{{ ('x' * 100000).join(range(100000)|map('string')) }}",
    "{% set a = range(99999)|list %}{% for i in a %}{% if 'x' in a %}x{% endif %}{% endfor %}",
    "{% set a = range(99999)|list %}{% for i in a %}{% if 'x' is in a %}x{% endif %}{% endfor %}",
    (
        "{% set a = 'a' * 4000000 %}{% set b = 'a' * 4000000 %}"
        "{% for i in range(99999) %}{% if a == b %}{% endif %}{% endfor %}"
    ),
    "{% set a = 'a' * 2000000 %}{% for i in range(99999) %}{% if a ~ a %}{% endif %}{% endfor %}",
    "{% set a = 'a' * 4000000 %}{% for i in range(99999) %}{% if a[::-1] %}{% endif %}{% endfor %}",
]


@pytest.mark.parametrize("body", RUNAWAYS)
@pytest.mark.parametrize("kind", ["md", "html", "txt"])
def test_a_render_that_runs_away_is_stopped(desk, body, kind):
    desk.write("itself.txt", '{% include "itself.txt" %}')
    twice = '{% if n < 40 %}{% set n = n + 1 %}{% include "ACME" %}{% include company %}{% endif %}'
    desk.write("ACME", twice)
    desk.write("long.txt", "x" * 1_000_000)
    start = time.process_time()
    with pytest.raises(LetterError) as error:
        template(desk, f"Subject: x\n\n{body}\n", f"letter.{kind}").render(recipient({"company": "ACME"}))
    assert time.process_time() - start < 8
    assert error.value.problems[0].row == 2


def test_a_letter_with_long_loops_within_the_limit_is_rendered(desk):
    text = (
        "Subject: x\n\n{% for i in range(1000) %}{% for j in range(50) %}{% if loop.last "
        "%}.{% endif %}{% endfor %}{% endfor %}"
    )
    assert template(desk, text, "letter.txt").render(recipient()).body == "." * 1000


def test_what_a_letter_compares_joins_and_cuts_within_the_limit_is_as_jinja_has_it(desk):
    desk.write("part.txt", "{{ n }}{{ company[:2] ~ n }}")
    text = (
        "Subject: x\n\n{% for n in ['A', 'x'] %}{% if n in company and company != email and n is in ['A'] %}"
        '{% include ["part.txt"] %}{% else %}{{ "-".join(company|map("lower")) }}{% endif %}'
        "{% endfor %} {{ company|map('lower')|join('+') }} {{ 'yes' if 'A' < company <= 'b' }}"
    )
    rendered = template(desk, text, "letter.txt").render(recipient({"company": "ACM"}))
    assert rendered.body == "AACAa-c-m a+c+m yes"


@pytest.mark.parametrize("name", ["people.csv", "campaign.toml", "results.csv", "./people.csv"])
def test_no_cell_takes_the_campaigns_own_files_into_a_letter(desk, name):
    desk.write(name, "ann@x.example, 3 points\n")
    with pytest.raises(LetterError, match="is a file of the campaign itself"):
        template(desk, "Subject: x\n\n{% include company %}\n").render(recipient({"company": name}))


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000])
def test_a_cell_that_is_no_name_of_a_file_is_told_briefly(desk, name):
    with pytest.raises(LetterError, match="is no name of a file") as error:
        template(desk, "Subject: x\n\n{% include company %}\n").render(recipient({"company": name}))
    assert len(error.value.message) < 120


@pytest.mark.parametrize(
    "head",
    [
        'Subject: x\n{% include "more.txt" %}\n',
        '{% include "more.txt" %}\nSubject: x\n',
        'Subject: x\n{% from "macro.txt" import more %}{{ more() }}\n',
    ],
)
def test_a_header_from_another_file_is_refused_and_not_taken_for_the_one_above(desk, head):
    desk.write("more.txt", "Reply-To: a@x.example\n")
    desk.write("macro.txt", "{% macro more() %}\nReply-To: a@x.example\n{% endmacro %}")
    with pytest.raises(LetterError, match=r"Reply-To: a@x\.example|line break") as error:
        template(desk, f"{head}\nhi\n").render(recipient())
    assert error.value.problems[0].row == 2


def test_a_file_may_bring_what_a_header_says(desk):
    desk.write("words.txt", "Spring news:\n  for {{ email }}\n")
    letter = template(desk, 'Subject: {% include "words.txt" %}\nX-A: b\n\nhi\n').render(recipient())
    assert [(name, value) for name, value, _ in letter.headers] == [
        ("Subject", "Spring news: for zoe@x.example"),
        ("X-A", "b"),
    ]


def test_lines_that_hold_only_a_statement_leave_nothing_behind(desk):
    text = (
        "Subject: x\n\na\n{% if email %}\nb {% if email %}c{% endif %}\n"
        "{% endif %}\n  {# remark #}\nd\n{% for x in [1] %}{% if x %}\n"
        "e\n{% endif %}{% endfor %}\n"
    )
    assert template(desk, text, "letter.txt").render(recipient()).body == "a\nb c\nd\ne\n"


def test_a_letter_of_mailmerge_keeps_blanks_as_jinja_has_them(desk):
    text = "TO: {{ email }}\nSUBJECT: x\n\na\n{% if email %}\nb\n{% endif %}\nc\n"
    assert template(desk, text, "letter.txt").render(recipient()).body == "a\n\nb\n\nc\n"


def test_headers_may_be_conditional_and_folded(desk):
    text = (
        "Subject: one\n  two\n{# a remark\n\n with a blank line #}\n"
        "{% if boss %}Cc: {{ boss }}\n{% endif %}\n"
        "X-Note: {% if boss %}with{% else %}without{% endif %}\n"
        "\nbody\n"
    )
    made = template(desk, text, "letter.txt")
    with_boss = made.render(recipient({"boss": "b@x.example"}))
    without = made.render(recipient({"boss": ""}))
    assert with_boss.headers == [
        ("Subject", "one two", 1),
        ("Cc", "b@x.example", 6),
        ("X-Note", "with", 8),
    ]
    assert [name for name, _, _ in without.headers] == ["Subject", "X-Note"]
    assert with_boss.body == "body\n"


def test_what_the_header_block_sets_the_body_knows(desk):
    text = "{% set who = first_name|title %}\nSubject: For {{ who }}\n\nHi {{ who }}\n"
    made = template(desk, text, "letter.txt")
    assert made.render(recipient({"First Name": "ada lovelace"})).body == "Hi Ada Lovelace\n"
    assert made.check_columns(COLUMNS) == ()


def test_the_lang_column_picks_the_letter(desk):
    desk.write("letter.de.md", "Subject: Hallo {{ company }}\n\nGuten Tag\n")
    desk.write("letter.pt-br.md", "Subject: Oi {{ nosuch }}\n\nBom dia\n")
    made = template(desk, "Subject: Hello\n\nGood day\n")
    for lang, subject in (
        ("de", "Hallo ACME"),
        ("de-AT", "Hallo ACME"),
        ("DE_at", "Hallo ACME"),
        ("fr", "Hello"),
        ("", "Hello"),
    ):
        assert made.render(recipient({"company": "ACME", "Lang": lang})).headers[0][1] == subject
    (problem,) = made.check_columns([*COLUMNS, "lang"])
    assert problem.file == "letter.pt-br.md"


def test_a_letter_in_a_language_is_tagged_with_it(desk):
    desk.write("letter.de.md", "Subject: Hallo\n\nGuten Tag\n")
    letter = desk.letter("Subject: Hello\n\nGood day\n", {"lang": "de"})
    assert ("Content-Language", "de") in letter.headers
    assert '<html lang="de"' in letter.html


def test_a_letter_changes_its_hash_with_all_that_it_names(desk):
    desk.write("foot.md", "bye")
    text = 'Subject: x\n\n{% include "foot.md" %}\n'
    first = template(desk, text).content_hash
    assert template(desk, text).content_hash == first
    desk.write("foot.md", "good bye")
    second = template(desk, text).content_hash
    desk.write("letter.de.md", text)
    assert (
        len({first, second, template(desk, text).content_hash, template(desk, text + "x").content_hash}) == 4
    )


def test_imported_macros_do_not_make_the_first_row_different(desk):
    desk.write(
        "macros.html",
        (
            '{% macro button(label, url) %}<a href="{{ url }}">{{ label }}</a>{% endmacro %}{{ '
            '"x" }}{% for i in [1] %}{% endfor %}'
        ),
    )
    composer = desk.composer(
        'Subject: x\n\n{% import "macros.html" as m %}{{ m.button(company, "https://x.example/") }}',
        "letter.html",
    )
    row = recipient({"company": "A & B"})
    first, second = composer.examine(row), composer.examine(row)
    assert first.digest == second.digest
    assert first.problems == ()


@pytest.mark.parametrize(
    ("expression", "cells", "chosen"),
    [
        ('status == "member"', {"status": "member"}, True),
        ('status == "member"', {"status": "guest"}, False),
        ("age|int >= 18 and not row['No mail']", {"age": "20", "No mail": ""}, True),
        ("nosuch is defined", {}, False),
        ('"a" in tags|split(";")', {"tags": "b; a"}, True),
    ],
)
def test_rows_are_chosen_by_an_expression(expression, cells, chosen):
    assert choose(expression)(recipient(cells)) is chosen


@pytest.mark.parametrize("expression", ["status ==", "a b", ""])
def test_an_expression_that_is_none_is_an_error(expression):
    with pytest.raises(LetterError):
        choose(expression)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (["Name", "email", "Name"], "2 columns are called Name; give each a name of its own"),
        (["Name", "email", "name"], 'several columns are called name; write row["..."] with the whole name'),
    ],
)
def test_a_name_that_several_columns_have_says_how_to_tell_them_apart(columns, says):
    [problem] = choose("name").check_columns(columns)
    assert problem.message == says


def test_a_condition_that_breaks_off_says_so_in_words_of_its_own():
    with pytest.raises(LetterError) as caught:
        choose("status ==")
    assert caught.value.message == "where: something is missing at its end"


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("status = 'member'", "write =="),
        ("status <> 'member'", "write !="),
        ("a == 'x' && b", "and, or, not"),
        ("a == 'x' AND b", "and, or, not"),
        ("a || b", "and, or, not"),
        ("status == \u201cmember\u201d", "straight quotes"),
        ("{{ status == 'member' }}", "without {{ }}"),
    ],
)
def test_a_condition_in_another_language_is_told_what_to_write(expression, hint):
    with pytest.raises(LetterError) as caught:
        choose(expression)
    assert hint in caught.value.hint
    assert "chunk" not in caught.value.message


def test_a_cell_that_is_compared_with_a_number_tells_how_to_make_it_one():
    with pytest.raises(LetterError) as caught:
        choose("fee > 10")(recipient({"fee": "20"}))
    assert "column|float" in caught.value.hint
    assert "fee" in caught.value.hint.splitlines()[1]
    assert choose("fee|float > 10")(recipient({"fee": "20"}))


def test_a_choice_names_its_unknown_columns():
    choice = choose('statsu == "member" and x')
    problems = choice.check_columns(["email", "status"], "people.csv")
    assert [(p.value, p.column) for p in problems] == [("statsu", 1), ("x", 24)]
    assert "did you mean status?" in problems[0].message
    with pytest.raises(LetterError, match="statsu"):
        choice(recipient())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<p title={{ company }}>x</p>", "without quotes"),
        ('<img src="https://x.example/a.png">', "without alt"),
    ],
)
def test_html_that_goes_wrong_in_letters_is_a_warning(desk, body, words):
    (problem,) = template(desk, f"Subject: x\n\n{body}\n", "letter.html").check_columns(COLUMNS)
    assert problem.severity == "warning"
    assert words in problem.message
    assert problem.line == 3


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('"2025-03-04"|date', "4 March 2025"),
        ('"2025-03-04 14:30"|date("%d/%m/%Y")', "04/03/2025"),
        ('"04.03.2025"|date("long", "de")', "4. März 2025"),
        ('"2025-03-04"|date("full", "ja")', "2025年3月4日火曜日"),
        ('"1234.5"|number(2)', "1,234.50"),
        ('"1234567"|number', "1,234,567"),
        ('"1234.5"|number(2, "de")', "1.234,50"),
        ('"1234.5"|currency("EUR", "de")', "1.234,50\u00a0€"),
        ('"99"|currency("USD")', "$99.00"),
        ('"ada o\'neill"|title', "Ada O'Neill"),
        ('"zoe\u0308 a\u0301lvarez"|title', "Zoe\u0308 A\u0301lvarez"),
        ('"\ufb01ona ßen"|title', "Fiona Ssen"),
        ('"1234.5"|number(2, "pt-BR")', "1.234,50"),
        ('"LUDWIG VAN BEETHOVEN"|title', "Ludwig van Beethoven"),
        ('"jean-luc McDonald"|title', "Jean-Luc McDonald"),
        ('"élodie de la tour"|title', "Élodie de la Tour"),
        ('"a; b;;c "|split(";")|join("+")', "a+b+c"),
    ],
)
def test_filters(desk, expression, expected):
    assert (
        template(desk, f"Subject: x\n\n{{{{ {expression} }}}}", "letter.txt").render(recipient()).body
        == expected
    )


@pytest.mark.parametrize(
    "expression",
    ['"3/4/2025"|date', '"soon"|date', '"12 apples"|number', '"nan"|number', '"1e99"|number', '""|date'],
)
def test_filters_refuse_what_they_would_have_to_guess(desk, expression):
    with pytest.raises(LetterError):
        template(desk, f"Subject: x\n\n{{{{ {expression} }}}}", "letter.txt").render(recipient())


@pytest.mark.parametrize(
    ("body", "marked"),
    [
        ("Hi {{ name }}, {{ amount|date }} and {{ number }}", "amount|date"),
        ("{{ amount * 2 }} {{ amount + 2 }}", "amount + 2"),
        ("{{ name[0] }} {{ name[number] }}", "name[number]"),
        ("{{ name }}{% if name and amount|date %}x{% endif %}", "name and amount|date"),
        ("{% if not name %}{% elif amount|number %}x{% endif %}", "amount|number"),
        ("{{ name }}{% for a in amount|date %}x{% endfor %}", "a in amount|date"),
        ("{% for i in range(3) %}{{ name }}{{ amount|date }}{% endfor %}", "amount|date"),
        ("{% set a = amount|int + 'x' %}{{ a }}", "a = amount|int + 'x'"),
        ("{{ name }} {{ number|currency('EUR', 'xx_YY') }}", "number|currency('EUR', 'xx_YY')"),
        ("{% macro m(y) %}{{ y|date }}{% endmacro %}{{ name }} {{ m(amount) }}", "y|date"),
        ("{{ name }} {{ True }} {{ 7 }}", "True"),
        ("{% raw %}{{ amount|date }}{% endraw %} {{ name }} {{ amount|date }}", "amount|date"),
        ("{# {{ amount|date }} #}{{ name }} {{ amount|date }}", "amount|date"),
        (
            "{{ amount|date if number == '3' else amount|number }}",
            "amount|date if number == '3' else amount|number",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["txt", "html", "md"])
def test_a_break_marks_the_expression_that_fails(desk, body, marked, kind):
    cells = {"name": "Zoë", "amount": "soon", "number": "3"}
    with pytest.raises(LetterError) as error:
        template(desk, f"Subject: x\n\nfirst line\n{body}\n", f"letter.{kind}").render(
            recipient(cells, row=9)
        )
    (problem,) = error.value.problems
    assert (problem.line, problem.row) == (4, 9)
    assert caret(problem) == marked
    assert problem.column == 1 + body.rindex(marked)


@pytest.mark.parametrize(
    "before",
    ["  {% if number %}\n    {{ number }}\n  {% endif %}\n", "a \n {%- if number -%}  \n x {% endif %}\n"],
)
def test_blanks_around_statements_move_no_caret(desk, before):
    cells = {"name": "Zoë", "amount": "soon", "number": "3"}
    made = template(desk, f"Subject: x\n\n{before}{{{{ name }}}} {{{{ amount|date }}}}\n", "letter.txt")
    with pytest.raises(LetterError) as error:
        made.render(recipient(cells))
    assert caret(error.value.problems[0]) == "amount|date"
    made = template(desk, f"Subject: x\n\n{before}  {{% if nosuch %}}{{% endif %}}\n", "letter.txt")
    (problem,) = made.check_columns(["number"])
    assert caret(problem) == "nosuch"


def test_a_break_tells_the_values_in_play(desk):
    text = "Subject: {{ name }} {{ amount|date(kind) }}\n\nx\n"
    cells = {"name": "Zoë", "amount": "so\x1b[31mon", "kind": "k" * 99}
    with pytest.raises(LetterError) as error:
        template(desk, text).render(recipient(cells))
    (problem,) = error.value.problems
    assert caret(problem) == "amount|date(kind)"
    assert 'amount is "so\x1b[31mon", kind is "kkkk' in problem.hint
    assert "k" * 41 not in problem.hint


@pytest.mark.parametrize(
    "body",
    [
        "  {% for a in range(900) %}{% for b in range(900) %}{% endfor %}{% endfor %}",
        "  {{ 1 }}{% with a = 'x'|date %}{{ a }}{% endwith %}",
    ],
)
def test_what_cannot_be_told_for_certain_underlines_the_line(desk, body):
    with pytest.raises(LetterError) as error:
        template(desk, f"Subject: x\n\n{body}\n", "letter.txt").render(recipient())
    (problem,) = error.value.problems
    assert caret(problem) == body.strip()


def test_a_break_in_an_included_file_shows_its_line(desk):
    desk.write("foot.txt", "one\n  {{ name }} {{ 'x'|date }}\n")
    with pytest.raises(LetterError) as error:
        template(desk, "Subject: x\n\n{% include 'foot.txt' %}\n").render(recipient({"name": "Zoë"}))
    (problem,) = error.value.problems
    assert (problem.file, problem.line, caret(problem)) == ("foot.txt", 2, "{{ name }} {{ 'x'|date }}")


def test_a_column_that_a_row_lacks_is_told_in_plain_words(desk):
    with pytest.raises(LetterError, match="'row' has no attribute 'nosuch'"):
        template(desk, "Subject: x\n\n{{ row.nosuch }}\n").render(recipient())


def test_rows_that_stumble_over_a_line_are_shown_its_expressions_once(desk):
    made = template(desk, "Subject: x\n\n  {{ name }} 山 {{ amount|number }} {{ name|date }}\n", "letter.txt")
    problems = []
    for row, amount in enumerate(("so\x1b[31mon", "late", "3"), 2):
        with pytest.raises(LetterError) as error:
            made.render(recipient({"name": "Zoë", "amount": amount}, row=row))
        problems += error.value.problems
    shown = findings(problems)
    at = next(number for number, line in enumerate(shown) if "letter.txt:3" in line)
    line, carets = shown[at : at + 2]
    start = cell_len(line[: line.index("amount|number")])
    assert carets == f"{' ' * start}{'^' * 13}    " + "   ^^^^^^^^^"
    assert "\x1b" not in "".join(shown)
    assert 'amount is "so\\x1b[31mon"' in "".join(shown)
