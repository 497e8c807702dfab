"""Which parts does a campaign need? The only room that knows them all."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TypeAlias

from merge import wayout
from merge.account import (
    AccountSettings,
    BounceSettings,
    OAuthSettings,
    PaceSettings,
    accounts_path,
    read_account,
)
from merge.account.oauth import Client, Token
from merge.account.secret import Password, keyring_service
from merge.account.vault import FileVault, KeyringVault, Vault, token_file
from merge.carrier import Carrier, Veto, nothing_against
from merge.clock import Clock
from merge.compose import Composer
from merge.config import Settings
from merge.consent import CONSENT_COLUMN
from merge.dkim import DkimSigner
from merge.errors import AddressError, ConfigError
from merge.group import Grouped
from merge.journal import Journal, Ledger
from merge.journey import Parts
from merge.model import Delivery, Envelope, Letter
from merge.names import resolve
from merge.pace import Pace
from merge.rehearsal import OnlyTo
from merge.retry import Retry
from merge.sandbox import HOST, sandbox
from merge.smtp.meaning import NOOP, QUIT, RSET
from merge.smtp.session import Account, Greeting, Session
from merge.smtp.steps import Deadlines
from merge.suppression import SUPPRESSED_FILE, Suppression
from merge.table import ListOptions, Table, read_table
from merge.template import Choice, choose, read_template
from merge.template.branches import Branches
from merge.unsubscribe import Tokens, personal

Secret: TypeAlias = Password | Token | None
"""What an account logs in with."""

_TOKEN_HINTS = dict.fromkeys(
    ("535", "534", "550"),
    "The token is not accepted for this user. Sign in as exactly that user: mergepost doctor --login\n"
    "Sending by SMTP must be allowed for the mailbox, and the client must have asked for its scope.",
)

JOURNAL_FILE = "journal.db"
LEDGER_FILE = "ledger.db"
SANDBOX_FOLDER = "sandbox"

_MAY_NAME_ITS_SENDER = re.compile(r"^from\s*:|\{%-?\s*(?:include|extends)\b", re.IGNORECASE | re.MULTILINE)
"""Finds the header, or the files in which it may stand."""


def parts(settings: Settings, people: object = None) -> Parts:
    """Open the list and the letter; `people` are rows from a program, in place of the list.

    Raises ListError, LetterError or ConfigError.
    """
    template = read_template(settings.letter, files=settings.files, given=settings.given)
    if not settings.sender and not _MAY_NAME_ITS_SENDER.search(template.source):
        raise ConfigError(
            f"neither campaign.toml nor {settings.letter_name} says who the letter is from",
            hint='write into campaign.toml: from = "Your Name <you@example.org>"\n'
            "or at the top of the letter: From: Your Name <you@example.org>",
        )
    try:
        composer = Composer(
            template,
            folder=settings.folder,
            sender=settings.sender,
            inline_css=settings.inline_css,
            unsubscribe=settings.unsubscribe.targets if settings.unsubscribe else (),
            own=(settings.list, settings.letter, settings.folder / settings.results),
        )
    except AddressError as error:
        settings.file.refuse("from", f"from is no address: {error.message}", hint=error.hint)
    table = table_of(settings, people)
    for name in settings.given:
        if name in resolve(table.columns.names).columns:
            settings.file.refuse(
                "unsubscribe",
                f"the list has a column {name} of its own, so [unsubscribe] is not clear",
                hint="take one of the two away",
            )
    condition = choose(settings.where) if settings.where else None
    return Parts(
        table=table,
        rows=_grouped(table, settings, condition) if settings.group_by else table,
        template=template,
        composer=composer,
        list_name=settings.list_name,
        condition=condition,
        duplicates=settings.duplicates,
        branches=partial(Branches, settings.letter, files=settings.files, given=settings.given),
        dkim=dkim_signer(settings),
        suppression=Suppression(*suppression_files(settings)),
        consent=_consent_column(table, settings),
        unfit=unfit(settings),
    )


def suppression_files(settings: Settings) -> tuple[Path, Path]:
    """Return where people stand who want no mail: the file of the person, and that of the campaign."""
    return accounts_path().with_name(SUPPRESSED_FILE), settings.folder / SUPPRESSED_FILE


def table_of(settings: Settings, people: object = None) -> Table:
    """Open the list, or `people` in its place. Raises ListError, ConfigError."""
    options = ListOptions(
        email=settings.email_column,
        id=settings.id_column,
        sheet=settings.sheet,
        header_row=settings.header_row,
        encoding=settings.encoding,
        delimiter=settings.delimiter,
    )
    return read_table(settings.list if people is None else people, options, name=settings.list_name)


def _consent_column(table: Table, settings: Settings) -> str:
    """Return the column that says who agreed; empty where there is none."""
    columns = table.columns
    if settings.consent_column:
        return _column(table, settings, settings.consent_column, "consent")
    found = [name for name in columns.names if name.strip().casefold() == CONSENT_COLUMN]
    if len(found) > 1:
        settings.file.refuse(
            "consent", f"the list has {len(found)} columns {found[0]}", hint="rename all but one of them"
        )
    return found[0] if found else ""


def dkim_signer(settings: Settings) -> DkimSigner | None:
    """Return who signs the letters: as the campaign says, else its account; None where neither does."""
    if settings.dkim:
        return DkimSigner(settings.dkim)
    try:
        way = account(settings, needed=False)
    except ConfigError:
        return None  # an account that cannot be followed is told where it is needed
    return DkimSigner(way.dkim) if way and way.dkim else None


def _grouped(table: Table, settings: Settings, chosen: Choice | None) -> Grouped:
    """Group rows by a column, by any of its names; "email" is the address, whatever its column is called."""
    return Grouped(table, _column(table, settings, settings.group_by, "group_by"), chosen)


def _column(table: Table, settings: Settings, wanted: str, key: str) -> str:
    """Return the column that a setting names, by any of its names. Raises ConfigError."""
    columns = table.columns
    name = wanted
    if name not in columns.names:
        name = resolve(columns.names).columns.get(name, columns.email if name == "email" else "")
    if not name:
        found = get_close_matches(wanted, columns.names, 1, 0.5)
        columns_there = f"columns in {settings.list_name}: {', '.join(columns.names)}"
        settings.file.refuse(
            key,
            f"no column {wanted} to group by" if key == "group_by" else f"no column {wanted}, for {key}",
            hint=f"did you mean {found[0]}?" if found else columns_there,
        )
    if columns.names.count(name) > 1:
        settings.file.refuse(
            key, f"the list has {columns.names.count(name)} columns {name}", hint="rename the others"
        )
    return name


def account(settings: Settings, *, needed: bool) -> AccountSettings | None:
    """Return the campaign's account. Raises ConfigError when there is none and it is `needed`."""
    found = read_account(settings.account, settings.file)
    if found is None and needed:
        raise ConfigError(
            "the campaign does not say through which mail server to send",
            hint='add to campaign.toml:\n  [account]\n  provider = "gmail"\n  user = "you@gmail.com"\n'
            "or try it out first: mergepost send --sandbox",
        )
    if found is None:
        return None
    if found.kind == "api" and settings.dkim:
        settings.file.refuse(
            "dkim",
            "a signature cannot go by a web API: the provider writes the message, and signs it itself",
            hint="leave [dkim] out for this account, or send by the provider's mail server",
        )
    if found.kind == "api" and settings.bounces and settings.bounces.return_path:
        settings.file.refuse(
            "return_path",
            "a return_path cannot go by a web API: bounces come back to the provider, who shows them",
            hint="leave return_path out for this account, or send by the provider's mail server",
        )
    if needed:
        wayout.check(found)
    return wayout.located(found, settings.folder)


