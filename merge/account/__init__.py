"""Through which server, and as whom?

providers   the mail services that are known, as providers.toml describes them
shape       what an account is, once it is read
ways        the ways out that are no mail server: a web API, a program, a folder
settings    accounts.toml, the environment, and what is known of the provider
secret      where a password comes from
mailbox     where bounces go to, and how they are read
oauth       a token instead of one: had, kept fresh (signin: asked of the person; vault: kept between runs)
"""

from merge.account.mailbox import BounceSettings, ImapSettings, bounces_from_table
from merge.account.settings import (
    PACE_KEYS,
    account_from_table,
    accounts_path,
    is_loopback,
    read_account,
)
from merge.account.shape import AccountSettings, Kind, OAuthSettings, PaceSettings

__all__ = [
    "PACE_KEYS",
    "AccountSettings",
    "BounceSettings",
    "ImapSettings",
    "Kind",
    "OAuthSettings",
    "PaceSettings",
    "account_from_table",
    "accounts_path",
    "bounces_from_table",
    "is_loopback",
    "read_account",
]
