"""What would arrive? Each letter as an .eml file, or all of them in one mbox."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from merge.disk import eml_name, write_whole
from merge.model import Delivery, Letter
from merge.seal import seal

_FROM_LINE = b"From "

Seal = Callable[[Letter], Delivery]


def write_eml(letters: Iterable[Letter], folder: Path, seal: Seal = seal) -> int:
    """Write each letter, byte for byte as it would be sent, to ROW-ADDRESS.eml; return how many."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for letter in letters:
        delivery = seal(letter)
        write_whole(folder / eml_name(delivery.row, delivery.envelope.recipients[0]), delivery.content)
        written += 1
    return written


def write_mbox(letters: Iterable[Letter], path: Path, seal: Seal = seal) -> int:
    """Write all letters to one file in the mboxrd format that mail programs import; return how many.

    A line that begins with "From ", quoted or not, gets one ">" more, so that reading gives it back.
    """
    written = 0
    draft = path.with_name(path.name + ".part")
    with draft.open("wb") as file:
        for letter in letters:
            delivery = seal(letter)
            sent = f"{delivery.date:%a %b %d %H:%M:%S %Y}"
            file.write(b"From %s %s\n" % (delivery.envelope.sender.encode(), sent.encode()))
            for line in delivery.content.replace(b"\r\n", b"\n").splitlines(keepends=True):
                file.write(b">" + line if line.lstrip(b">").startswith(_FROM_LINE) else line)
            file.write(b"\n")
            written += 1
    draft.replace(path)
    return written
