"""How probable continuations are after their contexts: what multiple-choice tasks ask, hundreds of thousands of times.

    (context, continuation) pairs --> contexts that are alike in length, each read once --> their caches, a row for each
    continuation --> the rest of the context and the continuation --> log probability, and whether greedy decoding writes it

Numbers are those of one row for each pair (fp32 sums in another order); work is that of one context and its continuations. The
head sees scored positions alone, so memory does not grow with the vocabulary times the text. What does not fit into the
context is cut on the left, as lm-evaluation-harness does (`HFLM._loglikelihood_tokens`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from lmpipe.base.errors import ModelError
from lmpipe.base.progress import Progress
from lmpipe.models.layers.attention import Cache
from lmpipe.models.network import Decoder
from lmpipe.models.passes import positions_at_once

WORTH_SHARING = 16
"""Tokens: a context shorter than this is read again with each continuation."""
SPARE = 8
"""Tokens by which contexts that are read together may differ: the rest of each is read with every continuation."""
Ids = tuple[int, ...]


class Continuation(NamedTuple):
    """What is asked; neither part may be empty."""

    context: Ids
    ids: Ids


class Likelihood(NamedTuple):
    """What is answered."""

    log_probability: float
    """Of the continuation given the context, in nats; its tokens' summed."""
    greedy: bool
    """Whether each of its tokens is the most probable one."""


@dataclass
class _Group:
    """One context and what is asked after it."""

    context: Ids
    rows: dict[Ids, list[tuple[int, Ids]]] = field(default_factory=lambda: defaultdict(list))
    """By what is read after the context: (number of the request, its continuation). One-token continuations share a row."""

    def longest(self) -> int:
        """Tokens of the longest row."""
        return len(self.context) + max(map(len, self.rows))

    def shares(self) -> bool:
        """Whether the context is worth reading once for several rows."""
        return len(self.rows) > 1

    def alike(self) -> int:
        """What groups of a batch should have in common: the length of contexts that are read once, otherwise of rows."""
        return len(self.context) if self.shares() else self.longest()


@torch.inference_mode()
def score_continuations(
    model: Decoder, asked: Sequence[Continuation], *, progress: Progress, tokens_at_once: int | None = None
) -> list[Likelihood]:
    """Answer all, in their order.

    Args:
        model: a decoder in the precision that is wanted, ready to predict.
        asked: pairs of token ids.
        progress: told continuations done.
        tokens_at_once: padded tokens in a forward pass, at most (one context with its continuations at least); None: what suits
            the device.

    Raises:
        ModelError: when a part is empty, or a continuation does not fit into the context at all.
    """
    if tokens_at_once is None:
        tokens_at_once = positions_at_once(next(model.parameters()).device.type)
    found: list[Likelihood | None] = [None] * len(asked)
    done = 0
    for batch in _batches(_groups(asked, model.context_length), tokens_at_once):
        for number, answer in _score(model, batch):
            found[number] = answer
            done += 1
        progress.update(done, len(asked), "continuations")
    return [answer for answer in found if answer is not None]


def _groups(asked: Sequence[Continuation], context_length: int) -> list[_Group]:
    """Equal contexts together where they are worth reading once, in an order in which each batch holds what is alike in length,
    the longest first. Windows of whole texts all have one token for a context: kept together, they would be one batch."""
    groups: dict[Ids, _Group] = {}
    for number, (context, ids) in enumerate(asked):
        if not context or not ids or len(ids) > context_length:
            raise ModelError(
                f"question {number} has {len(context):,} tokens of context and {len(ids):,} to score",
                expected=f"at least one of each, and at most {context_length:,} to score",
                fix="leave it out, or take a model with a longer context",
            )
        kept = context[max(0, len(context) + len(ids) - context_length - 1) :]
        apart = kept if len(kept) > WORTH_SHARING else (*kept, -1, *ids[:-1])  # -1: no token, so nothing else is spelled so
        group = groups.setdefault(apart, _Group(kept))
        group.rows[ids[:-1]].append((number, ids))
    return sorted(groups.values(), key=lambda group: (group.shares(), -group.alike(), group.context))


