"""The whole evaluation on real artifacts of the rooms below: tokenizer, token shards, n-gram model; a tiny random decoder."""

import math
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lmpipe.base.errors import ModelError, RecipeError, SourceError
from lmpipe.base.files import read_json
from lmpipe.base.progress import Silent
from lmpipe.evaluation.comparison import compare
from lmpipe.evaluation.config import PerplexityConfig, known_metric_names
from lmpipe.evaluation.perplexity import evaluate_perplexity
from lmpipe.evaluation.subject import Subject
from lmpipe.models.hmm.config import HmmConfig
from lmpipe.models.hmm.training import train as train_hmm
from lmpipe.models.ngram.config import NgramConfig
from lmpipe.models.ngram.training import train
from lmpipe.tokens.config import BpeConfig, CharacterConfig, WordPieceConfig
from lmpipe.tokens.shards import open_shards
from lmpipe.tokens.tokenize import tokenize
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import train_tokenizer

CONFIG = PerplexityConfig(on="corpus", resamples=200)


def write_split(folder, documents, seed, longest=120):
    rng = random.Random(seed)
    words = ["the", "cat", "naïve", "sat", "on", "a", "mat", "while", "return", "x = 1", "\n"]
    texts = [" ".join(rng.choices(words, k=rng.randint(20, longest))) for _ in range(documents)]
    folder.mkdir(parents=True)
    table = pa.table({"id": [f"{seed}-{i}" for i in range(documents)], "text": pa.array(texts, pa.large_string())})
    pq.write_table(table, folder / "part-00000.parquet")


BPE = BpeConfig(vocab_size=300, train_on="corpus")


def make_corpus(root, test_documents=25, longest=120, config=BPE):
    for number, (split, documents) in enumerate([("train", 60), ("validation", 3), ("test", test_documents)]):
        write_split(root / "split" / split, documents, number, longest)
    for name in ("tokenizer", "tokens"):
        (root / name).mkdir()
    train_tokenizer(root / "split/train", config, root / "tokenizer", progress=Silent(), threads=1)
    tokenize(root / "split", None, root / "tokenizer", root / "tokens", progress=Silent(), threads=1)
    return root


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def decoder(seed, vocab_size):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=32, initializer_range=0.05,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    return Subject(lambda ids: model(ids).logits, 32, vocab_size, torch.device("cpu"))


def evaluate(root, output, *, config=CONFIG, seed=0, **changes):
    tokenizer = load_tokenizer(root / "tokenizer")
    training = open_shards(root / "tokens/train")
    ngram = train(
        training.iter_documents(), NgramConfig(order=3), vocab_size=tokenizer.vocab_size,
        end_of_text_id=tokenizer.end_of_text_id, progress=Silent(),
    )  # fmt: skip
    output.mkdir(exist_ok=True)
    arguments = {
        "tokenizer": tokenizer,
        "shards": open_shards(root / "tokens/test"),
        "texts": root / "split/test",
        "scorers": {"ngram": ngram},
        **changes,
    }
    subject = decoder(seed, tokenizer.vocab_size)
    return evaluate_perplexity(config, subject, output=output, seed=7, progress=Silent(), **arguments)


def test_every_announced_metric_is_measured_and_can_be_recomputed(corpus, tmp_path):
    metrics = {metric.name: metric for metric in evaluate(corpus, tmp_path / "out")}
    assert sorted(metrics) == sorted(known_metric_names([CONFIG]))
    assert [value["name"] for value in read_json(tmp_path / "out/metrics.json")] == list(metrics)
    table = pq.read_table(tmp_path / "out/per_document.parquet").to_pydict()
    total = {name: sum(table[name]) for name in ("bytes", "tokens", "nats", "correct", "ngram_nats")}
    texts = pq.read_table(corpus / "split/test/part-00000.parquet")["text"].to_pylist()
    assert table["bytes"] == [len(text.encode()) for text in texts]
    assert metrics["corpus.test.bits_per_byte"].value == pytest.approx(total["nats"] / math.log(2) / total["bytes"])
    assert metrics["corpus.test.perplexity"].value == pytest.approx(math.exp(total["nats"] / total["tokens"]))
    assert metrics["corpus.test.next_token_accuracy"].value == total["correct"] / total["tokens"]
    assert metrics["corpus.test.ngram.bits_per_byte"].value == pytest.approx(total["ngram_nats"] / math.log(2) / total["bytes"])
    for name, metric in metrics.items():
        assert (metric.interval is None) == (".xz." in name)
        assert metric.interval is None or metric.interval.low <= metric.value <= metric.interval.high
    assert "25 documents" in metrics["corpus.test.perplexity"].interval.method


def test_a_hidden_markov_model_stands_on_the_same_axis(corpus, tmp_path):
    """Its number is that of its own log-probabilities, document by document."""
    config = PerplexityConfig(on="corpus", baselines=(HmmConfig(),), resamples=100)
    shards = open_shards(corpus / "tokens/train")
    documents, settings = list(shards.iter_documents()), HmmConfig(states=3, iterations=2)
    hmm = train_hmm(documents, settings, vocab_size=shards.vocab_size, seed=0, progress=Silent())
    metrics = {metric.name: metric for metric in evaluate(corpus, tmp_path / "out", config=config, scorers={"hmm": hmm})}
    assert sorted(metrics) == sorted(known_metric_names([config]))
    nats = -sum(hmm.log_probabilities(ids).sum() for ids in open_shards(corpus / "tokens/test").iter_documents())
    table = pq.read_table(tmp_path / "out/per_document.parquet").to_pydict()
    assert sum(table["hmm_nats"]) == pytest.approx(nats)
    assert metrics["corpus.test.hmm.bits_per_byte"].value == pytest.approx(nats / math.log(2) / sum(table["bytes"]))


