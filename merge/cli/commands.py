"""Which commands are there? All of them, in the order in which a person needs them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from merge.cli.after import bounces
from merge.cli.before import check, init, preview, rehearse
from merge.cli.sending import send, status
from merge.cli.server import doctor

app = typer.Typer(
    name="mergepost",
    help="A spreadsheet and a letter become personal e-mail: checked first, sent once, on record.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_BEGIN = """\
mergepost: a spreadsheet and a letter become personal e-mail.

  mergepost init club-news                 a new campaign from a starter letter
  mergepost check people.csv letter.md     what is wrong, before anything is sent
  mergepost preview club-news              the letters in your browser, live
  mergepost send club-news --sandbox       try it out: nothing leaves this machine
  mergepost send club-news                 check, plan, your yes, send; run again to go on

mergepost COMMAND --help tells more.
"""


@app.callback(invoke_without_command=True)
def welcome(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Show where a campaign stands, or how to begin."""
    if version:
        from importlib import metadata  # noqa: PLC0415 - keeps --help quick

        try:
            number = metadata.version("mergepost")
        except metadata.PackageNotFoundError:
            number = "(not installed)"
        sys.stdout.write(f"mergepost {number}\n")
        raise typer.Exit
    if context.invoked_subcommand:
        return
    if Path("campaign.toml").is_file():
        status()
    sys.stdout.write(_BEGIN)
    raise typer.Exit


def main() -> NoReturn:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _terminated)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Closed by whoever started us, as some schedulers do; there is still somebody to write to.
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for good
    app()
    sys.exit(0)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    """End as a shell expects it: before and after a sending nothing is in flight."""
    del frame
    sys.exit(128 + number)


app.command()(init)
app.command()(check)
app.command()(preview)
app.command("test")(rehearse)
app.command()(send)
app.command()(status)
app.command()(bounces)
app.command()(doctor)
