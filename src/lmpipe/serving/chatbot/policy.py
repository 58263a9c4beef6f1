"""What the bot does about a message: one pure function from everything it depends on to a decision with its reason.

a person took over?  -> silent
a choice was offered -> the chosen intent
a form runs          -> answer, aside, or another form                      (forms.py)
not believed         -> snippets (if wanted), rephrase, offer, hand over
two intents are near -> which?
understood           -> the first rule for the intent
"""

from __future__ import annotations

import re
from dataclasses import replace

from lmpipe.serving.chatbot.config import ChatbotConfig
from lmpipe.serving.chatbot.decision import Answer, Chat, Decision, Moment, Reason, Say
from lmpipe.serving.chatbot.entities.lookup import Lookup
from lmpipe.serving.chatbot.forms import begin_form, cancel, continue_form, hand_over
from lmpipe.serving.chatbot.policy_config import Cancel, Ground, HandOver, Respond, RuleConfig, SmallTalk, StartForm
from lmpipe.serving.chatbot.state import Pending, SlotValue, State
from lmpipe.serving.chatbot.tracking import agreement, fill_slots

NONE_OF_THESE = "none_of_these"
_ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
}  # fmt: skip
_NUMBER = re.compile(
    r"^\W*(?:the\s+|number\s+|option\s+)?(?:(\d{1,2})|(" + "|".join(_ORDINALS) + r"))(?:\s+one)?\W*$", re.IGNORECASE
)


def decide(moment: Moment) -> Decision:
    """What to do."""
    state = moment.state
    if state.handed_over:
        return Decision("silent", Reason("hand_over", "a person has taken over"), state)
    if state.pending is not None:
        decision = _after_choice(moment, state.pending)
        if decision is not None:
            return decision
    if state.form is not None:
        rule, reason = _certain_rule(moment)
        return continue_form(moment, rule, reason, _act)
    if not moment.understanding.in_scope:
        return _not_understood(moment, "no intent is believed")
    rivals = _rivals(moment)
    if rivals and state.pending is None:
        return _which(moment, rivals)
    if rivals:
        return _not_understood(moment, "the intent is still not clear")
    return _do(moment, moment.understanding.intent, Reason("", "understood", moment.numbers()))


def refuse(config: ChatbotConfig, state: State, text: str) -> Decision | None:
    """A decision about a message that is not even looked at: empty, or too long."""
    if state.handed_over:
        return None
    if not text.strip():
        return _refusal(state, "empty", Reason("limits", "there is no text"))
    if len(text) > config.limits.characters:
        numbers = {"characters": float(len(text)), "limit": float(config.limits.characters)}
        return _refusal(state, "too_long", Reason("limits.characters", "the message is too long", numbers))
    return None


def _refusal(state: State, response: str, reason: Reason) -> Decision:
    return Decision("refuse", reason, state, (Say(response, state.turn),), response)


def find_rule(config: ChatbotConfig, state: State, intent: str) -> tuple[int, RuleConfig] | None:
    """The first rule for an intent whose conditions hold."""
    for number, rule in enumerate(config.rules):
        if intent in rule.intents and all(
            _holds(state, condition.slot, condition.filled, condition.equals) for condition in rule.when
        ):
            return number, rule
    return None


def _holds(state: State, slot: str, filled: bool, equals: object) -> bool:
    held = state.slot(slot)
    if equals is not None:
        return held is not None and held.value == equals
    return (held is not None) == filled


def _do(moment: Moment, intent: str, why: Reason) -> Decision:
    """What the rules say about an intent."""
    found = find_rule(moment.config, _with_always(moment), intent)
    if found is None:
        return _not_understood(moment, f"no rule is for '{intent}' here")
    number, rule = found
    return _act(moment, rule, Reason(f"rules.{number}", f"the intent is '{intent}': {why.text}", why.numbers))


def _with_always(moment: Moment) -> State:
    """The state with the slots that any message may fill."""
    filling = fill_slots(moment.config, moment.state, moment.understanding, today=moment.today)
    return moment.state.filled(*filling.values)


def _act(moment: Moment, rule: RuleConfig, reason: Reason) -> Decision:
    """Do what a rule says. A form that runs stays, unless the rule ends it."""
    turn = moment.state.turn + 1
    given = _with_always(moment)
    given = given.filled(*(SlotValue(name=n, value=v, turn=turn, by="rule", source=reason.where) for n, v in rule.set.items()))
    if isinstance(rule.do, StartForm):
        return begin_form(moment, moment.config.form_by_name[rule.do.form], reason, given)
    given = given.model_copy(update={"pending": None, "fallbacks": 0})
    moment = replace(moment, state=given)
    match rule.do:
        case Respond(response=response):
            return Decision("respond", reason, given, (moment.speak(response),), response)
        case SmallTalk(response=response):
            return Decision("small_talk", reason, given, (Chat(moment.speak(response)),), response)
        case Ground():
            return _ground(moment, reason)
        case HandOver():
            return hand_over(moment, reason)
        case Cancel(response=response):
            return cancel(moment, response, reason)


def _ground(moment: Moment, reason: Reason) -> Decision:
    """Answer from the snippets, or say that they do not answer; in the end a person does."""
    decision = _from_snippets(moment, reason)
    if decision is not None:
        return decision
    reason = replace(reason, text=f"{reason.text}; no snippet is near enough")
    failed = len(moment.state.history) and moment.state.history[-1].action == "no_answer"
    steps = moment.config.fallback.steps
    if failed and steps[-1] == "hand_over":
        return hand_over(moment, replace(reason, text=f"{reason.text}, twice in a row"), (moment.speak("no_answer"),))
    return Decision("no_answer", reason, moment.state, (moment.speak("no_answer"),))


