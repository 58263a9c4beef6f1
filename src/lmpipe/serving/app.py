"""The HTTP application: routes, and the way of one request to the engine and back.

    GET  /                     the web page          POST /v1/completions
    GET  /health               is the engine alive   POST /v1/chat/completions
    GET  /metrics              Prometheus            GET  /v1/models, /v1/models/{name}

Promises: a client that leaves frees its place, streaming or not; a full queue answers 429 at once; no answer takes longer than
`ANSWER_SECONDS`; a body over 1 MiB is refused before it is read; errors have OpenAI's shape; prompts and answers are written
nowhere. Limits: a client may take as long as it likes to send its headers: put a proxy in front where the network is not yours.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from lmpipe.base.errors import LmpipeError, ModelError, ServingError
from lmpipe.serving import openai
from lmpipe.serving.answers import Piece
from lmpipe.serving.bundle import Bundle
from lmpipe.serving.engine import Engine, QueueFullError
from lmpipe.serving.guards import Guard, content_security_policy, page
from lmpipe.serving.metrics import Metrics
from lmpipe.tokens.chat import render

BODY_BYTES = 1 << 20
BODY_SECONDS = 20.0
"""A body that takes longer to arrive is given up."""
RETRY_SECONDS = 1
ANSWER_SECONDS = 600.0
"""After this long an answer is given up, also while it waits: OpenAI's clients wait as long."""


def create_app(
    bundle: Bundle,
    *,
    key: str = "",
    hosts: frozenset[str] = frozenset(),
    answer_seconds: float = ANSWER_SECONDS,
    engine: Engine | None = None,
) -> FastAPI:
    """The application for one bundle.

    Args:
        bundle: what to serve.
        key: the API key; none: everybody may ask.
        hosts: names under which it may be called; none: any.
        answer_seconds: what one answer may take, waiting included.
        engine: not yet started; by default one over the bundle's model.
    """
    engine = engine or Engine(bundle.generator, bundle.tokenizer)
    service = _Service(bundle, engine, Metrics(engine), key_required=bool(key), answer_seconds=answer_seconds)

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        engine.close()

    # No generated documentation: its pages load scripts from other hosts.
    app = FastAPI(title="lmpipe", lifespan=running, docs_url=None, redoc_url=None, openapi_url=None)
    html = page()
    app.add_api_route("/", lambda: HTMLResponse(html), methods=["GET"])
    app.add_api_route("/health", service.health, methods=["GET"])
    app.add_api_route("/metrics", service.metrics_text, methods=["GET"])
    app.add_api_route("/v1/models", service.models, methods=["GET"])
    app.add_api_route("/v1/models/{name:path}", service.model, methods=["GET"])
    app.add_api_route("/v1/completions", service.completions, methods=["POST"], response_model=None)
    app.add_api_route("/v1/chat/completions", service.chat_completions, methods=["POST"], response_model=None)
    paths = frozenset(getattr(route, "path", "") for route in app.routes)

    def count(path: str, status: int) -> None:
        service.metrics.requests.labels(path if path in paths else "other", str(status)).inc()

    app.add_middleware(Guard, key=key, hosts=hosts, policy=content_security_policy(html), count=count)
    _handle_errors(app)
    return app


