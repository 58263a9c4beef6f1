"""A chatbot, whole: `reply(state, text) -> (reply, new state)`. Pure and free of any transport.

    text --> understand --> decide --> say, quote or write --> reply, new state

Equal states, texts and days give equal replies (a generator draws from the seed of its settings). Nothing is kept between two
calls and nothing is written to a log: whoever calls holds the state, and acts on `Reply.event`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any, Protocol

from lmpipe.base.templates import fill, slots_of
from lmpipe.serving.chatbot.config import ChatbotConfig
from lmpipe.serving.chatbot.decision import Action, Answer, Chat, Decision, Event, Moment, Part, Reason, Say
from lmpipe.serving.chatbot.grounding.config import SnippetConfig
from lmpipe.serving.chatbot.grounding.index import Hit, SnippetIndex
from lmpipe.serving.chatbot.grounding.prompt import Message, grounded_messages, small_talk_messages
from lmpipe.serving.chatbot.grounding.support import supported_sentences
from lmpipe.serving.chatbot.policy import NONE_OF_THESE, decide, refuse
from lmpipe.serving.chatbot.state import State, Turn
from lmpipe.serving.chatbot.summary import summary
from lmpipe.serving.chatbot.tracking import asked_entities
from lmpipe.serving.chatbot.understanding import Understander, Understanding

UNKNOWN = "…"
"""Stands in a response for a slot that has no value."""


class Writer(Protocol):
    """Writes text: a bundle tuned to chat."""

    def count(self, text: str) -> int:
        """Tokens of a text."""

    def write(self, messages: Sequence[Message], *, max_tokens: int, temperature: float, seed: int) -> Iterator[str]:
        """The answer to a conversation, in pieces."""


@dataclass(frozen=True)
class Reply:
    """What the bot says, and everything that led to it."""

    text: str
    action: Action
    about: str
    """What the action is about: the slot that is asked for, the form, the response."""
    reason: Reason
    responses: tuple[str, ...] = ()
    """The responses that were said, by name."""
    citations: tuple[SnippetConfig, ...] = ()
    """The snippets that the answer rests on."""
    hits: tuple[Hit, ...] = ()
    """What the search found, with its numbers."""
    generated: bool = False
    """Whether a model wrote (part of) the text."""
    choices: tuple[str, ...] = ()
    """What the user is asked to choose from, in the words of the titles."""
    event: Event | None = None
    """What has to be done besides talking."""
    understanding: Understanding | None = None
    """How the message was understood; none where it was not looked at."""

    def to_json(self) -> dict[str, Any]:
        """As plain data. Holds what the user wrote."""
        cited = [{"id": snippet.id, "title": snippet.title, "source": snippet.source} for snippet in self.citations]
        understood = self.understanding
        return {
            "text": self.text,
            "action": self.action,
            "about": self.about,
            "reason": asdict(self.reason),
            "responses": list(self.responses),
            "citations": cited,
            "generated": self.generated,
            "choices": list(self.choices),
            "event": asdict(self.event) if self.event else None,
            "ranking": [list(pair) for pair in understood.ranking] if understood else [],
            "entities": [asdict(entity) for entity in understood.entities] if understood else [],
        }


class Chatbot:
    """A chatbot that can be talked to.

    Args:
        config: what it understands, remembers, says and does.
        understander: understands messages.
        index: its snippets.
        writer: writes answers; without one, snippets are quoted and small talk is a response.
    """

    def __init__(
        self, config: ChatbotConfig, understander: Understander, index: SnippetIndex, writer: Writer | None = None
    ) -> None:
        self.config, self.understander, self.index, self.writer = config, understander, index, writer

    def start(self) -> tuple[str, State]:
        """What the bot says first (nothing, where it has no greeting), and the state before any message."""
        greeting = self.config.greeting
        return self._render(Say(greeting, 0), State()) if greeting else "", State()

    def reply(self, state: State, text: str, *, today: date | None = None) -> tuple[Reply, State]:
        """The reply to a message, and the state after it.

        Args:
            state: of the conversation; `start()` gives the first one.
            text: the message.
            today: what days in the message are relative to; without it, the day of this machine.

        Raises:
            ServingError: when a model that was handed in does not answer as it should.
        """
        stream = self.stream(state, text, today=today)
        while True:
            try:
                next(stream)
            except StopIteration as end:
                reply, after = end.value
                return reply, after

    def stream(self, state: State, text: str, *, today: date | None = None) -> Generator[str, None, tuple[Reply, State]]:
        """As `reply`: yields the text in pieces as it is written, and returns the rest: `reply, state = yield from ...`.

        The pieces joined are `Reply.text`. Closed early, nothing is returned and the state stays what it was.
        """
        today = today or date.today()
        text = _unicode(text)
        decision, understanding = self._decide(state, text, today)
        said = _Said()
        for number, part in enumerate(decision.say):
            if number:
                yield said.add("\n")
            yield from self._written(part, text, decision.after, state, said)
        if decision.choices:
            yield said.add("\n" + "\n".join(f"{number}. {title}" for number, title in enumerate(self._titles(decision), 1)))
        first = understanding.ranking[0] if understanding else ("", 0.0)
        kept = text[: self.config.limits.characters]
        turn = Turn(user=kept, intent=first[0], probability=first[1], action=decision.action, bot=said.text)
        after = decision.after.model_copy(update={"turn": state.turn + 1}).with_turn(turn, self.config.limits.history)
        event = decision.event
        if event is not None and event.kind == "handed_over":
            event = replace(event, summary=summary(self.config, after, decision.reason))
        return self._reply(decision, said, event, understanding), after

    def _decide(self, state: State, text: str, today: date) -> tuple[Decision, Understanding | None]:
        refused = refuse(self.config, state, text)
        if refused is not None:
            return refused, None
        if state.handed_over:
            return Decision("silent", Reason("hand_over", "a person has taken over"), state), None
        asked = asked_entities(self.config, state)

        def understand(message: str) -> Understanding:
            return self.understander.understand(message, today=today)

        understanding = self.understander.understand(text, today=today, asked=asked)
        threshold = self.understander.threshold
        moment = Moment(self.config, state, understanding, threshold, today, self.index.found, understand)
        return decide(moment), understanding

    def _written(self, part: Part, text: str, after: State, before: State, said: _Said) -> Iterator[str]:
        """The pieces of one part, noted in `said`."""
        if isinstance(part, Say):
            said.responses.append(part.response)
            yield said.add(self._render(part, after))
        elif isinstance(part, Chat):
            if self.writer is None:
                said.responses.append(part.otherwise.response)
                yield said.add(self._render(part.otherwise, after))
            else:
                said.generated = True
                messages = small_talk_messages(text, before.history, self.config.generation, self.writer.count)
                yield from said.add_all(self._write(self.writer, messages, before))
        else:
            yield from self._answer(part, text, before, said)

    def _answer(self, answer: Answer, text: str, before: State, said: _Said) -> Iterator[str]:
        """An answer from snippets: written and checked, or quoted; then the sources."""
        said.hits = answer.hits
        snippets = [hit.snippet for hit in answer.hits]
        written = False
        generation = self.config.generation
        if self.writer is not None and generation.answers:
            messages, used = grounded_messages(text, snippets, before.history, generation, self.writer.count)
            if used:
                pieces = self._write(self.writer, messages, before)
                start = len(said.text)
                if generation.quote_unsupported:
                    sources = [snippet.title + "\n" + snippet.text for snippet in used] + [text]
                    whole = yield from said.add_all(supported_sentences(pieces, sources))
                else:
                    yield from said.add_all(pieces)
                    whole = True
                said.generated = len(said.text) > start
                written = whole is not False and said.generated
                said.citations = used if said.generated else []
        if not written:
            if said.generated:
                yield said.add("" if said.text.endswith(("\n", " ")) else "\n")
            yield said.add(snippets[0].text)
            said.citations = [snippets[0], *(snippet for snippet in said.citations if snippet.id != snippets[0].id)]
        yield said.add(_sources(said.citations))

    def _write(self, writer: Writer, messages: Sequence[Message], before: State) -> Iterator[str]:
        generation = self.config.generation
        seed = generation.seed + before.turn
        return writer.write(messages, max_tokens=generation.max_tokens, temperature=generation.temperature, seed=seed)

    def _render(self, say: Say, state: State) -> str:
        variants = self.config.variants(say.response)
        template = variants[say.variant % len(variants)]
        held = {slot.name: _shown(slot.value) for slot in state.slots}
        return fill(template, {name: held.get(name, UNKNOWN) for name in slots_of(template)})

    def _titles(self, decision: Decision) -> tuple[str, ...]:
        titles = tuple(self.config.intent_by_name[intent].shown for intent in decision.choices)
        return (*titles, self.config.variants(NONE_OF_THESE)[0])

    def _reply(self, decision: Decision, said: _Said, event: Event | None, understanding: Understanding | None) -> Reply:
        return Reply(
            said.text,
            decision.action,
            decision.about,
            decision.reason,
            tuple(said.responses),
            tuple(said.citations),
            said.hits,
            said.generated,
            self._titles(decision) if decision.choices else (),
            event,
            understanding,
        )


class _Said:
    """What has been said so far in one reply."""

    def __init__(self) -> None:
        self.text = ""
        self.responses: list[str] = []
        self.citations: list[SnippetConfig] = []
        self.hits: tuple[Hit, ...] = ()
        self.generated = False

    def add(self, text: str) -> str:
        self.text += text
        return text

    def add_all(self, pieces: Iterator[str] | Generator[str, None, bool]) -> Generator[str, None, bool | None]:
        """Pass pieces on; what their generator returned comes back."""
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                return end.value if isinstance(end.value, bool) else None
            yield self.add(piece)


def _unicode(text: str) -> str:
    """The text with what is no character (halves of surrogate pairs) replaced, so that it can be kept and sent."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _sources(citations: Sequence[SnippetConfig]) -> str:
    """The lines under an answer that say where it comes from."""
    lines = []
    for snippet in citations:
        name = snippet.title or snippet.id
        lines.append(f"[{snippet.id}] {name}" + (f", {snippet.source}" if snippet.source else ""))
    return "\n" + "\n".join(lines) if lines else ""
