import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.evaluation.windows import plan_windows


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(1, 16), st.floats(0.01, 1), st.integers(1, 64))
@settings(deadline=None, max_examples=150)
def test_every_token_is_scored_exactly_once_with_enough_context(lengths, context, fraction, at_once):
    stride = max(1, round(context * fraction))
    windows = plan_windows(np.array(lengths), context_length=context, stride=stride)
    seen = [np.zeros(length, dtype=int) for length in lengths]
    for batch in windows.batches(at_once):
        assert (batch.stop - batch.start) == 1 or int(windows.length_W[batch].max()) * (batch.stop - batch.start) <= at_once
        for window in range(batch.start, batch.stop):
            document, start = windows.document_W[window], windows.start_W[window]
            length, skip = windows.length_W[window], windows.skip_W[window]
            assert 0 <= skip < length <= context
            seen[document][start + skip : start + length] += 1
            assert start == 0 or skip == context - stride
    assert all((counts == 1).all() for counts in seen)
