"""OpenAI's wire format as pure functions: bodies to requests, answers to responses and chunks, failures to error objects.

Promises: nothing that a request asks for is ignored. What is not supported is refused by name, unless it asks for what happens
anyway (`n: 1`, `logprobs: false`, null). Knows no HTTP framework, no clock and no model.

Beyond OpenAI: `top_k`. `user` and `metadata` ask for nothing and are accepted. Texts of prompt and answer never reach a log.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lmpipe.serving.answers import FinishReason, Sampling

COMPLETION_TOKENS = 16
"""OpenAI's default `max_tokens` of a completion."""
CHAT_TOKENS = 256
"""Default of a chat: OpenAI's is as much as fits, which here would be for ever, since drawing goes on past the context."""
MOST_TOKENS = 16_384
MOST_MESSAGES = 1000
INT64 = 1 << 63

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (),
    "prediction": (),
    "presence_penalty": (0,),
    "prompt_cache_key": (),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "safety_identifier": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "tool_choice": ("none",),
    "tools": ([],),
    "top_logprobs": (),
    "verbosity": (),
    "web_search_options": (),
}
"""OpenAI's fields that are not supported, with the values that ask for nothing (null always does)."""


class RequestError(Exception):
    """A request that cannot be answered, as OpenAI's clients want to hear it."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.param, self.code, self.status = message, param, code, status


@dataclass(frozen=True)
class Request:
    """What both routes come to."""

    prompt: str | list[int] | list[dict[str, str]]
    """A text, its ids, or a conversation."""
    model: str
    sampling: Sampling
    stream: bool
    include_usage: bool


StopString = Annotated[str, Field(min_length=1, max_length=200)]


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    include_usage: bool = False
    include_obfuscation: bool | None = None


class _Common(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    model: str
    max_tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None


class _Completion(_Common):
    prompt: str | list[str] | list[Annotated[int, Field(ge=0)]] | None = None


class _Chat(_Common):
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS)] | None = None


def parse_body(body: bytes) -> dict[str, Any]:
    """A JSON object; everything else is a RequestError, also what Python's reader would let pass (NaN) or break on (depth)."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}" if body else "the body is empty; expected a JSON object") from None
    if not isinstance(value, dict):
        raise RequestError("the body must be a JSON object")
    return value


def completion_request(body: Mapping[str, Any]) -> Request:
    """The body of `/v1/completions`."""
    fields = _validated(_Completion, body)
    prompt = fields.prompt if fields.prompt is not None else ""
    if isinstance(prompt, list) and any(isinstance(part, str) for part in prompt):
        if len(prompt) != 1:
            raise RequestError(
                f"{len(prompt)} prompts in one request are not supported; send one each",
                param="prompt",
                code="unsupported_value",
            )
        prompt = str(prompt[0])
    limit = COMPLETION_TOKENS if fields.max_tokens is None else fields.max_tokens
    return _request(fields, prompt if isinstance(prompt, str) else [int(token) for token in prompt], limit)


def chat_request(body: Mapping[str, Any]) -> Request:
    """The body of `/v1/chat/completions`. Role `developer` is `system` under its newer name."""
    fields = _validated(_Chat, body)
    limits = {limit for limit in (fields.max_tokens, fields.max_completion_tokens) if limit is not None}
    if len(limits) > 1:
        raise RequestError("max_tokens and max_completion_tokens differ; send one of them", param="max_tokens")
    messages = [_message(position, message) for position, message in enumerate(fields.messages)]
    return _request(fields, messages, limits.pop() if limits else CHAT_TOKENS)


def _request(fields: _Common, prompt: str | list[int] | list[dict[str, str]], max_tokens: int) -> Request:
    if fields.stream_options and not fields.stream:
        raise RequestError("stream_options is only allowed with stream: true", param="stream_options")
    if fields.stream_options and fields.stream_options.include_obfuscation:
        raise _unsupported("stream_options.include_obfuscation")
    stop = (fields.stop,) if isinstance(fields.stop, str) else tuple(fields.stop or ())
    sampling = Sampling(
        max_tokens=max_tokens,
        temperature=1.0 if fields.temperature is None else fields.temperature,
        top_p=1.0 if fields.top_p is None else fields.top_p,
        top_k=fields.top_k or 0,
        seed=fields.seed,
        stop=stop,
    )
    usage = bool(fields.stream_options and fields.stream_options.include_usage)
    return Request(prompt, fields.model, sampling, bool(fields.stream), usage)


