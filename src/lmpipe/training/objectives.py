"""What is learned: a part of a batch and a network give sums over its supervised tokens.

A target of -100 is not supervised. Knows no optimiser and no loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lmpipe.base.errors import ModelError
from lmpipe.base.randomness import derive_seed
from lmpipe.models.network import Decoder, Encoder, Network
from lmpipe.tokens.controls import Controls
from lmpipe.tokens.loader import Batch
from lmpipe.tokens.special import ASSISTANT, SPECIAL_TOKENS
from lmpipe.tokens.word_borders import WordBorders
from lmpipe.training.objective_base import TokenObjective
from lmpipe.training.objective_config import CausalConfig, ChatConfig, MaskedConfig, ObjectiveConfig, PrefixConfig

IGNORED = -100
"""A target that counts for nothing, as in torch and Transformers."""

LOGITS_AT_ONCE = 1 << 26
"""Numbers in the logits of a decoder that are alive together: in fp32, with their gradient, half a gigabyte. 8,192 positions
with a vocabulary of 8,192 are just not cut."""

ASSISTANT_ID = SPECIAL_TOKENS.index(ASSISTANT)
CONTROL_IDS = np.arange(len(SPECIAL_TOKENS))


class Losses(NamedTuple):
    """Sums over the supervised tokens of one part; the same tensor twice where nothing is added to the plain loss."""

    minimised: Tensor
    """What the gradient is taken of."""
    nats: Tensor
    """-ln p(target): what is reported and compared (of scores: squared errors)."""
    right: Tensor | None = None
    """Answers that were the most likely ones, where that is counted."""
    measured: dict[str, Tensor] | None = None
    """Further sums, by the names under which their means stand in the curve."""


class Objective(Protocol):
    """One way to learn from rows of tokens."""

    def prepare(self, batch: Any, position: int) -> Sequence[NDArray[Any]]:
        """The arrays that `losses` takes, rows first, as a named tuple; a pure function of its arguments, of which the first
        is a batch of the loader that goes with the objective."""

    def losses(self, network: Any, *part: Tensor) -> Losses:
        """Of some rows of every array."""

    def supervised(self, arrays: Sequence[NDArray[Any]]) -> int:
        """How many tokens (or answers) count in what `prepare` gave."""

    def first_loss(self, network: Any) -> float | None:
        """What a network that knows nothing yet loses on each of them; None where nothing can be said."""


class Causal:
    """Every token from those before it; attention stays inside each document."""

    def __init__(self, config: TokenObjective) -> None:
        self.config = config

    def prepare(self, batch: Batch, position: int) -> Sequence[NDArray[Any]]:
        """The batch as it is."""
        return batch

    def losses(self, network: Network, *part: Tensor) -> Losses:
        """Of one part."""
        ids_BT, targets_BT, segments_BT = part
        found = next_token_losses(network, ids_BT, targets_BT, segments_BT, self.config)
        return with_auxiliary(found, network, targets_BT)

    def supervised(self, arrays: Sequence[NDArray[Any]]) -> int:
        """Tokens that count."""
        return int((arrays[1] != IGNORED).sum())

    def first_loss(self, network: Network) -> float:
        """Every token is as likely as any other."""
        return math.log(network.vocab_size)


class Chat(Causal):
    """As causal, but only answers count: what follows `<|assistant|>`, up to the `<|end|>` that closes it.

    Texts never hold control tokens (`tokens/chat.py` sees to that), so the ids alone say whose turn it is. An answer whose
    opening is not in the row is not learned.
    """

    def prepare(self, batch: Batch, position: int) -> Batch:
        """The batch with other targets ignored."""
        ids_BT = batch.inputs_BT
        places_BT = np.where(np.isin(ids_BT, CONTROL_IDS), np.arange(ids_BT.shape[1]), 0)
        last_BT = np.take_along_axis(ids_BT, np.maximum.accumulate(places_BT, axis=1), axis=1)
        return batch._replace(targets_BT=np.where(last_BT == ASSISTANT_ID, batch.targets_BT, IGNORED))


class PrefixBatch(NamedTuple):
    """Rows whose texts have a beginning that is read both ways."""

    inputs_BT: NDArray[np.int64]
    targets_BT: NDArray[np.int64]
    """Nothing is asked within a beginning."""
    segments_BT: NDArray[np.int64]
    prefix_BT: NDArray[np.bool_]


class Prefix(Causal):
    """What follows the beginning of a text, token by token. The beginning of each text of a row (of what the row has of it) is
    cut off anew: its length is uniform from its first token to all of it, where only the token after the row is asked for."""

    config: PrefixConfig

    def __init__(self, config: PrefixConfig, *, seed: int) -> None:
        super().__init__(config)
        self.seed = seed

    def prepare(self, batch: Batch, position: int) -> PrefixBatch:
        """Draw the beginnings: of `position` and of the text's place in the batch, so that a resumed run draws the same."""
        generator = np.random.default_rng(derive_seed(self.seed, "prefix", position))
        begins_BT = np.ones(batch.segments_BT.shape, np.bool_)
        begins_BT[:, 1:] = batch.segments_BT[:, 1:] != batch.segments_BT[:, :-1]
        text_BT = begins_BT.cumsum().reshape(begins_BT.shape) - 1
        length_N = np.bincount(text_BT.ravel())
        prefix_N = 1 + np.floor(generator.random(len(length_N)) * length_N).astype(np.int64)
        prefix_N[generator.random(len(length_N)) < self.config.causal_share] = 1
        places_BT = (np.arange(text_BT.size) - np.flatnonzero(begins_BT)[text_BT.ravel()]).reshape(text_BT.shape)
        asked_BT = places_BT + 1 >= prefix_N[text_BT]  # the last of a beginning says what follows it
        targets_BT = np.where(asked_BT, batch.targets_BT, IGNORED)
        return PrefixBatch(batch.inputs_BT, targets_BT, batch.segments_BT, places_BT < prefix_N[text_BT])

    def losses(self, network: Network, *part: Tensor) -> Losses:
        """Of one part."""
        ids_BT, targets_BT, segments_BT, prefix_BT = part
        found = token_losses(network(ids_BT, segments_BT, prefix_BT=prefix_BT), targets_BT, self.config)
        return with_auxiliary(found, network, targets_BT)


