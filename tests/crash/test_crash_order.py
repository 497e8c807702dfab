"""Through the real session: first the sync of `committing`, then the bytes that may get a letter taken."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from crash_disk import Disk, library
from crash_run import campaign
from crash_server import Server
from test_crash_kill import send

from merge.smtp.wire import Wire

pytestmark = pytest.mark.skipif(
    library() is None, reason="this Python has SQLite built in, beyond the reach of a VFS"
)

MESSAGE_ID = re.compile(rb"^Message-ID: (<\S+>)", re.MULTILINE | re.IGNORECASE)
KEYS = [
    f"{kind}{row}.order@x.example"
    for row, kind in enumerate(("fine", "gray", "late", "spam", "gone", "fine"))
]


@pytest.mark.parametrize("window", [0, 3])
def test_a_sync_stands_before_every_end_of_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    (tmp_path / "order").write_text("none 0 none 0 0")
    folder = tmp_path / "campaign"
    folder.mkdir()
    with Disk(folder) as disk, Server(tmp_path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        written = Wire.send

        def send_and_mark(self: Wire, data: Any) -> int:
            count = written(self, data)
            disk.mark("wire", bytes(data[:count]))
            return count

        monkeypatch.setattr(Wire, "send", send_and_mark)
        send(folder / "journal.db", KEYS, server.server_address[1], None, window)
        server.shutdown()

    ended: set[bytes] = set()
    written_to_disk, on_disk, said = b"", b"", b""
    for op in disk.log:
        if op.name.endswith("-wal"):
            if op.kind == "write":
                written_to_disk += op.data
            elif op.kind == "sync":
                on_disk, written_to_disk = on_disk + written_to_disk, b""
        elif op.kind == "mark" and op.data[0] == "wire":
            said += op.data[1]
            if b"BDAT" in op.data[1] or b"\r\n.\r\n" in b"\r\n" + op.data[1]:
                # The journal learns a row's Message-ID when the row becomes `committing`, and not before.
                of_messages = set(MESSAGE_ID.findall(said))
                assert not [one for one in of_messages if one not in on_disk]
                ended |= of_messages
                said = b""
    assert len(ended) >= len(KEYS) - 1  # one is refused, at RCPT


@pytest.mark.parametrize(("window", "most"), [(1, 1.0), (5, 0.2)])
def test_a_message_costs_one_sync_and_a_window_one_too(tmp_path: Path, window: int, most: float) -> None:
    keys = [f"k{number}@x.example" for number in range(100)]
    with Disk(tmp_path) as disk:
        campaign(tmp_path / "journal.db", keys, {}, mark=disk.mark, window=window)
    marks = [number for number, op in enumerate(disk.log) if op.kind == "mark" and op.data[0] == "dot"]
    sending = disk.log[marks[0] : marks[-1]]
    syncs = sum(op.kind == "sync" and op.name.endswith("-wal") for op in sending)
    checkpoints = sum(op.kind == "sync" and op.name == "journal.db" for op in sending)
    assert syncs <= most * len(keys) + 2 * checkpoints
    assert checkpoints <= 2
