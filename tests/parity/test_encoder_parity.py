"""Our encoders against Transformers: the same files give the same logits, both ways, with every head."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pydantic import TypeAdapter

from lmpipe.base.errors import ModelError
from lmpipe.models.config import ModelConfig
from lmpipe.models.families import build, parameter_count, save
from lmpipe.models.heads import EmbeddingHead, Head, LanguageHead, SequenceHead, TokenHead
from lmpipe.models.layers.encoder_heads import embeddings
from lmpipe.models.loading import load_model, load_network
from lmpipe.models.network import Encoder

VOCABULARY, CONTEXT = 101, 40
SHAPES: dict[str, dict[str, Any]] = {
    "bert": {"kind": "bert"},
    "roberta": {"kind": "bert", "layout": "roberta", "feed_forward": 72, "norm_eps": 1e-5},
    "modernbert": {"kind": "modernbert", "layers": 4, "local_window": 8, "feed_forward": 40},
}
HEADS: dict[str, Head] = {
    "MaskedLM": LanguageHead(),
    "SequenceClassification": SequenceHead(labels=("bad", "fair", "good")),
    "TokenClassification": TokenHead(labels=("X", "NOUN", "VERB", "ADJ")),
}


def make(shape: str, head: Head) -> Encoder:
    torch.manual_seed(0)
    options = {"layers": 2, "width": 32, "heads": 4, "context": CONTEXT, **SHAPES[shape]}
    network = build(TypeAdapter(ModelConfig).validate_python(options), VOCABULARY, head).eval()
    assert isinstance(network, Encoder)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def some_ids(length: int = CONTEXT, rows: int = 3) -> torch.Tensor:
    return torch.randint(2, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))


def furthest(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("head", HEADS)
def test_transformers_reads_what_we_write_and_we_read_what_it_writes(shape: str, head: str, tmp_path: Path) -> None:
    network = make(shape, HEADS[head])
    save(network, tmp_path / "ours", end_of_text_id=0)
    auto = getattr(transformers, f"AutoModelFor{head}")
    theirs = auto.from_pretrained(tmp_path / "ours", dtype=torch.float32).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_network(tmp_path / "theirs")
    assert again.config == network.config.model_copy(update=network.config.resolved())
    assert again.head_config == HEADS[head]
    with torch.inference_mode():
        assert furthest(network(some_ids()), theirs(some_ids()).logits) <= 1e-5
        assert torch.equal(network(some_ids()), again(some_ids()))
    if head == "MaskedLM":
        assert parameter_count(network.config, VOCABULARY) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("shape", SHAPES)
def test_vectors_are_those_of_transformers_body_and_its_own_means(shape: str, tmp_path: Path) -> None:
    network = make(shape, EmbeddingHead())
    save(network, tmp_path / "ours", end_of_text_id=0)
    theirs, told = transformers.AutoModel.from_pretrained(tmp_path / "ours", dtype=torch.float32, output_loading_info=True)
    assert not told["unexpected_keys"]
    assert all("pooler" in name for name in told["missing_keys"]), "which no vector here is made of"
    theirs.eval().save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs/1_Pooling").mkdir()
    shutil.copy(tmp_path / "ours/1_Pooling/config.json", tmp_path / "theirs/1_Pooling/config.json")
    again, attended = load_network(tmp_path / "theirs"), torch.ones(3, CONTEXT, dtype=torch.long)
    attended[1, 25:] = 0
    with torch.inference_mode():
        states = theirs(some_ids(), attention_mask=attended).last_hidden_state
        means = (states * attended[..., None]).sum(1) / attended.sum(1, keepdim=True)
        expected = torch.nn.functional.normalize(means, dim=-1)
        for ours in (network, again):
            assert furthest(embeddings(ours, some_ids(), attended - 1, 1)[:, 0], expected) <= 1e-5
        several = torch.tensor([[0] * 15 + [1] * 20 + [-1] * 5])
        packed = embeddings(network, some_ids(rows=1), several, 3)[0]
        alone = [
            embeddings(network, some_ids(rows=1)[:, s], torch.zeros(1, s.stop - s.start).long(), 1)[0, 0]
            for s in (slice(0, 15), slice(15, 35))
        ]
    assert furthest(packed[:2], torch.stack(alone)) <= 1e-5
    assert not packed[2].any()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("saved", HEADS)
def test_a_body_for_vectors_comes_from_under_any_head_and_goes_under_any(shape: str, saved: str, tmp_path: Path) -> None:
    network = make(shape, HEADS[saved])
    save(network, tmp_path / "headed", end_of_text_id=0)
    embedder = load_network(tmp_path / "headed", head=EmbeddingHead(pooling="cls"))
    save(embedder, tmp_path / "bare", end_of_text_id=0)
    assert load_network(tmp_path / "bare").head_config == EmbeddingHead(pooling="cls")
    back = load_network(tmp_path / "bare", head=HEADS[saved])
    with torch.inference_mode():
        assert torch.equal(network.hidden(some_ids()), embedder.hidden(some_ids()))
        assert torch.equal(network.hidden(some_ids()), back.hidden(some_ids()))
        assert (
            furthest(
                embeddings(embedder, some_ids(), torch.zeros(3, CONTEXT).long(), 1)[:, 0],
                torch.nn.functional.normalize(network.hidden(some_ids())[:, 0], dim=-1),
            )
            <= 1e-6
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_padding_is_a_segment_that_nobody_sees(shape: str, tmp_path: Path) -> None:
    network = make(shape, LanguageHead())
    save(network, tmp_path, end_of_text_id=0)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids, attended = some_ids(), torch.ones(3, CONTEXT, dtype=torch.long)
    ids[1, 25:], attended[1, 25:] = 1, 0
    with torch.inference_mode():
        logits = network(ids, attended - 1)
        assert furthest(logits[1, :25], network(ids[1:2, :25])[0]) <= 1e-5
        assert furthest(logits[attended == 1], theirs(ids, attention_mask=attended).logits[attended == 1]) <= 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_crosses_a_border_between_segments(shape: str) -> None:
    network = make(shape, LanguageHead())
    first, second = some_ids(15, 1), some_ids(25, 2)[1:]
    segments = torch.tensor([[0] * 15 + [1] * 25])
    with torch.inference_mode():
        together = network(torch.cat((first, second), dim=1), segments)
        assert furthest(together[:, :15], network(first)) <= 1e-5
        assert furthest(together[:, 15:], network(second)) <= 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_training_computes_what_predicting_computes(shape: str) -> None:
    network = make(shape, LanguageHead())
    for module in network.modules():
        if hasattr(module, "dropout"):
            module.dropout = 0.0
    network.config = network.config.model_copy(update={"dropout": 0.0})
    segments = torch.tensor([[0] * 15 + [1] * 25] * 3)
    with torch.no_grad():
        assert furthest(network.train()(some_ids(), segments), network.eval()(some_ids(), segments)) <= 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_a_fresh_head_goes_on_a_saved_body(shape: str, tmp_path: Path) -> None:
    network = make(shape, LanguageHead())
    save(network, tmp_path, end_of_text_id=0)
    torch.manual_seed(5)
    tuned = load_network(tmp_path, head=HEADS["TokenClassification"])
    with torch.inference_mode():
        assert torch.equal(tuned.hidden(some_ids()), network.hidden(some_ids()))
        assert tuned(some_ids()).shape == (3, CONTEXT, 4)
    save(tuned, tmp_path / "tuned", end_of_text_id=0)
    back = load_network(tmp_path / "tuned", head=LanguageHead())
    with torch.inference_mode():
        assert torch.equal(back.hidden(some_ids()), network.hidden(some_ids()))
        assert back(some_ids()).shape == (3, CONTEXT, VOCABULARY)


def test_a_bodys_pooler_is_part_of_a_fresh_classifier_as_in_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48}
    body = transformers.BertModel(transformers.BertConfig(**small, vocab_size=VOCABULARY, max_position_embeddings=CONTEXT))
    body.save_pretrained(tmp_path / "body")
    ours = load_network(tmp_path / "body", head=HEADS["SequenceClassification"])
    assert ours.fresh_weights == ("head.out.weight", "head.out.bias")
    save(ours, tmp_path / "ours", end_of_text_id=0)
    theirs = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "body", num_labels=3).eval()
    with torch.inference_mode():
        theirs.classifier.weight.copy_(ours.head.out.weight)
        theirs.classifier.bias.copy_(ours.head.out.bias)
        assert furthest(ours(some_ids()), theirs(some_ids()).logits) <= 1e-5
    other = load_network(tmp_path / "ours", head=SequenceHead(labels=("yes", "no")))  # another task keeps the pooler, too
    assert torch.equal(other.head.dense.weight, ours.head.dense.weight)
    without = transformers.BertModel(body.config, add_pooling_layer=False)
    without.save_pretrained(tmp_path / "without")
    fresh = load_network(tmp_path / "without", head=HEADS["SequenceClassification"])
    assert set(fresh.fresh_weights) == {"head.dense.weight", "head.dense.bias", "head.out.weight", "head.out.bias"}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_text_longer_than_the_positions_is_refused(shape: str) -> None:
    with pytest.raises(ModelError, match=f"{CONTEXT} positions"):
        make(shape, LanguageHead())(some_ids(CONTEXT + 1))


def test_an_encoder_is_no_decoder(tmp_path: Path) -> None:
    save(make("bert", LanguageHead()), tmp_path, end_of_text_id=0)
    with pytest.raises(ModelError, match="does not predict the next token"):
        load_model(tmp_path)


def test_a_decoder_has_no_choice_of_heads() -> None:
    config = TypeAdapter(ModelConfig).validate_python({"kind": "llama", "layers": 1, "width": 16, "heads": 2, "context": 16})
    with pytest.raises(ModelError, match="no token head"):
        build(config, VOCABULARY, HEADS["TokenClassification"])
