"""What was typed? Parse, call one function, print, exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from merge.errors import CarrierError, MergeError, UsageError

if TYPE_CHECKING:
    from merge.campaign import Campaign
    from merge.console import Console

app = typer.Typer(
    name="mergepost",
    help="A spreadsheet and a letter become personal e-mail: checked first, sent once, on record.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_UNEXPECTED = 70
_ON_RECORD = "What was sent is on record: mergepost status"
_ROWS = re.compile(r"(\d+)(?:-(\d+)?)?")

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[CAMPAIGN | LIST LETTER]", help="A campaign folder, or a list and a letter."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors and what was asked for.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours (NO_COLOR does the same).")]
Rows = Annotated[str, typer.Option("--rows", metavar="10-20", help="Only these rows of the sheet.")]


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


@contextmanager
def _screen(*, quiet: bool, no_color: bool) -> Iterator[Console]:
    """Give a command its console, and turn whatever it raises into a screen and an exit code."""
    from merge.clock import WallClock  # noqa: PLC0415 - keeps --help quick
    from merge.console import Console  # noqa: PLC0415 - likewise
    from merge.interrupt import StoppedNow  # noqa: PLC0415 - likewise

    console = Console(WallClock(), quiet=quiet, no_color=no_color)
    try:
        yield console
    except MergeError as error:
        console.error(error)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        console.insist(["", f"Stopped. {console.standing}"])
        raise typer.Exit(128 + signal.SIGINT) from None
    except StoppedNow as stopped:
        console.insist(["", "Stopped at once. What was in flight is uncertain: mergepost status"])
        raise typer.Exit(stopped.exit_code) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if os.environ.get("MERGEPOST_TRACEBACK"):
            raise
        if isinstance(error, OSError) and error.filename:
            console.error(CarrierError(f"{error.filename}: {error.strerror}"))
            raise typer.Exit(CarrierError.exit_code) from None
        console.insist(
            [
                f"error: mergepost has a fault: {type(error).__name__}",
                f"  {_ON_RECORD}",
                "  To report it, run again with MERGEPOST_TRACEBACK=1; remove private data from the output.",
            ]
        )
        raise typer.Exit(_UNEXPECTED) from None


@app.callback(invoke_without_command=True)
def welcome(context: typer.Context) -> None:
    """Show where a campaign stands, or how to begin."""
    if context.invoked_subcommand:
        return
    if Path("campaign.toml").is_file():
        status()
    sys.stdout.write(_BEGIN)
    raise typer.Exit


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where; the current folder if left out.")
    ] = Path(),
    letter: Annotated[
        str, typer.Option("--letter", help="The starter letter to begin with.")
    ] = "announcement",
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Start a campaign from a starter letter."""
    from merge.starter import make  # noqa: PLC0415 - keeps --help quick

    with _screen(quiet=quiet, no_color=no_color) as console:
        made = make(folder, letter)
        console.talk([f"Made {', '.join(made)} in {folder}."])
        place = "" if folder.resolve() == Path.cwd() else f" {folder}"
        console.talk(["Next     put your own people and words in, then:", f"         mergepost check{place}"])


