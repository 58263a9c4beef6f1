import json
import logging
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.errors import ServingError
from lmpipe.serving.chatbot.session import Chatbot
from lmpipe.serving.chatbot.state import State, state_from_json

MONDAY = date(2026, 3, 2)
LINES = (
    "hello", "book a table", "Roma", "tomorrow", "four", "yes", "no", "Ann Smith", "ann@example.org", "cancel my booking",
    "AB1234", "when are you open", "1", "4", "never mind", "", "  ", "x" * 1001, "a person please", "\ud800", "{guest}",
)  # fmt: skip


def drain(stream):
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, *end.value


@pytest.fixture(scope="module")
def bot(example):
    return example.make_bot()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(LINES) | st.text(max_size=30), max_size=12))
def test_any_conversation_is_pure_bounded_and_survives_json(bot, lines):
    _, state = bot.start()
    for line in lines:
        before = state.to_json()
        reply, after = bot.reply(state, line, today=MONDAY)
        pieces, again, after_again = drain(bot.stream(state, line, today=MONDAY))
        assert "".join(pieces) == reply.text == again.text
        assert after == after_again
        assert state.to_json() == before
        assert state_from_json(after.to_json()) == after
        assert after.turn == state.turn + 1
        assert len(after.history) <= bot.config.limits.history
        assert reply.text or reply.action == "silent"
        json.dumps(reply.to_json()).encode()
        state = after


def test_a_conversation_goes_on_from_json(bot):
    _, state = bot.start()
    for line in ("book a table in Rome", "tomorrow", "four", "yes", "Ann Smith"):
        _, state = bot.reply(state, line, today=MONDAY)
        state = state_from_json(state.to_json())
    assert bot.reply(state, "yes", today=MONDAY)[0].action == "complete"


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 2}', '{"turn": "secret@example.org"}', '{"unknown": "secret@example.org"}']
)
def test_what_is_no_state_is_refused_without_repeating_it(text):
    with pytest.raises(ServingError, match="no state of a conversation") as error:
        state_from_json(text)
    assert "secret" not in str(error.value)


def test_empty_and_long_messages_are_not_looked_at(bot):
    for line, response in (("  ", "empty"), ("x" * 1001, "too_long")):
        reply, after = bot.reply(State(), line, today=MONDAY)
        assert (reply.action, reply.responses, reply.understanding) == ("refuse", (response,), None)
        assert len(after.history[-1].user) <= 1000


def test_what_a_user_writes_is_never_a_template(bot):
    _, state = bot.start()
    for line in ("book a table in Rome for 4 tomorrow", "yes", "{day} {{x}}"):
        reply, state = bot.reply(state, line, today=MONDAY)
    assert "for {day} {{x}}. Right?" in reply.text


def test_nothing_is_logged_and_the_summary_has_no_personal_values(example, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    bot = example.make_bot()
    _, state = bot.start()
    for line in ("book a table in Rome for 4 tomorrow", "yes", "Ann Smith", "hm ann smith", "hm"):
        reply, state = bot.reply(state, line, today=MONDAY)
    assert reply.action == "hand_over"
    assert "guest: (given)" in reply.event.summary
    assert "branch: rome" in reply.event.summary
    assert "smith" not in reply.event.summary.lower()
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


class Parrot:
    """Writes what it was told to, in pieces of three characters; keeps what it was asked."""

    def __init__(self, text):
        self.text, self.asked = text, []

    def count(self, text):
        return len(text.split())

    def write(self, messages, *, max_tokens, temperature, seed):
        self.asked.append((messages, max_tokens, temperature, seed))
        yield from (self.text[place : place + 3] for place in range(0, len(self.text), 3))


def test_a_generator_writes_the_answer_and_its_snippets_are_cited(example):
    writer = Parrot("From 12:00 on. We close at 23:00.")
    bot = example.make_bot(writer=writer)
    pieces, reply, state = drain(bot.stream(State(), "when are you open", today=MONDAY))
    assert reply.text == "From 12:00 on. We close at 23:00.\n[hours] Opening hours, faq.md"
    assert len(pieces) > 2
    assert reply.generated
    assert [snippet.id for snippet in reply.citations] == ["hours"]
    messages, max_tokens, temperature, seed = writer.asked[0]
    assert "closed on Mondays" in messages[0]["content"]
    assert (max_tokens, temperature, seed) == (120, 0.0, 1)
    bot.reply(state, "when are you open", today=MONDAY)
    assert writer.asked[1][0][1] == {"role": "user", "content": "when are you open"}


def test_an_invented_number_is_held_back_and_the_snippet_quoted(example):
    bot = example.make_bot(writer=Parrot("We are open. You pay 99 euros. Ask Bob."))
    reply, _ = bot.reply(State(), "when are you open", today=MONDAY)
    assert "99" not in reply.text
    assert reply.text.startswith("We are open. We are open from 12:00 to 23:00")
    assert [snippet.id for snippet in reply.citations] == ["hours"]
    silent = example.make_bot(writer=Parrot(""))
    assert silent.reply(State(), "when are you open", today=MONDAY)[0].text.startswith("We are open from 12:00")


def test_small_talk_is_written_where_there_is_a_writer(example):
    writer = Parrot("Good day!")
    reply, _ = example.make_bot(writer=writer).reply(State(), "hello", today=MONDAY)
    assert (reply.text, reply.generated, reply.action) == ("Good day!", True, "small_talk")
    assert writer.asked[0][0][-1] == {"role": "user", "content": "hello"}


def test_a_reply_that_is_stopped_leaves_the_state_as_it_was(example):
    bot = example.make_bot(writer=Parrot("One. Two. Three."))
    state = State()
    stream = bot.stream(state, "when are you open", today=MONDAY)
    next(stream)
    stream.close()
    assert state == State()


def test_a_classifier_of_other_intents_is_refused(example):
    from lmpipe.serving.chatbot.understanding import Understander

    config = example.config_of()

    class Other:
        labels = tuple(config.intent_by_name)[1:]

    with pytest.raises(ServingError, match="does not know 'greet'"):
        Understander(config, Other(), threshold=0.5)
    Other.labels = (*config.intent_by_name, "more")
    with pytest.raises(ServingError, match="knows 'more'"):
        Understander(config, Other(), threshold=0.5)


def test_a_label_for_out_of_scope_is_never_believed_nor_offered(example):
    understanding = {**example.config_of().understanding.model_dump(mode="json"), "out_of_scope": "none"}
    config = example.config_of(understanding=understanding)
    scripted = example.Scripted(config, {"xx": {}})
    scripted.labels = [*scripted.labels, "none"]
    scripted.answers = {"": {"none": 0.95}}
    from lmpipe.serving.chatbot.understanding import Understander

    understood = Understander(config, scripted, threshold=0.4).understand("xx", today=MONDAY)
    assert not understood.in_scope
    assert "none" not in [intent for intent, _ in understood.ranking]


def test_a_broken_classifier_is_named(example):
    config = example.config_of()
    scripted = example.Scripted(config, {"": {"greet": float("nan")}})
    from lmpipe.serving.chatbot.understanding import Understander

    broken = Understander(config, scripted, threshold=0.4)
    with pytest.raises(ServingError, match="not a number"):
        Chatbot(config, broken, example.make_bot().index).reply(State(), "hi", today=MONDAY)
