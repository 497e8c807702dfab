"""How does a file come to the disk whole, and what may it be called?"""

from __future__ import annotations

import re
from pathlib import Path


def eml_name(row: int, address: str) -> str:
    """Return a file name that is safe on every system: the row, then what is harmless of the address."""
    return f"{row:04d}-{re.sub(r'[^A-Za-z0-9.@_-]', '_', address)[:80]}.eml"


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file so that a reader, or a crash, meets the old one or the new one, never a part."""
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(content)
    draft.replace(path)
