"""What came back after the sending."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from merge.cli.options import AsJson, NoColor, NoInput, Paths, Quiet, campaign_of
from merge.cli.screen import screen

if TYPE_CHECKING:
    from merge.bounces.finding import Finding
    from merge.bounces.matching import Match
    from merge.console import Console


def bounces(
    paths: Paths = None,
    maildir: Annotated[
        Path | None, typer.Option("--maildir", metavar="DIR", help="The bounces are in this Maildir.")
    ] = None,
    mbox: Annotated[
        Path | None, typer.Option("--mbox", metavar="FILE", help="The bounces are in this mbox file.")
    ] = None,
    imap: Annotated[
        bool, typer.Option("--imap", help="The bounces are on the server that [bounces] names.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look; write nothing down.")] = False,
    confirm: Annotated[
        int | None,
        typer.Option("--confirm", metavar="N", help="The number in the plan: suppress without asking."),
    ] = None,
    confirm_by_address: Annotated[
        int | None,
        typer.Option(
            "--confirm-by-address", metavar="N", help="The number of those that nothing proves, likewise."
        ),
    ] = None,
    as_json: AsJson = False,
    no_input: NoInput = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Read what came back: bounces, complaints, goodbyes.

    Addresses that are dead are put on the list of those who get no mail, after your yes.
    """
    with screen(quiet=quiet, no_color=no_color, paths=paths) as console:
        from merge import screens  # noqa: PLC0415 - keeps --help quick
        from merge.bounces.finding import as_json as facts  # noqa: PLC0415 - likewise
        from merge.postbag import Where  # noqa: PLC0415 - likewise

        campaign = campaign_of(paths)
        asks = console.can_ask and not no_input
        visit = campaign.bounces(
            Where(maildir, mbox, imap),
            person=_Person(console, {True: confirm, False: confirm_by_address}, asks=asks, as_json=as_json),
            dry_run=dry_run,
            ask=console.secret if asks else None,
        )
        if as_json:
            console.data(json.dumps(facts(visit.finding, visit.suppressed), ensure_ascii=False, indent=2))
        console.talk(screens.settled(visit))


class _Person:
    """Shows on the console what was found, and asks there, unless the numbers were given."""

    def __init__(
        self, console: Console, numbers: dict[bool, int | None], *, asks: bool, as_json: bool
    ) -> None:
        self._console = console
        self._numbers = numbers
        self._asks = asks
        self._as_json = as_json

    def show(self, finding: Finding) -> None:
        """Print what was found: as data, unless that is to be JSON."""
        from merge import screens  # noqa: PLC0415 - keeps --help quick

        if not self._as_json:
            self._console.data("\n".join(screens.returned(finding)))

    def agree(self, matches: Sequence[Match], *, proven: bool) -> bool | None:
        """Take the number that was given, or ask for it."""
        from merge import screens  # noqa: PLC0415 - keeps --help quick
        from merge.bounces.visit import agreed  # noqa: PLC0415 - likewise

        number = self._numbers[proven]
        if number is not None or not self._asks:
            return agreed(matches, number, proven=proven)
        answer = self._console.question(screens.question(matches, proven=proven))
        return answer.replace(",", "") == str(len({match.recipient for match in matches}))
