"""The board's web pages: upload with a team's token, the queue, the board, a view for the projector, CSV."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from threading import Lock
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perfteach.hackathon import board as boards
from perfteach.hackathon.event import Event
from perfteach.hackathon.store import CannotWrite, Closed, Store, TooMany, UnknownToken, clock
from perfteach.hackathon.submission import SubmissionError, read_about

FRESH = 1.0  # seconds for which a page is kept, so that a full hall costs no more than one reader
PATIENCE = 120  # seconds that an upload may take
FORM = 100_000  # bytes of an upload beside the zip
TOKEN = 1_000  # bytes of the form's field for the token, at most
READING = 4  # uploads that are in memory at once
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
LIVE = {"/": "board.html", "/projector": "projector.html", "/queue": "queue.html"}  # what everybody looks at
STATUS: dict[type[Exception], int] = {UnknownToken: 401, Closed: 403, TooMany: 429, CannotWrite: 503}


def application(store: Store, event: Event) -> Starlette:
    """The pages of one event."""
    pages = Pages(store, event)
    routes = [
        *(Route(path, partial(pages.live, name)) for path, name in LIVE.items()),
        Route("/submit", pages.form),
        Route("/submit", pages.upload, methods=["POST"]),
        Route("/submissions/{number:int}", pages.submission),
        Route("/board.csv", pages.csv),
        Route("/rules", pages.rules),
        Route("/pack.zip", pages.pack),
        Route("/api/submissions", pages.api_upload, methods=["POST"]),
        Route("/api/submissions/{number:int}", pages.api_submission),
        Mount("/static", StaticFiles(packages=[("perfteach.hackathon", "static")])),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: pages.problem})
    app.add_middleware(SafeHeaders)
    return app


class SafeHeaders:
    """Sends the headers that keep a page from running or loading what is not its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with `HEADERS` added."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, sending)