def unfit(settings: Settings) -> Callable[[Delivery], str] | None:
    """Return what says why a letter cannot go by the campaign's account; None where any can."""
    try:
        way = account(settings, needed=False)
    except ConfigError:
        return None  # an account that cannot be followed is told where it is needed
    return partial(wayout.unfit, way) if way and wayout.is_particular(way) else None


def sandbox_account(port: int) -> AccountSettings:
    """Return the account of the embedded server."""
    return AccountSettings("sandbox", HOST, port, "none")


def session(  # noqa: PLR0913 - all but three are named
    way: AccountSettings,
    journal: Journal,
    clock: Clock,
    *,
    ask: Callable[[str], str] | None,
    tell: Callable[[str], None],
    veto: Veto = nothing_against,
) -> Carrier:
    """Return the carrier of an account, not yet connected. `ask` asks the person for a password.

    `veto` says why a delivery must not go after all.

    Raises CarrierError where a folder that it writes to cannot be used.
    """
    if way.kind != "smtp":
        return wayout.carrier(
            way,
            password(way, ask),
            clock,
            tell=tell,
            before_commit=journal.committing,
            before_commits=journal.committing_all,
            veto=veto,
        )
    return Session(
        target(way, secret(way, clock, ask)),
        before_commit=journal.committing,
        before_commits=journal.committing_all,
        veto=veto,
        clock=clock,
        tell=tell,
    )


