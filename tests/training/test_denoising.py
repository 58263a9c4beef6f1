"""Span corruption and whole-word masking: nothing is lost, shares are the published ones, and losses Transformers'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_example as example
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from transformers import T5ForConditionalGeneration

from lmpipe.base.errors import ModelError, RecipeError
from lmpipe.base.progress import Silent
from lmpipe.base.runtime import Runtime
from lmpipe.models import families
from lmpipe.models.config import ModelConfig
from lmpipe.recipes.project import open_project
from lmpipe.recipes.running import run
from lmpipe.tokens.config import BpeConfig, WordPieceConfig
from lmpipe.tokens.controls import Controls
from lmpipe.tokens.loader import Batch, segments_of
from lmpipe.tokens.shards import ShardWriter, open_shards
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import train_on_texts
from lmpipe.tokens.word_borders import word_borders
from lmpipe.training.denoising import SpanCorruption, documents_of
from lmpipe.training.lessons import open_lessons
from lmpipe.training.objective_config import MaskedConfig, SpanCorruptionConfig
from lmpipe.training.objectives import IGNORED, Masked
from lmpipe.training.starting import starting_network
from lmpipe.training.step import parts_of

VOCABULARY, SENTINELS = 120, 20
SENTINEL_IDS = tuple(VOCABULARY - 1 - n for n in range(SENTINELS))
T5 = {"kind": "t5", "layers": 1, "width": 32, "heads": 2, "context": example.CONTEXT, "dropout": 0.0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents that count upwards, in shards that know sentinels."""
    folder = tmp_path_factory.mktemp("spans")
    generator = np.random.default_rng(1)
    controls = Controls(0, 1, (*range(6), *sorted(SENTINEL_IDS)), SENTINEL_IDS)
    for split in ("train", "validation"):
        with ShardWriter(folder / split, vocab_size=VOCABULARY, end_of_text_id=0, controls=controls) as writer:
            for _ in range(80):
                start, length = generator.integers(0, 90), generator.integers(1, 40)
                writer.append((6 + (start + np.arange(length)) % 90).tolist(), int(length))
    return folder


def t5(**options: Any) -> ModelConfig:
    return TypeAdapter(ModelConfig).validate_python({**T5, **options})


def phase_of(**options: Any) -> Any:
    objective = {"kind": "span_corruption", **options.pop("objective", {})}
    return example.tiny_phase(objective=objective, **options)


@settings(deadline=None, max_examples=100)
@given(length=st.integers(2, 32), density=st.floats(0.05, 0.5), mean=st.floats(1, 6), seed=st.integers(0, 10**6))
def test_source_and_target_reassemble_the_text(corpus: Path, length: int, density: float, mean: float, seed: int) -> None:
    config = SpanCorruptionConfig(density=density, mean_span=mean)
    objective = SpanCorruption(config, open_shards(corpus / "train"), context=32, start_id=0, seed=1)
    text = np.random.default_rng(seed).integers(6, 96, length)
    source, target = objective.corrupted(text, np.random.default_rng(seed))
    assert (source[-1], target[-1]) == (0, 0)
    spans: dict[int, list[int]] = {}
    for token in target[:-1].tolist():
        if token in SENTINEL_IDS:
            spans[token] = []
        else:
            spans[list(spans)[-1]].append(token)
    again = [one for token in source[:-1].tolist() for one in spans.get(token, [token])]
    assert again == text.tolist()
    assert list(spans) == list(SENTINEL_IDS[: len(spans)]), "in order, from the first"
    hidden = min(max(1, round(length * density)), length - 1)  # as T5's random_spans_noise_mask has it
    assert sum(map(len, spans.values())) == hidden
    assert len(spans) == min(max(1, round(hidden / mean)), length - hidden)
    assert min(map(len, spans.values())) >= 1
    assert source[-2] in SENTINEL_IDS, "the last stretch is hidden"
    assert source[0] not in SENTINEL_IDS, "the first is seen"


