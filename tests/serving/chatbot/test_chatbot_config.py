import pytest

from lmpipe.base.errors import RecipeError


def test_the_example_is_valid_and_equal_configs_are_equal(example):
    assert example.config_of() == example.config_of()
    again = type(example.config_of()).model_validate(example.config_of().model_dump(mode="json"))
    assert again == example.config_of()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{kind: form, form: booking}", "{kind: form, form: bookin}", "form 'bookin'.*did you mean 'booking'"),
        ("{on: person,", "{on: persn,", "intent 'persn'.*did you mean 'person'"),
        ("{slot: day, ask: ask_day}", "{slot: dai, ask: ask_day}", "slot 'dai'.*did you mean 'day'"),
        ("{slot: day, ask: ask_day}", "{slot: day, ask: ask_dey}", "response 'ask_dey'.*did you mean 'ask_day'"),
        ("entities: [code]}", "entities: [cod]}", "entity 'cod'.*did you mean 'code'"),
        ('"Booked for {guest}."', '"Booked for {guess}."', "responses.booked.*slot '{guess}'.*did you mean '{guests}'"),
        ('"Booked for {guest}."', '"Booked for {guest."', "responses.booked.*stands alone"),
        ("  - {on: stop, do: {kind: cancel}}\n", "", "no rule without `when` is for the intent 'stop'"),
        ("{name: code, entities", "{name: day, entities", "two slots are called 'day'"),
        ("response: booked}", "response: bookd}", "response 'bookd'.*did you mean 'booked'"),
        ("intent: book_table, action", "intent: book, action", "stories.a table in Rome.0 speaks of the intent 'book'"),
        ("greeting: hello", "greeting: helo", "response 'helo'"),
        ("affirm: agree", "affirm: agre", "intent 'agre'"),
        ("{kind: ground}", "{kind: grund}", "grund"),
        ("max_asks: 2", "max_ask: 2", "max_ask"),
        ("{slot: day, ask: ask_day}", "{slot: branch, ask: ask_day}", "asks twice for one slot"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(example, old, new, says):
    assert old in example.YAML
    with pytest.raises(RecipeError, match=f"(?s){says}"):
        example.config_of(example.YAML.replace(old, new, 1))


def test_a_response_of_ones_own_replaces_a_built_in_one(example):
    config = example.config_of(example.YAML.replace('hello: ["Hello."', 'rephrase: "Pardon?"\n  hello: ["Hello."'))
    assert config.variants("rephrase") == ("Pardon?",)
    assert config.variants("empty") != ()
