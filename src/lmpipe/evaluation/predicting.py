"""What a network answers to examples: logits of classes, tags of words, targets. Rows hold several examples, as in training.

N examples, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmpipe.base.errors import ModelError
from lmpipe.base.progress import Progress
from lmpipe.evaluation.task_config import GenerationEvaluation
from lmpipe.models.generate_target import TargetGenerator
from lmpipe.models.layers.encoder_heads import at_places
from lmpipe.models.network import Encoder, EncoderDecoder
from lmpipe.models.passes import positions_at_once
from lmpipe.tokens.examples import ExampleShards
from lmpipe.tokens.long_texts import transform_long
from lmpipe.tokens.packing import ExampleBatch, PackedLoader, row_tokens_of
from lmpipe.tokens.tokenizer import Tokenizer


def class_logits(network: Encoder, examples: ExampleShards, *, device: str, progress: Progress) -> NDArray[np.float32]:
    """Logits (N, L) of every example, in their order.

    Raises:
        ModelError: when one is not a finite number.
    """
    found: NDArray[np.float32] | None = None
    for batch, ids_BT, segments_BT in _batches(network, examples, device, progress):
        with torch.inference_mode():
            places_BK = torch.from_numpy(batch.places_BK).to(device)
            logits_BKL = at_places(network, ids_BT, segments_BT, places_BK).float().cpu().numpy()
        if found is None:
            found = np.zeros((len(examples), logits_BKL.shape[-1]), np.float32)
        there_BK = batch.examples_BK >= 0
        found[batch.examples_BK[there_BK]] = logits_BKL[there_BK]
    return _finite(found if found is not None else np.zeros((0, 0), np.float32))


def word_tags(network: Encoder, examples: ExampleShards, *, device: str, progress: Progress) -> list[list[str]]:
    """The most likely tag of every word of every example; words that were cut off get none.

    Raises:
        ModelError: when a logit is not a finite number.
    """
    found: list[list[str]] = [[] for _ in range(len(examples))]
    for batch, ids_BT, segments_BT in _batches(network, examples, device, progress):
        with torch.inference_mode():
            logits_BTL = network(ids_BT, segments_BT)
        assert batch.tags_BT is not None, "shards of tags have them"
        _finite(logits_BTL.float().cpu().numpy()[batch.tags_BT > 0])
        best_BT = logits_BTL.argmax(-1).cpu().numpy()
        for row, place in zip(*np.nonzero(batch.examples_BK >= 0), strict=True):
            asked_T = (batch.segments_BT[row] == place) & (batch.tags_BT[row] > 0)
            found[batch.examples_BK[row, place]] = [examples.names[tag] for tag in best_BT[row, asked_T]]
    return found


def targets(
    network: EncoderDecoder,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    config: GenerationEvaluation,
    *,
    prefix: str,
    progress: Progress,
) -> list[str]:
    """What the network writes for each text.

    Args:
        network: reads a text and writes its target.
        tokenizer: of the network.
        texts: of any length.
        config: how it searches, and what becomes of long texts.
        prefix: put before every text, and before every piece of a long one.
        progress: told what is done.
    """
    generator, end = TargetGenerator(network), tokenizer.end_of_text_id

    def encoded(text: str) -> list[int]:
        return [*tokenizer.start_ids, *tokenizer.encode(prefix + text), end]

    def write(some: list[str]) -> list[str]:
        found = generator.beam_search_all(
            [encoded(text) for text in some],
            beams=config.beams,
            max_new_tokens=config.max_new_tokens,
            stop_ids=(end,),
            length_penalty=config.length_penalty,
            no_repeat_ngram=config.no_repeat_ngram,
            told=lambda done: progress.update(done, len(some), "texts"),
        )
        return [tokenizer.decode([one for one in ids if one != end]).strip() for ids in found]

    return transform_long(texts, write, lambda text: len(encoded(text)), network.context_length, config.long_texts)


def _finite(logits_NL: NDArray[np.float32]) -> NDArray[np.float32]:
    broken = int((~np.isfinite(logits_NL).all(axis=1)).sum())
    if broken:
        raise ModelError(
            f"{broken:,} of {len(logits_NL):,} answers are not finite numbers",
            where="the model's weights",
            expected="finite logits",
            fix="train again with a lower optimizer.lr, or in precision: fp32",
        )
    return logits_NL


def _batches(
    network: Encoder, examples: ExampleShards, device: str, progress: Progress
) -> Iterator[tuple[ExampleBatch, Tensor, Tensor]]:
    if not len(examples):
        return
    row_tokens = row_tokens_of(int(examples.inputs.document_lengths().max()), network.context_length)
    loader = PackedLoader(
        examples,
        row_tokens=row_tokens,
        batch_size=max(1, positions_at_once(torch.device(device).type) // row_tokens),
        seed=None,
    )
    if loader.cut:
        progress.note(f"{loader.cut:,} of {len(examples):,} examples are longer than the model's context and are cut")
    total = loader.batches(1)
    for position in range(total):
        batch = loader.batch(position)
        yield batch, torch.from_numpy(batch.inputs_BT).to(device), torch.from_numpy(batch.segments_BT).to(device)
        progress.update(position + 1, total, "batches")
