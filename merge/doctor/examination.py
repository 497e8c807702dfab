"""How does an examination go? Account, server, login, sender: looked at, nothing sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from email.utils import parseaddr
from pathlib import Path

from merge import assemble, fit
from merge.account import (
    AccountSettings,
    OAuthSettings,
    PaceSettings,
    accounts_path,
    is_loopback,
    read_account,
    signin,
)
from merge.account.providers import Security, domain_of
from merge.account.secret import PROMPT, Password, keyring_usable
from merge.campaign import Campaign
from merge.clock import Clock
from merge.config import CAMPAIGN_FILE, pace_of
from merge.dkim import DkimSigner
from merge.doctor import authenticity, elsewhere, signature
from merge.doctor.dns import Dns
from merge.errors import CarrierError, ConfigError, ContentError, MergeError
from merge.finding import Finding
from merge.fit import Sending
from merge.model import Letter
from merge.smtp.session import Greeting
from merge.toml import TomlFile
from merge.words import count, duration

_ELSEWHERE_SECONDS = 3.0
_UNREACHED = (
    "Check host and port, whether the server runs, and whether this network lets mail out:"
    " many block some ports."
)
_TO_THE_WORLD = ("api", "program")
"""The ways out other than SMTP by which letters reach people."""

_USUAL_PORTS: dict[int, Security] = {465: "tls", 587: "starttls", 2525: "starttls", 25: "starttls"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What an examination is asked for besides. `dns` None asks no name server.

    `dkim` signs the letters, where anybody does; `return_path` is where their bounces go, where that is not
    the address they are from.
    """

    dns: Dns | None = None
    selectors: tuple[str, ...] = ()
    login: bool = False
    dkim: DkimSigner | None = None
    return_path: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Who can be asked. `ask` reads a secret, `agree` takes a yes or no; None where nobody is there.

    `show` is given an address to open in a browser, and the code to type there, if one is needed.
    """

    ask: Callable[[str], str] | None = None
    agree: Callable[[str], bool] | None = None
    tell: Callable[[str], None] = lambda _: None
    show: Callable[[str, str], None] = lambda *_: None


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found. `greeting` is the server's; `seconds` is what this list will about take.

    `dkim` signs the letters; its key can be read.
    """

    account: AccountSettings
    findings: tuple[Finding, ...]
    sending: Sending | None = None
    greeting: Greeting | None = None
    seconds: float | None = None
    exit_code: int = 0
    dkim: DkimSigner | None = None


def visit(
    paths: Sequence[Path], account: str, clock: Clock, *, wish: Wish = Wish(), person: Person = Person()
) -> Examination:
    """Examine a campaign with its account, or an account alone; `account` names another one.

    Raises ConfigError, UsageError where there is nothing that could be examined.
    """
    campaign, way = find(paths, account)
    sending, remarks = describe(campaign) if campaign else (None, [])
    if sending is None:
        sender = parseaddr(campaign.settings.sender)[1] if campaign else ""
        sender = sender or (way.user if "@" in way.user else "")
        sending = Sending(sender, rows=0) if sender else None
    dkim = (campaign.settings.dkim if campaign else None) or way.dkim
    back = (campaign.settings.bounces if campaign else None) or way.bounces
    wish = replace(
        wish, dkim=DkimSigner(dkim) if dkim else None, return_path=back.return_path if back else ""
    )
    found = examine(way, clock=clock, sending=sending, pace=pace_for(campaign, way), wish=wish, person=person)
    return replace(found, findings=(*remarks, *found.findings))


def find(paths: Sequence[Path], account: str = "") -> tuple[Campaign | None, AccountSettings]:
    """Find what is to be examined: the campaign, if there is one, and its account or the one that is named.

    Raises ConfigError, UsageError.
    """
    campaign = Campaign.load(*paths) if paths or Path(CAMPAIGN_FILE).is_file() else None
    if campaign and not account:
        way = assemble.account(campaign.settings, needed=True)
    else:
        way = read_account(account or None, TomlFile(CAMPAIGN_FILE))
    if way is None:
        raise ConfigError(
            "there is no campaign here, and no account to look at",
            hint=f'name a campaign folder, or write {accounts_path()}:\n  [work]\n  provider = "gmail"\n'
            '  user = "you@gmail.com"',
        )
    return campaign, way


