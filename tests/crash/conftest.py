"""The number of processes to kill: `pytest tests/crash --kills 3000`."""

from __future__ import annotations

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", default="", help="how many processes the crash tests kill (300)")


def pytest_configure(config: pytest.Config) -> None:
    if kills := config.getoption("--kills", ""):
        os.environ["MERGEPOST_CRASH_KILLS"] = kills
