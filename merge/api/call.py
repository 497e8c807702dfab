"""How is a call made? One request with one deadline, and what came of it.

The calls live in a thread of their own, so that several are in the air while the next letters are written.
A call stops just before the last byte of its body and reports that it is READY: as long as that byte is
missing, no server has a request that it could accept. Only `release` lets it go.

Redirects are never followed: the key would go along. The proxy that the environment names is used for https,
where it sees nothing of the call; never for this computer's own addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from merge.account.providers import LOOPBACK
from merge.api.meaning import Answer
from merge.errors import ConfigError
from merge.smtp.wire import Security

if TYPE_CHECKING:
    import httpx

CAP: Final = 1024 * 1024
"""Bytes of an answer that are read; a longer one counts as none."""

_CHUNK = 64 * 1024
_LEAVE = 5.0
_LASTING = frozenset({"SSLCertVerificationError", "UnsupportedProtocol", "InvalidURL"})
_UNKNOWN_NAME = "gaierror"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for a connection, and for a whole call with it.

    A shorter wait for the answer would only make uncertain rows out of slow ones.
    """

    connect: float = 30.0
    call: float = 300.0


class Stage(Enum):
    """What is new of a call."""

    READY = "all is sent but the last byte"
    ENDED = "nothing more will come of it"


@dataclass(slots=True, eq=False)
class Call:
    """One call. When it has ended, it has an `answer`, or a `failure`: a predicate of the server.

    `lasting` says that another try cannot do better, `unknown` that the server's name is not known.
    """

    path: str
    body: bytes = field(repr=False)
    answer: Answer | None = None
    failure: str = ""
    lasting: bool = False
    unknown: bool = False
    abandoned: bool = False
    gate: asyncio.Future[bool] | None = field(default=None, repr=False)
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Calls:
    """The calls to one web API, at most `width` at a time. Their owner is one other thread.

    `base` is https://host[/path], or http:// on this computer. Raises ConfigError when the certificates or
    the proxy of the environment cannot be used.
    """

    def __init__(
        self,
        base: str,
        authorization: str,
        *,
        width: int,
        ca_file: str = "",
        deadlines: Deadlines | None = None,
    ) -> None:
        self._base = base.rstrip("/")
        self._headers = {
            "Authorization": authorization,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "mergepost",
        }
        self._deadlines = deadlines or Deadlines()
        self._client = self._opened(width, ca_file)
        self._news: queue.SimpleQueue[tuple[Call, Stage]] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="calls", daemon=True)
        self._thread.start()

    def start(self, path: str, body: bytes = b"") -> Call:
        """Begin a call, and return at once. Without a body it is a GET, which needs no release."""
        call = Call(path, body)
        self._within(self._begin(call))
        return call

    def news(self, patience: float) -> list[tuple[Call, Stage]]:
        """Return what is new, all that has come together; wait `patience` seconds at most."""
        found = []
        with contextlib.suppress(queue.Empty):
            found.append(self._news.get(patience > 0, max(0.0, patience)))
            while True:
                found.append(self._news.get_nowait())
        return found

    def release(self, call: Call) -> None:
        """Let the last byte of a call go: from now on it may be accepted."""
        self._loop.call_soon_threadsafe(self._open_gate, call)

    def abandon(self, call: Call) -> None:
        """End a call; without release its last byte never goes out."""
        call.abandoned = True
        self._loop.call_soon_threadsafe(lambda: call.task and call.task.cancel())

    def close(self) -> None:
        """End whatever is still in the air, and the thread; within a few seconds."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._ended(), self._loop)
        self._thread.join(_LEAVE)
        if not self._thread.is_alive():
            self._loop.close()

    # In the other thread

    def _within(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _begin(self, call: Call) -> None:
        if call.abandoned:
            return
        call.gate = self._loop.create_future()
        call.task = asyncio.current_task()
        try:
            async with asyncio.timeout(self._deadlines.call):
                call.answer = await self._answered(call)
        except asyncio.CancelledError:
            call.failure = call.failure or "was left"
        except TimeoutError:
            call.failure = f"did not answer within {self._deadlines.call:.0f} s"
        except Exception as error:  # noqa: BLE001 - whatever a library raises, the call has ended without an answer
            _explain(call, error)
        finally:
            call.task = None
            self._news.put((call, Stage.ENDED))

    async def _answered(self, call: Call) -> Answer:
        url = self._base + call.path
        if call.body:
            length = {"Content-Length": str(len(call.body))}
            request = self._client.build_request("POST", url, content=self._piecemeal(call), headers=length)
        else:
            request = self._client.build_request("GET", url)
        response = await self._client.send(request, stream=True, follow_redirects=False)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw(_CHUNK):
                body += chunk
                if len(body) > CAP:
                    raise _Unreadable("answered without end")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise _Unreadable("answered in an encoding that was not asked for")
            return Answer(response.status_code, dict(response.headers), bytes(body))
        finally:
            await response.aclose()

    async def _piecemeal(self, call: Call) -> AsyncIterator[bytes]:
        """Yield the body; report before its last byte, and wait there."""
        last = len(call.body) - 1
        for at in range(0, last, _CHUNK):
            yield call.body[at : min(at + _CHUNK, last)]
        self._news.put((call, Stage.READY))
        assert call.gate is not None  # noqa: S101 - made before the request
        await call.gate
        yield call.body[last:]

    def _open_gate(self, call: Call) -> None:
        if call.gate is not None and not call.gate.done():
            call.gate.set_result(True)

    async def _ended(self) -> None:
        others = asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        with contextlib.suppress(Exception):
            await self._client.aclose()
        self._loop.stop()

    def _opened(self, width: int, ca_file: str) -> httpx.AsyncClient:
        import httpx  # noqa: PLC0415 - an extra, slow to load; whether it is there is asked before

        place = urlsplit(self._base)
        host = place.hostname or ""
        secure = place.scheme == "https"
        try:
            return httpx.AsyncClient(
                headers=self._headers,
                verify=Security(host, ca_file).context if secure else True,
                trust_env=secure and not LOOPBACK.fullmatch(host),
                timeout=httpx.Timeout(self._deadlines.call, connect=self._deadlines.connect),
                limits=httpx.Limits(max_connections=width, max_keepalive_connections=width),
            )
        except (ImportError, ValueError) as error:
            raise ConfigError(
                f"the proxy that the environment names cannot be used: {error}",
                hint="look at HTTPS_PROXY and ALL_PROXY, or name this host in NO_PROXY",
            ) from None


class _Unreadable(Exception):  # noqa: N818 - what the answer is
    """An answer that is not worth reading further."""


def _explain(call: Call, error: Exception) -> None:
    """Put into words how a call has ended without an answer. Nothing of the request is in them."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    names = {type(one).__name__ for one in chain}
    words = str(error) or type(error).__name__
    call.lasting = bool(names & _LASTING)
    call.unknown = _UNKNOWN_NAME in names
    if isinstance(error, _Unreadable):
        call.failure = words
    elif call.unknown:
        call.failure = "cannot be found by that name"
    elif "ConnectError" in names or "ConnectTimeout" in names:
        call.failure = (
            f"cannot be reached ({words})" if "ConnectError" in names else "cannot be reached in time"
        )
    else:
        call.failure = f"broke off ({words})"
