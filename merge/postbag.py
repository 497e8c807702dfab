"""How is the mailbox of a campaign looked into? Its place, its login, its journal, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from merge import assemble, report
from merge.account import AccountSettings, BounceSettings, ImapSettings
from merge.account.secret import Password, SecretReference
from merge.bounces.finding import find
from merge.bounces.mailbox import Letterbox, Maildir, Mbox
from merge.bounces.visit import Person, Visit, settle
from merge.check import row_key
from merge.clock import Clock
from merge.config import Settings
from merge.errors import AddressError, ConfigError, MergeError, UsageError
from merge.journal import Journal
from merge.model import Recipient, Record
from merge.sheet import write_sheet
from merge.suppression import SUPPRESSED_FILE

_RESULTS = "results.csv"
_HINT = (
    "name one: --maildir DIR, --mbox FILE, or in campaign.toml\n"
    '  [bounces]\n  imap = "imap.club.example"\n  user = "bounces@club.example"'
)


@dataclass(frozen=True, slots=True)
class Where:
    """Where to look, as the command says it; without any of these it is as [bounces] says."""

    maildir: Path | None = None
    mbox: Path | None = None
    imap: bool = False


def look(  # noqa: PLR0913 - all but the first three are named
    settings: Settings,
    clock: Clock,
    where: Where,
    *,
    person: Person,
    dry_run: bool,
    ask: Callable[[str], str] | None,
) -> Visit:
    """Look through the mailbox, and do what follows from it; with `dry_run` only look.

    `ask` asks the person for a password. Raises ConfigError, UsageError, CarrierError, JournalError,
    ListError, ApprovalError, or LockedError while a run goes on.
    """
    path = settings.folder / assemble.JOURNAL_FILE
    tokens = assemble.tokens(settings)
    with ExitStack() as stack:
        journal = None
        if dry_run:
            view = Journal.look(path, edition=settings.edition)
        elif path.exists():
            view = journal = Journal.open(path, edition=settings.edition, clock=clock)
        else:
            view = None
        if view is not None:
            stack.enter_context(view)
        bounces = view.bounces if view is not None else None
        since = bounces.first_sending() if bounces else None
        letterbox = stack.enter_context(closing(_letterbox(settings, clock, where, since, ask)))
        finding = find(letterbox, bounces, tokens, clock.now())
        if dry_run:
            person.show(finding)
            return Visit(finding)
        not_renewed = ""
        try:
            visit = settle(finding, journal, settings.folder / SUPPRESSED_FILE, letterbox, person)
        finally:
            if journal is not None and any(journal.counts().values()):
                report.write_results(journal.records(), settings.folder / _RESULTS)
                not_renewed = _renew_sheet(settings, journal)
        return replace(visit, not_renewed=not_renewed)


def _renew_sheet(settings: Settings, journal: Journal) -> str:
    """Write what came back beside the rows of the person's own sheet, too; return why not, where that is so.

    The list may have been edited since the last run, and then nobody knows any more which row is whose.
    """
    if settings.results == _RESULTS:
        return ""
    try:
        table = assemble.table_of(settings)
        if not all(_is_of(record, row) for record, row in zip_longest(journal.records(), table)):
            why = f"{settings.list_name} was changed since the last mergepost send, which renews it"
            return f"{settings.results} is as it was: {why}. {_RESULTS} has what came back."
        layout = table.layout
        write_sheet(
            journal.records(),
            settings.list,
            settings.folder / settings.results,
            header_row=layout.header_row,
            sheet=layout.sheet or None,
            encoding=layout.encoding,
            delimiter=layout.delimiter,
        )
    except MergeError as error:
        return f"{settings.results} is as it was: {error.message}. {_RESULTS} has what came back."
    return ""


def _is_of(record: Record | None, row: Recipient | None) -> bool:
    if record is None or row is None or record.row != row.row:
        return False
    try:
        return record.key in (row_key(row), row.address)
    except AddressError:
        return record.key == row.address


def _letterbox(
    settings: Settings, clock: Clock, where: Where, since: float | None, ask: Callable[[str], str] | None
) -> Letterbox:
    if sum((where.maildir is not None, where.mbox is not None, where.imap)) > 1:
        raise UsageError("--maildir, --mbox and --imap: only one at a time")
    if where.maildir is not None:
        return Maildir(where.maildir)
    if where.mbox is not None:
        return Mbox(where.mbox)
    way = _account(settings)
    back = settings.bounces or (way.bounces if way else None) or BounceSettings()
    if back.maildir and not where.imap:
        return Maildir(back.maildir)
    if back.mbox and not where.imap:
        return Mbox(back.mbox)
    if back.imap is None:
        what = "[bounces] names no imap server" if where.imap else "it is not said where bounces are"
        raise ConfigError(what, hint=_HINT)
    return _imap(back.imap, way, clock, since, ask)


def _imap(
    settings: ImapSettings,
    way: AccountSettings | None,
    clock: Clock,
    since: float | None,
    ask: Callable[[str], str] | None,
) -> Letterbox:
    """Log in with a password of its own, else with what the account has: its token, its password."""
    from merge.bounces.imap import Imap  # noqa: PLC0415 - rarely needed

    user = settings.user or (way.user if way else "")
    if not user:
        raise ConfigError("[bounces] needs a user for imap", hint='user = "bounces@club.example"')
    settings = replace(settings, user=user)
    if settings.secret is None and way and way.oauth and user == way.user:
        token = assemble.secret(way, clock, ask)
        assert token is not None  # noqa: S101 - there is a user
        return Imap(settings, token, clock, oauth=True, since=since)
    shared = way.secret if way and user == way.user else SecretReference()
    password = Password(settings.secret or shared, host=settings.host, user=user, ask=ask)
    return Imap(settings, password, clock, since=since)


def _account(settings: Settings) -> AccountSettings | None:
    try:
        found = assemble.account(settings, needed=False)
    except ConfigError:
        if settings.bounces is None:
            raise
        return None
    return found if isinstance(found, AccountSettings) else None