class MaskedBatch(NamedTuple):
    """Rows with hidden tokens. K is how many each row is asked for."""

    inputs_BT: NDArray[np.int64]
    targets_BK: NDArray[np.int64]
    segments_BT: NDArray[np.int64]
    places_BK: NDArray[np.int64]
    """Positions of the targets, ascending."""


class Masked:
    """Hidden tokens from both sides. Every row hides equally many, so shapes stay, and logits are computed for them alone."""

    def __init__(
        self, config: MaskedConfig, *, vocab_size: int, controls: Controls, seed: int, words: WordBorders | None = None
    ) -> None:
        """Store the arguments; `words` are those of the tokenizer, where whole words are hidden.

        Raises:
            ModelError: when the tokenizer has no token that hides another.
        """
        if controls.mask_id is None:
            raise ModelError(
                "the tokenizer has no mask token, so nothing can be hidden",
                expected="a tokenizer made for masked models, or one that lmpipe trained",
            )
        assert words is not None or not config.whole_words, "the tokenizer is handed in where words are hidden"
        self.config, self.seed, self.mask_id = config, seed, controls.mask_id
        self.words = words if config.whole_words else None
        self.special_ids = np.array(controls.special_ids, np.int64)
        self.text_ids = np.setdiff1d(np.arange(vocab_size), self.special_ids)

    def prepare(self, batch: Batch, position: int) -> MaskedBatch:
        """Hide tokens; control tokens, such as borders between documents, are never asked for."""
        ids_BT = batch.inputs_BT
        generator = np.random.default_rng(derive_seed(self.seed, "masking", position))
        count = max(1, round(self.config.rate * ids_BT.shape[1]))
        special_BT = np.isin(ids_BT, self.special_ids)
        chance_BT = generator.random(ids_BT.shape)
        askable_BT = (
            ~special_BT if self.words is None else _whole_words(self.words.starts(ids_BT), special_BT, chance_BT, count)
        )
        order_BT = np.argsort(chance_BT + ~askable_BT, axis=1)  # what is never asked for comes last
        places_BK = np.sort(order_BT[:, :count], axis=1)
        picked_BK = np.take_along_axis(ids_BT, places_BK, axis=1)
        fate_BK = generator.random(places_BK.shape)
        others_BK = self.text_ids[generator.integers(0, len(self.text_ids), places_BK.shape)]
        hidden_BK = np.where(fate_BK < self.config.mask_fraction, self.mask_id, picked_BK)
        swapped = (fate_BK >= self.config.mask_fraction) & (fate_BK < self.config.mask_fraction + self.config.random_fraction)
        hidden_BK = np.where(swapped, others_BK, hidden_BK)
        asked_BK = np.take_along_axis(askable_BT, places_BK, axis=1)
        inputs_BT = ids_BT.copy()
        np.put_along_axis(inputs_BT, places_BK, np.where(asked_BK, hidden_BK, picked_BK), axis=1)
        return MaskedBatch(inputs_BT, np.where(asked_BK, picked_BK, IGNORED), batch.segments_BT, places_BK)

    def losses(self, network: Network, *part: Tensor) -> Losses:
        """Of one part."""
        ids_BT, targets_BK, segments_BT, places_BK = part
        assert isinstance(network, Encoder), "check refuses other architectures"
        hidden_BTC = network.hidden(ids_BT, segments_BT)
        picked_BKC = hidden_BTC.gather(1, places_BK[..., None].expand(-1, -1, hidden_BTC.shape[-1]))
        return with_auxiliary(token_losses(network.head(picked_BKC), targets_BK, self.config), network, targets_BK)

    def supervised(self, arrays: Sequence[NDArray[Any]]) -> int:
        """Tokens that count."""
        return int((arrays[1] != IGNORED).sum())

    def first_loss(self, network: Network) -> float:
        """Every token is as likely as any other."""
        return math.log(network.vocab_size)


