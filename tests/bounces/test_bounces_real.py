"""Real servers, made to bounce, here and now: what they report is understood."""

from __future__ import annotations

import pytest
from bounces_kit import NOW, sent
from bouncing import EXPECTED, REFUSALS, SERVERS, bounced
from test_bounces_corpus import Pile

from merge.bounces.finding import find
from merge.journal import Journal


@pytest.mark.parametrize("server", SERVERS)
def test_what_a_real_server_reports_is_understood(server, tmp_path):
    reports = bounced(server)
    assert set(reports) == set(REFUSALS)
    folder = sent(tmp_path / "c", [f"{local}@x.example" for local in REFUSALS])
    view = Journal.look(folder / "journal.db", edition="1")
    assert view is not None
    with view:
        for local, (kind, code) in EXPECTED.items():
            (match,) = find(Pile(reports[local]), view.bounces, None, NOW).fresh
            assert (match.recipient, match.kind, match.certain) == (f"{local}@x.example", kind, True)
            assert match.code == (code or "5.0.0")
