"""The sending itself, and what became of it."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from merge.cli.options import AsJson, NoColor, NoInput, Paths, Quiet, Rows, campaign_of, rows_of
from merge.cli.screen import ON_RECORD, screen


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
    no_input: NoInput = False,
    progress: Annotated[
        Literal["bar", "plain", "none"], typer.Option("--progress", help="How to show progress.")
    ] = "bar",
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Check, show the plan, ask, send, sum up. Run again to go on where it stopped."""
    with screen(quiet=quiet, no_color=no_color, paths=paths) as console:
        from merge import screens  # noqa: PLC0415 - keeps --help quick
        from merge.console import Conversation  # noqa: PLC0415 - likewise

        campaign = campaign_of(paths)
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
                rows=rows_of(rows),
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
        console.standing = ON_RECORD
        if summary.ending and summary.ending.stopped:
            console.error(summary.ending.stopped)
        if summary.unwritten:
            console.error(summary.unwritten)
        console.talk(screens.sent(summary, campaign.settings, sandbox=sandbox, now=console.clock.now()))
        raise typer.Exit(summary.exit_code)


def status(
    paths: Paths = None,
    *,
    as_json: AsJson = False,
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
    with screen(quiet=quiet, no_color=no_color, paths=paths) as console:
        from merge import report, screens  # noqa: PLC0415 - keeps --help quick

        campaign = campaign_of(paths)
        if forget:
            number = campaign.forget()
            who = f"Forgot who the {number:,} people were. The counts stay."
            console.talk([who if number else "Nobody is on record here, so there is nobody to forget."])
        elif as_json:
            console.data(json.dumps(campaign.status(), ensure_ascii=False, indent=2))
        elif as_csv:
            console.data(report.as_text(campaign.records(troubled=failed)))
        else:
            now = console.clock.now()
            troubles = list(campaign.records(troubled=True))
            lines = screens.status(campaign.status(), troubles, campaign.settings.list_name, now, full=failed)
            console.data("\n".join(map(console.placed, lines)))
        raise typer.Exit
