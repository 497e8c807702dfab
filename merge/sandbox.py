"""Where can a sending be tried out? An SMTP server of our own on loopback; its mail lands in a folder."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merge.disk import write_whole

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session

HOST = "127.0.0.1"
SIZE_LIMIT = 50_000_000
_START_SECONDS = 10
_UNSAFE = re.compile(r"[^A-Za-z0-9.@_-]")


@contextmanager
def sandbox(folder: Path) -> Iterator[int]:
    """Run a server that accepts every message and writes it to `folder`; yields its port.

    It listens on 127.0.0.1 alone. Each message becomes NNNN-ADDRESS.eml, numbered in the order of
    acceptance, so that one who got two letters has two files. The 250 is given when the file is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    loop = asyncio.new_event_loop()
    started = threading.Event()
    servers: list[asyncio.Server] = []

    def serve() -> None:
        asyncio.set_event_loop(loop)
        servers.append(loop.run_until_complete(_listen(loop, folder)))
        started.set()
        loop.run_forever()
        servers[0].close()
        loop.run_until_complete(_end_all(loop))
        loop.close()

    thread = threading.Thread(target=serve, name="sandbox", daemon=True)
    thread.start()
    started.wait(_START_SECONDS)
    try:
        yield servers[0].sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_START_SECONDS)


async def _end_all(loop: asyncio.AbstractEventLoop) -> None:
    """End the sessions still open: a client that was killed never says QUIT."""
    sessions = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for session in sessions:
        session.cancel()
    await asyncio.gather(*sessions, return_exceptions=True)
    await asyncio.sleep(0)


async def _listen(loop: asyncio.AbstractEventLoop, folder: Path) -> asyncio.Server:
    from aiosmtpd.smtp import SMTP  # noqa: PLC0415 - only a sandbox needs a server

    handler = _Mailroom(folder)

    def protocol() -> SMTP:
        return SMTP(
            handler,
            data_size_limit=SIZE_LIMIT,
            enable_SMTPUTF8=True,
            hostname="sandbox.mergepost.invalid",
            ident="mergepost sandbox",
            loop=loop,
        )

    return await loop.create_server(protocol, HOST, 0)


class _Mailroom:
    """Takes whatever comes, and files it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = max((int(path.name.split("-")[0]) for path in folder.glob("[0-9]*-*.eml")), default=0)

    async def handle_EHLO(  # noqa: N802 - the server's own name and signature for this hook
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Offer PIPELINING: the server reads line by line, so it takes groups as they come."""
        del server, envelope
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - likewise
        """File one message; with several recipients it is still one file."""
        del server, session
        self._number += 1
        first = _UNSAFE.sub("_", str(envelope.rcpt_tos[0]))[:80]
        content: Any = envelope.original_content
        write_whole(self._folder / f"{self._number:04d}-{first}.eml", content)
        return f"250 2.0.0 kept as {self._number:04d}-{first}.eml"
