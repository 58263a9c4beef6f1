import pytest

from lmpipe.audit.gate import GateConfig, RequirementConfig, check_names, decide, resolve
from lmpipe.base.files import read_json
from lmpipe.serving.chatbot.stories import run_stories, story_finding, story_metrics, write_stories
from lmpipe.serving.chatbot.stories_config import METRICS


@pytest.fixture(scope="module")
def results(example):
    text = (
        example.YAML
        + """
  - name: goes wrong
    steps:
      - {user: "I want to book a table in Roma tomorrow", action: "ask:guests"}
      - {user: four, slots: {guests: 5, day: null}, says: hello, response: hello, entities: {}, action: "confirm:booking"}
      - {user: never told}
"""
    )
    bot = example.make_bot(example.config_of(text))
    return run_stories(bot, bot.config.stories)


def test_stories_go_as_written_or_say_what_came_instead(results):
    assert [result.passed for result in results] == [True, True, False]
    failed = results[2].steps[-1]
    assert len(results[2].steps) == 2
    assert set(failed.problems) == {
        "slots.guests: expected 5, got 4",
        "slots.day: expected None, got '2026-03-03'",
        "says: expected 'hello', got 'On the terrace?'",
        "response: expected 'hello', got 'ask_terrace'",
        "entities: expected {}, got {'guests': 4}",
        "action: expected 'confirm:booking', got 'ask:terrace'",
    }
    assert failed.why == "forms.booking: the message fills guests"


def test_the_gate_can_require_them(results):
    passed, steps = story_metrics(results)
    assert (passed.name, passed.value, passed.count) == ("stories.passed", pytest.approx(2 / 3), 3)
    assert (steps.value, steps.count) == (pytest.approx(7 / 9), 9)
    bounds = resolve(GateConfig(require=(RequirementConfig(metric="stories.passed", at_least=1),)), None, "corpus")
    check_names(bounds, metrics=METRICS, findings=[])
    assert decide(bounds, [passed], []).verdict == "NO-GO"
    assert decide(bounds, story_metrics(results[:2]), []).verdict == "GO"
    assert decide(bounds, story_metrics([]), []).verdict == "INCONCLUSIVE"


def test_the_finding_shows_the_steps_that_failed(results):
    finding = story_finding(results)
    assert finding.value == pytest.approx(2 / 3)
    (sample,) = finding.samples
    assert (sample["story"], sample["step"], sample["user"]) == ("goes wrong", 2, "four")


def test_every_step_is_kept(results, tmp_path):
    write_stories(tmp_path, results)
    kept = read_json(tmp_path / "stories.json")
    assert [story["passed"] for story in kept] == [True, True, False]
    assert kept[0]["steps"][0]["said"] == "For how many?"
