"""The Python face as its users type it: checked by mypy in strict mode, never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from email.message import EmailMessage
from pathlib import Path
from typing import assert_type

import merge
from merge import Campaign, MergeError, Problem, State, Summary
from merge.model import Letter, Record

campaign = Campaign.load("spring-news")
assert_type(campaign, merge.Campaign)
assert_type(Campaign.load(), Campaign)
assert_type(Campaign.load(Path("people.csv"), "letter.md"), Campaign)
assert_type(campaign.name, str)
assert_type(campaign.check(), list[Problem])
assert_type(campaign.messages(), Iterator[EmailMessage])
assert_type(campaign.messages(range(2, 9)), Iterator[EmailMessage])
assert_type(campaign.letters(), Iterator[Letter])
assert_type(campaign.records(troubled=True), Iterator[Record])

summary = campaign.send(confirm=400, limit=400, rows=range(2, 500), uncertain="skip", skip_invalid=True)
assert_type(summary, Summary)
assert_type(summary.states, Mapping[State, int])
assert_type(summary.tried, int)
assert_type(summary.exit_code, int)
assert_type(summary.results, Path | None)
assert_type(campaign.send(dry_run=True).proposal.tries, int)

try:
    campaign.send(sandbox=True, retry_failed=True, expect="7f3a-9c")
except MergeError as error:
    assert_type(error.message, str)
    assert_type(error.hint, str)
    assert_type(error.exit_code, int)
    assert_type(error.problems, tuple[Problem, ...])
    assert_type(error.problems[0].row, int | None)
