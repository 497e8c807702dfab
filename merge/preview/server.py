"""Who may look, and at what? The preview's web server: this machine alone, nothing but GET."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from importlib import resources
from typing import Any, Final
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from merge.disk import eml_name
from merge.errors import ContentError
from merge.model import Letter, Recipient
from merge.preview.live import Desk
from merge.preview.sheet import SHOWN_IN_PLACE, described, framed, row_facts, sheet, toned
from merge.seal import seal

HOST: Final = "127.0.0.1"

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
LETTER_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:{remote}; font-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox allow-same-origin"
)
"""What a letter may do in its frame: show itself. No script, no form, nothing from the network.

It is of the page's origin, so that the page can keep its place when the letter changes; without scripts it
can make nothing of that.
"""

_FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'; frame-ancestors 'none'"
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_BEAT = 15.0
_STATIC = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def new_token() -> str:
    """Return what makes this run's address one that nobody else can guess: 128 bits."""
    return secrets.token_urlsafe(16)


class Gate:
    """Lets in nobody but the browser that was given the address.

    Refused: any method but GET and HEAD; any Host but our own (a name that was pointed at this machine,
    DNS rebinding); requests that another site's page makes; paths without the token.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], token: str) -> None:
        self._app = app
        self._prefix = f"/{token}"
        self._ticket = new_token()
        self.hosts: frozenset[str] = frozenset()

    @property
    def door(self) -> str:
        """A path that leads to the page once, for the command line of a browser, which others can read."""
        return f"/open/{self._ticket}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                known = {name for name, _ in message["headers"]}
                policy = (b"content-security-policy", PAGE_POLICY.encode())
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in (*_ALWAYS, policy) if pair[0] not in known),
                ]
            await send(message)

        refusal = self._refusal(scope)
        if refusal:
            await Response(status_code=refusal)(scope, receive, guarded)
            return
        if scope["path"] == f"/open/{self._ticket}":
            self._ticket = new_token()
            await RedirectResponse(f"{self._prefix}/")(scope, receive, guarded)
            return
        scope = {**scope, "path": scope["path"][len(self._prefix) :] or "/"}
        await self._app(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> int:
        """Return the status code of a refusal, 0 to let in."""
        if scope["method"] not in ("GET", "HEAD"):
            return 405
        headers = scope["headers"]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            return 421
        if dict(headers).get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            return 403
        path = scope["path"]
        if secrets.compare_digest(path.encode("utf-8", "surrogatepass"), f"/open/{self._ticket}".encode()):
            return 0
        known = path[: len(self._prefix)].encode("utf-8", "surrogatepass")
        rest = path[len(self._prefix) :]
        if not secrets.compare_digest(known, self._prefix.encode()) or not rest.startswith("/"):
            return 404
        return 0


def application(desk: Desk, token: str) -> Gate:
    """Return the web application that shows what is on the desk."""
    pages = _Pages(desk)
    app = Starlette(
        routes=[
            Route("/", pages.page),
            Route("/state", pages.state),
            Route("/rows", pages.rows),
            Route("/marks", pages.marks),
            Route("/search", pages.search),
            Route("/letter/{row:int}", pages.letter),
            Route("/frame/{row:int}", pages.frame),
            Route("/file/{row:int}/{number:int}/{name}", pages.file),
            Route("/eml/{row:int}", pages.eml),
            Route("/events", pages.events),
            *(Route(f"/{name}", pages.static) for name in _STATIC),
        ]
    )
    return Gate(app, token)


def asset(name: str) -> str:
    """Return one of the page's own files."""
    return resources.files("merge.preview").joinpath(name).read_text("utf-8")