def test_bits_per_byte_is_left_out_where_the_text_does_not_come_back(tmp_path):
    """A lower-casing tokenizer forgets what it would have to predict."""
    root = make_corpus(tmp_path / "corpus", config=WordPieceConfig(vocab_size=200, train_on="corpus", lowercase=True))
    shards = open_shards(root / "tokens/test")
    assert not any(shards.comes_back(index) for index in range(shards.documents))
    names = {metric.name for metric in evaluate(root, tmp_path / "out")}
    assert names == {
        "corpus.test.perplexity",
        "corpus.test.next_token_accuracy",
        "corpus.test.ngram.perplexity",
        "corpus.test.xz.bits_per_byte",
    }


def test_characters_that_were_rare_cost_their_bytes(tmp_path):
    root = make_corpus(tmp_path / "corpus", config=CharacterConfig(vocab_size=270, train_on="corpus"))
    names = {metric.name for metric in evaluate(root, tmp_path / "out")}
    assert names == set(known_metric_names([CONFIG]))


def test_equal_evaluations_write_equal_bytes(corpus, tmp_path):
    for name in "ab":
        evaluate(corpus, tmp_path / name)
    for file in ("metrics.json", "per_document.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_stride_changes_what_a_long_document_costs(corpus, tmp_path):
    plain = PerplexityConfig(on="corpus", baselines=(), resamples=100)
    values = {
        fraction: evaluate(corpus, tmp_path / str(fraction), config=plain.model_copy(update={"stride_fraction": fraction}))
        for fraction in (0.25, 1.0)
    }
    assert values[0.25][0].value != values[1.0][0].value
    assert not (tmp_path / "1.0/per_block.parquet").exists()


def test_few_documents_give_intervals_over_blocks(tmp_path):
    root = make_corpus(tmp_path / "few", test_documents=5, longest=900)
    metrics = evaluate(root, tmp_path / "out")
    assert "blocks of 128 tokens" in metrics[0].interval.method
    blocks, documents = (pq.read_table(tmp_path / f"out/per_{unit}.parquet").to_pydict() for unit in ("block", "document"))
    assert len(documents["nats"]) == 5 < len(blocks["nats"])
    for name in ("bytes", "tokens", "nats", "ngram_nats", "correct"):
        assert sum(blocks[name]) == pytest.approx(sum(documents[name]))


def test_comparison_pairs_documents(corpus, tmp_path):
    for seed in (0, 1):
        evaluate(corpus, tmp_path / str(seed), seed=seed)
    rows = {row.name: row for row in compare(tmp_path / "0", tmp_path / "1")}
    assert sorted(rows) == sorted(known_metric_names([CONFIG]))
    bits = rows["corpus.test.bits_per_byte"]
    assert bits.difference == pytest.approx(bits.second.value - bits.first.value)
    assert bits.interval.low <= bits.difference <= bits.interval.high
    widths = [side.interval.high - side.interval.low for side in (bits.first, bits.second)]
    assert bits.interval.high - bits.interval.low < min(widths)  # pairing takes out what the documents share
    assert rows["corpus.test.ngram.bits_per_byte"].difference == 0
    assert rows["corpus.test.ngram.bits_per_byte"].verdict == "no difference"
    assert rows["corpus.test.xz.bits_per_byte"].interval is None


def test_comparison_finds_the_better_model(corpus, tmp_path):
    evaluate(corpus, tmp_path / "first")
    evaluate(corpus, tmp_path / "second")
    worse = pq.read_table(tmp_path / "second/per_document.parquet").to_pydict()
    worse["nats"] = (np.array(worse["nats"]) * 1.1).tolist()
    pq.write_table(pa.table(worse), tmp_path / "second/per_document.parquet")
    rows = {row.name: row for row in compare(tmp_path / "first", tmp_path / "second")}
    assert rows["corpus.test.bits_per_byte"].verdict == "worse"
    rows = {row.name: row for row in compare(tmp_path / "second", tmp_path / "first")}
    assert rows["corpus.test.bits_per_byte"].verdict == "better"


def test_comparison_of_different_texts_is_refused(corpus, tmp_path):
    other = make_corpus(tmp_path / "other", test_documents=26)
    evaluate(corpus, tmp_path / "a")
    evaluate(other, tmp_path / "b")
    with pytest.raises(RecipeError, match="different texts"):
        compare(tmp_path / "a", tmp_path / "b")


def test_texts_of_another_split_are_refused(corpus, tmp_path):
    with pytest.raises(ModelError, match="shards were made from"):
        evaluate(corpus, tmp_path / "out", texts=corpus / "split/train")


def test_missing_baseline_is_refused(corpus, tmp_path):
    with pytest.raises(SourceError, match="ngram"):
        evaluate(corpus, tmp_path / "out", scorers={})


def test_comparison_with_what_is_no_evaluation_is_refused(corpus, tmp_path):
    evaluate(corpus, tmp_path / "a")
    with pytest.raises(SourceError, match="evaluate"):
        compare(tmp_path / "a", tmp_path)
