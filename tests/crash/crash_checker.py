"""The judge: what servers took for good, held against what the journal says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from merge.model import Record, State


def violations(
    accepted: Iterable[tuple[str, str]],
    records: Sequence[Record],
    *,
    keys: Collection[str],
    let_go: Iterable[str] = (),
    in_doubt: int | None = None,
) -> list[str]:
    """Return what contradicts the promise, one sentence each; empty when all is well.

    `accepted` are the (Message-ID, recipient) pairs of every message that a server took, in order. `keys`
    are the rows of the list, which are their recipients too. `let_go` are those that the person let go
    again while they were uncertain, as often as that was; `in_doubt` is the number of messages in flight
    at all breaks together.
    """
    taken = list(accepted)
    again = Counter(let_go)
    found = []
    found += [
        f"accepted {number} times: {recipient} {message_id}"
        for (message_id, recipient), number in Counter(taken).items()
        if number > 1 + again[recipient]
    ]
    ids: dict[str, set[str]] = {}
    for message_id, recipient in taken:
        ids.setdefault(recipient, set()).add(message_id)
    found += [
        f"several Message-IDs for {recipient}" for recipient, several in ids.items() if len(several) > 1
    ]
    for record in records:
        if record.state is State.SENT and record.key not in ids:
            found.append(f"sent, but never accepted: {record.key}")
        if record.key in ids and record.state not in (State.SENT, State.UNCERTAIN):
            found.append(f"accepted, but {record.state}: {record.key}")
        if record.key in ids and record.message_id not in ids[record.key]:
            found.append(f"another Message-ID on record than was accepted: {record.key}")
    if sorted(record.key for record in records) != sorted(keys):
        found.append("the rows on record are not those of the list")
    found += [f"accepted, but not in the list: {recipient}" for recipient in ids.keys() - set(keys)]
    uncertain = sum(record.state is State.UNCERTAIN for record in records)
    if in_doubt is not None and uncertain > in_doubt:
        found.append(f"{uncertain} uncertain rows, but only {in_doubt} were in flight at a break")
    return found