@app.command()
def check(
    paths: Paths = None,
    form: Annotated[
        Literal["text", "json", "github"], typer.Option("--format", help="How to list the problems.")
    ] = "text",
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """List every problem with list, letter and attachments; send nothing."""
    with _screen(quiet=quiet, no_color=no_color) as console:
        from merge import screens  # noqa: PLC0415 - keeps --help quick

        campaign = _campaign(paths)
        found = campaign.findings()
        settings = campaign.settings
        match form:
            case "text":
                for line in screens.checked(found, settings.list_name, settings.letter_name):
                    console.data(line)
            case "json":
                console.data(json.dumps(screens.checked_json(found), ensure_ascii=False, indent=2))
            case "github":
                for line in screens.checked_github(found):
                    console.data(line)
        raise typer.Exit(1 if found.errors else 0)


@app.command()
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

    with _screen(quiet=quiet, no_color=no_color) as console:
        files = showing.Files(out, eml, mbox, _rows(rows), all_rows)
        if files.any:
            showing.in_files(console, _campaign(paths), files)
        elif rows or all_rows:
            raise UsageError("--rows and --all-rows are for --out, --eml and --mbox")
        else:
            showing.in_browser(console, lambda: _campaign(paths), port, browser=not no_open)


@app.command("test")
def rehearse(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where the test letters go: yours.")],
    paths: Paths = None,
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing.")] = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Send one of each kind of letter, at most five, to ADDRESS and to nobody else."""
    with _screen(quiet=quiet, no_color=no_color) as console:
        from merge import screens  # noqa: PLC0415 - keeps --help quick
        from merge.console import Conversation  # noqa: PLC0415 - likewise

        console.standing = "Nobody on the list got anything."
        campaign = _campaign(paths)
        conversation = Conversation(
            console, confirm=None, ask_nothing=no_input, progress="none", sandbox=False
        )
        try:
            rehearsal = campaign.test(address, conversation)
        except KeyboardInterrupt:
            console.insist(["", f"Stopped. Test letters may have gone to {address}, and to nobody else."])
            raise typer.Exit(128 + signal.SIGINT) from None
        console.talk(screens.rehearsed(rehearsal))
        raise typer.Exit(rehearsal.exit_code)


@app.command()
def send(
    paths: Paths = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; connect to nothing.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, metavar="N", help="Try at most N messages in this run.")
    ] = None,
    rows: Rows = "",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed rows again.")] = False,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Leave invalid rows out.")] = False,
    uncertain: Annotated[
        Literal["skip", "again"] | None,
        typer.Option("--uncertain", help="What becomes of rows that a server may have accepted."),
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option("--confirm", metavar="N", help="The number in the plan: send without asking."),
    ] = None,
    expect: Annotated[
        str, typer.Option("--expect", metavar="FINGERPRINT", help="Send only these very letters.")
    ] = "",
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Try it out: an embedded server, letters land in sandbox/.")
    ] = False,
    first: Annotated[
        int | None, typer.Option("--first", min=1, metavar="N", help="Ask again after the first N messages.")
    ] = None,
    stay: Annotated[
        bool, typer.Option("--wait", help="Stay for the pace and for deferred rows, however long.")
    ] = False,
    to_sent_with: Annotated[
        str,
        typer.Option(
            "--to-sent-with", metavar="FINGERPRINT", help="A correction: only to those who got that version."
        ),
    ] = "",
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing.")] = False,
    progress: Annotated[
        Literal["bar", "plain", "none"], typer.Option("--progress", help="How to show progress.")
    ] = "bar",
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Check, show the plan, ask, send, sum up. Run again to go on where it stopped."""
    with _screen(quiet=quiet, no_color=no_color) as console:
        from merge import screens  # noqa: PLC0415 - keeps --help quick
        from merge.console import Conversation  # noqa: PLC0415 - likewise

        campaign = _campaign(paths)
        conversation = Conversation(
            console,
            confirm=confirm,
            ask_nothing=no_input,
            progress="none" if quiet else progress,
            sandbox=sandbox,
            dry_run=dry_run,
        )
        try:
            summary = campaign.send(
                dry_run=dry_run,
                limit=limit,
                rows=_rows(rows),
                retry_failed=retry_failed,
                skip_invalid=skip_invalid,
                uncertain=uncertain,
                expect=expect,
                sandbox=sandbox,
                first=first,
                stay=stay,
                to_sent_with=to_sent_with,
                talk=conversation,
            )
        finally:
            conversation.done()
        if dry_run:
            console.data(screens.would_send(summary))
            raise typer.Exit
        console.standing = _ON_RECORD
        if summary.ending and summary.ending.stopped:
            console.error(summary.ending.stopped)
        if summary.unwritten:
            console.error(summary.unwritten)
        console.talk(screens.sent(summary, campaign.settings, sandbox=sandbox, now=console.clock.now()))
        raise typer.Exit(summary.exit_code)


@app.command()
def status(
    paths: Paths = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Every row, as in results.csv.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only rows that need a look.")] = False,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Remove names and addresses of a finished edition; keep the counts."),
    ] = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Tell what happened, and what to do next."""
    with _screen(quiet=quiet, no_color=no_color) as console:
        from merge import report, screens  # noqa: PLC0415 - keeps --help quick

        campaign = _campaign(paths)
        if forget:
            number = campaign.forget()
            console.talk([f"Forgot who the {number:,} people were. The counts stay."])
        elif as_json:
            console.data(json.dumps(campaign.status(), ensure_ascii=False, indent=2))
        elif as_csv:
            console.data(report.as_text(campaign.records(troubled=failed)))
        else:
            now = console.clock.now()
            troubles = list(campaign.records(troubled=True))
            lines = screens.status(campaign.status(), troubles, campaign.settings.list_name, now, full=failed)
            console.data("\n".join(lines))
        raise typer.Exit