def describe(campaign: Campaign) -> tuple[Sending | None, list[Finding]]:
    """Return what a campaign is to send; what cannot be read of it is a finding."""
    try:
        letters = campaign.letters()
        first = next(letters, None)
        letters.close()  # type: ignore[attr-defined] # a generator in fact
        rows = sum(1 for _ in campaign.parts.table)
    except ContentError as error:
        return None, [Finding("note", "campaign", f"list or letter: {error.message}", "mergepost check")]
    if first is None:
        return None, [Finding("note", "campaign", "no row can be sent", "mergepost check")]
    return _sending(first, rows), []


def examine(  # noqa: PLR0913 - the account, what it is for, and who is there
    way: AccountSettings,
    *,
    clock: Clock,
    sending: Sending | None = None,
    pace: PaceSettings | None = None,
    wish: Wish = Wish(),
    person: Person = Person(),
) -> Examination:
    """Look at an account and its server, log in, and look at the sender; send nothing.

    Raises nothing for what is wrong with them: that is in the findings and the exit code.
    """
    findings = [*fit.of_account(way, sending), *_too_fast(way, pace)]
    if way.kind != "smtp":
        code = _other_way(way, sending, wish, person, findings)
        wish, code = _vouched(way, wish, findings, code)
        if sending is not None and way.kind in _TO_THE_WORLD:
            findings += [*fit.of_from(way, sending), *_sender(way, sending, wish)]
        return Examination(way, tuple(findings), sending, exit_code=code, dkim=wish.dkim)
    greeting: Greeting | None = None
    seconds: float | None = None
    code = 0
    try:
        greeting = assemble.probe(way, None, clock)
        findings += fit.of_line(way, greeting, clock.now())
    except MergeError as error:
        code = error.exit_code
        findings.append(_failed("connection", error, _UNREACHED))
        findings += _elsewhere(way, clock, person)
    if greeting is not None:
        try:
            greeting = _log_in(way, greeting, clock, wish, person, findings)
        except MergeError as error:
            code = error.exit_code
            findings.append(_failed("login", error))
        findings += fit.of_abilities(greeting, sending)
        if sending is not None and sending.rows:
            seconds = fit.expected(sending.rows, greeting, pace)
            words = f"sending {count(sending.rows, 'letter')} takes about {duration(max(1.0, seconds))}"
            findings.append(Finding("note", "time", words))
    wish, code = _vouched(way, wish, findings, code)
    if sending is not None:
        findings += fit.of_from(way, sending)
        findings += _sender(way, sending, wish)
    return Examination(way, tuple(findings), sending, greeting, seconds, code, wish.dkim)


def _too_fast(way: AccountSettings, pace: PaceSettings | None) -> list[Finding]:
    beyond = fit.beyond(pace, way.profile) if pace and way.profile else []
    return [Finding("warning", "limits", words) for words in beyond]


def _other_way(
    way: AccountSettings,
    sending: Sending | None,
    wish: Wish,
    person: Person,
    findings: list[Finding],
) -> int:
    """Look at a way out that is no mail server; return the exit code."""
    try:
        if way.kind == "api":
            secret = assemble.password(way, person.ask, anew=wish.login)
            findings.append(elsewhere.knocked(way, secret, sending.sender if sending else ""))
            if secret is not None:
                _keep(secret, person, findings)
        elif way.kind == "program":
            findings += elsewhere.of_program(way)
        else:
            findings.append(elsewhere.of_folder(way))
    except MergeError as error:
        findings.append(_failed("login" if way.kind == "api" else "account", error))
        return error.exit_code
    return 0


def pace_for(campaign: Campaign | None, way: AccountSettings) -> PaceSettings | None:
    """Return the limits under which a campaign would be sent through an account."""
    return pace_of(campaign.settings, way) if campaign else way.pace


