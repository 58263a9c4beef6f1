"""A bundle in our code and in Transformers: the same ids, the same logits, the same greedy text, for a real document."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lmpipe.base.files import write_json
from lmpipe.base.progress import Silent
from lmpipe.evaluation.scoring import score_windows
from lmpipe.evaluation.units import lay_out
from lmpipe.export.bundle import make_bundle
from lmpipe.export.config import HuggingFaceConfig
from lmpipe.models.llama.config import LlamaConfig
from lmpipe.models.llama.hf import save
from lmpipe.models.llama.model import Llama
from lmpipe.models.loading import load_model
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.loader import evaluation_windows
from lmpipe.tokens.shards import ShardWriter, open_shards
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import train_tokenizer

DATA = Path(os.environ.get("LMPIPE_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
CONTEXT = 128
TOLERANCE = 1e-5


def real_documents():
    """A play where the shared data is there; the sources of the standard library, which every Python has, otherwise."""
    plays = sorted((DATA / "tinyshakespeare").glob("*.txt")) if DATA.is_dir() else []
    paths = plays or [Path(os.__file__).parent / name for name in ("textwrap.py", "calendar.py")]
    return [paths[0].read_text(encoding="utf-8")[:12_000], "Grüße — naïve façade\n\t€ 5 <|endoftext|> \U0001f600"]


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def bundle(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("parity")
    for name in ("texts", "tokenizer", "bundle"):
        (root / name).mkdir()
    texts = real_documents()
    table = pa.table({"id": [str(i) for i in range(len(texts))], "text": pa.array(texts, pa.large_string())})
    pq.write_table(table, root / "texts/part-00000.parquet")
    config = BpeConfig(vocab_size=400, train_on="corpus")
    train_tokenizer(root / "texts", config, root / "tokenizer", progress=Silent(), threads=1)
    tokenizer = load_tokenizer(root / "tokenizer")
    torch.manual_seed(0)
    shape = LlamaConfig(layers=3, width=64, heads=4, kv_heads=2, context=CONTEXT, tie_embeddings=request.param)
    model = Llama(shape, tokenizer.vocab_size)
    with torch.no_grad():  # far from the start, where all logits are nearly equal and any mistake would hide
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.ndim == 2 else torch.rand_like(parameter) + 0.5)
    save(model, root / "train/best", end_of_text_id=tokenizer.end_of_text_id)
    write_json(root / "train/training.json", {"tokens": 0})
    make_bundle(
        HuggingFaceConfig(),
        name="parity",
        train_folder=root / "train",
        tokenizer_folder=root / "tokenizer",
        output=root / "bundle",
        metrics=[],
        findings=[],
        verdict=None,
    )
    return root / "bundle"


def test_ids_agree_on_real_and_hostile_text(bundle):
    ours, theirs = load_tokenizer(bundle), AutoTokenizer.from_pretrained(bundle)
    for text in real_documents():
        expected = theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert ours.encode(text) == expected
        assert theirs.decode(expected, clean_up_tokenization_spaces=False) == text


def test_logits_agree_at_every_position_of_a_real_document(bundle):
    ours, theirs = load_model(bundle), AutoModelForCausalLM.from_pretrained(bundle, dtype=torch.float32)
    tokenizer = load_tokenizer(bundle)
    ids = tokenizer.encode_prompt(real_documents()[0])
    assert len(ids) > 10 * CONTEXT
    worst = spread = 0.0
    with torch.inference_mode():
        for start in range(0, len(ids), CONTEXT):
            window = torch.tensor([ids[start : start + CONTEXT]])
            own, other = ours(window), theirs(window).logits
            worst = max(worst, float((own - other).abs().max()))
            spread = max(spread, float(other.std()))
    assert spread > 0.5
    assert worst < TOLERANCE


def test_greedy_text_agrees(bundle):
    ours, theirs = load_model(bundle), AutoModelForCausalLM.from_pretrained(bundle, dtype=torch.float32)
    ids = torch.tensor([load_tokenizer(bundle).encode_prompt("The ")])
    with torch.inference_mode():
        expected = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, eos_token_id=None
        )
        while ids.shape[1] < expected.shape[1]:
            ids = torch.cat([ids, ours(ids)[:, -1:].argmax(-1)], dim=1)
    assert ids.tolist() == expected.tolist()


def test_scored_nats_are_the_loss_that_transformers_gives(bundle, tmp_path):
    tokenizer, ours = load_tokenizer(bundle), load_model(bundle)
    theirs = AutoModelForCausalLM.from_pretrained(bundle, dtype=torch.float32)
    text = real_documents()[0][:300]
    with ShardWriter(tmp_path, vocab_size=tokenizer.vocab_size, end_of_text_id=tokenizer.end_of_text_id) as writer:
        for _ in range(20):
            writer.append(tokenizer.encode(text)[: CONTEXT - 1], _size(tokenizer, text))
    shards = open_shards(tmp_path)
    units = lay_out(shards, [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)])
    scores = score_windows(ours, evaluation_windows(shards, CONTEXT), units, device=torch.device("cpu"), progress=Silent())
    sequence = torch.tensor([[tokenizer.end_of_text_id, *shards.document(0).tolist()]])
    with torch.inference_mode():
        loss = theirs(sequence, labels=sequence).loss
    assert scores.nats_U[0] == pytest.approx(float(loss) * (sequence.shape[1] - 1), rel=1e-5)


def _size(tokenizer, text):
    return sum(len(tokenizer.token_bytes(i)) for i in tokenizer.encode(text)[: CONTEXT - 1])
