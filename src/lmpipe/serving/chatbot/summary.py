"""The conversation in short, for the person who takes over. Values of personal slots are left out wherever they stand."""

from __future__ import annotations

import re

from lmpipe.serving.chatbot.config import ChatbotConfig
from lmpipe.serving.chatbot.decision import Reason
from lmpipe.serving.chatbot.state import State


def summary(config: ChatbotConfig, state: State, reason: Reason) -> str:
    """Why the bot gave up, what it knows, and the last turns.

    Limits: only what the bot took as the value of a personal slot is known to be personal.
    """
    personal = {slot.name for slot in config.slots if slot.personal}
    known = [f"{slot.name}: {'(given)' if slot.name in personal else slot.value}" for slot in state.slots]
    shown = state.history[-config.hand_over.turns :]
    first = state.turn - len(shown) + 1
    lines = [f"Why: {reason.where}: {reason.text}", f"Known: {'; '.join(known) or 'nothing'}", f"Last {len(shown)} turns:"]
    for number, turn in enumerate(shown, start=first):
        lines.append(f"  user: {_without(turn.user, state, personal, number)}")
        lines.append(f"  bot:  {_without(turn.bot, state, personal, number, spans=False)}")
    return "\n".join(lines)


def _without(text: str, state: State, personal: set[str], turn: int, *, spans: bool = True) -> str:
    """A text on one line, without the values of personal slots."""
    private = [slot for slot in state.slots if slot.name in personal]
    here = [slot for slot in private if spans and slot.turn == turn and slot.end > slot.start]
    for slot in sorted(here, key=lambda slot: -slot.start):
        text = text[: slot.start] + f"({slot.name})" + text[slot.end :]
    for slot in private:
        if not isinstance(slot.value, bool):
            text = re.sub(rf"(?<!\w){re.escape(str(slot.value))}(?!\w)", f"({slot.name})", text, flags=re.IGNORECASE)
    return " / ".join(line for line in text.splitlines() if line.strip())
