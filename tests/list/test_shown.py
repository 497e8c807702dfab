"""A number is shown as its cell shows it (expected texts: what Excel and LibreOffice display)."""

# ruff: noqa: DTZ001 - sheets know no zones

import datetime as dt

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from list_kit import xlsx

from merge.table import read_table, shown
from merge.table.sheetxml import is_date
from merge.table.shown import formatted, moment, plain_number


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        (1234, "00000", "01234"),
        (0.155, "0.0%", "15.5%"),
        (0.155, "0%", "16%"),
        (0.5, "0.##%", "50.%"),
        (1234.5, '#,##0.00 "€"', "1,234.50 €"),
        (1234.5, "#,##0.00\\ [$€-407]", "1.234,50 €"),
        (1234567.891, "#,##0.00\\ [$€-40C]", "1\u00a0234\u00a0567,89 €"),
        (1234.5, "[$$-409]#,##0.00", "$1,234.50"),
        (-1234.5, '"$"#,##0.00;("$"#,##0.00)', "($1,234.50)"),
        (-5, "#,##0;[Red](#,##0)", "(5)"),
        (-5, "0.0", "-5.0"),
        (0, '_(* #,##0.00_);_(* (#,##0.00);_(* "-"??_);_(@_)', "-"),
        (1234.5, '_("$"* #,##0.00_);_("$"* (#,##0.00);_("$"* "-"??_);_(@_)', "$1,234.50"),
        (1234.5, '_-* #,##0.00\\ "€"_-;\\-* #,##0.00\\ "€"_-;_-* "-"??\\ "€"_-;_-@_-', "1,234.50 €"),
        (-1234.5, '_-* #,##0.00\\ "€"_-;\\-* #,##0.00\\ "€"_-;_-* "-"??\\ "€"_-;_-@_-', "-1,234.50 €"),
        (123456789, "000\\-00\\-0000", "123-45-6789"),
        (5551234567, "(000) 000-0000", "(555) 123-4567"),
        (4930123456, "+#", "+4930123456"),
        (5, '"No. "0', "No. 5"),
        (7, "0 kg", None),
        (7, '0" kg"', "7 kg"),
        (1234567, "#,##0,", "1,235"),
        (1234567, '0.0,,"M"', "1.2M"),
        (123456, "0.00E+00", "1.23E+05"),
        (0.00012, "0.00E+00", "1.20E-04"),
        (12345, "##0.0E+0", "12.3E+3"),
        (999999, "0.0E+00", "1.0E+06"),
        (0.5, "#.##", ".5"),
        (0.5, "0.##", "0.5"),
        (5, "0.##", "5."),
        (2.675, "0.00", "2.68"),
        (1.005, "0.00", "1.01"),
        (0.1 + 0.2, "0.0", "0.3"),
        (3, "General", "3"),
        (3, 'General" pcs"', "3 pcs"),
        (12, '[>=10]"many";[<10]"few"', "many"),
        (3, '[>=10]"many";[<10]"few"', "few"),
        (-3, '[>=10]"many";[<10]"few"', None),
        (150, "[>100]0.0;0", "150.0"),
        (50, "[>100]0.0;0", "50"),
        (-5, "[>100]0.0;0", None),
        (-5, "[<0](0.0);0.0", "(5.0)"),
        (-5, "[>=0]0;(0)", "(5)"),
        (-5, '[>0]"+"0;[<0]"-"0;"zero"', "-5"),
        (0, '[>0]"+"0;[<0]"-"0;"zero"', "zero"),
        (-7, "[Red][<-5]0;[Blue]0.0", None),
        (-5, '[=1]"yes";[<0]0;0.0', None),
        (1, '[=1]"yes";[=0]"no";0', "yes"),
        (2, '[=1]"yes";[=0]"no";0', "2"),
        (2_500_000, '[>=1000000]0.0,,"M";[>=1000]0.0,"k";0', "2.5M"),
        (5551234567, "[<=9999999]###-####;(###) ###-####", "(555) 123-4567"),
        (7, "dd.mm.yyyy", None),
        (0.5, "# ?/?", "1/2"),
        (1.5, "# ?/?", "1 1/2"),
        (-1.75, "# ?/?", "-1 3/4"),
        (0.333, "# ?/?", "1/3"),
        (0, "# ?/?", "0"),
        (0.01, "# ?/?", "0"),
        (0.999, "# ?/?", "1"),
        (12.34, "# ??/??", "12 17/50"),
        (3.14159265, "# ???/???", "3 16/113"),
        (0.5, "0 ?/?", "0 1/2"),
        (1.5, "?/?", "3/2"),
        (5, "?/?", "5/1"),
        (0.3, "# ?/8", "2/8"),
        (3.14159265, "# ??/100", "3 14/100"),
        (1.25, "# ?/2", None),
        (0.5, '# ?/? "cup"', "1/2 cup"),
        (2, '# ?/? "cup"', "2 cup"),
        (-0.5, "# ?/?;(# ?/?)", "(1/2)"),
        (-5, "# ?/?;(# ?/?)", "(5)"),
        (1234.5, "#,##0 ?/?", "1,234 1/2"),
        (0.5, "0.0/?", None),
        (0.5, "0/5", None),
        (2, "?/", None),
        (7, "[h]:mm", None),
        (12, '"Yes";"Yes";"No"', "Yes"),
        (0, '"Yes";"Yes";"No"', "No"),
        (0, "#", ""),
        (0, ";;;", ""),
        (1e20, "#,##0", "100,000,000,000,000,000,000"),
    ],
)
def test_number_formats(value, code, text):
    assert formatted(value, code) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (42.0, "42"),
        (1.5, "1.5"),
        (1e15, "1000000000000000"),
        (0.1 + 0.2, "0.3"),
        (1e-7, "0.0000001"),
        (-0.0, "0"),
        (12345678901234567, "12345678901234567"),
        (1e300, "1E+300"),
        (1 / 3, "0.333333333333333"),
    ],
)
def test_plain_numbers(value, text):
    assert plain_number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (dt.date(2025, 3, 4), "2025-03-04"),
        (dt.datetime(2025, 3, 4), "2025-03-04"),
        (dt.datetime(2025, 3, 4, 14, 30), "2025-03-04 14:30"),
        (dt.datetime(2025, 3, 4, 14, 29, 59, 999_997), "2025-03-04 14:30"),
        (dt.datetime(2025, 3, 4, 14, 30, 5), "2025-03-04 14:30:05"),
        (dt.time(9, 5), "09:05"),
        (dt.time(9, 4, 59, 999_999), "09:05"),
        (dt.timedelta(hours=30), "30:00"),
        (dt.timedelta(minutes=-90), "-01:30"),
    ],
)
def test_moments(value, text):
    assert moment(value) == text


