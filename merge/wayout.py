"""Which carrier belongs to an account that is no mail server, and can it carry this letter?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from merge.account import AccountSettings
from merge.carrier import Carrier, Veto, nothing_against
from merge.clock import Clock
from merge.errors import ConfigError
from merge.model import Delivery
from merge.program import Program, beyond_headers, found, reads_recipients

if TYPE_CHECKING:
    from merge.api.session import ApiAccount, Vendor


def located(way: AccountSettings, folder: Path) -> AccountSettings:
    """Return an account whose path, where it has one, is taken from `folder` unless it is absolute."""
    return replace(way, path=str(folder / way.path), host=str(folder / way.path)) if way.path else way


def check(way: AccountSettings) -> None:
    """Raise ConfigError where it is plain before anything else that nothing can go this way."""
    if way.kind == "program":
        found(way.command)
    if way.kind == "api" and find_spec("httpx") is None:
        raise ConfigError(
            "sending by a web API needs the library httpx, which is not installed",
            hint='pip install "mergepost[api]"',
        )


def carrier(  # noqa: PLR0913 - the account, its key, and who hears of what
    way: AccountSettings,
    secret: Callable[[], str] | None,
    clock: Clock,
    *,
    tell: Callable[[str], None],
    before_commit: Callable[[Delivery], None] | None = None,
    before_commits: Callable[[Sequence[Delivery]], None] | None = None,
    veto: Veto = nothing_against,
) -> Carrier:
    """Return the carrier of an account of any kind but "smtp".

    The hooks are those of a carrier (merge.carrier); only a web API needs the `veto`. Raises ConfigError or
    CarrierError where a program or a folder cannot be used.
    """
    if way.kind == "api":
        from merge.api.session import ApiSession  # noqa: PLC0415 - others need no web API

        return ApiSession(
            api_account(way, secret),
            vendor(way),
            clock=clock,
            tell=tell,
            before_commit=before_commit,
            before_commits=before_commits,
            veto=veto,
        )
    if way.kind == "program":
        return Program(way.command, before_commit)
    from merge.folders import Folder, Maildir, Mbox  # noqa: PLC0415 - likewise

    path = Path(way.path)
    if way.kind == "mbox":
        return Mbox(path, clock, before_commit)
    return Maildir(path, before_commit) if way.kind == "maildir" else Folder(path, before_commit)


def asks_veto(way: AccountSettings) -> bool:
    """Whether the carrier of an account asks its veto itself, at the last moment (merge.carrier, rule 4)."""
    return way.kind in {"smtp", "api"}


def is_particular(way: AccountSettings) -> bool:
    """Whether there are letters that cannot go this way."""
    return way.kind == "api" or (way.kind == "program" and reads_recipients(way.command))


def unfit(way: AccountSettings, delivery: Delivery) -> str:
    """Say why a letter cannot go this way; empty where it can, and always for a mail server."""
    if way.kind == "api":
        from merge.api.parts import Unsayable, parts_of  # noqa: PLC0415 - others need no web API

        try:
            vendor(way).letter(parts_of(delivery))
        except Unsayable as error:
            return error.message
    if way.kind == "program" and reads_recipients(way.command):
        return beyond_headers(delivery)
    return ""


def vendor(way: AccountSettings) -> Vendor:
    """Return the web API that an account means."""
    from merge.api.mailjet import Mailjet  # noqa: PLC0415 - others need no web API
    from merge.api.sendgrid import SendGrid  # noqa: PLC0415 - likewise

    known: dict[str, Vendor] = {"sendgrid-api": SendGrid(), "mailjet-api": Mailjet()}
    return known[way.provider]


def api_account(way: AccountSettings, secret: Callable[[], str] | None) -> ApiAccount:
    """Return an account as the API wing knows it. Raises ConfigError where there is no key."""
    from merge.api.session import ApiAccount  # noqa: PLC0415 - others need no web API

    if secret is None:
        raise ConfigError(f"the account has no user, but {way.host} wants a key")
    return ApiAccount(
        base=way.base_url,
        user=way.user,
        secret=secret,
        window=way.window,
        per_call=way.per_call,
        ca_file=way.ca_file,
    )
