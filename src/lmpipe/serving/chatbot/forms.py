"""Forms: one question at a time until all is known, checked, confirmed. Pure functions from a moment to a decision.

begin -> ask -> (answer taken | not taken: say why | none) -> ask again, at most `max_asks` times -> given up
                     |
                all known -> confirm -> yes: complete;  no: ask what to change -> confirm
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lmpipe.serving.chatbot.decision import Action, Decision, Event, Moment, Part, Reason, Say
from lmpipe.serving.chatbot.names import Value
from lmpipe.serving.chatbot.policy_config import Cancel, HandOver, RuleConfig, StartForm
from lmpipe.serving.chatbot.slots_config import FormConfig
from lmpipe.serving.chatbot.state import ActiveForm, State
from lmpipe.serving.chatbot.tracking import Filling, agreement, fill_slots

CONFIRMING, CHANGING = "?confirm", "?change"
"""Keys under which the questions that belong to no slot are counted; no slot can be called so."""
Act = Callable[[Moment, RuleConfig, Reason], Decision]
"""Does what a rule says; handed in by the policy, which knows all rules."""


def begin_form(moment: Moment, form: FormConfig, reason: Reason, given: State) -> Decision:
    """Start a form with what the message already says.

    Args:
        moment: now.
        form: which form.
        reason: why.
        given: the state with slots that the rule set.
    """
    old = [slot.name for slot in given.slots if slot.name in form.slots and slot.turn <= moment.state.turn]
    state = given.cleared(*old) if form.fresh else given
    state = state.model_copy(update={"form": ActiveForm(name=form.name), "pending": None, "fallbacks": 0})
    filling = fill_slots(moment.config, state, moment.understanding, today=moment.today, form=form.name)
    return _go_on(replace(moment, state=state), form, filling, reason)


def continue_form(moment: Moment, rule: RuleConfig | None, reason: Reason, act: Act) -> Decision:
    """What a message means for the form that runs.

    Args:
        moment: now, with an active form.
        rule: what the message's intent would do, where it is understood without doubt.
        reason: why that rule.
        act: does it.
    """
    active = moment.state.form
    assert active is not None, "a form runs"
    form = moment.config.form_by_name[active.name]
    if rule is not None and isinstance(rule.do, HandOver | Cancel):
        return act(moment, rule, reason)
    filling = fill_slots(
        moment.config, moment.state, moment.understanding, today=moment.today, form=form.name, whole=active.stage == "asking"
    )
    if filling.values or filling.refused:
        return _go_on(moment, form, filling, _answered(form, filling))
    if active.stage == "confirming":
        agreed = agreement(moment.config.understanding, moment.understanding)
        if agreed is not None:
            return _confirmed(moment, form) if agreed else _what_to_change(moment, form)
    if rule is not None and not (isinstance(rule.do, StartForm) and rule.do.form == form.name):
        decision = act(moment, rule, reason)
        if decision.after.form == active:  # an aside: the question is put again, without being counted
            return replace(decision, say=(*decision.say, _current_question(moment, form, active)))
        return decision
    return _unanswered(moment, form, active)


def _answered(form: FormConfig, filling: Filling) -> Reason:
    names = ", ".join(sorted(filling.names)) or "nothing"
    return Reason(f"forms.{form.name}", f"the message fills {names}")


def _go_on(moment: Moment, form: FormConfig, filling: Filling, reason: Reason) -> Decision:
    """Take what was given and ask for what is still missing."""
    state = moment.state.filled(*filling.values)
    if state.form is not None and any(moment.state.slot(name) is None for name in filling.names):
        state = state.model_copy(update={"form": state.form.model_copy(update={"asks": {}})})  # only questions in a row count
    before: tuple[Part, ...] = ()
    if filling.refused:
        refused = filling.refused[0]
        reason = Reason(f"slots.{refused.slot}.valid", f"the value is {refused.why}")
        before = (moment.speak(moment.config.slot_by_name[refused.slot].valid.response),)
    return _next(replace(moment, state=state), form, reason, before)


def _next(moment: Moment, form: FormConfig, reason: Reason, before: tuple[Part, ...] = ()) -> Decision:
    active = moment.state.form
    assert active is not None, "a form runs"
    for question in form.questions:
        if moment.state.slot(question.slot) is None and question.slot not in active.skipped:
            asks = active.asks.get(question.slot, 0)
            if asks < form.max_asks:
                return _ask(moment, active, "ask", question.slot, Say(question.ask, asks), reason, before)
            if not question.optional:
                return _give_up(moment, form, f"'{question.slot}' was asked for {asks} times", before)
            active = active.model_copy(update={"skipped": (*active.skipped, question.slot), "asked": ""})
    moment = replace(moment, state=moment.state.model_copy(update={"form": active}))
    return _confirm(moment, form, reason, before) if form.confirm else _complete(moment, form, reason, before)


def _ask(
    moment: Moment, active: ActiveForm, action: Action, about: str, question: Say, reason: Reason, before: tuple[Part, ...]
) -> Decision:
    """Put a question and count it."""
    stage = {"ask": "asking", "confirm": "confirming", "change": "changing"}[action]
    key = {"confirm": CONFIRMING, "change": CHANGING}.get(action, about)
    update = {
        "stage": stage,
        "asked": about if action == "ask" else "",
        "asks": {**active.asks, key: active.asks.get(key, 0) + 1},
    }
    after = moment.state.model_copy(update={"form": active.model_copy(update=update), "pending": None, "fallbacks": 0})
    return Decision(action, reason, after, (*before, question), about)


def _confirm(moment: Moment, form: FormConfig, reason: Reason, before: tuple[Part, ...]) -> Decision:
    active = moment.state.form
    assert active is not None, "a form runs"
    assert form.confirm is not None, "it has a confirmation"
    asks = active.asks.get(CONFIRMING, 0)
    return _ask(moment, active, "confirm", form.name, Say(form.confirm, asks), reason, before)


def _what_to_change(moment: Moment, form: FormConfig) -> Decision:
    active = moment.state.form
    assert active is not None, "a form runs"
    asks = active.asks.get(CHANGING, 0)
    if asks >= form.max_asks:
        return _give_up(moment, form, f"it was not right {asks} times")
    reason = Reason(f"forms.{form.name}.confirm", "the user says that it is not right")
    return _ask(moment, active, "change", form.name, Say("change", asks), reason, ())


def _confirmed(moment: Moment, form: FormConfig) -> Decision:
    return _complete(moment, form, Reason(f"forms.{form.name}.confirm", "the user agrees"), ())


def _complete(moment: Moment, form: FormConfig, reason: Reason, before: tuple[Part, ...]) -> Decision:
    slots: dict[str, Value] = {}
    for name in form.slots:
        if (slot := moment.state.slot(name)) is not None:
            slots[name] = slot.value
    after = moment.state.model_copy(update={"form": None, "pending": None, "fallbacks": 0})
    event = Event("form_completed", form.name, slots)
    return Decision("complete", reason, after, (*before, moment.speak(form.done)), form.name, event=event)


def _current_question(moment: Moment, form: FormConfig, active: ActiveForm) -> Say:
    """What was asked last, in the same words."""
    if active.stage == "confirming" and form.confirm:
        return Say(form.confirm, active.asks.get(CONFIRMING, 1) - 1)
    if active.stage == "changing":
        return Say("change", active.asks.get(CHANGING, 1) - 1)
    return Say(form.question(active.asked).ask, active.asks.get(active.asked, 1) - 1)


def _unanswered(moment: Moment, form: FormConfig, active: ActiveForm) -> Decision:
    """The message was no answer: ask again, or give up."""
    reason = Reason(f"forms.{form.name}", "the message answers nothing that the form wants", moment.numbers())
    if active.stage == "asking":
        return _next(moment, form, reason)
    key = CONFIRMING if active.stage == "confirming" else CHANGING
    asks = active.asks.get(key, 0)
    if asks >= form.max_asks:
        return _give_up(moment, form, f"the last question was put {asks} times")
    if active.stage == "confirming":
        return _confirm(moment, form, reason, ())
    return _ask(moment, active, "change", form.name, Say("change", asks), reason, ())


def _give_up(moment: Moment, form: FormConfig, why: str, before: tuple[Part, ...] = ()) -> Decision:
    reason = Reason(f"forms.{form.name}.max_asks", why, {"max_asks": float(form.max_asks)})
    return hand_over(moment, reason, before) if form.given_up == "hand_over" else cancel(moment, "cancelled", reason, before)


def hand_over(moment: Moment, reason: Reason, before: tuple[Part, ...] = ()) -> Decision:
    """A person takes over."""
    after = moment.state.model_copy(update={"handed_over": True, "form": None, "pending": None, "fallbacks": 0})
    return Decision("hand_over", reason, after, (*before, moment.speak("hand_over")), event=Event("handed_over"))


def cancel(moment: Moment, response: str, reason: Reason, before: tuple[Part, ...] = ()) -> Decision:
    """Give up the form that runs; without one, only say so."""
    form = moment.state.form
    after = moment.state.model_copy(update={"form": None, "pending": None, "fallbacks": 0})
    event = Event("form_cancelled", form.name) if form else None
    return Decision("cancel", reason, after, (*before, moment.speak(response)), form.name if form else "", event=event)
