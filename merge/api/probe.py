"""Does the key open this API? Asked by a call that sends nothing."""

from __future__ import annotations

from merge.api.call import Calls, Deadlines, Stage
from merge.api.session import ApiAccount, Vendor, authorization
from merge.errors import CarrierError

_SECONDS = 20.0


def probe(account: ApiAccount, vendor: Vendor, sender: str) -> str:
    """Return in words what the provider says to this key, for letters from `sender` if there is one.

    Raises CarrierError where it cannot be reached or says no, ConfigError where the key cannot be had.
    """
    calls = Calls(
        account.base,
        authorization(account, vendor),
        width=1,
        ca_file=account.ca_file,
        deadlines=Deadlines(connect=_SECONDS / 2, call=_SECONDS),
    )
    try:
        call = calls.start(*vendor.look(sender))
        while True:
            for _, stage in calls.news(_SECONDS):
                if stage is Stage.READY:
                    calls.release(call)
                elif call.answer is None:
                    hint = "Check the network, and base_url and ca_file if the account has them."
                    raise CarrierError(f"{vendor.title} {call.failure}", hint=hint)
                else:
                    return vendor.welcome(call.answer)
    finally:
        calls.close()
