"""Reinforcement from rewards that can be checked (GRPO: Shao et al. 2024, DeepSeekMath, arXiv 2402.03300, section 4.1).

    prompt --draw--> group of answers --reward--> r --(r - mean) / std of the group--> advantage A of each answer

    loss of an answer = - mean over its tokens of  min(w A, clip(w, 1 - e, 1 + e) A) - beta D            (equation 3)
    w = p / p when drawn;   D = q / p - ln(q / p) - 1, with q by the weights at the phase's start        (equation 4)

Answers are drawn anew for each step, by the weights of that step and a seed of its number, so a resumed run draws the same
ones. One update is made of each draw (the paper's mu = 1): the ratio then differs from 1 by dropout alone. What is reported
as loss is minus the mean reward: weights with the highest reward on held-out prompts are the best. A row has one answer.

B rows, T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmpipe.base.errors import TrainingError
from lmpipe.base.randomness import derive_seed
from lmpipe.models.drawing import Drawing
from lmpipe.models.generate import TextGenerator
from lmpipe.models.network import Decoder, Network
from lmpipe.tokens.chat import CHAT_TEMPLATE, render
from lmpipe.tokens.examples import ExampleShards
from lmpipe.tokens.loader import Ids, order_keys, permuted
from lmpipe.tokens.packing import PADDING
from lmpipe.tokens.tokenizer import Tokenizer
from lmpipe.training.grpo_config import GrpoConfig
from lmpipe.training.materials import Attempt, Judge
from lmpipe.training.objectives import IGNORED, Losses, Objective
from lmpipe.training.preferences import frozen_copy

LEAST_DEVIATION = 1e-4
"""Added to the standard deviation of a group: one whose answers are all worth the same teaches nothing."""


class Prompts:
    """The prompts of one side, as ids and as texts."""

    def __init__(self, config: GrpoConfig, examples: ExampleShards, tokenizer: Tokenizer) -> None:
        """Store the arguments."""
        assert examples.targets is not None, "shards of pairs have targets"
        self.config, self.tokenizer = config, tokenizer
        self.inputs, self.targets = examples.inputs, examples.targets

    def __len__(self) -> int:
        return self.inputs.documents

    def texts(self, number: int) -> tuple[str, str]:
        """Prompt and target."""
        parts = (self.inputs.document(number), self.targets.document(number))
        prompt, target = (self.tokenizer.decode(part[:-1].tolist()) for part in parts)
        return prompt, target

    def ids(self, prompt: str) -> list[int]:
        """What is answered."""
        if self.config.rendered == "text":
            return self.tokenizer.encode_prompt(prompt)
        return render([{"role": "user", "content": prompt}], self.tokenizer, chat_template=CHAT_TEMPLATE)

    def longest(self) -> int:
        """Tokens of the longest prompt, with what a conversation puts around it."""
        around = 4 if self.config.rendered == "chat" else 1
        return int(self.inputs.document_lengths().max(initial=1)) - 1 + around


class Asked(NamedTuple):
    """The prompts of one step."""

    prompts: Prompts
    numbers: list[int]


class AnswersBatch(NamedTuple):
    """A row for each answer; those to one prompt stand together."""

    inputs_BT: Ids
    targets_BT: Ids
    """The tokens of the answer; nothing is asked of the prompt."""
    segments_BT: Ids
    advantages_B: NDArray[np.float32]
    drawn_BT: NDArray[np.float32]
    """ln p of each target when it was drawn."""
    reference_BT: NDArray[np.float32]
    """ln p of each target by the weights at the phase's start; 0 where they are not asked."""
    rewards_B: NDArray[np.float32]
    weights_B: NDArray[np.float32]
    """Of each token of a row in what is minimised; over a batch, those of all tokens add up to the number of rows."""