def rehearsal(
    way: AccountSettings,
    address: str,
    clock: Clock,
    *,
    ask: Callable[[str], str] | None,
    tell: Callable[[str], None],
) -> OnlyTo:
    """Return a carrier that leads to one address and writes to no journal. Raises as `session`."""
    if way.kind != "smtp":
        return OnlyTo(address, wayout.carrier(way, password(way, ask), clock, tell=tell))
    return OnlyTo(address, Session(target(way, password(way, ask)), clock=clock, tell=tell))


def password(
    way: AccountSettings, ask: Callable[[str], str] | None, *, anew: bool = False
) -> Password | None:
    """Return the password of an account, not looked up yet; None where there is no login."""
    return Password(way.secret, host=way.host, user=way.user, ask=ask, anew=anew) if way.user else None


def client(way: AccountSettings, settings: OAuthSettings) -> Client:
    """Return this program as the account's identity server knows it."""
    reference = settings.client_secret
    return Client(
        id=settings.client_id,
        token=settings.token,
        scope=settings.scope,
        user=way.user,
        authorize=settings.authorize,
        device=settings.device,
        secret=Password(reference, host=way.host, user=settings.client_id) if reference else None,
        ask=settings.ask,
        redirect=settings.redirect,
    )


def vault(way: AccountSettings, settings: OAuthSettings) -> Vault:
    """Return where the account's token is kept between runs."""
    if settings.keep == "keyring":
        return KeyringVault(f"{keyring_service(way.host)} token", way.user)
    return FileVault(token_file(way.user, settings.client_id, settings.token))


def secret(
    way: AccountSettings, clock: Clock, ask: Callable[[str], str] | None, *, anew: bool = False
) -> Secret:
    """Return what an account logs in with, nothing looked up yet; None where there is no login."""
    if way.oauth and way.user:
        return Token(client(way, way.oauth), vault(way, way.oauth), clock)
    return password(way, ask, anew=anew)


def target(way: AccountSettings, secret: Secret) -> Account:
    """Return an account as the SMTP wing knows it; without a secret there is no login."""
    known = way.profile.hints if way.profile else {}
    token = secret if isinstance(secret, Token) else None
    return Account(
        host=way.host,
        port=way.port,
        security=way.security,
        user=way.user if secret else "",
        password=secret if isinstance(secret, Password) else None,
        token=token,
        ca_file=way.ca_file,
        # Without a limit that anyone knows of, the session learns it from the server, if there is one.
        per_connection=way.per_connection or 0,
        pipelining=way.pipelining,
        window=way.window,
        login_hints=_TOKEN_HINTS if token else known,
    )


