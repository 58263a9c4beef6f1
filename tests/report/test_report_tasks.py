"""Tasks on the page: the matrix at few and at many classes, the pairs, and the list of examples."""

from __future__ import annotations

import pytest
import report_example as examples

from lmpipe.report.confusion import confused_pairs, picture
from lmpipe.report.page import render
from lmpipe.report.task_model import Confusion


def test_few_classes_show_every_count() -> None:
    drawn = picture(Confusion(classes=["a", "b"], counts=[[5, 2], [0, 7]]))
    assert all(f">{number}<" in drawn for number in (5, 2, 0))
    assert drawn.count("cell right") == 2
    assert drawn.count("cell wrong") == 1


def test_many_classes_show_only_what_happened_and_stay_small() -> None:
    matrix = examples.task(150).confusion
    assert matrix is not None
    drawn = picture(matrix)
    filled = sum(times > 0 for row in matrix.counts for times in row)
    assert drawn.count("<rect") == filled + 1
    assert "<text" not in drawn
    assert "bad right: 40 of" in drawn
    page = render(examples.example().model_copy(update={"tasks": [examples.task(150)]}))
    assert len(page.encode()) < 2_500_000


def test_pairs_come_by_how_often_then_by_share() -> None:
    matrix = Confusion(classes=["a", "b", "c"], counts=[[90, 5, 5], [5, 5, 0], [0, 9, 1]])
    assert [pair[:3] for pair in confused_pairs(matrix)] == [("c", "b", 9), ("b", "a", 5), ("a", "b", 5), ("a", "c", 5)]


def test_a_matrix_that_is_not_square_is_refused() -> None:
    with pytest.raises(ValueError, match="2 classes"):
        Confusion(classes=["a", "b"], counts=[[1, 2]])
