"""Each kind of list that people save, with its recipients or with the message that it must give."""

import codecs
import datetime as dt
import io
import zipfile

import pytest
import xlsxwriter
from list_kit import inline, ods, raw_ods, raw_xlsx, read, worksheet, xlsx, zipped

from merge.errors import ListError
from merge.table import ListOptions, read_table

ANN = ("Ann", "ann@example.org")
BOB = ("Bob", "bob@example.org")


def rows(*people, names=("name", "email"), first=2):
    return [
        (number, dict(zip(names, person, strict=True)), []) for number, person in enumerate(people, first)
    ]


TWO = rows(ANN, BOB)

# name: (content, options, kinds of the file's problems, rows)
TEXT = {
    "plain": (b"name,email\nAnn,ann@example.org\nBob,bob@example.org\n", {}, [], TWO),
    "no newline at the end": (b"name,email\nAnn,ann@example.org\nBob,bob@example.org", {}, [], TWO),
    "crlf": (b"name,email\r\nAnn,ann@example.org\r\nBob,bob@example.org\r\n", {}, [], TWO),
    "cr only": (b"name,email\rAnn,ann@example.org\rBob,bob@example.org\r", {}, [], TWO),
    "mixed line ends": (b"name,email\rAnn,ann@example.org\r\nBob,bob@example.org\n", {}, [], TWO),
    "semicolons": (b"name;email\nAnn;ann@example.org\nBob;bob@example.org\n", {}, [], TWO),
    "tabs": (b"name\temail\nAnn\tann@example.org\nBob\tbob@example.org\n", {}, [], TWO),
    "pipes": (b"name|email\nAnn|ann@example.org\nBob|bob@example.org\n", {}, [], TWO),
    "semicolons with commas in names": (
        b'name;email\n"Smith, Ann";ann@example.org\nLee, Bob;bob@example.org\n',
        {},
        [],
        rows(("Smith, Ann", "ann@example.org"), ("Lee, Bob", "bob@example.org")),
    ),
    "one ragged row under an unusual header": (
        b"who;private contact\nAnn;ann@example.org\nBob;bob@example.org;x\n",
        {},
        [],
        [
            (2, {"who": "Ann", "private contact": "ann@example.org"}, []),
            (3, {"who": "Bob", "private contact": "bob@example.org"}, ["cells"]),
        ],
    ),
    "decimal commas": (
        b"email;fee\nann@example.org;1,50\nbob@example.org;2,00\n",
        {},
        [],
        rows(("ann@example.org", "1,50"), ("bob@example.org", "2,00"), names=("email", "fee")),
    ),
    "sep line": (b"sep=;\r\nname;email\r\nAnn;ann@example.org\r\nBob;bob@example.org\r\n", {}, [], TWO),
    "sep line with bom": (
        codecs.BOM_UTF8 + b"sep=|\nname|email\nAnn|ann@example.org\nBob|bob@example.org\n",
        {},
        [],
        TWO,
    ),
    "delimiter given": (
        b"name:email\nAnn:ann@example.org\nBob:bob@example.org\n",
        {"delimiter": ":"},
        [],
        TWO,
    ),
    "delimiter given against the sep line": (
        b"sep=,\nname;email\nAnn;ann@example.org\nBob;bob@example.org\n",
        {"delimiter": ";"},
        [],
        TWO,
    ),
    "a header alone, in which only one delimiter makes an address column": (
        b"email;Last, first\n",
        {},
        [],
        [],
    ),
    "rows without addresses that only one delimiter makes alike": (
        b"who;private mail, if any\nAnn;\nBob;\n",
        {},
        [],
        rows(("Ann", ""), ("Bob", ""), names=("who", "private mail, if any")),
    ),
    "rows that only one delimiter makes alike": (
        b"who;where;fee\nAnn;ann@example.org;1,50\nBob;bob@example.org;2\n",
        {},
        [],
        rows(
            ("Ann", "ann@example.org", "1,50"), ("Bob", "bob@example.org", "2"), names=("who", "where", "fee")
        ),
    ),
    "titles down to the twentieth row": (
        b"Members,\n" + b",\n" * 18 + b"name,email\nBob,\nAnn,ann@example.org\n",
        {},
        ["heading"],
        rows(("Bob", ""), ANN, first=21),
    ),
    "a title that speaks of mail": (
        b"Mail list of the club,\nname,work mail\nAnn,ann@example.org\n",
        {},
        ["heading"],
        rows(ANN, names=("name", "work mail"), first=3),
    ),
    "a title that holds an address": (
        b"Questions,to mail_desk@example.org\nname,work mail\nAnn,ann@example.org\n",
        {},
        ["heading"],
        rows(ANN, names=("name", "work mail"), first=3),
    ),
    "utf-16 big endian without bom": (
        "name,email\nAnn,ann@example.org\n".encode("utf-16-be"),
        {},
        [],
        rows(ANN),
    ),
    "delimiter by name": (b"name\temail\nAnn\tann@example.org\n", {"delimiter": "tab"}, [], rows(ANN)),
    "one column": (
        b"email\nann@example.org\nbob@example.org\n",
        {},
        [],
        rows(("ann@example.org",), ("bob@example.org",), names=("email",)),
    ),
    "bom": (
        codecs.BOM_UTF8 + "name,email\nZoë,zoe@example.org\n".encode(),
        {},
        [],
        rows(("Zoë", "zoe@example.org")),
    ),
    "utf-16 as excel writes it": (
        "name\temail\r\nZoë\tzoe@example.org\r\n".encode("utf-16"),
        {},
        [],
        rows(("Zoë", "zoe@example.org")),
    ),
    "utf-16 big endian": (
        codecs.BOM_UTF16_BE + "name,email\n山田,taro@example.jp\n".encode("utf-16-be"),
        {},
        [],
        rows(("山田", "taro@example.jp")),
    ),
    "utf-16 without bom": (
        "name,email\nAnn,ann@example.org\n".encode("utf-16-le"),
        {},
        [],
        rows(ANN),
    ),
    "windows-1252": (
        "name,email\nJörg Müller,jm@example.org\nZoë,zoe@example.org\n".encode("cp1252"),
        {},
        ["encoding"],
        rows(("Jörg Müller", "jm@example.org"), ("Zoë", "zoe@example.org")),
    ),
    "encoding given": (
        "name,email\nŁukasz Żak,lz@example.org\n".encode("cp1250"),
        {"encoding": "windows-1250"},
        [],
        rows(("Łukasz Żak", "lz@example.org")),
    ),
    "windows-1251": (
        "имя,email\nАлександра Иванова,ai@example.org\nДмитрий Щербаков,ds@example.org\n".encode("cp1251"),
        {},
        ["encoding"],
        rows(
            ("Александра Иванова", "ai@example.org"),
            ("Дмитрий Щербаков", "ds@example.org"),
            names=("имя", "email"),
        ),
    ),
    "shift_jis": (
        "氏名,email\n山田太郎,taro@example.jp\n鈴木花子です,hanako@example.jp\n".encode("cp932"),
        {},
        ["encoding"],
        rows(("山田太郎", "taro@example.jp"), ("鈴木花子です", "hanako@example.jp"), names=("氏名", "email")),
    ),
    "values that other readers change": (
        b"email,a,b,c,d\nann@example.org,01234,NA,1e5,12345678901234567\nbob@example.org,null,None,inf,1.10\n",
        {},
        [],
        rows(
            ("ann@example.org", "01234", "NA", "1e5", "12345678901234567"),
            ("bob@example.org", "null", "None", "inf", "1.10"),
            names=("email", "a", "b", "c", "d"),
        ),
    ),
    "more such values": (
        b"email,a,b,c\nann@example.org,TRUE,#N/A,+49301234567\nbob@example.org,n/a,-,2025-01-02\n",
        {},
        [],
        rows(
            ("ann@example.org", "TRUE", "#N/A", "+49301234567"),
            ("bob@example.org", "n/a", "-", "2025-01-02"),
            names=("email", "a", "b", "c"),
        ),
    ),
    "hash is no comment": (
        b"name,email\n#1 fan,ann@example.org\n",
        {},
        [],
        rows(("#1 fan", "ann@example.org")),
    ),
    "trailing delimiter everywhere": (
        b"name,email,\nAnn,ann@example.org,\nBob,bob@example.org,\n",
        {},
        [],
        TWO,
    ),
    "trailing delimiter in the rows": (
        b"name,email\nAnn,ann@example.org,\nBob,bob@example.org,\n",
        {},
        [],
        TWO,
    ),
    "trailing delimiter in the header": (
        b"name,email,\nAnn,ann@example.org\nBob,bob@example.org\n",
        {},
        [],
        TWO,
    ),
    "quotes": (
        b'"name","email"\n"O""Neill, ""Ann""","ann@example.org"\n',
        {},
        [],
        rows(('O"Neill, "Ann"', "ann@example.org")),
    ),
    "quote in an unquoted cell": (
        b'name,email\n5" disk,ann@example.org\n6",bob@example.org\nplain,cy@example.org\n',
        {},
        [],
        rows(('5" disk', "ann@example.org"), ('6"', "bob@example.org"), ("plain", "cy@example.org")),
    ),
    "line break in a cell": (
        b'name,email\n"Ann\nSmith",ann@example.org\nBob,bob@example.org\n',
        {},
        [],
        rows(("Ann\nSmith", "ann@example.org"), BOB),
    ),
    "blank lines": (
        b"name,email\n\nAnn,ann@example.org\n,,\nBob,bob@example.org\n\n\n,\n",
        {},
        [],
        [
            (2, {"name": "", "email": ""}, []),
            (3, dict(zip(("name", "email"), ANN, strict=True)), []),
            (4, {"name": "", "email": ""}, []),
            (5, dict(zip(("name", "email"), BOB, strict=True)), []),
        ],
    ),
    "short row": (
        b"email,name,plan\nann@example.org,Ann\n",
        {},
        [],
        [(2, {"email": "ann@example.org", "name": "Ann", "plan": ""}, ["cells"])],
    ),
    "long row": (
        b"name,email\nSmith, Ann,ann@example.org\nBob,bob@example.org\n",
        {},
        [],
        [
            (2, {"name": "Smith", "email": " Ann"}, ["cells", "blanks"]),
            (3, {"name": "Bob", "email": "bob@example.org"}, []),
        ],
    ),
    "titles above": (
        b"Members 2025,\nas of March,\n,\nname,email\nAnn,ann@example.org\n",
        {},
        ["heading"],
        rows(ANN, first=5),
    ),
    "header row given": (
        b"email,this is not the header\nname,email\nAnn,ann@example.org\n",
        {"header_row": 2},
        [],
        rows(ANN, first=3),
    ),
    "duplicate header": (
        b"name,email,name\nAnn,ann@example.org,Smith\n",
        {},
        ["columns"],
        rows(("ann@example.org",), names=("email",)),
    ),
    "nameless column": (
        b"name,,email\nAnn,x,ann@example.org\n",
        {},
        ["columns"],
        rows(ANN),
    ),
    "clashing short names": (
        b"First Name,first_name,email\nA,B,ann@example.org\n",
        {},
        ["columns"],
        rows(("A", "B", "ann@example.org"), names=("First Name", "first_name", "email")),
    ),
    "blanks round header names": (b" name , email \nAnn,ann@example.org\n", {}, [], rows(ANN)),
    "line break in a header name": (
        b'"First\nName",email\nAnn,ann@example.org\n',
        {},
        [],
        rows(ANN, names=("First Name", "email")),
    ),
    "blanks round cells": (
        b"name,email\nAnn , ann@example.org\n",
        {},
        [],
        [(2, {"name": "Ann ", "email": " ann@example.org"}, ["blanks", "blanks"])],
    ),
    "no-break space": (
        "name,email\nAnn\u00a0Lee,ann@example.org\n".encode(),
        {},
        [],
        [(2, {"name": "Ann\u00a0Lee", "email": "ann@example.org"}, ["invisible"])],
    ),
    "right-to-left override": (
        "name,email\nA\u202enn,ann@example.org\n".encode(),
        {},
        [],
        [(2, {"name": "A\u202enn", "email": "ann@example.org"}, ["invisible"])],
    ),
    "joiners are letters": (
        "name,email\nنام‌ها 👩‍🔬,ann@example.org\n".encode(),
        {},
        [],
        rows(("نام‌ها 👩‍🔬", "ann@example.org")),
    ),
    "nul": (
        b"name,email\nA\x00nn,ann@example.org\nBob,bob@example.org\n",
        {},
        [],
        [
            (2, {"name": "A\x00nn", "email": "ann@example.org"}, ["cell"]),
            (3, dict(zip(("name", "email"), BOB, strict=True)), []),
        ],
    ),
    "escape": (
        b"name,email\n\x1b[31mAnn,ann@example.org\n",
        {},
        [],
        [(2, {"name": "\x1b[31mAnn", "email": "ann@example.org"}, ["cell"])],
    ),
    "c1 control": (
        "name,email\nAnn\u0085,ann@example.org\n".encode(),
        {},
        [],
        [(2, {"name": "Ann\u0085", "email": "ann@example.org"}, ["cell"])],
    ),
    "swallowed rows": (
        b'name,email\n"Ann,ann@example.org\nBob,bob@example.org\nCy",cy@example.org\n',
        {},
        [],
        [(2, {"name": "Ann,ann@example.org\nBob,bob@example.org\nCy", "email": "cy@example.org"}, ["quote"])],
    ),
    "header only": (b"name,email\n", {}, [], []),
    "address column by content": (
        b"who,where\nAnn,ann@example.org\nBob,bob@example.org\n",
        {},
        [],
        rows(ANN, BOB, names=("who", "where")),
    ),
    "address is a street, contact the mailbox": (
        b"name,address,contact\nAnn,1 Main Street,ann@example.org\n",
        {},
        [],
        rows(("Ann", "1 Main Street", "ann@example.org"), names=("name", "address", "contact")),
    ),
    "two mail columns, one of them empty": (
        b"work email,home email\n,ann@example.org\n",
        {},
        [],
        rows(("", "ann@example.org"), names=("work email", "home email")),
    ),
    "column named by the campaign": (
        b"work email,home email\na@example.org,ann@example.org\n",
        {"email": "Home  Email"},
        [],
        rows(("a@example.org", "ann@example.org"), names=("work email", "home email")),
    ),
}


