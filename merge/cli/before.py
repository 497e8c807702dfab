"""What comes before a sending: a new campaign, the check, the preview, the test letters."""

from __future__ import annotations

import json
import os
import shlex
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from merge.cli.options import NoColor, NoInput, Paths, Quiet, Rows, campaign_of, rows_of
from merge.cli.screen import screen
from merge.errors import MergeError, UsageError

if TYPE_CHECKING:
    from merge.check import Findings
    from merge.config import Settings


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where; the current folder if left out.")
    ] = Path(),
    letter: Annotated[
        str | None,
        typer.Option(
            "--letter", metavar="NAME", help="The starter letter to begin with: announcement, if left out."
        ),
    ] = None,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Start a campaign.

    It begins with a starter letter, or with the files of mailmerge where the folder has them.
    """
    from merge.starter import make  # noqa: PLC0415 - keeps --help quick

    with screen(quiet=quiet, no_color=no_color) as console:
        made = make(folder, letter)
        console.talk([f"Made {', '.join(made)} in {folder}."])
        place = "" if folder.resolve() == Path.cwd() else f" {folder}"
        if made == ["campaign.toml"]:
            console.talk(
                ["The list and the letter are those that were there.", f"Next     mergepost check{place}"]
            )
        else:
            console.talk(
                ["Next     put your own people and words in, then:", f"         mergepost check{place}"]
            )


def check(
    paths: Paths = None,
    form: Annotated[
        Literal["text", "json", "github"], typer.Option("--format", help="How to list the problems.")
    ] = "text",
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """List every problem of list, letter and files; send nothing."""
    with screen(quiet=quiet, no_color=no_color, paths=paths) as console:
        from merge import screens  # noqa: PLC0415 - keeps --help quick

        def tell(found: Findings, settings: Settings | None) -> None:
            if form == "json":
                console.data(json.dumps(screens.checked_json(found), ensure_ascii=False, indent=2))
            elif form == "github":
                list_name = settings.list_name if settings else ""
                for line in screens.checked_github(found, partial(_place, settings, paths), list_name):
                    console.data(line)
            elif settings:
                for line in screens.checked(found, settings.list_name, settings.letter_name):
                    console.data(console.placed(line))

        settings = None
        try:
            campaign = campaign_of(paths)
            settings = campaign.settings
            found = campaign.findings()
        except MergeError as error:
            if form != "text":
                tell(screens.refused(error, settings.list_name if settings else ""), settings)
            raise
        tell(found, settings)
        raise typer.Exit(1 if found.errors else 0)


def _place(settings: Settings | None, paths: list[Path] | None, file: str) -> str:
    """Return the path of a file that a problem names, from the current folder on where it lies below."""
    if settings is None:
        path = Path(*(paths or ())[:1]) / file
    else:
        own = {settings.list_name: settings.list, settings.letter_name: settings.letter}
        path = own.get(file, settings.folder / file)
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve would follow links
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def preview(
    paths: Paths = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="One page for who approves; no browser.")
    ] = None,
    eml: Annotated[
        Path | None, typer.Option("--eml", metavar="DIR", help="Each letter as an .eml file.")
    ] = None,
    mbox: Annotated[
        Path | None, typer.Option("--mbox", metavar="FILE", help="All letters for a mail program.")
    ] = None,
    rows: Rows = "",
    all_rows: Annotated[
        bool, typer.Option("--all-rows", help="With --out: every row, addresses unmasked.")
    ] = False,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, metavar="N", help="Where to listen; a free one if 0.")
    ] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address; open no browser.")] = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Show the letters as they would arrive; send nothing."""
    from merge import showing  # noqa: PLC0415 - keeps --help quick
    from merge.config import reads_once  # noqa: PLC0415 - likewise

    with screen(quiet=quiet, no_color=no_color, paths=paths) as console:
        files = showing.Files(out, eml, mbox, rows_of(rows), all_rows)
        if files.any:
            showing.in_files(console, campaign_of(paths), files)
        elif rows or all_rows:
            raise UsageError("--rows and --all-rows are for --out, --eml and --mbox")
        elif paths and reads_once(paths[0]):
            raise UsageError(
                "a list from a pipe can be read only once, and a live preview reads it at every change",
                hint="name a file for the letters: --out look.html",
            )
        else:
            showing.in_browser(console, lambda: campaign_of(paths), port, browser=not no_open)


def rehearse(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where the test letters go: yours.")],
    paths: Paths = None,
    no_input: NoInput = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Send one letter of each kind to ADDRESS and to nobody else.

    At most five letters go out, of the most frequent kinds. They can reach nobody on the list.
    """
    with screen(quiet=quiet, no_color=no_color, paths=paths) as console:
        from merge import screens  # noqa: PLC0415 - keeps --help quick
        from merge.console import Conversation  # noqa: PLC0415 - likewise

        console.standing = "Nobody on the list got anything."
        if address.count("@") != 1:
            raise UsageError(
                f"{address} is not one address",
                hint="say first where the test letters go: mergepost test you@example.org "
                + shlex.join([*([] if "@" in address else [address]), *map(str, paths or ())]),
            )
        campaign = campaign_of(paths)
        conversation = Conversation(
            console, confirm=None, ask_nothing=no_input, progress="none", sandbox=False
        )
        try:
            rehearsal = campaign.test(address, conversation)
        except KeyboardInterrupt:
            console.insist(["", f"Stopped. Test letters may have gone to {address}, and to nobody else."])
            raise typer.Exit(128 + signal.SIGINT) from None
        console.talk(screens.rehearsed(rehearsal, console.clock.now()))
        raise typer.Exit(rehearsal.exit_code)
