"""Messages to ids: the one prompt rendering that training, evaluation, chat and serving use.

The template is the one stored beside the tokenizer (`chat_template.jinja`, as Transformers and vLLM read it), run in Jinja's
immutable sandbox. Promises: what a message says never becomes a control id. The template is rendered with a stand-in for each
content; control tokens are looked for in the template's own text only, and the contents are put in afterwards.
Limits: a template that changes contents (trims, upper-cases) or decides by what they say sees the stand-in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lmpipe.base.errors import ModelError, ServingError
from lmpipe.tokens.special import ASSISTANT, END, END_OF_TEXT, PAD, SPECIAL_TOKENS, SYSTEM, USER
from lmpipe.tokens.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant")

PLAIN_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- message['content'] -}}
{%- if message['role'] != 'user' and not loop.last %}{{ '\\n\\n' }}{% endif -%}
{%- endfor -%}
"""
"""For a base model, which only goes on with text: what the user wrote, then directly the model's continuation of it; a blank
line after each answer. No roles, no control tokens but the one that opens a document."""

CHAT_TEMPLATE = f"""\
{{{{- bos_token -}}}}
{{%- for message in messages -%}}
{{{{- {{'system': '{SYSTEM}', 'user': '{USER}', 'assistant': '{ASSISTANT}'}}[message['role']] -}}}}
{{{{- message['content'] -}}}}
{{{{- '{END}' -}}}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}{{{{- '{ASSISTANT}' -}}}}{{%- endif -%}}
"""
"""For a model tuned to chat: each message stands between the token of its role and `<|end|>`."""

OUR_NAMES = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": PAD}
"""What templates call the tokens of a tokenizer that lmpipe trained."""


def render(
    messages: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    *,
    add_generation_prompt: bool = True,
    chat_template: str | None = None,
) -> list[int]:
    """The ids of a conversation, ready for the model to answer.

    Args:
        messages: each with `role` (system, user or assistant) and `content` (text); the system's only as the first.
        tokenizer: whose chat template is used.
        add_generation_prompt: whether to open the assistant's answer.
        chat_template: another one than the tokenizer's.

    Raises:
        ServingError: when the messages are not a conversation; says which and why.
        ModelError: when there is no usable template, or it needs control tokens that the tokenizer does not have.

    Example:
        With `CHAT_TEMPLATE`, `[{"role": "user", "content": "Hi"}]` gives the ids of
        `<|endoftext|><|user|>Hi<|end|><|assistant|>`.
    """
    ids: list[int] = []
    text = ""
    template = chat_template or tokenizer.chat_template
    _check_controls(template, tokenizer)
    for part in _parts(messages, template, add_generation_prompt, tuple(tokenizer.special_ids), tokenizer.template_names):
        if isinstance(part, _Control):
            ids += tokenizer.encode(text) if text else []
            ids.append(tokenizer.special_ids[part.token])
            text = ""
        else:
            text += part  # texts that touch are encoded together: tokens may span them, as in Transformers
    return ids + (tokenizer.encode(text) if text else [])


def render_text(messages: Sequence[Mapping[str, Any]], chat_template: str, *, add_generation_prompt: bool = True) -> str:
    """The conversation as text, our control tokens spelled out: to look at, never to encode."""
    parts = _parts(messages, chat_template, add_generation_prompt, SPECIAL_TOKENS, OUR_NAMES)
    return "".join(part.token if isinstance(part, _Control) else part for part in parts)


class _Control:
    """A control token in a rendered template."""

    def __init__(self, token: str) -> None:
        self.token = token


def _check_controls(chat_template: str, tokenizer: Tokenizer) -> None:
    """Refuse our template for a tokenizer without our control tokens: they would be encoded as text."""
    if tokenizer.roles.has_ours:
        return
    missing = [token for token in (SYSTEM, USER, ASSISTANT, END) if token in chat_template]
    if missing:
        raise ModelError(
            f"the tokenizer has no control tokens for conversations: {', '.join(missing)} would be text like any other",
            expected="a tokenizer that lmpipe trained, or one with a chat template of its own",
        )


def _parts(
    messages: Sequence[Mapping[str, Any]],
    chat_template: str,
    add_generation_prompt: bool,
    controls: Sequence[str],
    names: Mapping[str, str],
) -> Iterator[str | _Control]:
    """Control tokens and texts in their order; contents are among the texts as they are."""
    _check(messages)
    # Private-use characters mark the stand-ins. Contents are not in the rendered text, so nothing in them can look like one.
    stand_ins = [{"role": message["role"], "content": f"\ue000{number}\ue001"} for number, message in enumerate(messages)]
    rendered = _rendered(chat_template, stand_ins, add_generation_prompt, names)
    for position, piece in enumerate(re.split(r"\ue000(\d+)\ue001", rendered)):
        if position % 2:
            yield messages[int(piece)]["content"]
        else:
            yield from _controls_and_texts(piece, controls)


def _controls_and_texts(piece: str, controls: Sequence[str]) -> Iterator[str | _Control]:
    start = 0
    longest_first = sorted(controls, key=len, reverse=True)
    for found in re.finditer("|".join(map(re.escape, longest_first)), piece):
        yield piece[start : found.start()]
        yield _Control(found.group())
        start = found.end()
    yield piece[start:]


def _rendered(chat_template: str, messages: list[dict[str, str]], add_generation_prompt: bool, names: Mapping[str, str]) -> str:
    if not chat_template:
        raise ModelError("the tokenizer has no chat template", expected="chat_template.jinja beside tokenizer.json")
    try:
        return _compiled(chat_template).render(
            messages=messages,
            add_generation_prompt=add_generation_prompt,
            **names,
        )
    except jinja2.TemplateError as error:
        raise ModelError(
            f"the chat template cannot be rendered: {error}",
            where="chat_template.jinja",
            expected="a Jinja template over `messages`, `add_generation_prompt`, `bos_token`, `eos_token`, `pad_token`",
        ) from error


@lru_cache(maxsize=16)
def _compiled(chat_template: str) -> jinja2.Template:
    # The two options are those of Transformers, so that a template renders equally there.
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(chat_template)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _check(messages: Sequence[Mapping[str, Any]]) -> None:
    if not messages:
        raise ServingError("the conversation is empty", expected="at least one message", fix="send one of role 'user'")
    for position, message in enumerate(messages):
        where = f"messages[{position}]"
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise ServingError(f"unknown role {role!r}", where=where, expected=f"one of {', '.join(ROLES)}")
        if not isinstance(content, str):
            raise ServingError(f"content is {type(content).__name__}, not text", where=where, expected="a string")
        if role == "system" and position > 0:
            raise ServingError("a system message in the middle", where=where, expected="at most one, and as the first message")
