from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from merge.compose import Composer, Examined
from merge.model import Letter, Recipient
from merge.template import read_template

DATE = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
SENDER = "Ada Club <news@ada.example>"


class Desk:
    """A campaign folder in which a test writes letters and files, and composes rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def composer(self, text: str, name: str = "letter.md", **options: str) -> Composer:
        return Composer(
            read_template(self.write(name, text)),
            folder=self.folder,
            sender=options.pop("sender", SENDER),
            **options,
        )

    def letter(self, text: str, cells: Mapping[str, str] | None = None, name: str = "letter.md") -> Letter:
        composer = self.composer(text, name)
        row = recipient(cells)
        letter = composer.compose(row, key="key", message_id="<token@ada.example>", date=DATE)
        examined = composer.examine(row)
        assert not [p for p in examined.problems if p.severity == "error"]
        assert examined.digest == letter.digest
        return letter

    def examine(self, text: str, cells: Mapping[str, str] | None = None, name: str = "letter.md") -> Examined:
        return self.composer(text, name).examine(recipient(cells))


def recipient(cells: Mapping[str, str] | None = None, row: int = 2) -> Recipient:
    cells = {"email": "zoe@x.example", **(cells or {})}
    return Recipient(row, cells, cells["email"])
