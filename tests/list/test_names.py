"""A column's short name is what a person would guess, and always an identifier Jinja2 accepts."""

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merge.names import RESERVED, resolve, short_name


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("First Name", "first_name"),
        ("first_name", "first_name"),
        ("  E-mail address ", "e_mail_address"),
        ("Prénom", "prenom"),
        ("Straße", "strasse"),
        ("Łódź/Ærø", "lodz_aero"),
        ("İsim", "isim"),
        ("ISIM", "isim"),
        ("Район", "район"),
        ("Ёлка", "ёлка"),
        ("メールアドレス", "メールアドレス"),
        ("ガ", "ガ"),
        ("हिन्दी नाम", "हिन्दी_नाम"),
        ("نام خانوادگی", "نام_خانوادگی"),
        ("No.", "no"),
        ("№", "no"),
        ("2nd choice", "_2nd_choice"),
        ("Ｆｕｌｌ　ｗｉｄｔｈ", "full_width"),
        ("__init__", "init"),
        ("a__b", "a_b"),
        ("???", ""),
        ("", ""),
        ("first\u00a0name", "first_name"),
    ],
)
def test_short_names(name, short):
    assert short_name(name) == short


@settings(deadline=None)
@given(st.text(max_size=20))
def test_a_short_name_is_an_identifier_that_stays(name):
    short = short_name(name)
    assert short == "" or short.isidentifier()
    assert short_name(short) == short
    if short and short not in RESERVED:
        assert (
            jinja2.Environment(autoescape=True).from_string(f"{{{{ {short} }}}}").render({short: "seen"})
            == "seen"
        )


def test_resolve_keeps_what_is_clear():
    columns, clashes = resolve(["First Name", "E-Mail", "first-name", "Items", "!", "Plan"])
    assert columns == {"e_mail": "E-Mail", "plan": "Plan"}
    assert clashes == {"first_name": ("First Name", "first-name")}