def test_spans_lie_anywhere_with_equal_chances(corpus: Path) -> None:
    objective = SpanCorruption(SpanCorruptionConfig(), open_shards(corpus / "train"), context=32, start_id=0, seed=1)
    generator = np.random.default_rng(1)
    text = np.arange(6, 26)  # 20 tokens, 3 of them hidden, in one span: the last
    assert objective.corrupted(text, generator)[1].tolist()[1:-1] == [23, 24, 25]
    text = np.arange(6, 38)  # 32 tokens, 5 hidden in two spans: their lengths are (1, 4) to (4, 1)
    counts = np.zeros(5)
    for _ in range(2000):
        target = objective.corrupted(text, generator)[1].tolist()
        counts[target.index(SENTINEL_IDS[1]) - 1] += 1
    assert counts[1:] / 2000 == pytest.approx([0.25] * 4, abs=0.04)


def test_the_loss_is_that_of_transformers_one_document_at_a_time(corpus: Path, tmp_path: Path) -> None:
    lessons = open_lessons(corpus, t5(), phase_of(batch_tokens=256), 1, Silent())
    torch.manual_seed(1)
    network = starting_network(t5(), lessons.vocab_size, None, lessons.head).eval()
    objective = lessons.objective_for(network)
    batch = lessons.loader.batch(0)
    arrays = objective.prepare(batch, 0)
    (part,) = parts_of(arrays, len(arrays[0]), "cpu")
    families.save(network, tmp_path, end_of_text_id=0)
    theirs = T5ForConditionalGeneration.from_pretrained(tmp_path).eval()
    expected = asked = 0
    with torch.inference_mode():
        found = objective.losses(network, *part)
        for row in range(len(batch.inputs_BT)):
            for number in range(arrays.segments_BS[row].max() + 1):
                source = arrays.sources_BT[row][arrays.source_segments_BT[row] == number]
                target = arrays.targets_BS[row][arrays.segments_BS[row] == number]
                if len(target):
                    ids, labels = torch.from_numpy(source)[None], torch.from_numpy(target)[None]
                    expected += float(theirs(input_ids=ids, labels=labels).loss) * len(target)
                    asked += len(target)
    assert float(found.nats) == pytest.approx(expected, rel=1e-4)
    assert objective.supervised(arrays) == asked
    texts = [text for ids, segments in zip(*batch[::2], strict=True) for text in documents_of(ids, segments)]
    whole = sum(len(text) for text in texts)
    hidden = int((arrays.targets_BS != IGNORED).sum() - np.isin(arrays.targets_BS, (0, *SENTINEL_IDS)).sum())
    assert hidden / whole == pytest.approx(0.15, abs=0.04), "nothing was left out for want of room"


def test_stopped_and_resumed_is_the_same_run(corpus: Path, tmp_path: Path) -> None:
    phase = phase_of(micro_batch_tokens=64)
    example.run_training(corpus, tmp_path / "whole", model=t5(dropout=0.1), phase=phase)
    for stop_at in (3, 7):
        asked = iter(range(0 if stop_at == 3 else 3, 100))
        model = t5(dropout=0.1)
        example.run_training(
            corpus,
            tmp_path / "stopped",
            model=model,
            phase=phase,
            stopping=lambda asked=asked, stop_at=stop_at: next(asked) >= stop_at,
        )
    example.run_training(corpus, tmp_path / "stopped", model=t5(dropout=0.1), phase=phase)
    assert example.result(tmp_path / "whole") == example.result(tmp_path / "stopped")


def test_a_tokenizer_without_sentinels_is_refused_with_the_number(corpus: Path, tmp_path: Path) -> None:
    plain = example.write_corpus(tmp_path / "plain")
    with pytest.raises(ModelError, match="has 0 sentinels, and a text of 32 tokens has 2 spans"):
        example.run_training(plain, tmp_path, model=t5(), phase=phase_of())
    values = recipe(tmp_path, {"kind": "span_corruption"}, T5)
    open_project(values, {"tokenizer.sentinels": 2})
    with pytest.raises(RecipeError, match=r"hides up to 2 spans .* has 0 sentinels; expected tokenizer\.sentinels: 2"):
        open_project(values)
    with pytest.raises(RecipeError, match=r"train\.0\.objective is span_corruption.*decoder 'llama' cannot.*encoder"):
        open_project(values, {"model": {"kind": "llama", "layers": 1, "width": 16, "heads": 2, "context": 64}})


