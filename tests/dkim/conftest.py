"""The interop servers are those of the SMTP tests, the name server is that of the accounts'."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "smtp"), str(TESTS / "accounts")]