Fields = TypeVar("Fields", bound=_Common)


def _validated(model: type[Fields], body: Mapping[str, Any]) -> Fields:
    supported = {}
    for key, value in body.items():
        if key in model.model_fields:
            supported[key] = value
        elif key not in NEUTRAL:
            close = difflib.get_close_matches(key, [*model.model_fields, *NEUTRAL], n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            raise RequestError(f"unknown field '{key[:80]}'{hint}", param=key[:80], code="unknown_parameter")
        elif value is not None and not any(_same(value, neutral) for neutral in NEUTRAL[key]):
            raise _unsupported(key)
    try:
        return model.model_validate(supported)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"] if part in supported or isinstance(part, int))
        param = place or str(first["loc"][0])
        raise RequestError(f"{param}: {first['msg'].lower()}", param=param, code="invalid_value") from None


def _same(value: object, neutral: object) -> bool:
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)  # True equals 1 in Python, not in JSON


def _message(position: int, message: Mapping[str, Any]) -> dict[str, str]:
    where = f"messages[{position}]"
    for key, value in message.items():
        if key not in ("role", "content") and value not in (None, [], ""):
            raise _unsupported(f"{where}.{key[:80]}")
    role = message.get("role")
    if role not in ("system", "developer", "user", "assistant"):
        raise RequestError(f"{where}.role must be one of system, developer, user, assistant", param=f"{where}.role")
    return {"role": "system" if role == "developer" else role, "content": _content(message.get("content"), where)}


def _content(content: object, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise RequestError(f"{where}.content must be a string or a list of text parts", param=f"{where}.content")
    texts = []
    for number, part in enumerate(content):
        if not isinstance(part, dict) or part.get("type") != "text" or set(part) != {"type", "text"}:
            raise RequestError(
                f"{where}.content[{number}]: only parts of type 'text' are supported",
                param=f"{where}.content",
                code="unsupported_value",
            )
        if not isinstance(part["text"], str):
            raise RequestError(f"{where}.content[{number}].text must be a string", param=f"{where}.content")
        texts.append(part["text"])
    return "".join(texts)


def _unsupported(name: str) -> RequestError:
    return RequestError(f"'{name}' is not supported by this server", param=name, code="unsupported_parameter")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def error_body(message: str, status: int, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Token counts: all of the prompt, also what lies before the context, and every token drawn, the closing one included."""
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}


@dataclass(frozen=True)
class Envelope:
    """What response and chunks of one answer share."""

    id: str
    created: int
    """Seconds since 1970."""
    model: str
    fingerprint: str
    chat: bool

    def response(self, text: str, finish_reason: FinishReason, usage: Mapping[str, int]) -> dict[str, Any]:
        """The whole answer at once."""
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish_reason}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": [choice], "usage": dict(usage)}

    def first_chunk(self) -> dict[str, Any] | None:
        """A chat opens with its role; a completion with nothing."""
        return self._chunk({"delta": {"role": "assistant", "content": ""}}, None) if self.chat else None

    def chunk(self, text: str) -> dict[str, Any]:
        """A piece of the text."""
        return self._chunk({"delta": {"content": text}} if self.chat else {"text": text}, None)

    def last_chunk(self, finish_reason: FinishReason) -> dict[str, Any]:
        """Why it ended."""
        return self._chunk({"delta": {}} if self.chat else {"text": ""}, finish_reason)

    def usage_chunk(self, usage: Mapping[str, int]) -> dict[str, Any]:
        """What `stream_options.include_usage` asks for, after the last."""
        return {**self._head(self._chunk_kind), "choices": [], "usage": dict(usage)}

    @property
    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _chunk(self, content: Mapping[str, Any], finish_reason: FinishReason | None) -> dict[str, Any]:
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}
        return {**self._head(self._chunk_kind), "choices": [choice]}

    def _head(self, kind: str) -> dict[str, Any]:
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**head, "system_fingerprint": self.fingerprint}


def models_body(names: Sequence[str], created: int) -> dict[str, Any]:
    """The body of `/v1/models`."""
    return {"object": "list", "data": [model_body(name, created) for name in names]}


def model_body(name: str, created: int) -> dict[str, Any]:
    """The body of `/v1/models/{name}`."""
    return {"id": name, "object": "model", "created": created, "owned_by": "lmpipe"}


def event(value: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