class Grpo:
    """Answers that are worth more than others to the same prompt."""

    def __init__(
        self,
        config: GrpoConfig,
        network: Network,
        *,
        tokenizer: Tokenizer,
        judge: Judge,
        row_tokens: int,
        precision: str,
        seed: int,
    ) -> None:
        """Store the arguments; `network`, which is about to learn, is copied where the divergence from it counts."""
        assert isinstance(network, Decoder), "check refuses other architectures"
        self.config, self.network, self.judge, self.seed = config, network, judge, seed
        self.tokenizer, self.row_tokens = tokenizer, row_tokens
        self.reference = frozen_copy(network, precision) if config.beta else None

    def prepare(self, batch: Asked, position: int) -> AnswersBatch:
        """Draw answers to these prompts by the weights of now, and have them judged; `position`, below 0 for held-out prompts,
        gives the seed."""
        rows: list[tuple[list[int], list[int]]] = []
        attempts: list[Attempt] = []
        with _predicting(self.network):
            texts = [batch.prompts.texts(number) for number in batch.numbers]
            asked = [
                Drawing(
                    prompt_ids=(prompt_ids := batch.prompts.ids(prompt)),
                    max_new_tokens=min(self.config.answer_tokens, self.row_tokens - len(prompt_ids) + 1),
                    temperature=self.config.temperature,
                    stop_ids=self.tokenizer.stop_ids,
                    seed=derive_seed(self.seed, "answers", position, place),
                )
                for place, (prompt, _) in enumerate(texts)
            ]
            drawn = dict(TextGenerator(self.network, known_ids=self.tokenizer.vocab_size).answers(asked, self.config.group))
            for place, (prompt, target) in enumerate(texts):
                rows += [(list(asked[place].prompt_ids), answer) for answer in drawn[place]]
                attempts += [Attempt(prompt, self.tokenizer.decode(answer), target) for answer in drawn[place]]
            rewards_B = self._judged(attempts)
            inputs_BT, targets_BT, segments_BT = laid_out(rows, self.row_tokens, self.tokenizer.end_of_text_id)
            drawn_BT = self._told(self.network, inputs_BT, targets_BT, segments_BT)
        reference_BT = np.zeros_like(drawn_BT)
        if self.reference is not None:
            reference_BT = self._told(self.reference, inputs_BT, targets_BT, segments_BT)
        weights_B = token_weights((targets_BT != IGNORED).sum(1), self.config.mean_over)
        advantages_B = advantages(rewards_B, self.config.group)
        return AnswersBatch(inputs_BT, targets_BT, segments_BT, advantages_B, drawn_BT, reference_BT, rewards_B, weights_B)

    def _judged(self, attempts: Sequence[Attempt]) -> NDArray[np.float32]:
        rewards_B = np.array(self.judge(attempts), np.float32)
        if rewards_B.shape != (len(attempts),) or not np.isfinite(rewards_B).all():
            raise TrainingError(
                f"of {len(attempts)} answers {int(np.isfinite(rewards_B).sum())} have a reward that is a finite number",
                where="objective.reward",
                expected="a finite number for each answer",
            )
        return rewards_B

    def _told(self, network: Network, inputs_BT: Ids, targets_BT: Ids, segments_BT: Ids) -> NDArray[np.float32]:
        device, rows = next(network.parameters()).device, []
        with torch.no_grad():
            for first in range(0, len(inputs_BT), self.config.group):  # a group at once: memory does not follow the batch
                arrays = (array[first : first + self.config.group] for array in (inputs_BT, targets_BT, segments_BT))
                ids, targets, segments = (torch.from_numpy(array).to(device) for array in arrays)
                found = token_log_probabilities(network, ids, targets, segments, self.config.temperature)
                rows.append(found.cpu().numpy())
        return np.concatenate(rows)

    def losses(self, network: Network, *part: Tensor) -> Losses:
        """Of one part."""
        ids_BT, targets_BT, segments_BT, advantages_B, drawn_BT, reference_BT, rewards_B, weights_B = part
        log_p_BT = token_log_probabilities(network, ids_BT, targets_BT, segments_BT, self.config.temperature)
        asked_BT = (targets_BT != IGNORED).float()
        losses_BT, divergence_BT, clipped_BT = clipped_losses(
            self.config, log_p_BT, drawn_BT, reference_BT, advantages_B[:, None]
        )
        weighed_BT = asked_BT * weights_B[:, None]
        measured = {
            "reward": rewards_B.sum(),
            "answer_tokens": asked_BT.sum(),
            "divergence": (divergence_BT * weighed_BT).sum(),
            "clipped": (clipped_BT * weighed_BT).sum(),
        }
        return Losses((losses_BT * weighed_BT).sum(), -rewards_B.sum(), None, measured)

    def supervised(self, arrays: Sequence[NDArray[Any]]) -> int:
        """Answers."""
        return len(arrays[0])

    def first_loss(self, network: Network) -> float | None:
        """Nothing can be said of rewards."""
        return None