class Pages:
    """One method a page. What only reads is a plain function, which Starlette runs in a thread."""

    def __init__(self, store: Store, event: Event) -> None:
        self.store, self.event = store, event
        self.kept: dict[str, tuple[float, str]] = {}
        self.shown: tuple[float, boards.Board] | None = None
        self.lock = Lock()
        self.reading = asyncio.Semaphore(READING)
        chance = 100 / len(event.classes)
        self.least = chance + 0.1 * (100 - chance)  # clearly more than guessing
        templates = PackageLoader("perfteach.hackathon", "templates")
        self.templates = Environment(loader=templates, autoescape=True, undefined=StrictUndefined)
        self.templates.filters["clock"] = clock

    def live(self, name: str, request: Request) -> Response:
        """Ranks and figure, the same for the projector, or the newest submissions; kept for a second."""
        made, text = self.kept.get(name, (0.0, ""))
        if time.monotonic() - made > FRESH:
            shown, entries = self._board(), boards.queue(self.store)
            values = {"board": shown, "figure": boards.figure(shown), "counts": boards.counts(self.store)}
            text = self._render(name, values | {"entries": entries, "state": self.store.state(), "least": self.least})
            self.kept[name] = time.monotonic(), text
        return HTMLResponse(text)

    def submission(self, request: Request) -> Response:
        """One submission, with the reason where it was refused."""
        return self._page("submission.html", entry=self._find(request))

    def form(self, request: Request) -> Response:
        """The form to upload with."""
        return self._page("submit.html", problem="", state=self.store.state())

    def rules(self, request: Request) -> Response:
        """The rules as the participants' pack has them."""
        text = (self.event.folder / "pack" / "RULES.md").read_text(encoding="utf-8")
        return self._page("rules.html", rules=text)

    def csv(self, request: Request) -> Response:
        """Every measured submission as a table."""
        return Response(boards.as_csv(self._board()), media_type="text/csv; charset=utf-8")

    def pack(self, request: Request) -> Response:
        """The participants' pack."""
        if not self.event.pack_path.is_file():
            raise HTTPException(404, "there is no pack; ask the organisers")
        return FileResponse(self.event.pack_path, filename="pack.zip")

    def problem(self, request: Request, error: Exception) -> Response:
        """A page, or a line of JSON, for what went wrong."""
        assert isinstance(error, HTTPException)
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": error.detail}, error.status_code)
        return self._page("problem.html", error.status_code, problem=error.detail)

    async def upload(self, request: Request) -> Response:
        """Take in the form."""
        try:
            self._refuse_large(request)
            if "charset" in request.headers.get("content-type", ""):  # some of Python's take minutes for a megabyte
                raise SubmissionError("send the form as the page does, which names no charset")
            form_of = request.form(max_files=1, max_fields=2, max_part_size=TOKEN)
            async with asyncio.timeout(PATIENCE), form_of as form:
                token, file = form.get("token"), form.get("file")
                if not isinstance(token, str) or not isinstance(file, UploadFile):
                    raise SubmissionError("choose a file and give your team's token")
                await run_in_threadpool(self.store.require_team, token)  # or anybody could fill the memory
                async with self.reading:
                    packed = await file.read(self.event.limits.upload + 1)
                    number, _ = await run_in_threadpool(self._take, token, packed)
        except (SubmissionError, OSError) as error:  # of time, or of the disk, where a long upload is kept meanwhile
            state = await run_in_threadpool(self.store.state)
            status, words = _refusal(error)
            return self._page("submit.html", status, problem=words, state=state)
        return RedirectResponse(f"/submissions/{number}", 303)

    async def api_upload(self, request: Request) -> Response:
        """Take in a zip as the body, with the token in the header `Authorization: Bearer …`."""
        try:
            self._refuse_large(request)
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            await run_in_threadpool(self.store.require_team, token)  # or anybody could fill the memory
            async with asyncio.timeout(PATIENCE), self.reading:
                packed = await request.body()
                number, new = await run_in_threadpool(self._take, token, packed)
        except (SubmissionError, OSError) as error:
            status, words = _refusal(error)
            return JSONResponse({"error": words}, status)
        return JSONResponse({"number": number, "page": f"/submissions/{number}"}, 201 if new else 200)

    def api_submission(self, request: Request) -> Response:
        """Where a submission stands, as JSON; the final part only when the event has ended."""
        entry = self._find(request)
        said: dict[str, Any] = {"state": entry.state, "reason": entry.reason, "ahead": entry.ahead}
        if entry.row is not None:
            hidden = () if entry.row.final else ("final",)
            said["result"] = {key: value for key, value in entry.row.result.items() if key not in hidden}
        return JSONResponse(said)

    def _refuse_large(self, request: Request) -> None:
        """Before a byte is read. uvicorn reads no more than the length that was announced, but for a body in pieces."""
        length = request.headers.get("content-length", "")
        most = self.event.limits.upload + FORM
        if not length.isdigit() or "transfer-encoding" in request.headers:
            raise SubmissionError("the upload does not say how long it is")
        if int(length) > most:
            raise SubmissionError(f"the upload has {int(length) / 1e6:,.1f} MB; {most / 1e6:,.1f} MB are allowed")

    def _take(self, token: str, packed: bytes) -> tuple[int, bool]:
        limits = self.event.limits
        return self.store.submit(token, packed, read_about(packed, limits), limits.per_hour)

    def _find(self, request: Request) -> boards.Waiting:
        number = request.path_params["number"]
        entries = boards.queue(self.store, [number]) if number < 2**31 else []  # what a database calls a number
        if not entries:
            raise HTTPException(404, f"there is no submission {number}")
        return entries[0]

    def _board(self) -> boards.Board:
        """The board, computed once for everybody who asks within `FRESH` seconds."""
        with self.lock:
            known = self.shown is not None and self.shown[1].finished == self.store.state().finished
            if self.shown is None or not known or time.monotonic() - self.shown[0] > FRESH:
                self.shown = time.monotonic(), boards.board(self.store, self.least)
            return self.shown[1]

    def _page(self, name: str, status: int = 200, **values: Any) -> Response:
        return HTMLResponse(self._render(name, values), status)

    def _render(self, name: str, values: dict[str, Any]) -> str:
        return self.templates.get_template(name).render(event=self.event, **values)


def _refusal(error: Exception) -> tuple[int, str]:
    """The status and the words with which an upload is refused."""
    if isinstance(error, TimeoutError):
        return 408, "the upload took too long; try again"
    if isinstance(error, OSError):
        return 503, f"the board cannot keep the upload ({error.strerror}); tell the organisers, and try again later"
    return STATUS.get(type(error), 400), str(error)