def _from_snippets(moment: Moment, reason: Reason) -> Decision | None:
    hits = tuple(moment.search(moment.understanding.text))
    if not hits:
        return None
    best = hits[0]
    numbers = {"words": best.words, "cosine": best.cosine}
    known = {name: number for name, number in numbers.items() if number is not None}
    reason = Reason(reason.where, f"{reason.text}; the best snippet is '{best.snippet.id}'", {**reason.numbers, **known})
    after = moment.state.model_copy(update={"fallbacks": 0, "pending": None})
    return Decision("ground", reason, after, (Answer(hits),), best.snippet.id)


def _not_understood(moment: Moment, why: str) -> Decision:
    """Fall back: one step further with every message in a row that is not understood."""
    config = moment.config.fallback
    if config.search_first:
        decision = _from_snippets(moment, Reason("fallback.search_first", why, moment.numbers()))
        if decision is not None:
            return decision
    place = min(moment.state.fallbacks, len(config.steps) - 1)
    numbers = {**moment.numbers(), "in a row": float(moment.state.fallbacks + 1)}
    reason = Reason(f"fallback.steps.{place}", why, numbers)
    update: dict[str, object] = {"fallbacks": moment.state.fallbacks + 1, "pending": None}
    match config.steps[place]:
        case "offer" if intents := _offered(moment, config.choices):
            update["pending"] = Pending(intents=intents, message=moment.understanding.text)
            after = moment.state.model_copy(update=update)
            return Decision("offer", reason, after, (moment.speak("offer"),), ",".join(intents), choices=intents)
        case "hand_over":
            return hand_over(moment, reason)
    return Decision("rephrase", reason, moment.state.model_copy(update=update), (moment.speak("rephrase"),))


def _offered(moment: Moment, count: int) -> tuple[str, ...]:
    """The most probable intents that somebody can want: nobody chooses to greet."""
    rules = {intent: find_rule(moment.config, moment.state, intent) for intent, _ in moment.understanding.ranking}
    return tuple(intent for intent, rule in rules.items() if rule and not isinstance(rule[1].do, SmallTalk | Cancel))[:count]


def _certain_rule(moment: Moment) -> tuple[RuleConfig | None, Reason]:
    """The rule for the message's intent, where it is believed and no other is near."""
    understanding = moment.understanding
    if not understanding.in_scope or _rivals(moment):
        return None, Reason("understanding", "no intent is sure", moment.numbers())
    found = find_rule(moment.config, moment.state, understanding.intent)
    if found is None:
        return None, Reason("rules", f"no rule is for '{understanding.intent}' here", moment.numbers())
    return found[1], Reason(f"rules.{found[0]}", f"the intent is '{understanding.intent}', beside the form", moment.numbers())


def _rivals(moment: Moment) -> tuple[str, str] | None:
    """The two most probable intents, where they are near each other and would be answered differently."""
    understanding, ambiguity = moment.understanding, moment.config.understanding.ambiguity
    if len(understanding.ranking) < 2 or understanding.margin >= ambiguity:
        return None
    first, second = (intent for intent, _ in understanding.ranking[:2])
    rules = [find_rule(moment.config, moment.state, intent) for intent in (first, second)]
    if rules[0] is None or rules[1] is None or rules[0][1].do == rules[1][1].do:
        return None
    return first, second


def _which(moment: Moment, rivals: tuple[str, str]) -> Decision:
    reason = Reason(
        "understanding.ambiguity",
        f"'{rivals[0]}' and '{rivals[1]}' are near",
        {**moment.numbers(), "ambiguity": moment.config.understanding.ambiguity},
    )
    pending = Pending(intents=rivals, message=moment.understanding.text)
    after = moment.state.model_copy(update={"pending": pending})
    return Decision("disambiguate", reason, after, (moment.speak("which"),), ",".join(rivals), choices=rivals)


def _after_choice(moment: Moment, pending: Pending) -> Decision | None:
    """What follows from a message that chooses; none where it is about something else."""
    config = moment.config
    titles = [config.intent_by_name[intent].shown for intent in pending.intents]
    place = chosen_place(moment.understanding.text, [*titles, *config.variants(NONE_OF_THESE)[:1]])
    if place is None and agreement(config.understanding, moment.understanding) is False:
        place = len(titles)
    if place is None:
        return None
    if place == len(titles):
        state = moment.state.model_copy(update={"fallbacks": max(1, moment.state.fallbacks), "pending": None})
        return _not_understood(replace(moment, state=state), "the user means none of what was offered")
    # The choice says which intent; what to do with it (a place, a day) stands in the message that it was about.
    original = replace(moment, understanding=moment.understand(pending.message))
    return _do(original, pending.intents[place], Reason("", "the user chose it"))


def chosen_place(text: str, titles: list[str]) -> int | None:
    """Which of some titles a message names: by number, by ordinal, or by its words, with a typing error forgiven.

    >>> chosen_place("the second one", ["book a table", "cancel"]), chosen_place("Book a tabel", ["book a table", "cancel"])
    (1, 0)
    """
    match = _NUMBER.match(text)
    if match is not None:
        number = int(match[1]) if match[1] else _ORDINALS[match[2].lower()]
        return number - 1 if 1 <= number <= len(titles) else None
    found = Lookup({str(place): [title] for place, title in enumerate(titles)}, max_edits=1).match(text)
    return int(found[0]) if found else None
