"""In which encoding a text file is: what marks it, what every byte agrees with, what has to be guessed."""

import codecs

import pytest
from list_kit import read

from merge.errors import ListError
from merge.table import ListOptions, read_table

GUESSED = [
    ("cp1252", "René"),
    ("cp1252", "Müller"),
    ("cp1252", "Weiß"),
    ("cp1252", "Straße 5, Köln"),
    ("cp1252", "Søren"),
    ("cp1252", "João Gonçalves"),
    ("cp1252", "Björk Guðmundsdóttir"),
    ("cp1252", "Zoë’s Café"),
    ("cp1252", "René “Bob” Lee"),
    ("cp1252", "5 € fee – paid"),
    ("cp1250", "Jiří Dvořák"),
    ("cp1250", "Łukasz Żak"),
    ("cp1251", "Дмитрий Щербаков"),
    ("cp1253", "Γιώργος Παπαδόπουλος"),
    ("cp1254", "Çağrı Yılmaz"),
    ("cp1255", "דוד כהן"),
    ("cp1256", "محمد علي"),
    ("cp932", "山田太郎です"),
    ("cp932", "Tシャツの佐藤"),
    ("gbk", "张伟和王芳"),
    ("euc_kr", "김철수"),
    ("koi8_r", "Александра Иванова"),
    ("mac_roman", "José Núñez"),
    ("cp850", "Jörg Müller"),
    ("cp850", "José Núñez"),
    ("cp850", "Françoise"),
]


@pytest.mark.parametrize(("encoding", "name"), GUESSED)
def test_one_name_is_enough_to_guess_how_it_was_saved(tmp_path, encoding, name):
    path = tmp_path / "people.csv"
    path.write_bytes(f'name,email\n"{name}",ann@example.org\n'.encode(encoding))
    table = read_table(path)
    assert [row.cells["name"] for row in table] == [name]
    [problem] = table.problems
    assert problem.kind == "encoding"
    assert problem.value in name


MARKED = [
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
]


@pytest.mark.parametrize(("mark", "encoding"), MARKED)
@pytest.mark.parametrize("declared", ["", "sep=\t\r\n"])
def test_a_byte_order_mark_decides_also_where_few_characters_are_ascii(tmp_path, mark, encoding, declared):
    names = ["山田太郎" * 20, "鈴木花子" * 20]
    text = declared + "".join(
        f'"{name}"\t{mail}\r\n'
        for name, mail in zip(
            ["氏名\t(全)", *names], ["メール", "taro@example.jp", "hanako@example.jp"], strict=True
        )
    )
    path = tmp_path / "people.txt"
    path.write_bytes(mark + text.encode(encoding))
    kinds, rows = read(path)
    assert kinds == []
    assert [cells["氏名 (全)"] for _, cells, _ in rows] == names


def test_a_mark_of_utf8_is_no_text_also_where_the_campaign_says_utf8(tmp_path):
    path = tmp_path / "people.csv"
    path.write_bytes(codecs.BOM_UTF8 + "sep=|\nname|email\nZoë, Bo|zoe@example.org\n".encode())
    table = read_table(path, ListOptions(encoding="UTF-8"))
    assert table.columns.names == ("name", "email")
    assert table.problems == ()
    assert [row.cells["name"] for row in table] == ["Zoë, Bo"]


def test_every_byte_has_to_agree_with_utf8_however_far_down(tmp_path):
    path = tmp_path / "people.csv"
    plain = "".join(f"Ann,ann{number}@example.org\n" for number in range(20_000))
    path.write_bytes(f"name,email\n{plain}Zoë,zoe@example.org\n".encode("cp1252"))
    table = read_table(path)
    assert [problem.value for problem in table.problems] == ["Zoë"]
    assert [row.cells["name"] for row in table][-1] == "Zoë"


def test_a_character_of_utf8_that_is_cut_off_at_the_end_is_no_utf8(tmp_path):
    path = tmp_path / "people.csv"
    path.write_bytes(b"email,name\nzoe@example.org,Zo\xc3")
    table = read_table(path)
    assert [problem.kind for problem in table.problems] == ["encoding"]
    assert len(list(table)) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_file_of_wide_characters_that_breaks_off_is_refused_without_a_wrong_line(tmp_path, encoding):
    path = tmp_path / "people.csv"
    path.write_bytes("name,email\nJörg,j@example.org\nBob,b@example.org\n".encode(encoding)[:-1])
    with pytest.raises(
        ListError, match=f"is not in {encoding.upper()}, or not all of it is there"
    ) as refused:
        read_table(path)
    assert refused.value.problems == ()
