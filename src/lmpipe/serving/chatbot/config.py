"""A chatbot, declared: what it understands, remembers, says and does. Knows no model and no text but its own.

A recipe embeds `ChatbotConfig` under `chatbot:`. Names are checked here: what a rule, a form or a story speaks of must be
there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config
from lmpipe.base.templates import check_slots
from lmpipe.serving.chatbot.entities.config import EntityConfig
from lmpipe.serving.chatbot.grounding.config import GenerationConfig, SnippetsConfig
from lmpipe.serving.chatbot.names import Name, Text, check_known, check_unique
from lmpipe.serving.chatbot.policy_config import (
    Cancel,
    FallbackConfig,
    HandOverConfig,
    LimitsConfig,
    Respond,
    RuleConfig,
    SmallTalk,
    StartForm,
)
from lmpipe.serving.chatbot.slots_config import FormConfig, SlotConfig
from lmpipe.serving.chatbot.stories_config import StoryConfig
from lmpipe.serving.chatbot.understanding_config import IntentConfig, UnderstandingConfig

BUILT_IN: dict[str, tuple[str, ...]] = {
    "rephrase": ("I did not understand that. Could you say it in other words?",),
    "offer": ("I am still not sure what you mean. Is it one of these?",),
    "which": ("Which of these do you mean?",),
    "none_of_these": ("Something else",),
    "hand_over": ("I am handing you over to a person, who gets to read what we said.",),
    "no_answer": ("I have nothing about that in my texts.",),
    "invalid": ("That does not fit here.",),
    "change": ("What should I change?",),
    "cancelled": ("All right, I leave it.",),
    "empty": ("Please write a message.",),
    "too_long": ("That message is too long for me. Could you put it in a few sentences?",),
}
"""What is said on occasions that every bot has; `responses` replaces any of them."""


class ChatbotConfig(Config):
    """A chatbot."""

    intents: tuple[IntentConfig, ...] = Field(min_length=1)
    """What people want from it."""
    understanding: UnderstandingConfig = UnderstandingConfig()
    """When a message is understood."""
    entities: tuple[EntityConfig, ...] = ()
    """What is looked for in messages."""
    slots: tuple[SlotConfig, ...] = ()
    """What is remembered."""
    forms: tuple[FormConfig, ...] = ()
    """What is collected by asking."""
    responses: dict[Name, Text | tuple[Text, ...]] = Field(default_factory=dict)
    """What is said, with slots as `{name}`; of several variants each is said in its turn."""
    rules: tuple[RuleConfig, ...] = Field(min_length=1)
    """What is done for which intent."""
    fallback: FallbackConfig = FallbackConfig()
    """What is done when a message is not understood."""
    hand_over: HandOverConfig = HandOverConfig()
    """What a person sees who takes over."""
    snippets: SnippetsConfig = SnippetsConfig()
    """The text that answers come from."""
    generation: GenerationConfig = GenerationConfig()
    """How a generator, where there is one, is used."""
    limits: LimitsConfig = LimitsConfig()
    """What keeps a conversation small."""
    greeting: Name | None = None
    """A response that opens the conversation."""
    stories: tuple[StoryConfig, ...] = ()
    """Conversations that must go as written: the gate can require `stories.passed`."""

    def variants(self, response: str) -> tuple[str, ...]:
        """What can be said under a name."""
        own = self.responses.get(response)
        return (own,) if isinstance(own, str) else own or BUILT_IN[response]

    @cached_property
    def slot_by_name(self) -> dict[str, SlotConfig]:
        """The slots by their names."""
        return {slot.name: slot for slot in self.slots}

    @cached_property
    def form_by_name(self) -> dict[str, FormConfig]:
        """The forms by their names."""
        return {form.name: form for form in self.forms}

    @cached_property
    def intent_by_name(self) -> dict[str, IntentConfig]:
        """The intents by their names."""
        return {intent.name: intent for intent in self.intents}

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        named = {
            "intents": self.intents,
            "entities": self.entities,
            "slots": self.slots,
            "forms": self.forms,
            "stories": self.stories,
        }
        for what, parts in named.items():
            check_unique(what, [part.name for part in parts])
        known = {
            "intent": list(self.intent_by_name),
            "entity": [entity.name for entity in self.entities],
            "slot": list(self.slot_by_name),
            "form": list(self.form_by_name),
            "response": [*self.responses, *(name for name in BUILT_IN if name not in self.responses)],
        }
        for what, name, where in self._mentions():
            check_known(what, name, known[what], where)
        return self

    @model_validator(mode="after")
    def _responses_can_be_said(self) -> Self:
        for name in self.responses:
            for text in self.variants(name):
                try:
                    check_slots(text, list(self.slot_by_name))
                except ValueError as error:
                    raise ValueError(f"responses.{name}: expected {error}") from None
        return self

    @model_validator(mode="after")
    def _every_intent_has_a_rule(self) -> Self:
        answers = {self.understanding.affirm, self.understanding.deny}
        always = {intent for rule in self.rules if not rule.when for intent in rule.intents}
        for intent in self.intents:
            if intent.name not in always | answers:
                raise ValueError(
                    f"no rule without `when` is for the intent '{intent.name}', so the bot would have nothing to do; "
                    f"add one such as `{{on: {intent.name}, do: {{kind: respond, response: ...}}}}`"
                )
        return self

    def _mentions(self) -> Iterator[tuple[str, str, str]]:
        """(what, name, where) of everything that is spoken of."""
        for slot in self.slots:
            yield from (("entity", name, f"slots.{slot.name}") for name in slot.entities)
            yield from (("intent", name, f"slots.{slot.name}.intents") for name in slot.intents)
            yield "response", slot.valid.response, f"slots.{slot.name}.valid"
        for form in self.forms:
            where = f"forms.{form.name}"
            for question in form.questions:
                yield "slot", question.slot, where
                yield "response", question.ask, where
            yield "response", form.done, where
            if form.confirm:
                yield "response", form.confirm, where
        for number, rule in enumerate(self.rules):
            yield from self._mentions_of_rule(rule, f"rules.{number}")
        for name in (self.understanding.affirm, self.understanding.deny):
            if name:
                yield "intent", name, "understanding"
        if self.greeting:
            yield "response", self.greeting, "greeting"
        for story in self.stories:
            yield from self._mentions_of_story(story)

    def _mentions_of_rule(self, rule: RuleConfig, where: str) -> Iterator[tuple[str, str, str]]:
        yield from (("intent", name, f"{where}.on") for name in rule.intents)
        yield from (("slot", condition.slot, f"{where}.when") for condition in rule.when)
        yield from (("slot", name, f"{where}.set") for name in rule.set)
        if isinstance(rule.do, Respond | SmallTalk | Cancel):
            yield "response", rule.do.response, f"{where}.do"
        if isinstance(rule.do, StartForm):
            yield "form", rule.do.form, f"{where}.do"

    def _mentions_of_story(self, story: StoryConfig) -> Iterator[tuple[str, str, str]]:
        for number, step in enumerate(story.steps):
            where = f"stories.{story.name}.{number}"
            if step.intent and step.intent != self.understanding.out_of_scope:
                yield "intent", step.intent, where
            yield from (("entity", name, where) for name in step.entities or ())
            yield from (("slot", name, where) for name in step.slots or ())
            if step.response:
                yield "response", step.response, where
