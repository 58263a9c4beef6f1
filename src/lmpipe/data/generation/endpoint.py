"""The client of an OpenAI-compatible endpoint, on the standard library's `urllib`.

Why no client library: what is needed is one POST with a timeout; `openai` and `httpx` bring a dozen packages for it, and a
connection kept open saves milliseconds of answers that take seconds. What matters is here: only the URL that the recipe names
is contacted (no redirects, and no proxy for this machine's own addresses), an answer has a deadline as a whole and a bound in
size, the key goes into one header and is cut out of every message.
"""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from lmpipe.base.errors import EndpointError, LmpipeError
from lmpipe.data.generation.asking import Answer, Question, Refusal
from lmpipe.data.generation.config import EndpointConfig

MAX_BYTES = 16_000_000
LONGEST_WAIT_SECONDS = 60.0
LONGEST_ASKED_SECONDS = 600.0
"""A server may ask for a longer wait than we would choose, within reason."""
SHOWN_CHARACTERS = 300
REFUSES_QUESTION = (400, 413, 422)
TRY_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)


class _Again(Exception):
    """Worth another attempt, after `wait` seconds where the server says so."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to an address that nobody named."""

    def redirect_request(self, *arguments: Any) -> None:
        """Never."""


class Endpoint:
    """An endpoint as `asking.Generator`."""

    def __init__(self, config: EndpointConfig) -> None:
        self.config = config
        proxies: dict[str, str] | None = {} if _is_here(urlsplit(config.base_url).hostname or "") else None
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies), _NoRedirect())

    @property
    def identity(self) -> Mapping[str, str]:
        """Who is asked."""
        return {"kind": "endpoint", "base_url": self.config.base_url, "model": self.config.model}

    @property
    def concurrency(self) -> int:
        """Questions under way at a time."""
        return self.config.concurrency

    def ask(self, question: Question) -> Answer | Refusal:
        """One answer, after as many attempts as the config allows.

        Raises:
            EndpointError: when there is none, saying what the last attempt met.
            RecipeError: when the key is not in the environment.
        """
        request = self._request(question)
        for attempt in range(self.config.retries + 1):
            try:
                return self._attempt(request)
            except _Again as again:
                if attempt == self.config.retries:
                    raise self._gives_up(str(again)) from again
                time.sleep(self._wait(attempt, again))
        raise AssertionError("the loop returns or raises")

    def _wait(self, attempt: int, again: _Again) -> float:
        if again.wait is not None:
            return min(again.wait, LONGEST_ASKED_SECONDS)
        doubled: float = self.config.backoff_seconds * 2**attempt
        return min(doubled, LONGEST_WAIT_SECONDS) * random.uniform(0.75, 1.25)  # so that threads do not come back together

    def _request(self, question: Question) -> urllib.request.Request:
        sampling = question.sampling
        body: dict[str, Any] = {
            "model": self.config.model,
            "messages": [{"role": role, "content": content} for role, content in question.messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if self.config.send_seed:
            body["seed"] = question.seed
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "lmpipe"}
        if key := api_key(self.config):
            headers["Authorization"] = f"Bearer {key}"
        data = json.dumps(body).encode()
        return urllib.request.Request(f"{self.config.base_url}/chat/completions", data, headers, method="POST")

    def _attempt(self, request: urllib.request.Request) -> Answer | Refusal:
        deadline = time.monotonic() + self.config.timeout_seconds
        try:
            with self._opener.open(request, timeout=self.config.timeout_seconds) as response:
                data = _read(response, deadline)
        except urllib.error.HTTPError as error:
            with error:
                return self._refused(error)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise _Again(self._safe(f"{_cause(error)}")) from error
        return self._answer(data)

    def _answer(self, data: bytes) -> Answer:
        try:
            value = json.loads(data)
            choice = value["choices"][0]
            text, usage = choice["message"]["content"], value.get("usage") or {}
            tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            if not isinstance(text, str | None) or not all(isinstance(count, int | None) for count in tokens):
                raise TypeError("content is no text")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            start = self._safe(data[:SHOWN_CHARACTERS].decode("utf-8", "replace"))
            raise _Again(f"the answer is no chat completion: {start!r}") from None
        return Answer(_spellable(text or ""), str(choice.get("finish_reason") or "stop"), *tokens)

    def _refused(self, error: urllib.error.HTTPError) -> Refusal:
        """What a status other than 2xx means: this question is refused, another attempt is worth it, or nothing helps."""
        said = self._safe(_message(error))
        what = f"HTTP {error.code}" + (f": {said}" if said else "")
        if error.code in REFUSES_QUESTION:
            return Refusal(what)
        if error.code in TRY_AGAIN:
            raise _Again(what, _asked_wait(error.headers.get("Retry-After")))
        raise self._stops(error.code, what, error.headers.get("Location"))

    def _stops(self, status: int, what: str, location: str | None) -> LmpipeError:
        where = f"{self.config.base_url} (model {self.config.model})"
        if status in (401, 403):
            named = f"the right key in the environment variable {self.config.api_key_env}"
            return EndpointError(
                f"the endpoint does not let us in: {what}",
                where=where,
                expected=named if self.config.api_key_env else "a key: the recipe names none in `api_key_env`",
                fix="set the key and run again; what was answered is kept",
            )
        if 300 <= status < 400:
            return EndpointError(
                f"the endpoint sends us elsewhere: {what}",
                where=where,
                expected="answers from the URL that the recipe names: redirects are not followed",
                fix=f"name {location} in `base_url`, if you trust it" if location else "correct `base_url`",
            )
        return EndpointError(
            f"the endpoint does not answer such questions: {what}",
            where=where,
            expected="an OpenAI-compatible server that knows this model",
            fix="correct `base_url` (it usually ends in /v1) or `model`",
        )

    def _gives_up(self, what: str) -> EndpointError:
        return EndpointError(
            f"no answer after {self.config.retries + 1} attempts: {what}",
            where=f"{self.config.base_url} (model {self.config.model})",
            expected=f"an answer within {self.config.timeout_seconds:g} seconds",
            fix="see that the server is up, or raise retries or timeout_seconds; what was answered is kept",
        )

    def _safe(self, text: str) -> str:
        """A message on one line, cut, and without the key, should the server repeat it."""
        key = api_key(self.config)
        text = text.replace(key, "<key>") if key else text
        return " ".join(text.split())[:SHOWN_CHARACTERS]


def api_key(config: EndpointConfig) -> str:
    """The key; "" where the recipe names none.

    Raises:
        EndpointError: when the variable that the recipe names is not set, or cannot be a key.
    """
    if config.api_key_env is None:
        return ""
    key = os.environ.get(config.api_key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise EndpointError(
            f"the environment variable {config.api_key_env} holds no key",
            where="api_key_env",
            expected=f"the key for {config.base_url}",
            fix=f"export {config.api_key_env}=... before the run; it is sent to that URL and written nowhere",
        )
    return key


def _is_here(host: str) -> bool:
    """Whether a host is this machine, to which no proxy leads."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(response: Any, deadline: float) -> bytes:
    """The body, whole; a server that drips has no more time than one that is silent."""
    parts, size = [], 0
    while chunk := response.read1(1 << 16):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_BYTES:
            raise _Again(f"the answer has more than {MAX_BYTES:,} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("timed out while the answer came")
    return b"".join(parts)


def _message(error: urllib.error.HTTPError) -> str:
    """What the server says: `error.message` of OpenAI's form, or the body's beginning."""
    try:
        data = error.read(MAX_BYTES)
    except OSError:
        return ""
    try:
        said = json.loads(data)["error"]
        return str(said["message"] if isinstance(said, dict) else said)
    except (ValueError, KeyError, TypeError, RecursionError):
        return data[:SHOWN_CHARACTERS].decode("utf-8", "replace")


def _asked_wait(header: str | None) -> float | None:
    """Seconds of a Retry-After header, given as seconds or as a date."""
    if not header:
        return None
    try:
        return max(float(header), 0.0) if header.strip().isdigit() else _until(header)
    except (ValueError, TypeError):
        return None


def _until(header: str) -> float:
    return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.0)


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    return str(reason) or type(reason).__name__


def _spellable(text: str) -> str:
    """JSON may hold lone surrogates, UTF-8 may not."""
    return text.encode("utf-8", "replace").decode("utf-8")
