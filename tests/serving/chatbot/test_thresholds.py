import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.base.errors import ServingError
from lmpipe.serving.chatbot.thresholds import choose_threshold, confidences, operating_points
from lmpipe.serving.chatbot.understanding_config import BestF1, FixedThreshold, KeptAccuracy

messages = st.lists(st.tuples(st.integers(0, 10).map(lambda n: n / 10), st.booleans(), st.booleans()), min_size=1, max_size=30)


def arrays(items):
    confidence = np.array([item[0] for item in items])
    inside = np.array([item[2] for item in items])
    return confidence, np.array([item[1] for item in items]) & inside, inside


def plainly(threshold, confidence, correct, inside):
    """The measures by their words."""
    accepted = confidence >= threshold
    refused = ~accepted
    return (
        (accepted & correct & inside).sum() / inside.sum(),
        (accepted & inside).sum() / inside.sum(),
        (refused & ~inside).sum() / max(1, (~inside).sum()),
        (refused & ~inside).sum() / refused.sum() if refused.any() else 1.0,
    )


@given(messages.filter(lambda items: any(item[2] for item in items)))
def test_every_point_is_what_its_threshold_does(items):
    data = arrays(items)
    for point in operating_points(*data):
        assert (point.in_scope_accuracy, point.accepted, point.recall, point.precision) == pytest.approx(
            plainly(point.threshold, *data)
        )


@given(messages.filter(lambda items: any(i[2] for i in items) and not all(i[2] for i in items)))
def test_the_chosen_threshold_is_best_and_its_numbers_are_its_own(items):
    data = arrays(items)
    choice = choose_threshold(*data, BestF1())
    point = choice.point
    assert (point.in_scope_accuracy, point.accepted, point.recall, point.precision) == pytest.approx(
        plainly(point.threshold, *data)
    )
    assert point.f1 == pytest.approx(max(other.f1 for other in operating_points(*data)))


@given(messages.filter(lambda items: any(item[2] for item in items)), st.sampled_from([0.2, 0.5, 0.8]))
def test_accuracy_is_kept_as_far_as_it_can_be(items, wanted):
    data = arrays(items)
    choice = choose_threshold(*data, KeptAccuracy(at_least=wanted))
    reachable = max(point.in_scope_accuracy for point in operating_points(*data))
    assert choice.reached == (reachable >= wanted)
    assert plainly(choice.point.threshold, *data)[0] == pytest.approx(choice.point.in_scope_accuracy)
    if choice.reached:
        assert choice.point.in_scope_accuracy >= wanted
    else:
        assert choice.point.threshold == 0


def test_a_fixed_threshold_is_kept_and_measured():
    data = np.array([0.9, 0.6, 0.4, 0.3]), np.array([True, False, True, False]), np.array([True, True, True, False])
    point = choose_threshold(*data, FixedThreshold(value=0.5)).point
    assert (point.threshold, point.accepted, point.recall) == (0.5, pytest.approx(2 / 3), 1.0)


def test_what_cannot_be_chosen_is_said():
    everything = np.ones(2), np.ones(2, bool), np.ones(2, bool)
    with pytest.raises(ServingError, match="no validation message is out of scope"):
        choose_threshold(*everything, BestF1())
    with pytest.raises(ServingError, match="nothing to choose"):
        operating_points(np.ones(2), np.zeros(2, bool), np.zeros(2, bool))


def test_confidence_is_that_of_the_most_probable_label():
    confidence, right = confidences(np.array([[0.7, 0.3], [0.4, 0.6], [0.2, 0.8]]), ["a", "b"], ["a", "a", "oos"])
    assert confidence.tolist() == [0.7, 0.6, 0.8]
    assert right.tolist() == [True, False, False]
