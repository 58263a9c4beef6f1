import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lmpipe.audit.config import EnergyConfig, MemorizationConfig, known_finding_names
from lmpipe.audit.gate import Bound, GateConfig, GoalConfig, RequirementConfig, check_names, decide, resolve
from lmpipe.base.errors import RecipeError
from lmpipe.base.measures import Finding, Interval, Metric
from lmpipe.evaluation.config import PerplexityConfig, known_metric_names

NAME = "corpus.test.bits_per_byte"


def metric(value, low=None, high=None, name=NAME):
    interval = None if low is None else Interval(low=low, high=high, method="test")
    return Metric(name=name, value=value, unit="bits", direction="lower", interval=interval, count=9, count_unit="documents")


@pytest.mark.parametrize(
    ("low", "value", "high", "expected"),
    [
        (1.0, 1.5, 1.9, "GO"),
        (1.0, 1.5, 2.0, "GO"),  # the bound itself passes
        (1.9, 2.0, 2.1, "INCONCLUSIVE"),
        (2.0, 2.1, 2.2, "INCONCLUSIVE"),
        (2.1, 2.2, 2.3, "NO-GO"),
    ],
)
def test_interval_against_at_most(low, value, high, expected):
    verdict = decide([Bound(NAME, False, 2.0, None)], [metric(value, low, high)], [])
    assert verdict.verdict == expected
    assert verdict.requirements[0].low == low
    assert "2" in verdict.requirements[0].reason


def test_number_without_interval_is_exact():
    bounds = [Bound(NAME, False, None, 2.0)]
    assert decide(bounds, [metric(2.0)], []).verdict == "GO"
    assert decide(bounds, [metric(1.99)], []).verdict == "NO-GO"


def test_missing_number_is_inconclusive_and_says_so():
    verdict = decide([Bound(NAME, False, 2.0, None)], [], [])
    assert verdict.verdict == "INCONCLUSIVE"
    assert verdict.requirements[0].value is None
    assert "not measured" in verdict.requirements[0].reason


def test_worst_requirement_decides():
    bounds = [Bound("a", False, 1, None), Bound("b", False, 1, None), Bound("c", False, 1, None)]
    good, unsure, bad = metric(0.5, name="a"), metric(1, 0.5, 1.5, name="b"), metric(2, name="c")
    assert decide(bounds[:1], [good], []).verdict == "GO"
    assert decide(bounds[:2], [good, unsure], []).verdict == "INCONCLUSIVE"
    assert decide(bounds, [good, unsure, bad], []).verdict == "NO-GO"


def test_findings_and_metrics_do_not_share_names():
    finding = Finding(name=NAME, value=0.0, unit="", direction="lower", method="m", limits="l")
    assert decide([Bound(NAME, False, 2.0, None)], [], [finding]).verdict == "INCONCLUSIVE"
    assert decide([Bound(NAME, True, 2.0, None)], [], [finding]).verdict == "GO"


@given(st.floats(-10, 10), st.floats(0, 5), st.floats(0, 5), st.floats(-10, 10), st.floats(0, 5))
@settings(deadline=None, max_examples=200)
def test_wider_intervals_never_turn_a_refusal_into_go(value, below, above, limit, more):
    def answer(extra):
        interval = metric(value, value - below - extra, value + above + extra)
        return decide([Bound(NAME, False, limit, None)], [interval], []).verdict

    if answer(0) == "NO-GO":
        assert answer(more) != "GO"
    if answer(more) == "GO":
        assert answer(0) == "GO"


def test_goal_is_resolved_to_the_metric_it_names():
    bounds = resolve(GateConfig(), GoalConfig(metric="perplexity", on="validation", at_most=30), "books")
    assert bounds == [Bound("books.validation.perplexity", False, 30, None)]


def test_gate_on_a_goal_that_is_not_stated_is_refused():
    with pytest.raises(RecipeError, match="states none"):
        resolve(GateConfig(), None, "corpus")


def test_unknown_name_is_found_before_anything_runs():
    metrics = known_metric_names([PerplexityConfig(on="corpus")])
    findings = known_finding_names([MemorizationConfig()])
    with pytest.raises(RecipeError, match=r"did you mean 'corpus\.test\.bits_per_byte'"):
        check_names([Bound("corpus.test.bits_per_bite", False, 1, None)], metrics=metrics, findings=findings)
    with pytest.raises(RecipeError, match=r"memorization\.extractable"):
        check_names([Bound("memorization", True, 1, None)], metrics=metrics, findings=findings)
    check_names([Bound("memorization.extractable", True, 1, None)], metrics=metrics, findings=findings)


def test_clock_dependent_finding_cannot_be_gated():
    with pytest.raises(RecipeError, match="machine and the moment"):
        check_names([Bound("energy.wh", True, 1, None)], metrics=[], findings=known_finding_names([EnergyConfig()]))


@pytest.mark.parametrize(
    "fields",
    [
        {"metric": "a"},
        {"metric": "a", "finding": "b", "at_most": 1},
        {"at_most": 1},
        {"metric": "goal", "at_most": 1},
        {"metric": "a", "at_most": 1, "at_least": 2},
    ],
)
def test_requirement_names_one_number_and_one_possible_range(fields):
    with pytest.raises(ValidationError):
        RequirementConfig(**fields)


def test_goal_needs_a_bound_and_reads_as_a_sentence():
    with pytest.raises(ValidationError):
        GoalConfig()
    assert GoalConfig(at_least=0.4, metric="next_token_accuracy").sentence() == (
        "generate text with next token accuracy of at least 0.4 on the test split"
    )
