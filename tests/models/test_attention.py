"""The two forms of a mask between packed documents say the same: dense, and as the blocks of FlexAttention."""

from __future__ import annotations

import pytest
import torch

from lmpipe.models.layers.attention import Attention, document_blocks, document_mask, packed_mask


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("window", "kv_heads"), [(None, 4), (30, 2)])
def test_blocks_give_what_the_dense_mask_gives(window: int | None, kv_heads: int) -> None:
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    attention = Attention(64, 4, kv_heads).eval()
    segments_BT = torch.cumsum(torch.rand(2, 300, generator=generator) < 0.03, dim=1)  # more than two blocks of 128
    x_BTC = torch.randn(2, 300, 64, generator=generator)
    with torch.no_grad():  # on a CPU there is no backward pass through blocks
        dense = attention(x_BTC, None, None, document_mask(segments_BT, window))
        blocks = attention(x_BTC, None, None, document_blocks(segments_BT, window))
    torch.testing.assert_close(blocks, dense, rtol=1e-5, atol=1e-6)


def test_on_a_processor_the_mask_is_dense() -> None:
    segments_BT = torch.tensor([[0, 0, 1, 1, 1]])
    assert torch.equal(packed_mask(segments_BT), document_mask(segments_BT))
