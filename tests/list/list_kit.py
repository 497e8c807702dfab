"""Makes list files: CSV in any shape, .xlsx by xlsxwriter or by hand, .ods by hand."""

import io
import zipfile
from xml.sax.saxutils import escape, quoteattr

import xlsxwriter

from merge.table import ListOptions, read_table


def read(path, **options):
    """Return problems of the file, and for each row (number, cells, kinds of its problems)."""
    table = read_table(path, ListOptions(**options))
    rows = [(row.row, dict(row.cells), [p.kind for p in row.problems]) for row in table]
    return [problem.kind for problem in table.problems], rows


def xlsx(path, rows, *, sheet="List", **book):
    """Write a workbook whose cells are texts, numbers, or (value, number format)."""
    workbook = xlsxwriter.Workbook(str(path), book)
    worksheet = workbook.add_worksheet(sheet)
    for at, row in enumerate(rows):
        for column, value in enumerate(row):
            if isinstance(value, tuple):
                worksheet.write(at, column, value[0], workbook.add_format({"num_format": value[1]}))
            elif isinstance(value, str):
                worksheet.write_string(at, column, value)
            elif value is not None:
                worksheet.write(at, column, value)
    workbook.close()
    return path


def written(rows, delimiter, line_end, *, quoted=False):
    """RFC 4180, by hand: csv.writer leaves a lone CR unquoted."""

    def cell(text):
        needs = quoted or any(character in text for character in (delimiter, '"', "\r", "\n"))
        return '"' + text.replace('"', '""') + '"' if needs else text

    return "".join(delimiter.join(map(cell, row)) + line_end for row in rows)


CONTENT_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/xl/workbook.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>'
)
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def raw_xlsx(sheet, *, styles=None, strings=None, extra=()):
    """Return the bytes of a workbook around the given sheet XML, as a hostile or odd writer would make it."""
    relations = f'<Relationship Id="r1" Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    if strings:
        relations += f'<Relationship Id="r2" Type="{OFFICE}/sharedStrings" Target="sharedStrings.xml"/>'
    if styles:
        relations += f'<Relationship Id="r3" Type="{OFFICE}/styles" Target="styles.xml"/>'
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    parts = {
        "[Content_Types].xml": CONTENT_TYPES,
        "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="w" '
        f'Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>'
        '<sheet name="List" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}">{relations}</Relationships>',
        "xl/worksheets/sheet1.xml": sheet,
    }
    if strings:
        parts["xl/sharedStrings.xml"] = strings
    if styles:
        parts["xl/styles.xml"] = styles
    parts.update(extra)
    return zipped(parts)


def worksheet(data):
    return f'<?xml version="1.0"?><worksheet xmlns="{MAIN}"><sheetData>{data}</sheetData></worksheet>'


def inline(reference, text):
    return f'<c r="{reference}" t="inlineStr"><is><t xml:space="preserve">{escape(text)}</t></is></c>'


def zipped(parts, compression=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


ODS = (
    '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0" '
    'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0">'
)


def raw_ods(tables, *, before="", manifest=""):
    """Return the bytes of an .ods around the given table elements."""
    parts = {
        "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
        "content.xml": f'<?xml version="1.0"?>{before}{ODS}<office:body><office:spreadsheet>{tables}'
        "</office:spreadsheet></office:body></office:document-content>",
        "META-INF/manifest.xml": manifest
        or '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
    }
    return zipped(parts, zipfile.ZIP_STORED)


def ods_cell(text):
    """Return a text cell as LibreOffice writes it: one paragraph a line, runs of blanks as elements."""
    paragraphs = "".join(f"<text:p>{_blanks(line)}</text:p>" for line in text.split("\n")) if text else ""
    return (
        f'<table:table-cell office:value-type="string">{paragraphs}</table:table-cell>'
        if text
        else ("<table:table-cell/>")
    )


def _blanks(line):
    out, run = [], 0
    for place, character in enumerate(line + "\0"):
        if character == " ":
            run += 1
            continue
        if run:
            plain = 1 if place - run > 0 and character != "\0" else 0
            out.append(" " * plain + (f'<text:s text:c="{run - plain}"/>' if run > plain else ""))
            run = 0
        out.append({"\t": "<text:tab/>", "\0": ""}.get(character, escape(character)))
    return "".join(out)


def ods(path, rows, *, name="List"):
    body = "".join(f"<table:table-row>{''.join(map(ods_cell, row))}</table:table-row>" for row in rows)
    path.write_bytes(raw_ods(f"<table:table table:name={quoteattr(name)}>{body}</table:table>"))
    return path
