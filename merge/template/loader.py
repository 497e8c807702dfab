"""Where do `include`, `extends` and `import` find their files? In the campaign's folder alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from jinja2 import BaseLoader, Environment, TemplateNotFound

from merge.attach import OWN_FILES
from merge.template.source import controls, normal

_LETTERS = frozenset({".txt", ".md", ".markdown", ".html", ".htm", ".mjml"})
MOST_INCLUDED: Final = 2**20
"""Bytes of an included file."""


class CampaignLoader(BaseLoader):
    """Finds what `include`, `extends` and `import` name: files inside one folder, by their real path."""

    def __init__(self, folder: Path, prepare: Callable[[str], str]) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._prepare = prepare
        self._texts: dict[str, str] = {}

    def get_source(
        self,
        environment: Environment,
        template: str,
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        """Return a file's text, prepared. Raises TemplateNotFound with the reason."""
        return self._prepare(self.text(template)), template, lambda: True

    def text(self, name: str) -> str:
        """Return a file's text as it is written; a file is read once. Raises TemplateNotFound."""
        if name not in self._texts:
            self._texts[name] = self._read(name)
        return self._texts[name]

    def length(self, names: object) -> int:
        """Return how many characters the file of a name has, or those of several names together."""
        found = 0
        for name in [names] if isinstance(names, str) else names if isinstance(names, (list, tuple)) else []:
            with suppress(TemplateNotFound):
                found += len(self.text(name))
        return found

    def _read(self, name: str) -> str:
        try:
            path = Path(os.path.realpath(self._folder / name))
            found = path.is_file()
        except (ValueError, OSError):
            raise TemplateNotFound(name, f"{name[:60]!r} is no name of a file") from None
        if not name or "\\" in name or not path.is_relative_to(self._folder):
            raise TemplateNotFound(name, f"{name} is outside the campaign's folder")
        own = path.parent == self._folder and OWN_FILES.fullmatch(path.name.lower())
        if own and path.suffix.lower() not in _LETTERS:
            raise TemplateNotFound(name, f"{name} is a file of the campaign itself, which no letter takes in")
        if not found:
            raise TemplateNotFound(name, f"there is no file {name} in the campaign's folder")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise TemplateNotFound(name, f"{name} cannot be read: {error.strerror}") from None
        if len(data) > MOST_INCLUDED:
            raise TemplateNotFound(name, f"{name} is larger than {MOST_INCLUDED} bytes")
        try:
            text = normal(data.decode())
        except UnicodeDecodeError:
            raise TemplateNotFound(name, f"{name} is not UTF-8") from None
        if controls(name, text):
            raise TemplateNotFound(name, f"{name} holds control characters")
        return text