def _whole_words(
    starts_BT: NDArray[np.bool_], special_BT: NDArray[np.bool_], chance_BT: NDArray[np.float64], count: int
) -> NDArray[np.bool_]:
    """Tokens of words drawn by chance, at most `count` to a row: a word that finds no room is passed over."""
    chosen_BT = np.zeros_like(special_BT)
    for row, starts_T in enumerate(starts_BT):
        firsts = np.flatnonzero(starts_T)
        ends, room = np.append(firsts[1:], len(starts_T)), count
        for word in np.argsort(chance_BT[row, firsts]).tolist():
            first, end = int(firsts[word]), int(ends[word])
            if end - first <= room and not special_BT[row, first]:
                chosen_BT[row, first:end] = True
                room -= end - first
            if not room:
                break
    return chosen_BT


def make_objective(
    config: ObjectiveConfig, *, vocab_size: int, controls: Controls, seed: int, words: WordBorders | None = None
) -> Objective:
    """The objective on rows of text, of one network, that `config` names.

    Args:
        config: what is learned.
        vocab_size: of the model.
        controls: ids that are no text, as the shards tell them.
        seed: of every random choice.
        words: where the tokenizer's words begin; only whole-word masking asks.

    Raises:
        ModelError: when the tokenizer lacks a token that the objective needs.
    """
    if isinstance(config, ChatConfig):
        return Chat(config)
    if isinstance(config, PrefixConfig):
        return Prefix(config, seed=seed)
    if isinstance(config, MaskedConfig):
        return Masked(config, vocab_size=vocab_size, controls=controls, seed=seed, words=words)
    assert isinstance(config, CausalConfig), "other objectives learn from examples: training/answers.py"
    return Causal(config)


def causal_nats(network: Network, ids_BT: Tensor, targets_BT: Tensor, segments_BT: Tensor) -> Tensor:
    """Sum over the batch of -ln p(target), in fp32; attention stays inside each document."""
    return cross_entropy(network(ids_BT, segments_BT), targets_BT)


def cross_entropy(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Sum of -ln p(target) over the supervised tokens, in fp32."""
    return F.cross_entropy(logits_BTV.flatten(0, -2).float(), targets_BT.flatten(), reduction="sum")


def token_losses(logits_BTV: Tensor, targets_BT: Tensor, config: TokenObjective) -> Losses:
    """The plain loss, and what smoothing and z-loss make of it."""
    if not (config.label_smoothing or config.z_loss):
        nats = cross_entropy(logits_BTV, targets_BT)
        return Losses(nats, nats)
    logits = logits_BTV.flatten(0, -2).float()
    supervised = (targets_BT.flatten() != IGNORED).float()
    log_z = torch.logsumexp(logits, dim=-1)
    picked = logits.gather(-1, targets_BT.flatten().clamp(min=0)[:, None])[:, 0]
    nats = ((log_z - picked) * supervised).sum()
    uniform = ((log_z - logits.mean(-1)) * supervised).sum()
    smoothed = (1.0 - config.label_smoothing) * nats + config.label_smoothing * uniform
    return Losses(smoothed + config.z_loss * (log_z.square() * supervised).sum(), nats)


def next_token_losses(
    network: Network, ids_BT: Tensor, targets_BT: Tensor, segments_BT: Tensor, config: TokenObjective
) -> Losses:
    """As `token_losses` of a decoder's logits, never with more than LOGITS_AT_ONCE of them: with a large vocabulary they would
    be most of a step's memory.

        hidden (N, C) --> parts of LOGITS_AT_ONCE / V positions --> head --> loss of the part --> sum
                                                                     '--- computed again in the backward pass
    """
    parts = -(-ids_BT.numel() * network.vocab_size // LOGITS_AT_ONCE)
    if parts == 1 or not isinstance(network, Decoder):
        return token_losses(network(ids_BT, segments_BT), targets_BT, config)

    def of_part(hidden_NC: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        found = token_losses(network.head(hidden_NC), targets_N, config)
        return found.minimised, found.nats

    hidden_NC = network.hidden(ids_BT, segments_BT).flatten(0, 1)
    at_once = -(-len(hidden_NC) // parts)
    pieces = zip(torch.split(hidden_NC, at_once), torch.split(targets_BT.flatten(), at_once), strict=True)
    found = [checkpoint(of_part, hidden, targets, use_reentrant=False) for hidden, targets in pieces]
    minimised, nats = (torch.stack(column).sum() for column in zip(*found, strict=True))
    return Losses(minimised, nats)


def with_auxiliary(losses: Losses, network: Network, targets_BT: Tensor) -> Losses:
    """Add what the network itself asks for (balance of experts), a mean per token, as a sum."""
    if network.auxiliary_loss is None:
        return losses
    count = (targets_BT != IGNORED).sum()
    return Losses(losses.minimised + network.auxiliary_loss * count, losses.nats)
