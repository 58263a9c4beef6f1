"""What the bot does, by a classifier that says what a test wants to hear."""

from datetime import date

import pytest

MONDAY = date(2026, 3, 2)
SURE = 0.9


def talk(bot, *lines, today=MONDAY):
    """All replies, and the state after the last."""
    _, state = bot.start()
    replies = []
    for line in lines:
        reply, state = bot.reply(state, line, today=today)
        replies.append(reply)
    return replies, state


def slots(state):
    return {slot.name: slot.value for slot in state.slots}


@pytest.fixture
def bot(example):
    answers = {
        "book": {"book_table": SURE},
        "hello": {"greet": SURE},
        "cancel": {"cancel_booking": SURE},
        "question": {"question": SURE},
        "do you have parking": {"question": SURE},
        "person": {"person": SURE},
        "stop": {"stop": SURE},
        "near": {"book_table": 0.48, "cancel_booking": 0.46},
        "fine": {"agree": SURE},
    }
    return example.make_bot(answers=answers)


BOOKED = ("book a table in Rome for 4 on friday", "no", "Ann")


def test_a_form_takes_what_the_first_message_says_and_asks_for_the_rest(bot):
    replies, state = talk(bot, *BOOKED)
    assert [reply.text for reply in replies[:2]] == ["On the terrace?", "Under which name?"]
    assert replies[2].text == "4 on 2026-03-06 in rome, terrace: no, for Ann. Right?"
    reply, state = bot.reply(state, "yes", today=MONDAY)
    assert (reply.action, reply.about, reply.text) == ("complete", "booking", "Booked for Ann.")
    assert reply.event.slots == {"branch": "rome", "day": "2026-03-06", "guests": 4, "terrace": False, "guest": "Ann"}
    assert state.form is None


def test_where_a_value_comes_from_is_kept(bot):
    _, state = talk(bot, *BOOKED)
    branch, guest = state.slot("branch"), state.slot("guest")
    assert (branch.turn, branch.by, branch.source) == (1, "entity", "branch")
    assert BOOKED[0][branch.start : branch.end] == "Rome"
    assert (guest.turn, guest.by) == (3, "message")


def test_a_correction_while_confirming_is_taken_and_confirmed_again(bot):
    replies, state = talk(bot, *BOOKED, "no", "for 5 people, please")
    assert (replies[3].action, replies[3].text) == ("change", "What should I change?")
    assert replies[4].action == "confirm"
    assert slots(state)["guests"] == 5
    replies, state = talk(bot, *BOOKED, "no, for 6")  # at once
    assert (replies[3].action, slots(state)["guests"]) == ("confirm", 6)


def test_an_intent_that_agrees_is_a_yes(bot):
    assert talk(bot, *BOOKED, "fine with me")[0][-1].action == "complete"


def test_a_value_that_does_not_fit_is_refused_with_the_reason(bot):
    replies, state = talk(bot, "book a table in Rome on friday", "for 30")
    assert replies[1].text == "We have tables for 1 to 12.\nFor how many?"
    assert replies[1].reason.where == "slots.guests.valid"
    assert "more than 12" in replies[1].reason.text
    assert "guests" not in slots(state)
    assert "in the past" in talk(bot, "book", "Rome", "2026-01-01")[0][-1].reason.text


def test_the_variants_of_a_question_take_turns(bot):
    replies, _ = talk(bot, "book", "hm")
    assert [reply.text for reply in replies] == ["Rome or Milan?", "In which town, Rome or Milan?"]


def test_a_question_in_vain_ends_in_a_person_with_a_summary(bot):
    replies, state = talk(bot, "book for 4", "hm", "hm")
    assert replies[2].action == "hand_over"
    assert replies[2].event.kind == "handed_over"
    assert "guests: 4" in replies[2].event.summary
    assert state.handed_over
    reply, after = bot.reply(state, "hello?", today=MONDAY)
    assert (reply.text, reply.action) == ("", "silent")
    assert after.history[-1].user == "hello?"


def test_a_message_that_fills_something_else_was_not_in_vain(bot):
    replies, _ = talk(bot, "book", "for 4", "on friday", "hm")
    assert [reply.about for reply in replies] == ["branch"] * 4


def test_an_optional_question_is_left_out_in_the_end(bot):
    replies, _ = talk(bot, "book a table in Rome for 4 on friday", "hm", "hm", "Ann")
    assert [reply.about for reply in replies] == ["terrace", "terrace", "guest", "booking"]
    assert replies[3].text == "4 on 2026-03-06 in rome, terrace: …, for Ann. Right?"
    assert "terrace" not in talk(bot, "book a table in Rome for 4 on friday", "hm", "hm", "Ann", "yes")[0][-1].event.slots


def test_a_form_that_is_cancelled_in_vain_says_so(bot):
    replies, state = talk(bot, "cancel", "hm", "hm", "hm")
    assert replies[3].action == "cancel"
    assert replies[3].event.kind == "form_cancelled"
    assert state.form is None