def _sending(letter: Letter, rows: int) -> Sending:
    texts = len((letter.text or "").encode()) + len((letter.html or "").encode())
    files = sum(len(file.content) * 4 // 3 for file in letter.attachments)
    headers = {name.lower() for name, _ in letter.headers}
    sender = letter.mailboxes.get("from", ())
    return Sending(
        sender=sender[0].address if sender else letter.envelope.sender,
        rows=rows,
        recipients=len(letter.envelope.recipients),
        size=texts + files + sum(len(name) + len(value) + 4 for name, value in letter.headers),
        one_click="list-unsubscribe-post" in headers,
    )


def _vouched(way: AccountSettings, wish: Wish, findings: list[Finding], code: int) -> tuple[Wish, int]:
    """Look at the key that letters are signed with; one that cannot be used is an error, and is left out."""
    if wish.dkim:
        findings += fit.of_signature(way)
        try:
            wish.dkim.key()
        except ConfigError as error:
            findings.append(_failed("dkim", error))
            return replace(wish, dkim=None), code or error.exit_code
    return wish, code


def _failed(topic: str, error: MergeError, hint: str = "") -> Finding:
    return Finding("error", topic, error.message, error.hint or hint)


def _log_in(  # noqa: PLR0913, PLR0917 - what a login takes, and where its story goes
    way: AccountSettings,
    greeting: Greeting,
    clock: Clock,
    wish: Wish,
    person: Person,
    findings: list[Finding],
) -> Greeting:
    """Log in where there is a login, and return what the server then says. Raises as `probe`."""
    if not way.user:
        if "AUTH" in greeting.extensions and not is_loopback(way.host):
            findings.append(
                Finding(
                    "note", "login", "the server offers a login, the account has none", 'user = "..."'
                )
            )  # fmt: skip
        return greeting
    if way.oauth and wish.login:
        _sign_in(way, way.oauth, clock, person)
        findings.append(Finding("ok", "login", f"signed in; the token of {way.user} is kept"))
    secret = assemble.secret(way, clock, person.ask, anew=wish.login)
    try:
        greeting = assemble.probe(way, secret, clock)
    except CarrierError as error:
        if not isinstance(secret, Password) or not secret.source:
            raise
        hint = f"{error.hint}\nThe password came from {secret.described()}.".strip()
        raise CarrierError(error.message, hint=hint) from None
    findings.append(Finding("ok", "login", f"logged in as {way.user} ({greeting.mechanism})"))
    if isinstance(secret, Password):
        _keep(secret, person, findings)
    return greeting


def _sign_in(way: AccountSettings, settings: OAuthSettings, clock: Clock, person: Person) -> None:
    """Have the person sign in, and keep the token. Raises ConfigError, CarrierError."""
    client = assemble.client(way, settings)
    how = signin.in_browser if settings.flow == "browser" else signin.on_a_device
    token = how(client, clock, person.show)
    assemble.vault(way, settings).save(token)


def _keep(secret: Password, person: Person, findings: list[Finding]) -> None:
    """Offer to keep a password that was typed and is right."""
    if secret.source != PROMPT:
        return
    if not keyring_usable():
        findings.append(
            Finding(
                "note", "login", "the password is asked for each time: there is no keyring to keep it",
                'pip install "mergepost[keyring]", or give the account a password_command',
            )
        )  # fmt: skip
        return
    if person.agree is not None and person.agree("Keep the password in this computer's keyring? [y/N] "):
        try:
            secret.keep()
        except ConfigError as error:
            findings.append(Finding("warning", "login", error.message))
        else:
            findings.append(Finding("ok", "login", "the password is in the keyring now"))


def _elsewhere(way: AccountSettings, clock: Clock, person: Person) -> Iterator[Finding]:
    """Knock at the other ports where mail is taken, without a login, so that the right one can be named."""
    if is_loopback(way.host):
        return
    known = way.profile
    others = {known.port: known.security, **known.other_ports} if known else _USUAL_PORTS
    for port, security in others.items():
        if (port, security) == (way.port, way.security):
            continue
        person.tell(f"Trying {way.host}:{port} ...")
        try:
            other = replace(way, port=port, security=security)
            assemble.probe(other, None, clock, seconds=_ELSEWHERE_SECONDS)
        except MergeError:
            continue
        yield Finding(
            "note", "connection", f"{way.host} answers at port {port}",
            f'port = {port}\nsecurity = "{security}"',
        )  # fmt: skip
        return


def _sender(way: AccountSettings, sending: Sending, wish: Wish) -> list[Finding]:
    known = way.profile
    if known and known.catches:
        return [Finding("note", "sender", f"{known.title} keeps every letter: nothing reaches the people")]
    domain = domain_of(sending.sender)
    findings, counts = signature.examine(wish.dkim, domain, wish.dns) if wish.dkim else ([], None)
    sender = authenticity.Sender(
        domain=domain,
        host="" if way.kind == "program" else way.host,
        provider=known,
        selectors=wish.selectors,
        rows=sending.rows,
        one_click=sending.one_click,
        signature=counts,
        return_path=domain_of(wish.return_path),
    )
    return [*findings, *authenticity.examine(sender, wish.dns)]
