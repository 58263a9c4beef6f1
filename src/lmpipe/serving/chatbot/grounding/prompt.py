"""What a generator is given: instructions, numbered snippets, a little of the conversation, the question, within a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmpipe.serving.chatbot.grounding.config import GenerationConfig, SnippetConfig
from lmpipe.serving.chatbot.state import Turn

Message = dict[str, str]
MESSAGE_TOKENS = 4
"""Counted for the tokens of role and end around each message."""
SHORTEST_CUT = 16
"""A snippet is cut to fit only where at least so many tokens of it are left."""


def grounded_messages(
    question: str,
    snippets: Sequence[SnippetConfig],
    history: Sequence[Turn],
    config: GenerationConfig,
    count: Callable[[str], int],
) -> tuple[list[Message], list[SnippetConfig]]:
    """The messages, and the snippets that are in them.

    Instructions and question are always there. Snippets follow, best first, as far as they fit: the first that does not is cut
    at the end of a word, the rest left out. What is left goes to the last turns.

    Args:
        question: the user's message.
        snippets: best first.
        history: earlier turns, oldest first.
        config: instructions and budget.
        count: tokens of a text.
    """
    left = config.prompt_tokens - count(config.instructions) - count(question) - 2 * MESSAGE_TOKENS
    texts: list[str] = []
    used: list[SnippetConfig] = []
    for number, snippet in enumerate(snippets, start=1):
        text = f"[{number}] {snippet.title}: {snippet.text}" if snippet.title else f"[{number}] {snippet.text}"
        fitting = _cut(text, left, count)
        if not fitting:
            break
        texts.append(fitting)
        used.append(snippet)
        left -= count(fitting) + 1
        if fitting != text:
            break
    turns = _turns(history, config.history, left, count)
    system = "\n\n".join([config.instructions, *texts])
    return [{"role": "system", "content": system}, *turns, {"role": "user", "content": question}], used


def small_talk_messages(
    message: str, history: Sequence[Turn], config: GenerationConfig, count: Callable[[str], int]
) -> list[Message]:
    """The messages for small talk."""
    left = config.prompt_tokens - count(config.small_talk) - count(message) - 2 * MESSAGE_TOKENS
    turns = _turns(history, config.history, left, count)
    return [{"role": "system", "content": config.small_talk}, *turns, {"role": "user", "content": message}]


def _cut(text: str, tokens: int, count: Callable[[str], int]) -> str:
    """As much of the beginning as fits, in whole words; nothing where that is hardly anything."""
    if count(text) <= tokens:
        return text
    words = text.split(" ")
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(" ".join(words[:middle])) <= tokens else (low, middle - 1)
    cut = " ".join(words[:low])
    return cut if count(cut) >= SHORTEST_CUT else ""


def _turns(history: Sequence[Turn], most: int, left: int, count: Callable[[str], int]) -> list[Message]:
    """The last turns that fit, oldest first."""
    found: list[Message] = []
    for turn in list(reversed(history))[:most]:
        left -= count(turn.user) + count(turn.bot) + 2 * MESSAGE_TOKENS
        if left < 0:
            break
        found = [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.bot}, *found]
    return found