@pytest.mark.parametrize(("content", "options", "kinds", "expected"), TEXT.values(), ids=TEXT.keys())
def test_text_lists(tmp_path, content, options, kinds, expected):
    path = tmp_path / "people.csv"
    path.write_bytes(content)
    assert read(path, **options) == (kinds, expected)


ADDRESS_NAMES = """
E-Mail,e-mail address,Mail,Courriel,Correo electrónico,Adresse e-mail,Indirizzo e-mail,E-mailadres,E-post
Sähköposti,Adres e-mail,E-mailová adresa,E-posta,Электронная почта,Пошта,电子邮件,邮箱,メールアドレス,이메일
البريد الإلكتروني,אימייל,דוא"ל,ईमेल,อีเมล,Endereço de e-mail,Ηλεκτρονικό ταχυδρομείο,Email_ID,EMAIL
"""


@pytest.mark.parametrize("name", ADDRESS_NAMES.strip().replace("\n", ",").split(","))
def test_the_address_column_is_known_in_many_languages(tmp_path, name):
    path = tmp_path / "people.csv"
    quoted = name.replace('"', '""')
    path.write_text(f'x,"{quoted}"\nann@example.com,bob@example.com\n', "utf-8")
    [row] = read_table(path)
    assert row.address == "bob@example.com"


