"""Through which server, and as whom?

providers   the mail services that are known, as providers.toml describes them
settings    accounts.toml, the environment, and what is known of the provider
secret      where a password comes from
oauth       a token instead of one: had, kept fresh (signin: asked of the person; vault: kept between runs)
"""

from merge.account.settings import (
    PACE_KEYS,
    AccountSettings,
    OAuthSettings,
    PaceSettings,
    account_from_table,
    accounts_path,
    is_loopback,
    read_account,
)

__all__ = [
    "PACE_KEYS",
    "AccountSettings",
    "OAuthSettings",
    "PaceSettings",
    "account_from_table",
    "accounts_path",
    "is_loopback",
    "read_account",
]
