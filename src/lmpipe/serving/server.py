"""The server as a process: takes the port, opens the bundle, answers until told to stop.

Promises: a port in use is one error before the model is loaded; SIGTERM or Ctrl-C closes the door, lets the answers under way
finish (up to `DRAIN_SECONDS`, then their clients are told) and returns, so that the process ends with 0; a second Ctrl-C ends
at once. Nothing that a user sent is logged.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from types import FrameType

import uvicorn

from lmpipe.base.errors import ServingError
from lmpipe.serving.app import ANSWER_SECONDS, create_app
from lmpipe.serving.bundle import load_bundle
from lmpipe.serving.engine import Engine
from lmpipe.serving.guards import LOCAL_HOSTS

DRAIN_SECONDS = 30.0
FAREWELL_SECONDS = 5.0
KEY_VARIABLE = "LMPIPE_API_KEY"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    bundle_folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int = 0,
    announce: Callable[[str], None],
    drain_seconds: float = DRAIN_SECONDS,
    answer_seconds: float = ANSWER_SECONDS,
) -> None:
    """Serve a bundle until SIGTERM or Ctrl-C.

    Args:
        bundle_folder: a finished bundle.
        host: the address to listen on.
        port: 0 takes any free one.
        threads: for the model; 0: as torch decides.
        announce: told one line at a time: where the server listens, and what a user should know.
        drain_seconds: how long answers under way may go on after the signal; those left are then told so.
        answer_seconds: what one answer may take, waiting included.

    Raises:
        ServingError: when host or port cannot be listened on.
        DamagedError: when the bundle is not as it was packaged.
    """
    with _listening(host, port) as door:
        bundle = load_bundle(bundle_folder, threads=threads)
        key = os.environ.get(KEY_VARIABLE, "")
        hosts = LOCAL_HOSTS | {host} if host in LOOPBACK else frozenset()
        engine = Engine(bundle.generator, bundle.tokenizer)
        app = create_app(bundle, key=key, hosts=hosts, answer_seconds=answer_seconds, engine=engine)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="on",
        )
        url = _url(host, door.getsockname()[1])

        def ready() -> None:
            announce(f"serving '{bundle.name}' ({bundle.verdict or 'no gate'}) at {url}")
            announce(f"OpenAI clients: base_url {url}/v1, api_key {KEY_VARIABLE if key else 'any'}, model '{bundle.name}'")
            if host not in LOOPBACK and not key:
                announce(f"anyone who reaches this machine may use the model: set {KEY_VARIABLE} to require a key")

        _Server(config, ready, engine, drain_seconds).run(sockets=[door])


class _Server(uvicorn.Server):
    """Says when it is ready, tells those it cannot wait for, and returns after a signal where uvicorn would die of it."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], engine: Engine, drain_seconds: float) -> None:
        super().__init__(config)
        self._ready, self._engine, self._drain_seconds = ready, engine, drain_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Closing the engine ends every answer with an error its client can read, where uvicorn's own deadline would cut it off.
        # That one stays for clients who do not read what they asked for.
        self.config.timeout_graceful_shutdown = ceil(self._drain_seconds + FAREWELL_SECONDS)
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self._drain_seconds, lambda: loop.run_in_executor(None, self._engine.close))
        try:
            await super().shutdown(sockets)
        finally:
            deadline.cancel()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        def handle(number: int, frame: FrameType | None) -> None:
            self.handle_exit(number, frame)

        previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


@contextmanager
def _listening(host: str, port: int) -> Generator[socket.socket, None, None]:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        door = socket.socket(family)
    except (OSError, UnicodeError) as error:
        raise ServingError(f"'{host}' is no address to listen on: {error}", fix="use --host 127.0.0.1") from None
    with door:
        # Without it, a restart would wait a minute for the last server's closed connections; a live listener still refuses.
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind(address)
            door.listen(128)  # refused here rather than later: two sockets may bind one port, only one may listen
        except OSError as error:
            raise _cannot_listen(host, port, error) from None
        yield door


def _cannot_listen(host: str, port: int, error: OSError) -> ServingError:
    if error.errno == errno.EADDRINUSE:
        return ServingError(
            f"port {port} on {host} is in use",
            expected="a free port",
            fix="stop the other server, choose another --port, or --port 0 for any free one",
        )
    if error.errno == errno.EACCES:
        return ServingError(f"port {port} needs more rights than you have", expected="1024 or higher", fix="use another --port")
    return ServingError(f"{host}:{port} cannot be listened on: {error.strerror}", fix="check --host and --port")


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