# name: (content, options, what the message and its hint must say)
REFUSED = {
    "empty": (b"", {}, ["is empty"]),
    "only blanks": (b"\n \n,,\n", {}, ["is empty"]),
    "no addresses": (b"name,town\nAnn,Ulm\n", {}, ["no column", "[columns] email"]),
    "no header": (b"Ann,ann@example.org\nBob,bob@example.org\n", {}, ["no row with the names"]),
    "unclosed quote": (
        b'name,email\nAnn,ann@example.org\n"Bob,bob@example.org\n',
        {},
        ["line 3", "never closed"],
    ),
    "text after a quote": (
        b'name,email\n"Ann" Smith,ann@example.org\n',
        {},
        ["line 2", "after a closing quote"],
    ),
    "endless cell": (
        b'name,email\n"' + b"Ann,ann@example.org\n" * 20_000,
        {},
        ["line 2", "longer than 131,072 characters"],
    ),
    "two columns of addresses": (
        b"work email,home email\na@example.org,b@example.org\n",
        {},
        ["work email or home email?", '[columns] email = "work email"'],
    ),
    "two columns called email": (
        b"email,email\na@example.org,b@example.org\n",
        {},
        ["2 columns called email"],
    ),
    "column that is not there": (
        b"name,email\nAnn,ann@example.org\n",
        {"email": "e-mial"},
        ["no column e-mial", "did you mean email?", "name, email"],
    ),
    "id that is not there": (
        b"number,email\n1,ann@example.org\n",
        {"id": "nummer"},
        ["no column nummer, which [columns] id names", "did you mean number?"],
    ),
    "addresses under another name": (
        b"name,email\nann@example.org,Ann\nbob@example.org,Bob\n",
        {},
        ["email holds no addresses, but column name does"],
    ),
    "header row beyond the end": (b"email\na@example.org\n", {"header_row": 9}, ["nothing in row 9"]),
    "unknown encoding": (b"email\na@example.org\n", {"encoding": "utf-9"}, ["utf-9 is not known"]),
    "codec that is no encoding": (b"email\na@example.org\n", {"encoding": "rot13"}, ["rot13 is not known"]),
    "wrong encoding": (
        "email,name\na@example.org,Jörg\n".encode("cp1252"),
        {"encoding": "utf-8"},
        ["not in UTF-8", "line 2"],
    ),
    "nearly utf-8": (
        b"email,name\n"
        + "".join(f"a{n}@example.org,Jörg Müller\n" for n in range(50)).encode()
        + "b@example.org,Jörg\n".encode("cp1252"),
        {},
        ["UTF-8 but for line 52"],
    ),
    "delimiter of two characters": (
        b"email\na@example.org\n",
        {"delimiter": "::"},
        ["is not one ASCII"],
    ),
    "delimiter beyond ascii": ("email¦a\n".encode(), {"delimiter": "¦"}, ["is not one ASCII"]),
    "two columns that hold addresses under any name": (
        b"name,here,there\nAnn,ann@example.org,ann@example.net\n",
        {},
        ["which column holds the address: here or there?"],
    ),
    "ambiguous delimiter": (
        b"a,b;c\nx,ann@example.org;z\ny,bob@example.org;w\n",
        {},
        ["separated by , and ;", "delimiter"],
    ),
    "pdf": (b"%PDF-1.7\n", {}, ["is a PDF"]),
    "web page": (b"<html><table><tr><td>email", {}, ["is a web page"]),
    "xml spreadsheet": (
        b'<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">',
        {},
        ["XML spreadsheet of 2003"],
    ),
    "google sheets shortcut": (
        b'{"doc_id": "abc", "resource_key": ""}',
        {},
        ["Google Sheets", "Comma-separated"],
    ),
    "zip": (zipped({"people.csv": "email\n"}), {}, ["is a zip archive"]),
    "word document": (zipped({"word/document.xml": "<x/>"}), {}, ["is a Word document"]),
    "numbers document": (zipped({"Index/Document.iwa": "x"}), {}, ["is a Numbers document"]),
    "binary workbook": (zipped({"xl/workbook.bin": "x"}), {}, ["binary workbook (.xlsb)"]),
    "opendocument text": (
        zipped({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": "<x/>"}),
        {},
        ["OpenDocument file, but no spreadsheet"],
    ),
    "truncated zip": (raw_xlsx(worksheet(""))[:500], {}, ["damaged"]),
    "password": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(600)
        + "EncryptedPackage".encode("utf-16-le")
        + bytes(600),
        {},
        ["protected by a password"],
    ),
    "broken xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4000), {}, ["damaged or no real workbook"]),
    "encoding for a workbook": (
        raw_xlsx(worksheet("")),
        {"encoding": "utf-8"},
        ["is a workbook, and encoding"],
    ),
    "sheet that is not there": (
        raw_xlsx(worksheet("")),
        {"sheet": "Lust"},
        ["no sheet Lust", "did you mean List?"],
    ),
    "empty sheet": (raw_xlsx(worksheet("")), {}, ["is empty"]),
    "far cell": (
        raw_xlsx(worksheet(f"<row>{inline('A1', 'email')}{inline('XFD1048576', 'x')}</row>")),
        {},
        ["is refused", "1,048,576 rows and 16,384 columns"],
    ),
    "far cell in single quotes": (
        raw_xlsx(worksheet("<row><c t='n' r='XFD1048576'><v>1</v></c></row>")),
        {},
        ["is refused", "1,048,576 rows"],
    ),
    "far cell under a prefix": (
        raw_xlsx(
            '<x:worksheet xmlns:x="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><x:sheetData>'
            '<x:row><x:c r="XFD1048576"><x:v>1</x:v></x:c></x:row></x:sheetData></x:worksheet>',
        ),
        {},
        ["is refused"],
    ),
    "far cell after many near ones": (
        raw_xlsx(
            worksheet(
                "".join(f'<row r="{n}"><c r="A{n}"><v>1</v></c></row>' for n in range(1, 60_000))
                + '<row r="60000"><c r="ZZ900000"><v>1</v></c></row>',
            ),
        ),
        {},
        ["is refused", "900,000 rows and 702 columns"],
    ),
    "wide cell after rows out of order": (
        raw_xlsx(
            worksheet(
                "".join(
                    f'<row r="{n}"><c r="A{n}"><v>1</v></c></row>'
                    for first in (100_000, 900_000)
                    for n in range(first, first + 30_000)
                )
                + '<row r="1"><c r="AD1"><v>1</v></c></row>',
            ),
        ),
        {},
        ["is refused", "929,999 rows and 30 columns"],
    ),
    "cells without references": (
        raw_xlsx(
            worksheet("<row>" + "<c><v>1</v></c>" * 5_000 + "</row>" + "<row><c><v>1</v></c></row>" * 9_999)
        ),
        {},
        ["is refused", "9,999 rows and 5,000 columns"],
    ),
    "rows without references after rows with them": (
        raw_xlsx(
            worksheet(
                '<row r="1"><c r="ALL1"><v>1</v></c></row><row r="50000"><c r="A50000"><v>1</v></c></row>'
                + "<row><c><v>1</v></c></row>" * 9_999,
            ),
        ),
        {},
        ["is refused", "59,998 rows and 1,000 columns"],
    ),
    "sheet xml in utf-16": (raw_xlsx(worksheet("<row/>").encode("utf-16")), {}, ["no plain XML"]),
    "zip bomb": (raw_xlsx(worksheet(" " * 30_000_000)), {}, ["is refused", "unpacks to more than"]),
    "bomb of strings": (
        raw_xlsx(worksheet(""), strings="<sst>" + " " * 30_000_000 + "</sst>"),
        {},
        ["is refused", "unpacks to more than"],
    ),
    "entities in an xlsx": (
        raw_xlsx(
            worksheet(""), extra={"xl/workbook.xml": '<!DOCTYPE x [<!ENTITY a "b">]><workbook>&a;</workbook>'}
        ),
        {},
        ["declares entities"],
    ),
    "entities in a sheet": (
        raw_xlsx('<!DOCTYPE x [<!ENTITY a "b">]>' + worksheet("<row/>")),
        {},
        ["no plain XML"],
    ),
    "entities in an ods": (
        raw_ods("<table:table/>", before='<!DOCTYPE x [<!ENTITY a "b">]>'),
        {},
        ["declares entities"],
    ),
    "ods with a password": (
        raw_ods("", manifest='<m xmlns:manifest="x"><manifest:encryption-data/></m>'),
        {},
        ["protected by a password"],
    ),
    "huge ods": (
        raw_ods(
            '<table:table table:name="List"><table:table-row table:number-rows-repeated="1000000">'
            '<table:table-cell table:number-columns-repeated="1000" office:value-type="string">'
            "<text:p>x</text:p></table:table-cell></table:table-row></table:table>",
        ),
        {},
        ["is refused", "1,000,000 rows and 1,000 columns"],
    ),
    "a sheet of a text file": (b"email\na@x.example\n", {"sheet": "Members"}, ["sheet is for workbooks"]),
    "a small ods that would fill the memory": (
        raw_ods(
            '<table:table table:name="List"><table:table-row table:number-rows-repeated="100000">'
            '<table:table-cell table:number-columns-repeated="100" office:value-type="float"'
            ' office:value="1"><text:p>1.00</text:p></table:table-cell></table:table-row></table:table>',
        ),
        {},
        ["is refused", "repeats the same cells 9,999,999 times"],
    ),
}


@pytest.mark.parametrize(("content", "options", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_take_a_guess_is_refused(tmp_path, content, options, says):
    path = tmp_path / "people.csv"
    path.write_bytes(content)
    with pytest.raises(ListError) as caught:
        read(path, **options)
    told = f"{caught.value.message} | {caught.value.hint} | {[p.message for p in caught.value.problems]}"
    assert "people.csv" in caught.value.message or "delimiter" in told or "encoding" in told
    for words in says:
        assert words in told


def test_places_that_are_no_lists(tmp_path):
    for source, words in (
        (tmp_path, "is a folder"),
        (tmp_path / "none.csv", "can't be read: No such file"),
        ("https://docs.google.com/spreadsheets/d/abc/edit?usp=sharing", "is a link"),
        ("/dev/null", "no regular file"),
        (7, "can't be a int"),
        ([1, 2], "item 1 is a int"),
        ("a\0b", "can't be read"),
    ):
        with pytest.raises(ListError, match=words):
            read(source)


def test_xlsx_shows_what_the_person_saw(tmp_path):
    day = dt.datetime(2025, 3, 4)  # noqa: DTZ001 - sheets know no zones
    path = xlsx(
        tmp_path / "people.xlsx",
        [
            ["email", "zip", "share", "fee", "day", "moment", "time", "long", "yes", "plain", "text"],
            [
                "ann@example.org",
                (1234, "00000"),
                (0.155, "0.0%"),
                (1234.5, '#,##0.00 "€"'),
                (day, "dd.mm.yyyy"),
                (day.replace(hour=14, minute=30), "dd.mm.yyyy hh:mm"),
                (dt.time(9, 5), "hh:mm"),
                (1.25, "[h]:mm"),
                True,
                42,
                "01234",
            ],
            ["bob@example.org", 7, 0.1 + 0.2, 1e15, None, None, None, None, False, -1.5, "NA"],
        ],
    )
    kinds, found = read(path)
    assert kinds == ["numbers", "numbers", "numbers"]
    assert found[0][1] == {
        "email": "ann@example.org",
        "zip": "01234",
        "share": "15.5%",
        "fee": "1,234.50 €",
        "day": "2025-03-04",
        "moment": "2025-03-04 14:30",
        "time": "09:05",
        "long": "30:00",
        "yes": "TRUE",
        "plain": "42",
        "text": "01234",
    }
    assert found[1] == (
        3,
        {
            "email": "bob@example.org",
            "zip": "7",
            "share": "0.3",
            "fee": "1000000000000000",
            "day": "",
            "moment": "",
        }
        | {"time": "", "long": "", "yes": "FALSE", "plain": "-1.5", "text": "NA"},
        ["digits"],
    )


SHEETS = {
    "starts at C5": (
        worksheet(
            f'<row r="5">{inline("C5", "name")}{inline("D5", "email")}</row>'
            f'<row r="7">{inline("C7", "Ann")}{inline("D7", "ann@example.org")}</row>',
        ),
        [],
        [(6, {"name": "", "email": ""}, []), (7, {"name": "Ann", "email": "ann@example.org"}, [])],
    ),
    "rows and cells without references": (
        worksheet(
            '<row><c t="inlineStr"><is><t>email</t></is></c></row>'
            '<row><c t="inlineStr"><is><t>ann@example.org</t></is></c></row>',
        ),
        [],
        rows(("ann@example.org",), names=("email",)),
    ),
    "errors and formulas": (
        worksheet(
            f'<row r="1">{inline("A1", "email")}{inline("B1", "x")}{inline("C1", "y")}</row><row r="2">'
            + inline("A2", "ann@example.org")
            + '<c r="B2" t="e"><f>NA()</f><v>#N/A</v></c><c r="C2"><f>1+1</f><v></v></c></row>',
        ),
        [],
        [(2, {"email": "ann@example.org", "x": "", "y": ""}, ["formula", "formula"])],
    ),
    "hidden rows": (
        worksheet(
            f'<row r="1">{inline("A1", "email")}</row>'
            f'<row r="2" hidden="1">{inline("A2", "a@example.org")}</row>',
        ),
        ["hidden"],
        rows(("a@example.org",), names=("email",)),
    ),
    "a million empty rows": (
        worksheet(
            f'<row r="1">{inline("A1", "email")}</row><row r="2">{inline("A2", "a@example.org")}</row>'
            + "".join(f'<row r="{n}" ht="15"/>' for n in range(3, 300_000)),
        ),
        [],
        rows(("a@example.org",), names=("email",)),
    ),
    "line break and carriage return": (
        worksheet(
            f'<row r="1">{inline("A1", "email")}{inline("B1", "x")}</row>'
            f'<row r="2">{inline("A2", "a@example.org")}{inline("B2", "l1_x000D_l2")}</row>',
        ),
        [],
        rows(("a@example.org", "l1\rl2"), names=("email", "x")),
    ),
}


@pytest.mark.parametrize(("sheet", "kinds", "expected"), SHEETS.values(), ids=SHEETS.keys())
def test_odd_sheets(tmp_path, sheet, kinds, expected):
    path = tmp_path / "people.csv"  # the name lies: content decides
    path.write_bytes(raw_xlsx(sheet))
    assert read(path) == (kinds, expected)


def test_days_are_the_same_in_workbooks_that_count_from_1904(tmp_path):
    names = ["email", "born", "at", "joined"]
    day = (dt.date(1990, 3, 1), "d/m/yy")
    cells = [
        "ann@example.org",
        day,
        (dt.time(9, 5), "h:mm"),
        (dt.datetime(2025, 3, 4, 14, 30), "m/d/yy h:mm"),  # noqa: DTZ001 - cells have no zone
    ]
    for date_1904 in (False, True):
        path = xlsx(tmp_path / "list.xlsx", [names, cells], date_1904=date_1904)
        [(_, row, kinds)] = read(path)[1]
        assert list(row.values()) == ["ann@example.org", "1990-03-01", "09:05", "2025-03-04 14:30"]
        assert kinds == []


def test_a_column_that_is_not_there_is_told_with_the_header_and_not_with_the_title(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("Our club\n\nName,E-mail\nAnn,ann@example.org\n")
    with pytest.raises(ListError) as refused:
        read_table(path, ListOptions(email="E-Mial"))
    assert refused.value.hint == "did you mean E-mail? columns in people.csv: Name, E-mail"


def test_errors_are_named_by_cell(tmp_path):
    path = tmp_path / "people.xlsx"
    path.write_bytes(raw_xlsx(SHEETS["errors and formulas"][0]))
    [row] = read_table(path)
    assert {problem.field: problem.message for problem in row.problems} == {
        "x": "B2 shows #N/A; it is taken as empty",
        "y": "C2 is a formula whose value was never saved; it is taken as empty",
    }
    assert {(problem.severity, problem.row) for problem in row.problems} == {("warning", 2)}


@pytest.mark.parametrize("before", ["", "sep=,\n", "Members\n\n"])
def test_each_row_knows_its_line(tmp_path, before):
    path = tmp_path / "people.csv"
    tall = {7, 21_000, 21_001}
    texts = [f'"a{number}\n\nb"' if number in tall else f"a{number}" for number in range(50_000)]
    people = [f"{text},u{number}@example.org" for number, text in enumerate(texts)]
    path.write_text(before + "name,email\n" + "\n".join(people), "utf-8")
    lines = path.read_text("utf-8").split("\n")
    table = read_table(path)
    assert {table.line_of(row.row) for row in table} == {None}
    for row in table:
        begin = lines[table.line_of(row.row) - 1]
        assert begin.lstrip('"').partition(",")[0] == "a" + row.address[1:].partition("@")[0]


def test_a_formula_whose_saved_value_is_an_empty_text_is_no_formula_without_one(tmp_path):
    path = tmp_path / "people.xlsx"
    for value in ("<v></v>", "<v/>"):
        cells = f'<c r="B2" s="0" t="str"><f>IF(A2="",A2,"")</f>{value}</c><c r="C2" t="str"><f>A2</f></c>'
        head = inline("A1", "email") + inline("B1", "x") + inline("C1", "y")
        row = inline("A2", "ann@example.org")
        path.write_bytes(raw_xlsx(worksheet(f'<row r="1">{head}</row><row r="2">{row}{cells}</row>')))
        [problem] = next(iter(read_table(path))).problems
        assert problem.field == "y"


UNSAVED = "is a formula whose value was never saved; it is taken as empty"


def test_formulas_without_a_value_are_told_wherever_they_stand(tmp_path):
    far = "".join(f'<c r="{place}"><f>1+1</f><v></v></c>' for place in ("A3", "B3"))
    sheet = worksheet(
        f'<row r="1">{inline("A1", "email")}{inline("B1", "name")}</row>'
        f'<row r="2">{inline("A2", "ann@example.org")}{inline("B2", "Ann")}<c r="D2"><f>1</f></c></row>'
        f'<row r="3">{far}</row>'
    )
    tables = (
        '<table:table table:name="List"><table:table-row>'
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{text}</text:p></table:table-cell>'
            for text in ("email", "name")
        )
        + '</table:table-row><table:table-row><table:table-cell office:value-type="string">'
        "<text:p>ann@example.org</text:p></table:table-cell>"
        '<table:table-cell table:formula="of:=&quot;&quot;"><text:p/></table:table-cell><table:table-cell/>'
        '<table:table-cell table:formula="of:=1"/></table:table-row>'
        '<table:table-row><table:table-cell table:formula="of:=1"/><table:table-cell table:formula="of:=2"/>'
        "</table:table-row></table:table>"
    )
    for name, content in (("people.xlsx", raw_xlsx(sheet)), ("people.ods", raw_ods(tables))):
        path = tmp_path / name
        path.write_bytes(content)
        found = [(row.row, [problem.message for problem in row.problems]) for row in read_table(path)]
        assert found == [(2, [f"D2 {UNSAVED}"]), (3, [f"A3 {UNSAVED}", f"B3 {UNSAVED}"])]


def test_sheets_hidden_rows_and_merged_cells_are_told(tmp_path):
    path = tmp_path / "people.xlsx"
    book = xlsxwriter.Workbook(str(path))
    book.add_worksheet("Notes").hide()
    sheet = book.add_worksheet("Members")
    book.add_worksheet("Old")
    sheet.activate()
    book.worksheets()[1].set_first_sheet()
    sheet.write_row(0, 0, ["email", "team"])
    sheet.write_column(1, 0, ["a@example.org", "b@example.org", "c@example.org"])
    sheet.merge_range("B2:B3", "Red")
    sheet.set_row(3, None, None, {"hidden": True})
    book.close()
    table = read_table(path)
    told = [problem.message for problem in table.problems]
    assert told == [
        "only sheet Members is read, not Notes, Old",
        "1 row is hidden or filtered out, but read: 4",
        "merged cells: B2:B3; only the first cell has the value, the others are empty",
    ]
    assert [row.cells["team"] for row in table] == ["Red", "", ""]
    with pytest.raises(ListError, match="is empty"):
        read_table(path, ListOptions(sheet="old"))


def test_ods_shows_what_the_person_saw(tmp_path):
    def cell(kind, value, text, **more):
        extra = "".join(f' {name.replace("_", ":", 1)}="{given}"' for name, given in more.items())
        start = f'<table:table-cell office:value-type="{kind}" {value}{extra}>'
        return f"{start}<text:p>{text}</text:p></table:table-cell>"

    header = "".join(cell("string", "", name) for name in ("email", "fee", "share", "day", "long", "x"))
    row = (
        cell("string", "", "a@example.org<office:annotation><text:p>note</text:p></office:annotation>")
        + cell(
            "currency",
            'office:value="1234.5"',
            "1.234,50 €<office:annotation><text:p>due</text:p></office:annotation>",
        )
        + cell("percentage", 'office:value="0.155"', "15,5 %")
        + cell("date", 'office:date-value="2025-03-04"', "04.03.25")
        + cell("time", 'office:time-value="PT30H00M00S"', "30:00:00")
        + cell("string", 'calcext:value-type="error" table:formula="of:=NA()"', "#N/A")
    )
    path = tmp_path / "people.ods"
    path.write_bytes(
        raw_ods(
            f'<table:table table:name="List"><table:table-row>{header}</table:table-row>'
            f'<table:table-row table:visibility="filter">{row}</table:table-row>'
            '<table:table-row table:number-rows-repeated="1048574"><table:table-cell/></table:table-row>'
            "</table:table>",
        ),
    )
    kinds, found = read(path)
    assert "hidden" in kinds
    assert found == [
        (
            2,
            {"email": "a@example.org", "fee": "1.234,50 €", "share": "15,5 %", "day": "2025-03-04"}
            | {"long": "30:00", "x": ""},
            ["formula"],
        ),
    ]


def test_a_lying_directory_does_not_hide_a_bomb(tmp_path):
    content = bytearray(raw_xlsx(worksheet(" " * 30_000_000)))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        real = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    assert content.count(real.to_bytes(4, "little")) == 2
    path = tmp_path / "people.xlsx"
    path.write_bytes(bytes(content).replace(real.to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    with pytest.raises(ListError, match="is refused"):
        read(path)


def test_ods_text_in_pieces(tmp_path):
    def cell(content):
        return f'<table:table-cell office:value-type="string"><text:p>{content}</text:p></table:table-cell>'

    pieces = {
        "email": "<text:a>a@example.org</text:a>",
        "span": "a<text:span>b</text:span>c",
        "break": "a<text:line-break/>b",
        "tab": "a<text:tab/>b",
        "blanks": 'a<text:s text:c="3"/>b',
        "two": "a</text:p><text:p>b",
    }
    path = tmp_path / "people.ods"
    table_row = "<table:table-row>{}</table:table-row>".format
    path.write_bytes(
        raw_ods(
            '<table:table table:name="List">'
            + table_row("".join(map(cell, pieces)))
            + table_row("".join(map(cell, pieces.values())))
            + "</table:table>",
        ),
    )
    [(_, cells, _)] = read(path)[1]
    assert cells == {
        "email": "a@example.org",
        "span": "abc",
        "break": "a\nb",
        "tab": "a\tb",
        "blanks": "a   b",
    } | {
        "two": "a\nb",
    }


def test_ods_written_by_hand_reads_as_csv(tmp_path):
    table = [["name", "email"], list(ANN), list(BOB)]
    assert read(ods(tmp_path / "people.ods", table)) == ([], TWO)


def test_a_cell_far_off_is_seen_when_it_comes_after_a_long_list(tmp_path):
    """In a column of one letter too, and when the first piece of the sheet lies in a small area."""
    people = "".join(
        f'<row r="{n}">{inline(f"A{n}", f"p{n}@example.org")}<c r="B{n}"><v>{n * 7919 % 10007}</v></c></row>'
        for n in range(2, 20_000)
    )
    far = '<row r="999999"><c r="Z999999"><v>1</v></c></row>'
    path = tmp_path / "people.xlsx"
    path.write_bytes(raw_xlsx(worksheet(f'<row r="1">{inline("A1", "email")}</row>{people}{far}')))
    with pytest.raises(ListError, match="its sheet spans 999,999 rows and 26 columns"):
        read(path)
