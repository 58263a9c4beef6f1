"""Foreign encoders with the heads that Transformers has for them: its logits, whatever stands beside a text in its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from lmpipe.base.errors import ModelError
from lmpipe.models.auto.model import AutoEncoder
from lmpipe.models.auto.offered import architecture_of, heads_of
from lmpipe.models.describing import describe
from lmpipe.models.families import mapping, save
from lmpipe.models.heads import EmbeddingHead, Head, SequenceHead, TokenHead
from lmpipe.models.layers.encoder_heads import at_places, embeddings
from lmpipe.models.loading import load_network

VOCABULARY = 60
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48}
POSITIONS = {"max_position_embeddings": 64, "initializer_range": 0.3}
SHAPES: dict[str, tuple[Any, Any]] = {
    "distilbert": (
        transformers.DistilBertForMaskedLM,
        transformers.DistilBertConfig(vocab_size=VOCABULARY, dim=32, n_heads=4, n_layers=2, hidden_dim=48, **POSITIONS),
    ),
    "electra": (transformers.ElectraForPreTraining, transformers.ElectraConfig(**SMALL, embedding_size=24, **POSITIONS)),
    "deberta-v2": (
        transformers.DebertaV2Model,
        transformers.DebertaV2Config(
            **SMALL, relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"], type_vocab_size=0, **POSITIONS
        ),
    ),
    "xlm-roberta": (transformers.XLMRobertaForMaskedLM, transformers.XLMRobertaConfig(**SMALL, pad_token_id=1, **POSITIONS)),
}
"""Saved with their head for words, with another head, as a body alone."""
SEQUENCE, TOKEN = SequenceHead(labels=("bad", "fair", "good")), TokenHead(labels=("X", "NOUN", "VERB", "ADJ"))
LOADERS = {"sequence": "AutoModelForSequenceClassification", "token": "AutoModelForTokenClassification"}


def published(shape: str, folder: Path) -> Path:
    torch.manual_seed(0)
    make, config = SHAPES[shape]
    make(config).save_pretrained(folder)
    return folder


def with_head(folder: Path, head: Head, seed: int = 0) -> AutoEncoder:
    torch.manual_seed(seed)
    network = load_network(folder, head=head)
    assert isinstance(network, AutoEncoder)
    return network


PACKED = torch.tensor([[0] * 7 + [1] * 20 + [2] * 3 + [-1] * 2, [0] * 18 + [-1] * 14, [0] + [1] * 31])
TEXTS = [(row, int(text), slice(*span)) for row, text, span in [
    (0, 0, (0, 7)), (0, 1, (7, 27)), (0, 2, (27, 30)), (1, 0, (0, 18)), (2, 0, (0, 1)), (2, 1, (1, 32)),
]]  # fmt: skip
PLACES = torch.tensor([[0, 7, 27], [0, 0, 0], [0, 1, 0]])
IDS = torch.randint(5, VOCABULARY, PACKED.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("head", [SEQUENCE, TOKEN], ids=["sequence", "token"])
def test_every_text_of_a_packed_row_has_transformers_logits(shape: str, head: Head, tmp_path: Path) -> None:
    ours = with_head(published(shape, tmp_path / "body"), head)
    assert (ours.head_config, ours.config.kind, ours.config.architecture) == (head, "auto", "encoder")
    save(ours, tmp_path / "saved", end_of_text_id=0)
    loader = getattr(transformers, LOADERS[head.kind])
    theirs, told = loader.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(told.values())
    assert [theirs.config.id2label[number] for number in range(theirs.num_labels)] == list(head.labels)
    again = load_network(tmp_path / "saved")
    assert again.head_config == head
    with torch.inference_mode():
        for network in (ours, again):
            found = at_places(network, IDS, PACKED, PLACES) if head.kind == "sequence" else network(IDS, PACKED)
            for row, text, span in TEXTS:
                expected = theirs.eval()(IDS[row : row + 1, span]).logits[0]
                got = found[row, text] if head.kind == "sequence" else found[row, span]
                assert (got - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_fresh_is_the_head_alone_and_follows_the_seed(shape: str, tmp_path: Path) -> None:
    folder = published(shape, tmp_path / "body")
    body = transformers.AutoModel.from_pretrained(folder).state_dict()
    one, same, other = (with_head(folder, SEQUENCE, seed) for seed in (1, 1, 2))
    differ = {name for name, tensor in one.state_dict().items() if not torch.equal(tensor, other.state_dict()[name])}
    assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert differ
    assert differ <= set(one.fresh_weights)
    prefix = f"model.{one.model.base_model_prefix}."
    kept = {name.removeprefix(prefix): tensor for name, tensor in one.state_dict().items() if name.startswith(prefix)}
    assert len(kept) > 20
    assert all(torch.equal(tensor, body[name]) for name, tensor in kept.items())


def test_the_same_head_goes_on_and_another_of_its_size_is_drawn_anew(tmp_path: Path) -> None:
    folder = published("distilbert", tmp_path / "body")
    save(with_head(folder, SEQUENCE), tmp_path / "classes", end_of_text_id=0)
    kept = load_network(tmp_path / "classes")
    same, renamed = (
        with_head(tmp_path / "classes", SEQUENCE),
        with_head(tmp_path / "classes", SequenceHead(labels=("a", "b", "c"))),
    )
    tagger, fewer = with_head(tmp_path / "classes", TokenHead(labels=("x", "y", "z"))), with_head(tmp_path / "classes", TOKEN)
    name = "model.classifier.weight"
    assert torch.equal(same.state_dict()[name], kept.state_dict()[name])
    assert not same.fresh_weights
    for other in (renamed, tagger):
        assert not torch.equal(other.state_dict()[name], kept.state_dict()[name])
        assert name in other.fresh_weights
    assert fewer.state_dict()[name].shape == (4, 32)


@pytest.mark.parametrize("shape", ["distilbert", "deberta-v2"])
def test_vectors_are_means_of_the_bodys_states_under_any_head(shape: str, tmp_path: Path) -> None:
    folder = published(shape, tmp_path / "body")
    body = transformers.AutoModel.from_pretrained(folder).eval()
    for head in (SEQUENCE, EmbeddingHead()):
        with torch.inference_mode():
            found = embeddings(with_head(folder, head), IDS, PACKED, 3)
            for row, text, span in TEXTS:
                mean = body(IDS[row : row + 1, span]).last_hidden_state.mean(1)
                assert (found[row, text] - torch.nn.functional.normalize(mean, dim=-1)).abs().max() <= 1e-5
            assert not found[1, 1:].any()


def test_every_parameter_has_the_name_that_peft_would_look_for(tmp_path: Path) -> None:
    network = with_head(published("electra", tmp_path), SEQUENCE)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert {stored.names[0] for stored in mapping(network).values()} == {name for name, _ in theirs.named_parameters()}


def test_positions_that_begin_behind_the_padding_shorten_the_context(tmp_path: Path) -> None:
    folder = published("xlm-roberta", tmp_path)
    assert describe(folder).context == load_network(folder).context_length == 62
    with torch.inference_mode():
        load_network(folder)(torch.full((1, 62), 7), torch.zeros(1, 62).long())


def test_a_missing_weight_below_the_head_stays_an_error(tmp_path: Path) -> None:
    folder = published("distilbert", tmp_path)
    network = transformers.DistilBertForMaskedLM.from_pretrained(folder)
    state = {name: tensor for name, tensor in network.state_dict().items() if "layer.1.ffn.lin1" not in name}
    network.save_pretrained(folder, state_dict=state)
    with pytest.raises(ModelError, match=r"2 missing \(distilbert\.transformer\.layer\.1\.ffn\.lin1\.bias"):
        load_network(folder, head=SEQUENCE)


def test_a_head_that_is_not_there_is_refused_with_one_that_has_it(tmp_path: Path) -> None:
    config = transformers.GPTNeoXConfig(**SMALL, num_labels=2)
    transformers.GPTNeoXForSequenceClassification(config).save_pretrained(tmp_path / "decoder")
    assert describe(tmp_path / "decoder").architecture == "decoder"
    with pytest.raises(ModelError, match="is no encoder"):
        load_network(tmp_path / "decoder")
    torch.manual_seed(0)
    config = transformers.FNetConfig(**{name: SMALL[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers")})
    transformers.FNetForMaskedLM(config).save_pretrained(tmp_path / "fnet")
    with pytest.raises(ModelError, match="takes no attention mask"):
        load_network(tmp_path / "fnet", head=SEQUENCE)
    with pytest.raises(ModelError, match="electra encoder without a head"):
        load_network(published("electra", tmp_path / "electra"))
    transformers.TapasForMaskedLM(transformers.TapasConfig(**SMALL)).save_pretrained(tmp_path / "tapas")
    with pytest.raises(ModelError, match="no token head for a tapas model"):
        load_network(tmp_path / "tapas", head=TOKEN)


def test_what_is_offered_is_what_transformers_maps() -> None:
    """Its tables are read without being run; run, they say the same."""
    from transformers.models.auto import modeling_auto as tables

    families = sorted(tables.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    assert len(families) > 30
    for family in families:
        if architecture_of(family) == "encoder":
            known = {
                "sequence": tables.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
                "token": tables.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
            }
            assert heads_of(family) == tuple(head for head, table in known.items() if family in table)
        else:
            assert family in tables.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    assert (architecture_of("gpt_neox"), architecture_of("pegasus")) == ("decoder", "encoder-decoder")
    assert architecture_of("vit") is None