def clipped_losses(
    config: GrpoConfig, log_p_BT: Tensor, drawn_BT: Tensor, reference_BT: Tensor, advantages_B1: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each token what is minimised, the divergence from the reference, and whether it is pushed no further."""
    ratio_BT = torch.exp(log_p_BT - drawn_BT)
    higher = config.clip if config.clip_higher is None else config.clip_higher
    plain_BT, clipped_BT = ratio_BT * advantages_B1, ratio_BT.clamp(1 - config.clip, 1 + higher) * advantages_B1
    gap_BT = reference_BT - log_p_BT if config.beta else torch.zeros_like(log_p_BT)
    divergence_BT = torch.expm1(gap_BT) - gap_BT
    losses_BT = -torch.minimum(plain_BT, clipped_BT) + config.beta * divergence_BT
    return losses_BT, divergence_BT.detach(), (clipped_BT < plain_BT).float().detach()


def token_log_probabilities(
    network: Network, ids_BT: Tensor, targets_BT: Tensor, segments_BT: Tensor, temperature: float
) -> Tensor:
    """ln p of each target at a temperature, in fp32; 0 where nothing is asked."""
    logits_BTV = network(ids_BT, segments_BT).float() / temperature
    return torch.where(
        targets_BT != IGNORED,
        torch.log_softmax(logits_BTV, -1).gather(-1, targets_BT.clamp(min=0)[..., None])[..., 0],
        0.0,
    )


def advantages(rewards_B: NDArray[np.float32], group: int) -> NDArray[np.float32]:
    """How much better each answer was than the others to its prompt, in standard deviations.

    >>> advantages(np.array([0, 1, 1, 1], np.float32), 2).round(1).tolist()
    [-1.0, 1.0, 0.0, 0.0]
    """
    rewards_PG = rewards_B.reshape(-1, group)
    centred_PG = rewards_PG - rewards_PG.mean(1, keepdims=True)
    found: NDArray[np.float32] = (centred_PG / (rewards_PG.std(1, keepdims=True) + LEAST_DEVIATION)).reshape(-1)
    return found


def token_weights(lengths_B: NDArray[np.int64], mean_over: str) -> NDArray[np.float32]:
    """Of a token of each answer: every answer the same in all, or every token the same; a batch's add up to its rows."""
    if mean_over == "answer":
        return (1 / np.maximum(lengths_B, 1)).astype(np.float32)
    return np.full(len(lengths_B), len(lengths_B) / max(1, lengths_B.sum()), np.float32)


def laid_out(rows: Sequence[tuple[Sequence[int], Sequence[int]]], row_tokens: int, end_id: int) -> tuple[Ids, Ids, Ids]:
    """Inputs, targets and segments of prompts with their answers, one to a row; what closes an answer is a target alone."""
    shape = (len(rows), row_tokens)
    inputs_BT, targets_BT = np.full(shape, end_id, np.int64), np.full(shape, IGNORED, np.int64)
    segments_BT = np.full(shape, PADDING, np.int64)
    for row, (prompt, answer) in enumerate(rows):
        ids, first = [*prompt, *answer], len(prompt) - 1
        inputs_BT[row, : len(ids) - 1] = ids[:-1]
        segments_BT[row, : len(ids) - 1] = 0
        targets_BT[row, first : first + len(answer)] = answer
    return inputs_BT, targets_BT, segments_BT


class PromptLoader:
    """Numbers of prompts, in a seeded sequence of epochs; random access at no cost."""

    def __init__(self, prompts: Prompts, *, batch_size: int, group: int, row_tokens: int, seed: int) -> None:
        """Store the arguments: prompts of the side, how many a batch has, answers to each, positions of a row, seed of the
        order."""
        self.prompts, self.batch_size, self.seed = prompts, batch_size, seed
        self._row_tokens, self._group = row_tokens, group

    @property
    def tokens_per_batch(self) -> int:
        """Positions of one batch, padding included."""
        return self.batch_size * self._group * self._row_tokens

    def epoch(self, position: int) -> float:
        """How often the prompts were seen before batch `position`."""
        return position * self.batch_size / len(self.prompts)

    def batch(self, position: int) -> Asked:
        """The prompts of batch number `position`."""
        count = len(self.prompts)
        epochs, places = np.divmod(np.arange(position * self.batch_size, (position + 1) * self.batch_size), count)
        found = []
        for epoch, place in zip(epochs.tolist(), places.tolist(), strict=True):
            found.append(int(permuted(np.array([place]), count, order_keys(self.seed, "prompt order", epoch))[0]))
        return Asked(self.prompts, found)


class HeldOutAnswers(Sequence[Sequence[NDArray[Any]]]):
    """Held-out batches that are prepared when they are looked at, by the weights of that moment."""

    def __init__(self, objective: Objective, batches: Sequence[Any]) -> None:
        """Store the arguments."""
        self.objective, self.batches = objective, batches

    def __len__(self) -> int:
        return len(self.batches)

    @overload
    def __getitem__(self, number: int) -> Sequence[NDArray[Any]]: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Sequence[NDArray[Any]]]: ...
    def __getitem__(self, number: int | slice) -> Any:
        if isinstance(number, slice):
            return HeldOutAnswers(self.objective, self.batches[number])
        return self.objective.prepare(self.batches[number], -1 - range(len(self))[number])

    def __iter__(self) -> Iterator[Sequence[NDArray[Any]]]:
        return (self[number] for number in range(len(self)))


class _predicting:
    """Dropout off for a while."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def __enter__(self) -> None:
        self.was_training = self.network.training
        self.network.eval()

    def __exit__(self, *error: object) -> None:
        self.network.train(self.was_training)
