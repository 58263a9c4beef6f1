"""Lists that stand beside each other are equally long: one entry for each prediction."""

from __future__ import annotations

from collections.abc import Sized

from lmpipe.base.errors import SourceError


def check_lengths(predictions: Sized, **others: Sized | None) -> None:
    """Compare lists with the predictions.

    Args:
        predictions: one for each example.
        others: what else each example has, by its name for the message; None: not given.

    Raises:
        SourceError: naming the first list that is longer or shorter.
    """
    for name, values in others.items():
        if values is not None and len(values) != len(predictions):
            raise SourceError(
                f"there are {len(values):,} {name} and {len(predictions):,} predictions",
                where=name,
                expected="as many as predictions, in the same order",
                fix=f"compare the files that predictions and {name} come from: a line is missing in one, or two were joined",
            )