@app.command()
def doctor(
    paths: Paths = None,
    account: Annotated[
        str, typer.Option("--account", metavar="NAME", help="This account, not the campaign's.")
    ] = "",
    login: Annotated[
        bool, typer.Option("--login", help="Sign in anew: type the password again, or OAuth in the browser.")
    ] = False,
    resolver: Annotated[
        str, typer.Option("--resolver", metavar="ADDRESS", help="Ask this name server about the sender.")
    ] = "",
    selector: Annotated[
        list[str] | None, typer.Option("--selector", metavar="NAME", help="A DKIM selector of the sender.")
    ] = None,
    no_dns: Annotated[bool, typer.Option("--no-dns", help="Ask no name server about the sender.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing.")] = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Look at account, server, login and sender before it is tried; send nothing."""
    import webbrowser  # noqa: PLC0415 - keeps --help quick

    from merge.doctor import diagnosis  # noqa: PLC0415 - likewise
    from merge.doctor.dns import Resolver  # noqa: PLC0415 - likewise
    from merge.doctor.examination import Person, Wish, visit  # noqa: PLC0415 - likewise

    with _screen(quiet=quiet, no_color=no_color) as console:

        def show(address: str, code: str) -> None:
            console.insist(diagnosis.invitation(address, code))
            if not code:
                webbrowser.open(address)

        dns = None if no_dns else Resolver(resolver)
        wish = Wish(dns, tuple(selector or ()), login)
        asks = console.can_ask and not no_input
        person = Person(
            ask=console.secret if asks else None,
            agree=console.agrees if asks else None,
            tell=lambda words: console.talk([words]),
            show=show,
        )
        found = visit(paths or (), account, console.clock, wish=wish, person=person)
        if as_json:
            console.data(json.dumps(diagnosis.as_json(found), ensure_ascii=False, indent=2))
        else:
            console.data("\n".join(diagnosis.lines(found)))
        raise typer.Exit(found.exit_code)


def _campaign(paths: list[Path] | None) -> Campaign:
    from merge.campaign import Campaign  # noqa: PLC0415 - keeps --help quick

    if paths and len(paths) > 2:  # noqa: PLR2004 - a list and a letter
        raise UsageError("name a campaign folder, or a list and a letter", hint="nothing more")
    return Campaign.load(*(paths or ()))


def _rows(text: str) -> range | None:
    if not text:
        return None
    match = _ROWS.fullmatch(text.strip())
    first = int(match[1]) if match else 0
    last = int(match[2] or sys.maxsize) if match and "-" in text else first
    if not match or last < first or first < 1:
        raise UsageError(
            f"--rows {text} is no range of rows", hint="write --rows 10-20, --rows 17 or --rows 10-"
        )
    return range(first, last + 1)


_BEGIN = """\
mergepost: a spreadsheet and a letter become personal e-mail.

  mergepost init club-news                 a new campaign from a starter letter
  mergepost check people.csv letter.md     what is wrong, before anything is sent
  mergepost preview club-news              the letters in your browser, live
  mergepost send club-news --sandbox       try it out: nothing leaves this machine
  mergepost send club-news                 check, plan, your yes, send; run again to go on

mergepost COMMAND --help tells more.
"""