def recipe(folder: Path, objective: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    sizes = {"tokens": 1024, "batch_tokens": 256, "validation": {"every_tokens": 512, "tokens": 128}}
    return {
        "name": "hidden",
        "data": {"books": {"read": [{"kind": "text", "paths": [str(folder / "*.txt")]}]}},
        "tokenizer": {"vocab_size": 300, "train_on": "books"},
        "model": model,
        "train": [{"name": "main", "on": "books", "objective": objective, **sizes}],
    }


# ------------------------------------------------------------------------------------------------------------- whole words


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_words_are_hidden_whole(kind: str, tmp_path: Path) -> None:
    texts = [" ".join(["relics of the older thirteen, 47 unthinkable (re-lived) days"] * 3)] * 4
    config = {"bpe": BpeConfig, "wordpiece": WordPieceConfig}[kind](vocab_size=290, train_on="c")
    train_on_texts(["re of the days er un"] * 9, config, tmp_path, progress=Silent())
    tokenizer = load_tokenizer(tmp_path)
    borders = word_borders(tokenizer)
    ids = np.array(tokenizer.encode_batch(texts))
    ids[:, 20] = 0
    batch = Batch(ids, np.roll(ids, -1, axis=1), segments_of(ids, 0))
    controls = Controls.ours()
    objective = Masked(
        MaskedConfig(rate=0.3, whole_words=True, mask_fraction=1.0, random_fraction=0.0),
        vocab_size=tokenizer.vocab_size,
        controls=controls,
        seed=1,
        words=borders,
    )
    found = objective.prepare(batch, 0)
    again = objective.prepare(batch, 0)
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))
    words = np.cumsum(borders.starts(ids), axis=1)
    hidden = np.zeros_like(ids, bool)
    for row, places in enumerate(found.places_BK):
        hidden[row, places[found.targets_BK[row] != IGNORED]] = True
    for row in range(len(ids)):
        for word in np.unique(words[row]):
            assert hidden[row][words[row] == word].all() or not hidden[row][words[row] == word].any()
    assert not hidden[ids == 0].any()
    asked = hidden.mean()
    assert 0.2 < asked <= 0.31, "a word that finds no room is passed over"
    assert (found.inputs_BT[hidden] == controls.mask_id).all()
    assert np.array_equal(found.inputs_BT[~hidden], ids[~hidden])


def test_words_are_those_of_the_splitting_pattern(tmp_path: Path) -> None:
    train_on_texts(["a b"] * 9, BpeConfig(vocab_size=270, train_on="c"), tmp_path, progress=Silent())
    tokenizer = load_tokenizer(tmp_path)
    text = "the relics, 47 été(re)\nlived"
    ids = np.array([tokenizer.encode(text)])
    starts = np.flatnonzero(word_borders(tokenizer).starts(ids)[0])
    words = [tokenizer.decode(part.tolist()) for part in np.split(ids[0], starts[1:])]
    assert words == ["the", " relics", ",", " 47", " été", "(", "re", ")", "\n", "lived"]


def test_whole_words_in_a_recipe(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(f"the number {number} stands in an unthinkable book of relics. " * 12)
    bert = {"kind": "bert", "layers": 1, "width": 16, "heads": 2, "context": 64}
    values = recipe(tmp_path, {"kind": "masked", "whole_words": True}, bert)
    runtime = Runtime(store=str(tmp_path / "store"), device="cpu", threads=1, workers=1, compile=False, isolate=False)
    assert run(values, runtime=runtime).status == "finished"
    spans = recipe(tmp_path, {"kind": "span_corruption"}, {**T5, "context": 64})
    spans["tokenizer"]["sentinels"] = 10
    done = run(spans, runtime=runtime)
    assert done.status == "finished"
    rows = [json.loads(row) for row in (done.folder("train-main") / "curve.jsonl").read_text().splitlines()]
    assert any("validation_loss" in row for row in rows)
