"""What did the person ask for? campaign.toml, or a list and a letter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from merge.account import (
    PACE_KEYS,
    AccountSettings,
    BounceSettings,
    PaceSettings,
    account_from_table,
    bounces_from_table,
)
from merge.dkim import DkimSettings, dkim_from_table
from merge.errors import ConfigError, UsageError
from merge.toml import Kinds, TomlFile, load_toml
from merge.unsubscribe import UnsubscribeSettings, unsubscribe_from_table

CAMPAIGN_FILE = "campaign.toml"

LONGEST_REST = 90 * 86400.0
"""For how long it is known whom an account mailed, in seconds."""

_GIVEN_ROWS = "the given rows"
_LETTER_NAMES = ("letter.md", "letter.html", "letter.mjml", "letter.txt", "mailmerge_template.txt")
_LIST_NAMES = (
    "people.csv",
    "people.xlsx",
    "people.tsv",
    "people.ods",
    "people.xls",
    "mailmerge_database.csv",
)


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """How often a row with a 4xx reply is tried, and when; `first`, `wait` and `max_age` are seconds."""

    attempts: int = 5
    first: float = 300.0
    wait: float = 120.0
    max_age: float = 5 * 86400.0


@dataclass(frozen=True, slots=True)
class Settings:
    """A campaign as the person describes it. Paths are absolute; the `_name`s are as they were written."""

    folder: Path
    list: Path
    list_name: str
    letter: Path
    letter_name: str
    sender: str = ""
    account: str | Mapping[str, Any] | None = None
    file: TomlFile = field(default_factory=lambda: TomlFile(CAMPAIGN_FILE), repr=False, compare=False)
    edition: str = "1"
    email_column: str = ""
    id_column: str = ""
    consent_column: str = ""
    sheet: str = ""
    header_row: int | None = None
    encoding: str = ""
    delimiter: str = ""
    where: str = ""
    group_by: str = ""
    duplicates: Literal["skip", "error"] = "skip"
    files: Path | None = None
    inline_css: bool = True
    results: str = "results.csv"
    pace: PaceSettings | None = None
    retry: RetrySettings = field(default_factory=RetrySettings)
    stop_when_failed: float | None = None
    not_twice_within: float = 0.0
    dkim: DkimSettings | None = None
    unsubscribe: UnsubscribeSettings | None = None
    bounces: BounceSettings | None = None

    @property
    def given(self) -> Mapping[str, str]:
        """What a letter may use besides the columns of the list, by name."""
        return self.unsubscribe.names if self.unsubscribe else {}


_CAMPAIGN_KEYS: dict[str, Kinds] = {
    "list": (str,),
    "letter": (str,),
    "from": (str,),
    "account": (str, dict),
    "edition": (str, int),
    "columns": (dict,),
    "pace": (dict,),
    "retry": (dict,),
    "sheet": (str,),
    "header_row": (int,),
    "encoding": (str,),
    "delimiter": (str,),
    "where": (str,),
    "group_by": (str,),
    "duplicates": (str,),
    "files": (str,),
    "inline_css": (bool,),
    "results": (str,),
    "stop_when_failed": (str,),
    "not_twice_within": (str,),
    "dkim": (dict,),
    "unsubscribe": (dict,),
    "bounces": (dict,),
}
_COLUMN_KEYS: dict[str, Kinds] = {"email": (str,), "id": (str,), "consent": (str,)}
_RETRY_KEYS: dict[str, Kinds] = {
    "attempts": (int,),
    "first": (str, int, float),
    "wait": (str, int, float),
    "max_age": (str, int, float),
}


def read_settings(paths: tuple[Path, ...], *, needs_list: bool = True) -> Settings:
    """Read the campaign in a folder, or the one that a list and a letter make.

    Without `needs_list` the rows come from elsewhere. `paths` is empty (the current folder), a folder, or
    (list, letter). Raises UsageError when the paths are neither, ConfigError when campaign.toml cannot be
    followed or names files that are not there.
    """
    if len(paths) > 1:
        return _pair(paths[0], paths[1])
    folder = paths[0] if paths else Path()
    if folder.is_file() and folder.name != CAMPAIGN_FILE:
        raise UsageError(
            f"{folder} is one file; a list and a letter are needed",
            hint=f"name both (mergepost preview {folder} letter.md), or a campaign folder",
        )
    if folder.name == CAMPAIGN_FILE:
        folder = folder.parent
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", hint=f"make one with: mergepost init {folder}")
    if not (folder / CAMPAIGN_FILE).is_file():
        raise ConfigError(
            f"there is no {CAMPAIGN_FILE} in {_shown(folder)}",
            hint="start a campaign with: mergepost init\n"
            "or name a list and a letter: mergepost preview people.csv letter.md",
        )
    return _from_table(folder, *load_toml(folder / CAMPAIGN_FILE, CAMPAIGN_FILE), needs_list=needs_list)


def pace_of(settings: Settings, way: AccountSettings | None) -> PaceSettings | None:
    """Return the limits that hold: of each kind the campaign's own, else that of its account's provider."""
    if settings.pace is None or way is None:
        return settings.pace or (way.pace if way else None)
    rest = {key: getattr(way.pace, key) for key in PACE_KEYS if getattr(settings.pace, key) is None}
    return replace(settings.pace, **rest)


def reads_once(path: Path) -> bool:
    """Whether a list can be read a single time: standard input, called "-", or a pipe."""
    return str(path) == "-" or path.is_fifo()


def _pair(list_path: Path, letter_path: Path) -> Settings:
    once = reads_once(list_path)
    for path in (list_path, letter_path):
        if not path.is_file() and not (once and path is list_path):
            found = _alike(path.name, path.parent)
            raise UsageError(
                f"there is no file {path}",
                hint=f"did you mean {path.with_name(found)}?" if found else "name the list, then the letter",
            )
    folder = letter_path.resolve().parent
    settings = Settings(
        folder=folder,
        list=folder if once else list_path.resolve(),
        list_name="standard input" if str(list_path) == "-" else str(list_path),
        letter=letter_path.resolve(),
        letter_name=str(letter_path),
        edition=letter_path.name,
    )
    if not (folder / CAMPAIGN_FILE).is_file():
        return settings
    table, file = load_toml(folder / CAMPAIGN_FILE, CAMPAIGN_FILE)
    named = table | {"list": str(settings.list), "letter": str(settings.letter)}
    return replace(
        _from_table(folder, named, file, needs_list=not once),
        list_name=settings.list_name,
        letter_name=settings.letter_name,
        edition=f"{table['edition']}" if "edition" in table else settings.edition,
    )


def _from_table(folder: Path, table: dict[str, Any], check: TomlFile, *, needs_list: bool = True) -> Settings:
    check.keys(table, _CAMPAIGN_KEYS)
    columns = check.keys(table.get("columns", {}), _COLUMN_KEYS, "columns")
    pace = check.keys(table.get("pace", {}), PACE_KEYS, "pace")
    retry = check.keys(table.get("retry", {}), _RETRY_KEYS, "retry")
    for key, value in pace.items():
        if key != "gap" and value <= 0:
            check.refuse(key, f"{key} must be more than 0")
    if isinstance(table.get("account"), dict):
        account_from_table("account", table["account"], check)
    letter_name = table.get("letter") or _find(folder, _LETTER_NAMES, "letter", check)
    list_name = _GIVEN_ROWS
    named = {"letter": letter_name}
    if needs_list:
        named["list"] = list_name = table.get("list") or _find(folder, _LIST_NAMES, "list", check)
    paths = {"list": folder}
    for key, name in named.items():
        if name.startswith(("http://", "https://")):
            check.refuse(
                key,
                f"the {key} is a web address; nothing is fetched from the network",
                hint="in Google Sheets: File > Download > Comma-separated values; put that file here",
            )
        paths[key] = folder.resolve() / Path(name).expanduser()
        if not paths[key].is_file():
            found = _alike(Path(name).name, folder)
            check.refuse(
                key,
                f"the {key} {name} is not there",
                hint=f"did you mean {found}?"
                if found
                else f"put it into {_shown(folder)}, or correct {key} =",
            )
    if table.get("duplicates", "skip") not in ("skip", "error"):
        check.refuse(
            "duplicates", f"duplicates is {table['duplicates']!r}", hint='it can be "skip" or "error"'
        )
    defaults = RetrySettings()
    attempts = retry.get("attempts", defaults.attempts)
    if attempts < 1:
        check.refuse("attempts", "attempts must be at least 1")
    return Settings(
        folder=folder.resolve(),
        list=paths["list"],
        list_name=list_name,
        letter=paths["letter"],
        letter_name=letter_name,
        sender=table.get("from", ""),
        account=table.get("account"),
        file=check,
        edition=str(table.get("edition", "1")),
        email_column=columns.get("email", ""),
        id_column=columns.get("id", ""),
        consent_column=columns.get("consent", ""),
        sheet=table.get("sheet", ""),
        header_row=table.get("header_row"),
        encoding=table.get("encoding", ""),
        delimiter=table.get("delimiter", ""),
        where=table.get("where", ""),
        group_by=table.get("group_by", ""),
        duplicates=table.get("duplicates", "skip"),
        files=folder.resolve() / Path(table["files"]).expanduser() if "files" in table else None,
        inline_css=table.get("inline_css", True),
        results=table.get("results", "results.csv"),
        not_twice_within=_rest(table["not_twice_within"], check) if "not_twice_within" in table else 0.0,
        stop_when_failed=_share(table["stop_when_failed"], check) if "stop_when_failed" in table else None,
        unsubscribe=unsubscribe_from_table(table["unsubscribe"], check) if "unsubscribe" in table else None,
        bounces=bounces_from_table(table["bounces"], check) if "bounces" in table else None,
        dkim=dkim_from_table(table["dkim"], check) if "dkim" in table else None,
        pace=PaceSettings(**{**pace, "gap": _gap(pace, check)}) if pace else None,
        retry=RetrySettings(
            attempts=attempts,
            first=check.duration("first", retry.get("first", defaults.first)),
            wait=check.duration("wait", retry.get("wait", defaults.wait)),
            max_age=check.duration("max_age", retry.get("max_age", defaults.max_age)),
        ),
    )


def _gap(pace: Mapping[str, Any], check: TomlFile) -> tuple[float, float] | None:
    gap = pace.get("gap")
    if gap is None:
        return None
    if len(gap) != 2 or not all(type(end) in (int, float) for end in gap) or not 0 <= gap[0] <= gap[1]:  # noqa: PLR2004 - least and most
        words = "gap needs the least and the most seconds between two messages"
        check.refuse("gap", words, hint="gap = [2, 8]")
    return float(gap[0]), float(gap[1])


def _share(text: str, check: TomlFile) -> float:
    match = re.fullmatch(r"\s*(\d{1,2}|100)\s*%\s*", text)
    if not match or not int(match[1]):
        check.refuse("stop_when_failed", f"{text} is no share of the rows", hint='stop_when_failed = "10%"')
    return int(match[1]) / 100


def _rest(given: str, check: TomlFile) -> float:
    """Return for how many seconds nobody is to be mailed again."""
    unit = given.strip()[-1:].isalpha()
    seconds = check.duration("not_twice_within", given)
    if not unit or not 0 < seconds <= LONGEST_REST:
        check.refuse(
            "not_twice_within",
            f"not_twice_within is {given}: it is a number of days, up to {LONGEST_REST / 86400:.0f}",
            hint='not_twice_within = "7d"',
        )
    return seconds


def _find(folder: Path, names: tuple[str, ...], what: str, check: TomlFile) -> str:
    found = [name for name in names if (folder / name).is_file()]
    if len(found) != 1:
        check.refuse(what, f"{what} = is missing", hint=f'{what} = "{found[0] if found else names[0]}"')
    return found[0]


def _alike(name: str, folder: Path) -> str:
    """Return the name of a file in a folder that was perhaps meant; empty where none is like it."""
    here = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    return next(iter(get_close_matches(name, here, 1, 0.5)), "")


def _shown(folder: Path) -> str:
    return "this folder" if folder.resolve() == Path.cwd() else str(folder)