def probe(way: AccountSettings, secret: Secret, clock: Clock, *, seconds: float = 10.0) -> Greeting:
    """Connect, log in where there is a secret, take leave; return what the server says. Sends nothing.

    A connection may take so many `seconds`, a login four times as many. Raises CarrierError, and
    ConfigError where the secret cannot be had.
    """
    quick = dict.fromkeys((RSET, NOOP, QUIT), seconds / 2)
    short = Deadlines(connect=seconds, handshake=seconds, opening=seconds * 4, replies=quick)
    session = Session(target(way, secret), clock=clock, deadlines=short)
    try:
        return session.probe()
    finally:
        session.close()


def tokens(settings: Settings) -> Tokens | None:
    """Return what signs the links to unsubscribe; None without [unsubscribe]. Raises ConfigError."""
    if not settings.unsubscribe:
        return None
    found = Password(settings.unsubscribe.secret, host="", user="unsubscribe")
    try:
        return Tokens(found())
    except ConfigError as error:
        raise ConfigError(f"the secret of [unsubscribe]: {error.message}", hint=error.hint) from None


def finishing(settings: Settings, way: AccountSettings | None) -> Callable[[Letter], Letter]:
    """Return what puts into a letter that which only a real sending may know. Raises ConfigError."""
    signs = tokens(settings)
    returned = returning(settings, way)
    return lambda letter: personal(returned(letter), signs) if signs else returned(letter)


def returning(settings: Settings, way: AccountSettings | None) -> Callable[[Letter], Letter]:
    """Return what says of a letter where its bounces go."""
    back = settings.bounces or (way.bounces if way else None)
    return lambda letter: returns_to(letter, back) if back else letter


def returns_to(letter: Letter, back: BounceSettings) -> Letter:
    """Return a letter whose bounces go where the campaign wants them (RFC 5321, 4.4).

    With verp the address has the letter's own mark behind a plus (RFC 5233): that of its Message-ID, the same
    on every attempt, which nobody knows but we and those who got the letter.
    """
    if not back.return_path:
        return letter
    local, _, domain = back.return_path.rpartition("@")
    mark = letter.message_id.strip("<>").partition("@")[0]
    sender = f"{local}+{mark}@{domain}" if back.verp else back.return_path
    return replace(letter, envelope=Envelope(sender, letter.envelope.recipients))


def pace(settings: PaceSettings | None) -> Pace:
    """Return the limits that hold for a run."""
    limits = settings or PaceSettings()
    return Pace(limits.per_second, limits.per_minute, limits.per_hour, limits.per_day, gap=limits.gap)


def ledger(way: AccountSettings, clock: Clock) -> Ledger:
    """Open the record of what an account sent lately. Raises JournalError."""
    path = accounts_path().with_name(LEDGER_FILE)
    return Ledger.open(path, account=f"{way.user}@{way.host}".lower(), clock=clock)


def retry(settings: Settings) -> Retry:
    """Return how rows with a 4xx reply are tried again."""
    asked = settings.retry
    return Retry(attempts=asked.attempts, first=asked.first, max_age=asked.max_age)


@contextmanager
def passing_journal(settings: Settings, clock: Clock) -> Iterator[Journal]:
    """Open a journal that is gone when it is closed: for checks, which leave no trace."""
    with (
        tempfile.TemporaryDirectory(prefix="mergepost-") as folder,
        Journal.open(Path(folder) / JOURNAL_FILE, edition=settings.edition, clock=clock) as journal,
    ):
        yield journal


@contextmanager
def embedded_server(settings: Settings) -> Iterator[AccountSettings]:
    """Run the sandbox of a campaign; letters land in its folder `sandbox`."""
    with sandbox(settings.folder / SANDBOX_FOLDER) as port:
        yield sandbox_account(port)