@dataclass
class _Service:
    """The routes."""

    bundle: Bundle
    engine: Engine
    metrics: Metrics
    key_required: bool
    answer_seconds: float

    def __post_init__(self) -> None:
        self.started_at = int(time.time())
        self.fingerprint = f"lmpipe-{self.bundle.digest[:12]}"

    async def health(self) -> JSONResponse:
        alive = self.engine.alive
        facts = {
            "status": "ok" if alive else "stuck",
            "model": self.bundle.name,
            "verdict": self.bundle.verdict,
            "mode": "chat" if self.bundle.tuned_to_chat else "complete",
            "context_length": self.bundle.context_length,
            "key_required": self.key_required,
        }
        return JSONResponse(facts, 200 if alive else 503)

    async def metrics_text(self) -> Response:
        return Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def models(self) -> JSONResponse:
        return JSONResponse(openai.models_body([self.bundle.name], self.started_at))

    async def model(self, name: str) -> JSONResponse:
        self._check_model(name)
        return JSONResponse(openai.model_body(name, self.started_at))

    async def completions(self, request: Request) -> Response:
        return await self._answer(request, openai.completion_request, chat=False)

    async def chat_completions(self, request: Request) -> Response:
        return await self._answer(request, openai.chat_request, chat=True)

    async def _answer(self, request: Request, parse: Callable[[dict[str, Any]], openai.Request], *, chat: bool) -> Response:
        asked = parse(openai.parse_body(await _read_body(request)))
        self._check_model(asked.model)
        prompt_ids = await asyncio.to_thread(self._encode, asked.prompt)
        envelope = openai.Envelope(
            id=f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=self.bundle.name,
            fingerprint=self.fingerprint,
            chat=chat,
        )
        answer = _Answer(self.engine, self.metrics, prompt_ids, asked, self.answer_seconds)
        if asked.stream:
            return _AnswerStream(answer, _events(answer, envelope, asked.include_usage))
        try:
            return await _whole(answer, envelope, request)
        finally:
            answer.leave()

    def _check_model(self, name: str) -> None:
        if name != self.bundle.name:
            message = f"the model '{name[:80]}' does not exist; this server has '{self.bundle.name}'"
            raise openai.RequestError(message, param="model", code="model_not_found", status=404)

    def _encode(self, prompt: str | list[int] | list[dict[str, str]]) -> list[int]:
        try:
            if isinstance(prompt, str):
                return self.bundle.tokenizer.encode_prompt(prompt)
            ids = [part for part in prompt if isinstance(part, int)]
            if len(ids) < len(prompt):
                return render([part for part in prompt if isinstance(part, dict)], self.bundle.tokenizer)
        except (ServingError, ModelError) as error:
            raise openai.RequestError(str(error), param="prompt" if isinstance(prompt, str) else "messages") from None
        if ids and max(ids) >= self.bundle.tokenizer.vocab_size:
            raise openai.RequestError(f"prompt: ids must lie below {self.bundle.tokenizer.vocab_size}", param="prompt")
        return ids


class TooSlowError(ServingError):
    """An answer took longer than it may."""


class _Answer:
    """One answer between the engine's thread and the event loop; counts what it delivers."""

    def __init__(
        self, engine: Engine, metrics: Metrics, prompt_ids: list[int], asked: openai.Request, answer_seconds: float
    ) -> None:
        self._engine, self._metrics = engine, metrics
        self._pieces: asyncio.Queue[Piece | LmpipeError] = asyncio.Queue()
        self._asked_at, self._answer_seconds = time.perf_counter(), answer_seconds
        self._over = False
        self.prompt_tokens, self.tokens = len(prompt_ids), 0
        loop = asyncio.get_running_loop()
        try:
            self._job = engine.submit(prompt_ids, asked.sampling, lambda what: _call(loop, self._pieces.put_nowait, what))
        except QueueFullError:
            metrics.rejected.inc()
            raise
        metrics.prompt_tokens.inc(self.prompt_tokens)

    async def pieces(self) -> AsyncIterator[Piece]:
        """The pieces as they are drawn; raises the error that ended the answer."""
        while not self._over:
            piece = await self._next()
            if isinstance(piece, LmpipeError):
                self._over = True
                raise piece
            self._over = piece.finish_reason is not None
            self._count(piece)
            yield piece

    async def _next(self) -> Piece | LmpipeError:
        left = self._answer_seconds - (time.perf_counter() - self._asked_at)
        try:
            async with asyncio.timeout(left):
                return await self._pieces.get()
        except TimeoutError:
            self.leave()
            return TooSlowError(
                f"the answer took longer than {self._answer_seconds:g} seconds",
                fix="ask for fewer tokens, or when it is calmer",
            )

    def leave(self) -> None:
        """Free the place, when the answer is over or the client is gone."""
        if not self._over:
            self._over = True
            self._engine.cancel(self._job)
            self._metrics.aborted.inc()

    @property
    def usage(self) -> dict[str, int]:
        return openai.usage_of(self.prompt_tokens, self.tokens)

    def _count(self, piece: Piece) -> None:
        seconds = time.perf_counter() - self._asked_at
        if self.tokens == 0 and piece.tokens:
            self._metrics.first_token.observe(seconds)
        if piece.finish_reason:
            self._metrics.duration.observe(seconds)
        self.tokens += piece.tokens
        self._metrics.generation_tokens.inc(piece.tokens)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[Piece | LmpipeError], None], what: Piece | LmpipeError) -> None:
    loop.call_soon_threadsafe(function, what)


