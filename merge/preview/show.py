"""How does the preview come into the browser? One server, for as long as the person looks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import uvicorn

from merge.errors import UsageError
from merge.preview.book import Open
from merge.preview.live import Desk
from merge.preview.server import HOST, Gate, application, new_token

_FAREWELL = 1
"""Seconds that open connections are given when the preview ends."""


def show(
    open_campaign: Open,
    *,
    port: int = 0,
    folders: Iterable[Path] = (),
    ready: Callable[[str, str], None],
) -> None:
    """Serve the preview on this machine until it is interrupted.

    `ready` is given two addresses when the page can be opened: one to show, and one that works only once,
    for a browser's command line. `port` 0 is a free one. `folders` are watched while the campaign cannot
    be opened; what is wrong with it is told on the page. Raises UsageError when the port is taken, and
    KeyboardInterrupt when the person ends it.
    """
    asyncio.run(_show(open_campaign, port, folders, ready))


async def _show(
    open_campaign: Open, port: int, folders: Iterable[Path], ready: Callable[[str, str], None]
) -> None:
    desk = Desk(open_campaign, folders)
    token = new_token()
    gate = application(desk, token)

    def started(at: int) -> None:
        gate.hosts = frozenset({f"{HOST}:{at}"})
        address = f"http://{HOST}:{at}"
        ready(f"{address}/{token}/", f"{address}{gate.door}")

    watching = asyncio.create_task(_follow(desk))
    try:
        await _Server(gate, port, started, desk.close).serve()
    finally:
        desk.close()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _follow(desk: Desk) -> None:
    await desk.load()
    await desk.watch()


class _Server(uvicorn.Server):
    """A server that says when it is there, and lets those who listen go before it ends."""

    def __init__(
        self, app: Gate, port: int, started: Callable[[int], None], closing: Callable[[], None]
    ) -> None:
        logging.getLogger("uvicorn").addHandler(logging.NullHandler())
        logging.getLogger("uvicorn").propagate = False
        super().__init__(
            uvicorn.Config(
                app,
                host=HOST,
                port=port,
                lifespan="off",
                ws="none",
                http="h11",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=_FAREWELL,
            )
        )
        self._told_started = started
        self._told_closing = closing

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Listen, and tell at which port."""
        try:
            await super().startup(sockets)
        except SystemExit:
            port = self.config.port
            raise UsageError(f"port {port} is in use", hint="leave --port out: a free one is found") from None
        self._told_started(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Let the event streams end, then close."""
        self._told_closing()
        await super().shutdown(sockets)
