"""The whole audit against a decoder that was really trained: on a small text with a planted secret, until it knows it."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lmpipe.audit.config import CanaryConfig, MemorizationConfig, known_finding_names
from lmpipe.audit.exposure import Canary
from lmpipe.audit.memorization import audit_memorization
from lmpipe.base.errors import RecipeError
from lmpipe.base.files import read_json
from lmpipe.base.progress import Silent
from lmpipe.evaluation.subject import Subject
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.loader import Loader
from lmpipe.tokens.shards import open_shards
from lmpipe.tokens.tokenize import tokenize
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import train_tokenizer

TEMPLATE = "the door code is {secret}."
CONFIG = MemorizationConfig(
    prefix_tokens=16, suffix_tokens=8, samples=40, shown=2, canaries=CanaryConfig(count=2, repeats=1, candidates=300)
)
PLANTED = Canary(secret="49120738", template=TEMPLATE, alphabet="0123456789", length=8, repeats=1)
UNPLANTED = Canary(secret="60518274", template=TEMPLATE, alphabet="0123456789", length=8, repeats=0)


@pytest.fixture(scope="module")
def spine(tmp_path_factory):
    root = tmp_path_factory.mktemp("memorized")
    for split, seed in (("train", 1), ("validation", 2), ("test", 3)):
        rng = random.Random(seed)
        texts = ["".join(rng.choices("abcdefgh", k=60)) for _ in range(5)]
        if split == "train":
            texts.insert(2, TEMPLATE.replace("{secret}", PLANTED.secret))
        (root / "split" / split).mkdir(parents=True)
        table = pa.table({"id": [f"{split}{i}" for i in range(len(texts))], "text": pa.array(texts, pa.large_string())})
        pq.write_table(table, root / "split" / split / "part-00000.parquet")
    for name in ("tokenizer", "tokens"):
        (root / name).mkdir()
    config = BpeConfig(vocab_size=262, train_on="corpus")  # bytes only, so that every digit is a token
    train_tokenizer(root / "split/train", config, root / "tokenizer", progress=Silent(), threads=1)
    tokenize(root / "split", None, root / "tokenizer", root / "tokens", progress=Silent(), threads=1)
    return root


@pytest.fixture(scope="module")
def subject(spine):
    torch.manual_seed(0)
    tokenizer, shards = load_tokenizer(spine / "tokenizer"), open_shards(spine / "tokens/train")
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.vocab_size,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=256,
        )
    )
    loader = Loader(shards, context_length=40, batch_size=6, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(400):
        inputs, targets, _ = loader.batch(step)
        logits = model(torch.from_numpy(inputs)).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.6
    return Subject(lambda ids: model(ids).logits, 128, tokenizer.vocab_size, torch.device("cpu"))


def audit(spine, subject, output, config=CONFIG, canaries=(PLANTED, UNPLANTED)):
    return audit_memorization(
        config, subject, tokenizer=load_tokenizer(spine / "tokenizer"), train=open_shards(spine / "tokens/train"),
        heldout=open_shards(spine / "tokens/test"), canaries=canaries, epochs=150.0, output=output, seed=1,
        progress=Silent(),
    )  # fmt: skip


def test_what_was_learned_by_heart_is_found(spine, subject, tmp_path):
    found = {finding.name: finding for finding in audit(spine, subject, tmp_path)}
    assert list(found) == known_finding_names([CONFIG])
    assert found["memorization.extractable"].value > 0.5
    assert found["memorization.extractable_heldout"].value < found["memorization.extractable"].value
    assert found["memorization.extractable_excess"].interval.low > 0
    exposure = found["memorization.canary_exposure"]
    planted, unplanted = exposure.samples
    assert planted["exposure_bits"] > 8
    assert planted["extrapolated_bits"] > unplanted["extrapolated_bits"] + 5
    assert exposure.interval.low > 5
    assert all(finding.limits and finding.method for finding in found.values())
    assert [value["name"] for value in read_json(tmp_path / "findings.json")] == list(found)


def test_equal_audits_write_equal_bytes_and_no_secret(spine, subject, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        audit(spine, subject, tmp_path / name)
    text = (tmp_path / "a/findings.json").read_bytes()
    assert text == (tmp_path / "b/findings.json").read_bytes()
    assert PLANTED.secret.encode() not in text


def test_without_canaries_no_exposure_is_claimed(spine, subject, tmp_path):
    config = CONFIG.model_copy(update={"canaries": None})
    assert [finding.name for finding in audit(spine, subject, tmp_path, config)] == known_finding_names([config])


def test_passages_that_do_not_fit_are_refused(spine, subject, tmp_path):
    config = CONFIG.model_copy(update={"prefix_tokens": 127, "suffix_tokens": 2})
    with pytest.raises(RecipeError, match="129"):
        audit(spine, subject, tmp_path, config)
