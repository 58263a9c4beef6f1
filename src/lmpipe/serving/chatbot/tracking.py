"""Which slots a message fills, and whether they take the value. Pure: (config, state, understanding) -> new values.

Each entity fills one slot: the one that was asked for, else the first of the running form (or of all) that takes it and is
empty, else the only one that takes it, whose old value it replaces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from lmpipe.serving.chatbot.config import ChatbotConfig
from lmpipe.serving.chatbot.names import Value
from lmpipe.serving.chatbot.slots_config import SlotConfig, ValidConfig
from lmpipe.serving.chatbot.state import SlotValue, State
from lmpipe.serving.chatbot.understanding import Understanding
from lmpipe.serving.chatbot.understanding_config import UnderstandingConfig


@dataclass(frozen=True)
class Refused:
    """A value that its slot does not take."""

    slot: str
    value: Value
    why: str


@dataclass(frozen=True)
class Filling:
    """What a message does to the slots."""

    values: tuple[SlotValue, ...] = ()
    refused: tuple[Refused, ...] = ()
    names: frozenset[str] = field(default_factory=frozenset)
    """Slots that were filled."""


def asked_entities(config: ChatbotConfig, state: State) -> frozenset[str]:
    """The entities that would answer what the bot asked last."""
    slot = config.slot_by_name.get(state.form.asked) if state.form else None
    return frozenset(slot.entities) if slot else frozenset()


def fill_slots(
    config: ChatbotConfig, state: State, understanding: Understanding, *, today: date, form: str = "", whole: bool = False
) -> Filling:
    """What the message fills.

    Args:
        config: the chatbot.
        state: before the message.
        understanding: of the message.
        today: for `not_past`.
        form: the form that runs or is about to begin.
        whole: whether the message as a whole may answer what was asked.
    """
    asked = state.form.asked if state.form else ""
    in_form = config.form_by_name[form].slots if form else ()
    order = _order(config, asked, in_form)
    found: dict[str, SlotValue] = {}
    for entity in understanding.entities:
        takers = [slot for slot in order if entity.name in slot.entities and slot.name not in found]
        slot = _taker(takers, state, asked)
        if slot is not None:
            found[slot.name] = SlotValue(
                name=slot.name,
                value=entity.value,
                turn=state.turn + 1,
                by="entity",
                source=entity.name,
                start=entity.start,
                end=entity.end,
            )
    if asked and asked not in found:
        value = _answer(config, config.slot_by_name[asked], understanding, state.turn + 1, whole and not found)
        found |= {asked: value} if value else {}
    values, refused = [], []
    for value in found.values():
        why = refusal(value.value, config.slot_by_name[value.name].valid, today)
        if why:
            refused.append(Refused(value.name, value.value, why))
        else:
            values.append(value)
    return Filling(tuple(values), tuple(refused), frozenset(value.name for value in values))


def _order(config: ChatbotConfig, asked: str, in_form: Sequence[str]) -> list[SlotConfig]:
    """The slots that this message may fill, in the order in which entities are given to them."""
    names = list(dict.fromkeys([*([asked] if asked else []), *in_form, *config.slot_by_name]))
    slots = [config.slot_by_name[name] for name in names]
    return [s for s in slots if s.name == asked or s.fill == "always" or (s.fill == "in_form" and s.name in in_form)]


def _taker(takers: Sequence[SlotConfig], state: State, asked: str) -> SlotConfig | None:
    empty = [slot for slot in takers if slot.name == asked or state.slot(slot.name) is None]
    if empty:
        return empty[0]
    return takers[0] if len(takers) == 1 else None


def _answer(config: ChatbotConfig, slot: SlotConfig, understanding: Understanding, turn: int, whole: bool) -> SlotValue | None:
    """What the message says as the answer to a slot's own question, without an entity."""
    agreed = agreement(config.understanding, understanding) if slot.yes_no else None
    if agreed is not None:
        return SlotValue(name=slot.name, value=agreed, turn=turn, by="message", source="yes" if agreed else "no")
    if understanding.in_scope and understanding.intent in slot.intents:
        value = slot.intents[understanding.intent]
        return SlotValue(name=slot.name, value=value, turn=turn, by="intent", source=understanding.intent)
    text = understanding.text.strip()
    if not slot.whole_message or not whole or not text:
        return None
    start = understanding.text.index(text)
    return SlotValue(name=slot.name, value=text, turn=turn, by="message", start=start, end=start + len(text))


def agreement(config: UnderstandingConfig, understanding: Understanding) -> bool | None:
    """Whether a message agrees or disagrees; none where it does neither."""
    said = " ".join(re.findall(r"[\w']+", understanding.text.casefold()))
    for phrases, answer in ((config.no, False), (config.yes, True)):
        for phrase in phrases:
            normal = " ".join(re.findall(r"[\w']+", phrase.casefold()))
            if said == normal or said.startswith(f"{normal} "):
                return answer
    if understanding.in_scope and understanding.intent in (config.affirm, config.deny):
        return understanding.intent == config.affirm
    return None


def refusal(value: Value, valid: ValidConfig, today: date) -> str:
    """Why a slot does not take a value; empty where it does."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if valid.one_of and value not in valid.one_of:
        return f"not one of {', '.join(str(choice) for choice in valid.one_of)}"
    if (valid.at_least is not None or valid.at_most is not None) and not number:
        return "not a number"
    if valid.at_least is not None and float(value) < valid.at_least:
        return f"less than {valid.at_least:g}"
    if valid.at_most is not None and float(value) > valid.at_most:
        return f"more than {valid.at_most:g}"
    if valid.pattern is not None and not re.fullmatch(valid.pattern, str(value)):
        return "not of the expected form"
    if valid.not_past:
        try:
            return "in the past" if date.fromisoformat(str(value)) < today else ""
        except ValueError:
            return "not a date"
    return ""