@settings(deadline=None, max_examples=400)
@given(
    value=st.floats(0, 1e16)
    | st.integers(0, 10**16)
    | st.decimals(0, 10**7, places=4).map(float)
    | st.integers(0, 10**6).map(lambda number: number / 2000),
    code=st.sampled_from(["0", "00000", "0.0", "#,##0", '#,##0.00 "€"', "0.00%", "0%", "000.000"]),
)
@example(value=1.005, code="0.00")
@example(value=0.285, code="0%")
@example(value=2.5, code="0")
@example(value=1.0049999999999999, code="#,##0.00")
@example(value=0.0145, code="0.0%")
def test_numbers_are_rounded_as_15_digits_however_they_are_written(value, code):
    """Not as the float that holds them, which is often a little less than a half."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shown, "_PRECISE", -1)
        careful = formatted(value, code)
    assert formatted(value, code) == careful


@pytest.mark.parametrize(
    "code", ["#,##0.00\\ _D_M_-", "0*s", "[Magenta]00000", '0" d"', "0\\m", "0E+00;[Yellow]0"]
)
def test_letters_of_a_date_that_stand_for_something_else_make_no_date(code):
    assert not is_date(code)


@pytest.mark.parametrize(
    "code", ["[$-409]d/m/yy;@", "[h]:mm", "[mm]:ss", "[s]", "h:mm AM/PM", "_-d_-", "[Red]m"]
)
def test_formats_of_dates_and_times_are_known(code):
    assert is_date(code)


def test_a_number_beside_a_blank_as_wide_as_a_letter_is_shown_as_in_its_cell(tmp_path):
    rows = [
        ["email", "fee", "zip"],
        ["a@example.org", (1234.5, "#,##0.00\\ _D_M_-"), (1234, "[Magenta]00000")],
    ]
    [row] = read_table(xlsx(tmp_path / "people.xlsx", rows))
    assert list(row.cells.values()) == ["a@example.org", "1,234.50", "01234"]
