"""What does a new campaign look like? A starter letter, its list, and a campaign.toml to edit."""

from __future__ import annotations

import shutil
from difflib import get_close_matches
from pathlib import Path

from merge import mailmerge
from merge.errors import UsageError

FIRST_LETTER = "announcement"
"""The starter letter where none is named."""

STARTER_ADDRESS = "you@example.org"
"""The sender of a campaign that nobody has touched yet."""

_IGNORED = """\
# personal data and keys: not for a repository
journal.db*
results.csv
suppressed.csv.lock
sandbox/
*.pem
"""
_CAMPAIGN = """\
list = "{list}"
letter = "{letter}"
from = "Your Name <{sender}>"

# Through which server? Uncomment and fill in; see docs/how-to.md.
# [account]
# provider = "gmail"               # or: host = "smtp.example.org", port = 465, security = "tls"
# user = "you@example.org"         # the password is asked for, or: password_command = "pass show mail"

# [pace]
# per_minute = 20
"""


def make(folder: Path, letter: str | None = None) -> list[str]:
    """Make a campaign in a folder from a starter letter; return the names of the files written.

    A list or a letter that is there already is kept and used. Where no starter is named and the folder holds
    the files of awdeorio/mailmerge, the campaign is of those. Raises UsageError when the folder has a
    campaign, or when there is no such starter; ConfigError when mailmerge's server file cannot be followed.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="name a folder; it is made if it is not there")
    if letter is None and mailmerge.is_there(folder):
        _refuse_a_second(folder)
        text = mailmerge.campaign(folder, STARTER_ADDRESS)
        (folder / "campaign.toml").write_text(text, "utf-8")
        _ignore(folder)
        return ["campaign.toml"]
    letter = letter or FIRST_LETTER
    starters = {path.name: path for path in sorted(_templates().iterdir()) if path.is_dir()}
    if letter not in starters:
        found = get_close_matches(letter, starters, 1)
        raise UsageError(
            f"there is no starter letter {letter!r}",
            hint=f"did you mean {found[0]}?" if found else f"there are {', '.join(starters)}",
        )
    _refuse_a_second(folder)
    folder.mkdir(parents=True, exist_ok=True)
    starter = starters[letter]
    written = []
    for source in sorted(path for path in starter.rglob("*") if path.is_file()):
        target = folder / source.relative_to(starter)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            written.append(str(source.relative_to(starter)))
    if "campaign.toml" not in written:
        names = {path.name for path in starter.iterdir()}
        text = _CAMPAIGN.format(
            sender=STARTER_ADDRESS,
            list=next(name for name in sorted(names) if name.startswith("people.")),
            letter=next(name for name in sorted(names) if name.startswith("letter.")),
        )
        (folder / "campaign.toml").write_text(text, "utf-8")
        written.insert(0, "campaign.toml")
    _ignore(folder)
    return written


def _refuse_a_second(folder: Path) -> None:
    if (folder / "campaign.toml").exists():
        raise UsageError(f"{folder} has a campaign.toml already", hint="nothing was changed")


def _ignore(folder: Path) -> None:
    if not (folder / ".gitignore").exists():
        (folder / ".gitignore").write_text(_IGNORED, "utf-8")


def _templates() -> Path:
    """Where the starter letters are: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "templates"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "templates"