def test_an_aside_is_answered_and_the_question_put_again_without_being_counted(bot):
    replies, _ = talk(bot, "book", "do you have parking", "hello", "do you have parking", "Rome")
    assert replies[1].text == "Guests park free of charge behind the house.\n[parking] Parking\nRome or Milan?"
    assert replies[2].text.endswith("Rome or Milan?")
    assert replies[2].action == "small_talk"
    assert (replies[4].action, replies[4].about) == ("ask", "day")


def test_another_form_takes_over_and_a_person_is_always_reached(bot):
    replies, _ = talk(bot, "book", "cancel", "ab1234")
    assert replies[1].about == "code"
    assert (replies[2].action, replies[2].text) == ("complete", "AB1234 is cancelled.")
    assert talk(bot, "book", "person")[0][-1].action == "hand_over"
    assert talk(bot, "book", "stop")[0][-1].event.kind == "form_cancelled"
    assert talk(bot, "stop")[0][-1].event is None


def test_a_new_form_forgets_the_old_values_but_for_those_that_are_always_filled(bot):
    _, state = talk(bot, *BOOKED, "yes", "book for tomorrow")
    assert slots(state) == {"day": "2026-03-03"}
    _, state = talk(bot, "hello from Milano", "book")
    assert slots(state) == {}


def test_two_near_intents_are_asked_about_and_the_message_is_not_lost(bot):
    replies, state = talk(bot, "near tomorrow in Rome", "1")
    assert replies[0].action == "disambiguate"
    assert replies[0].text.splitlines() == [
        "Which of these do you mean?",
        "1. book a table",
        "2. cancel a booking",
        "3. Something else",
    ]
    assert replies[0].reason.numbers["margin"] == pytest.approx(0.02)
    assert (replies[1].action, replies[1].about) == ("ask", "guests")
    assert slots(state) == {"branch": "rome", "day": "2026-03-03"}


@pytest.mark.parametrize("choice", ["2", "the second one", "Cancel a booking", "cancel a boking"])
def test_a_choice_can_be_made_in_many_ways(bot, choice):
    reply = talk(bot, "near", choice)[0][-1]
    assert reply.about == "code"
    assert "the user chose it" in reply.reason.text or "cancel" in choice


def test_none_of_the_choices_and_an_unclear_answer_fall_back(bot):
    assert talk(bot, "near", "3")[0][-1].action == "offer"
    assert talk(bot, "near", "no")[0][-1].action == "offer"
    assert talk(bot, "near", "near")[0][-1].action == "rephrase"
    assert talk(bot, "near", "book")[0][-1].about == "branch"
    assert talk(bot, "near", "9")[0][-1].action == "rephrase"


def test_falling_back_goes_from_other_words_to_choices_to_a_person(bot):
    replies, _ = talk(bot, "xx", "yy", "zz")
    assert [reply.action for reply in replies] == ["rephrase", "offer", "hand_over"]
    assert len(replies[1].choices) == 4
    assert [reply.reason.numbers["in a row"] for reply in replies] == [1, 2, 3]
    assert "greet" not in replies[1].choices


def test_a_message_that_is_understood_begins_the_count_again(bot):
    assert [reply.action for reply in talk(bot, "xx", "hello", "xx")[0]] == ["rephrase", "small_talk", "rephrase"]


def test_snippets_may_be_searched_before_falling_back(example):
    config = example.config_of(fallback={"search_first": True})
    bot = example.make_bot(config, answers={})
    replies, _ = talk(bot, "is parking free", "xx")
    assert [reply.action for reply in replies] == ["ground", "rephrase"]
    assert [snippet.id for snippet in replies[0].citations] == ["parking"]


def test_what_no_snippet_answers_is_said_and_twice_in_a_row_is_for_a_person(bot):
    replies, _ = talk(bot, "question about the moon", "question about mars")
    assert (replies[0].action, replies[0].citations) == ("no_answer", ())
    assert replies[0].text == "I have nothing about that in my texts."
    assert replies[1].action == "hand_over"


def test_rules_with_conditions_and_values_that_rules_set(example):
    rules = """
rules:
  - {on: greet, when: [{slot: branch, equals: rome}], do: {kind: respond, response: booked}}
  - {on: greet, when: [{slot: branch}], do: {kind: respond, response: cancelled_booking}}
  - {on: greet, do: {kind: respond, response: hello}, set: {branch: milan}}
"""
    text = example.YAML.replace("\nrules:\n", rules)
    bot = example.make_bot(example.config_of(text), answers={"hi": {"greet": SURE}})
    replies, _ = talk(bot, "hi", "hi", "hi Rome")
    assert [reply.about for reply in replies] == ["hello", "cancelled_booking", "booked"]
    assert [reply.reason.where for reply in replies] == ["rules.2", "rules.1", "rules.0"]
    assert talk(bot, "hi")[1].slot("branch").by == "rule"


def test_every_decision_says_why_with_its_numbers(bot):
    replies, _ = talk(bot, "book", "hm", "near", "hello", "xx")
    for reply in replies:
        assert reply.reason.where
        assert reply.reason.text
    assert str(replies[0].reason) == (
        "rules.1: the intent is 'book_table': understood (probability 0.9, threshold 0.45, margin 0.883)"
    )
