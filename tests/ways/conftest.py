"""Fixtures for the ways out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from ways_kit import Desk, open_desk


@pytest.fixture(params=["sendgrid", "mailjet"])
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def desks() -> Iterator[Any]:
    """Opens desks; at the end every call that they took must have been as the vendor's schema says."""
    with ExitStack() as stack:
        opened = []

        def opening(vendor: str, **more: Any) -> Desk:
            desk = stack.enter_context(open_desk(Desk(vendor, **more)))
            opened.append(desk)
            return desk

        yield opening
        assert not [flaw for desk in opened for flaw in desk.flaws]