class _Pages:
    """The answers. Whatever takes its time runs in a thread, so that the page stays quick."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(self, request: Request) -> Response:
        """Answer with the page itself."""
        return Response(asset("page.html"), media_type="text/html")

    async def static(self, request: Request) -> Response:
        """Answer with a file of the page."""
        name = request.url.path.rpartition("/")[2]
        return Response(asset(name), media_type=_STATIC[name])

    async def state(self, request: Request) -> Response:
        """Tell what the campaign looks like by now."""
        return JSONResponse(self._desk.state())

    async def rows(self, request: Request) -> Response:
        """Give the list."""
        book = self._desk.book
        return await run_in_threadpool(lambda: JSONResponse(book.rows if book else {}))

    async def marks(self, request: Request) -> Response:
        """Tell what stands beside the rows."""
        survey = self._desk.survey
        return await run_in_threadpool(lambda: JSONResponse(survey.marks() if survey else {}))

    async def search(self, request: Request) -> Response:
        """Name the places of the rows that hold some words."""
        words = request.query_params.get("q", "")[:200]
        book = self._desk.book
        return await run_in_threadpool(lambda: JSONResponse(book.search(words) if book else []))

    async def letter(self, request: Request) -> Response:
        """Tell of one row, and its letter if it has one."""
        answer = await run_in_threadpool(self._letter, request)
        self._desk.looked.set()
        return answer

    def _letter(self, request: Request) -> Response:
        person = self._person(request)
        if person is None:
            return Response(status_code=404)
        book, recipient = person
        aside = book.set_aside(recipient)
        try:
            shown = {} if aside else sheet(book.letter(recipient))
        except ContentError as error:
            shown = {
                "error": [described(problem) for problem in error.problems] or [{"message": error.message}]
            }
        facts = row_facts(recipient, recipient.problems if aside else book.problems(recipient))
        if aside:
            facts |= {"state": "skipped", "reason": aside}
        survey = self._desk.survey
        if survey:
            about = survey.about(recipient.row)
            known = [*facts["problems"], *about.pop("problems")]
            facts["problems"] = [
                problem for place, problem in enumerate(known) if problem not in known[:place]
            ]
            facts |= about if about["state"] else {}
        return JSONResponse({**facts, **shown, "name": book.label(recipient)})

    async def frame(self, request: Request) -> Response:
        """Give a letter's HTML, for its frame."""
        return await run_in_threadpool(self._frame, request)

    def _frame(self, request: Request) -> Response:
        letter = self._made(request)
        if letter is None or letter.html is None:
            return Response(status_code=404)
        remote = " https: http:" if request.query_params.get("images") == "1" else ""
        policy = LETTER_POLICY.format(remote=remote)
        html = toned(letter.html, dark=request.query_params.get("dark") == "1")
        html = framed(html, letter.attachments)
        return Response(
            html.encode("utf-8", "surrogatepass"),
            media_type="text/html; charset=utf-8",
            headers={"content-security-policy": policy},
        )

    async def file(self, request: Request) -> Response:
        """Give an attachment: to be shown where that is harmless, else saved."""
        letter = await run_in_threadpool(self._made, request)
        number = request.path_params["number"]
        if letter is None or number >= len(letter.attachments):
            return Response(status_code=404)
        file = letter.attachments[number]
        media_type = file.media_type.partition(";")[0]
        harmless = media_type in SHOWN_IN_PLACE
        return Response(
            file.content,
            media_type=media_type if harmless else "application/octet-stream",
            headers={
                "content-disposition": _disposition("inline" if harmless else "attachment", file.name),
                "content-security-policy": _FILE_POLICY,
            },
        )

    async def eml(self, request: Request) -> Response:
        """Give the message as it would be sent, but for its Message-ID."""
        letter = await run_in_threadpool(self._made, request)
        if letter is None:
            return Response(status_code=404)
        delivery = await run_in_threadpool(seal, letter)
        name = eml_name(delivery.row, delivery.envelope.recipients[0])
        return Response(
            delivery.content,
            media_type="message/rfc822",
            headers={"content-disposition": _disposition("attachment", name)},
        )

    async def events(self, request: Request) -> Response:
        """Tell the state each time that it changes, as server-sent events."""

        async def stream() -> AsyncIterator[str]:
            seen = -1
            while not self._desk.closing:
                if self._desk.news != seen:
                    seen = self._desk.news
                    yield f"data: {json.dumps(self._desk.state())}\n\n"
                elif not await self._desk.wait(seen, _BEAT):
                    yield ": still here\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    def _person(self, request: Request) -> tuple[Any, Recipient] | None:
        book = self._desk.book
        recipient = book.person(request.path_params["row"]) if book else None
        return (book, recipient) if recipient else None

    def _made(self, request: Request) -> Letter | None:
        found = self._person(request)
        if found is None:
            return None
        book, recipient = found
        try:
            letter: Letter = book.letter(recipient)
        except ContentError:
            return None
        return letter


def _disposition(kind: str, name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
