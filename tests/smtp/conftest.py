"""What every SMTP test may use."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
import trustme

sys.path.insert(0, str(Path(__file__).parent))


LONGEST = 20
"""Seconds that a test of one fault may take, ten times what it needs: whatever waits for ever fails."""


@pytest.fixture(autouse=True)
def in_time(request):
    """Fail a test of a fault that would wait for ever, where the system has a timer for it."""
    if not request.path.name.startswith("test_faults_") or not hasattr(signal, "setitimer"):
        yield
        return

    def too_long(*_: object) -> None:
        raise AssertionError(f"it is still waiting after {LONGEST} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def trusted(authority, tmp_path):
    """The path of a file with the certificate of the tests' authority."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)
