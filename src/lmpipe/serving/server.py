"""The server as a process: takes the port, opens the bundle, answers until told to stop.

Promises: a port in use is one error before the model is loaded; SIGTERM or Ctrl-C closes the door, lets the answers under way
finish (up to `DRAIN_SECONDS`) and returns, so that the process ends with 0; a second Ctrl-C ends at once. Nothing that a user
sent is logged.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from lmpipe.base.errors import ServingError
from lmpipe.serving.app import create_app
from lmpipe.serving.bundle import load_bundle
from lmpipe.serving.guards import LOCAL_HOSTS

DRAIN_SECONDS = 30
KEY_VARIABLE = "LMPIPE_API_KEY"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(bundle_folder: Path, *, host: str, port: int, threads: int, announce: Callable[[str], None]) -> None:
    """Serve a bundle until SIGTERM or Ctrl-C.

    Args:
        bundle_folder: a finished bundle.
        host: the address to listen on.
        port: 0 takes any free one.
        threads: for the model; 0: as torch decides.
        announce: told one line at a time: where the server listens, and what a user should know.

    Raises:
        ServingError: when host or port cannot be listened on.
        DamagedError: when the bundle is not as it was packaged.
    """
    with _listening(host, port) as door:
        bundle = load_bundle(bundle_folder, threads=threads)
        key = os.environ.get(KEY_VARIABLE, "")
        hosts = LOCAL_HOSTS | {host} if host in LOOPBACK else frozenset()
        app = create_app(bundle, key=key, hosts=hosts)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        url = _url(host, door.getsockname()[1])

        def ready() -> None:
            announce(f"serving '{bundle.name}' ({bundle.verdict or 'no gate'}) at {url}")
            announce(f"OpenAI clients: base_url {url}/v1, api_key {KEY_VARIABLE if key else 'any'}, model '{bundle.name}'")
            if host not in LOOPBACK and not key:
                announce(f"anyone who reaches this machine may use the model: set {KEY_VARIABLE} to require a key")

        _Server(config, ready).run(sockets=[door])


class _Server(uvicorn.Server):
    """Says when it is ready, and returns after a signal instead of dying of it a second time."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

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