def _batches(groups: Sequence[_Group], tokens_at_once: int) -> Iterator[list[_Group]]:
    batch: list[_Group] = []
    rows = longest = 0
    for group in groups:
        most = max(longest, group.longest())
        unlike = batch and (
            group.shares() != batch[0].shares() or (group.shares() and batch[0].alike() - group.alike() > SPARE)
        )
        if batch and (unlike or (rows + len(group.rows)) * most > tokens_at_once):
            yield batch
            batch, rows, most = [], 0, group.longest()
        batch.append(group)
        rows, longest = rows + len(group.rows), most
    if batch:
        yield batch


def _score(model: Decoder, batch: Sequence[_Group]) -> Iterator[tuple[int, Likelihood]]:
    device = next(model.parameters()).device
    rows = [(number, read) for number, group in enumerate(batch) for read in group.rows]
    shared = _shared_tokens(model, batch, len(rows))
    cache = _read_once(
        model, [group.context[:shared] for group in batch], [number for number, _ in rows], max(map(_Group.longest, batch))
    )
    texts = [batch[number].context[shared:] + read for number, read in rows]
    ids_RT = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    for row, text in enumerate(texts):
        ids_RT[row, : len(text)] = torch.tensor(text)  # what pads stands on the right, where a causal model cannot see it
    hidden_RTC = model.hidden(ids_RT.to(device), cache=cache, prefix_BT=_prefixes(model, batch, rows, ids_RT))
    asked = [
        (row, len(text) - len(ids), request, ids)
        for row, (text, (number, read)) in enumerate(zip(texts, rows, strict=True))
        for request, ids in batch[number].rows[read]
    ]
    places = list(dict.fromkeys((row, start + k) for row, start, _, ids in asked for k in range(len(ids))))
    index = {place: number for number, place in enumerate(places)}
    row_P, position_P = (torch.tensor(column, device=device) for column in zip(*places, strict=True))
    scores_PV = torch.log_softmax(model.head(hidden_RTC[row_P, position_P]).float(), dim=-1).cpu()
    best_P = scores_PV.argmax(dim=-1)
    for row, start, request, ids in asked:
        at = [index[row, start + k] for k in range(len(ids))]
        targets = torch.tensor(ids)
        yield request, Likelihood(float(scores_PV[at, targets].double().sum()), bool((best_P[at] == targets).all()))


def _prefixes(model: Decoder, batch: Sequence[_Group], rows: Sequence[tuple[int, Ids]], ids_RT: Tensor) -> Tensor | None:
    """The contexts, where the model reads them both ways."""
    if not model.reads_prefix:
        return None
    lengths_R = torch.tensor([len(batch[number].context) for number, _ in rows])
    device = next(model.parameters()).device
    return (torch.arange(ids_RT.shape[1]) < lengths_R[:, None]).to(device)


def _shared_tokens(model: Decoder, batch: Sequence[_Group], rows: int) -> int:
    """Tokens of every context that are read once for all its continuations; 0 where that is not worth a pass of its own."""
    shared = min(len(group.context) for group in batch) - 1
    able = not (model.carries_state or model.reads_prefix) and rows > len(batch) and shared >= WORTH_SHARING
    return shared if able and isinstance(model.new_cache(1, 1)[0], Cache) else 0


def _read_once(model: Decoder, contexts: Sequence[Ids], context_of_row: Sequence[int], length: int) -> list[Cache] | None:
    """The caches of the contexts (all of one length), a row for each continuation."""
    if not contexts[0]:
        return None
    device = next(model.parameters()).device
    entries = model.new_cache(len(contexts), len(contexts[0]))
    model.hidden(torch.tensor(contexts, device=device), cache=entries)
    chosen_R = torch.tensor(context_of_row, device=device)
    read = [entry for entry in entries if isinstance(entry, Cache)]
    return [
        Cache(_grown(one.keys_BKSD, chosen_R, length), _grown(one.values_BKSD, chosen_R, length), one.length) for one in read
    ]


def _grown(kept_BKSD: Tensor, chosen_R: Tensor, length: int) -> Tensor:
    """Rows of a cache, in the order that is asked for, with room for `length` positions."""
    _, heads, seen, width = kept_BKSD.shape
    grown = kept_BKSD.new_empty(len(chosen_R), heads, length, width)
    grown[:, :, :seen] = kept_BKSD[chosen_R]
    return grown
