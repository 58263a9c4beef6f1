"""Draws several answers to a prompt at once, with a cache of keys and values; equal arguments and weights give equal ids."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from lmpipe.models.network import Decoder


@torch.no_grad()
def draw_answers(
    network: Decoder,
    prompt_ids: Sequence[int],
    *,
    count: int,
    tokens: int,
    temperature: float,
    stop_ids: Collection[int],
    known_ids: int,
    seed: int,
) -> list[list[int]]:
    """`count` answers, each with the id that ended it, where one did.

    Args:
        network: predicts, dropout off.
        prompt_ids: what is answered, one at least.
        count: how many.
        tokens: of an answer, at most.
        temperature: above 0.
        stop_ids: end an answer.
        known_ids: only ids below are drawn.
        seed: of the draws; nothing else that draws is disturbed.
    """
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    cache = network.new_cache(count, len(prompt_ids) + tokens)
    pending_CT = torch.tensor([list(prompt_ids)] * count, dtype=torch.long, device=device)
    answers: list[list[int]] = [[] for _ in range(count)]
    going = set(range(count))
    for _ in range(tokens):
        last_CC = network.hidden(pending_CT, cache=cache)[:, -1]
        logits_CV: Tensor = network.head(last_CC)[:, :known_ids].double().cpu()
        drawn_C = torch.multinomial(torch.softmax(logits_CV / temperature, dim=-1), 1, generator=generator)[:, 0]
        for number, token in enumerate(drawn_C.tolist()):
            if number in going:
                answers[number].append(token)
                if token in stop_ids:
                    going.discard(number)
        if not going:
            break
        pending_CT = drawn_C[:, None].to(device)
    return answers