class _AnswerStream(StreamingResponse):
    """Leaves the answer however the stream ends, also where it never began."""

    def __init__(self, answer: _Answer, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self.answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.answer.leave()


async def _events(answer: _Answer, envelope: openai.Envelope, include_usage: bool) -> AsyncIterator[bytes]:
    if first := envelope.first_chunk():
        yield openai.event(first)
    try:
        async for piece in answer.pieces():
            if piece.text:
                yield openai.event(envelope.chunk(piece.text))
            if piece.finish_reason:
                yield openai.event(envelope.last_chunk(piece.finish_reason))
    except LmpipeError as error:
        yield openai.event(openai.error_body(str(error), 500, code=_code(error)))
        return
    if include_usage:
        yield openai.event(envelope.usage_chunk(answer.usage))
    yield openai.DONE


async def _whole(answer: _Answer, envelope: openai.Envelope, request: Request) -> Response:
    async def collect() -> Response:
        text = ""
        async for piece in answer.pieces():
            text += piece.text
            if piece.finish_reason:
                return JSONResponse(envelope.response(text, piece.finish_reason, answer.usage))
        raise ServingError("the answer ended without a reason")

    async def gone() -> Response:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        return Response(status_code=499)  # nobody reads it; 499 is how proxies log a client that left

    tasks = [asyncio.create_task(collect()), asyncio.create_task(gone())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read_body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise openai.RequestError("the content type must be application/json", status=415)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > BODY_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES:
                    raise _too_large()
    except TimeoutError:
        raise openai.RequestError("the body did not arrive in time", status=408) from None
    return bytes(body)


def _too_large() -> openai.RequestError:
    return openai.RequestError(f"the body is larger than {BODY_BYTES:,} bytes", status=413, code="request_too_large")


def _handle_errors(app: FastAPI) -> None:
    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, openai.RequestError)
        headers = {"connection": "close"} if error.status in (408, 413, 415) else None  # its body was not read
        return JSONResponse(
            openai.error_body(error.message, error.status, param=error.param, code=error.code), error.status, headers=headers
        )

    def full(_: Request, error: Exception) -> Response:
        body = openai.error_body("the server is busy; try again a little later", 429, code="queue_full")
        return JSONResponse(body, 429, headers={"retry-after": str(RETRY_SECONDS)})

    def failed(_: Request, error: Exception) -> Response:
        assert isinstance(error, LmpipeError)
        status = 504 if isinstance(error, TooSlowError) else 503
        return JSONResponse(openai.error_body(str(error), status, code=_code(error)), status)

    def unrouted(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse(openai.error_body(error.detail, error.status_code), error.status_code, headers=error.headers)

    app.add_exception_handler(openai.RequestError, refused)
    app.add_exception_handler(QueueFullError, full)
    app.add_exception_handler(LmpipeError, failed)
    app.add_exception_handler(HTTPException, unrouted)


def _code(error: LmpipeError) -> str | None:
    return "timeout" if isinstance(error, TooSlowError) else None
