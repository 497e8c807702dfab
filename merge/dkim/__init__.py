"""Who vouches for this message?

settings    a signature as the person asks for it: whose domain, which selector, which key
key         the private key: read, judged, never shown; and the record that goes with it
signature   the DKIM-Signature of a finished message (RFC 6376)
"""

from merge.dkim.settings import DkimSettings, dkim_from_table
from merge.dkim.signature import DkimSigner

__all__ = ["DkimSettings", "DkimSigner", "dkim_from_table"]
