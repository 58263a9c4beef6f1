"""No dead field: every field of every config that a recipe reaches is read by the code that runs it."""

from __future__ import annotations

import csv
import json
import random
import sys
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import spacy
import torch
from pydantic import BaseModel, TypeAdapter
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))  # for `answering`
sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))  # for `harness_tasks`
sys.path.insert(0, str(Path(__file__).parents[1] / "serving" / "chatbot"))  # for `example_bot`
from answering import Server, completion, failure, serving
from example_bot import YAML as BOT
from example_bot import trained
from harness_tasks import write_tasks

from lmpipe.base.config import Config
from lmpipe.base.errors import SourceError
from lmpipe.base.progress import Silent
from lmpipe.base.runtime import Runtime
from lmpipe.models.config import ModelConfig
from lmpipe.models.describing import describe
from lmpipe.models.families import FAMILIES, build, flops_per_token, mapping, parameter_count, save
from lmpipe.models.loading import load_network
from lmpipe.models.sizing import derivation
from lmpipe.recipes import stage_configs
from lmpipe.recipes.planning import plan
from lmpipe.recipes.project import check
from lmpipe.recipes.reading import Source, parse_recipe
from lmpipe.recipes.rewarding import judge_of
from lmpipe.recipes.running import run
from lmpipe.recipes.schema import Recipe
from lmpipe.recipes.validation import classes_of, validate, walk_classes
from lmpipe.serving.chatbot.config import ChatbotConfig
from lmpipe.serving.chatbot.grounding.index import build_index
from lmpipe.serving.chatbot.session import Chatbot
from lmpipe.serving.chatbot.understanding import Understander
from lmpipe.tokens.config import ByteConfig, TokenizerConfig
from lmpipe.tokens.controls import Controls
from lmpipe.tokens.kinds import MAKERS
from lmpipe.tokens.loader import Batch
from lmpipe.tokens.shards import ShardWriter, open_shards
from lmpipe.tokens.training import train_on_texts
from lmpipe.training.adapter_config import DoraConfig, LoraConfig
from lmpipe.training.adapters import adapt
from lmpipe.training.denoising import span_corruption
from lmpipe.training.grpo_config import FunctionReward
from lmpipe.training.kto import kto_losses
from lmpipe.training.objective_config import ChatConfig, MaskedConfig, PrefixConfig, SpanCorruptionConfig
from lmpipe.training.objectives import make_objective
from lmpipe.training.optimizer_config import AdamWConfig
from lmpipe.training.optimizers import MasterOptimizer
from lmpipe.training.parameters import hidden_matrices
from lmpipe.training.peft_layout import save_adapter
from lmpipe.training.preference_config import DpoConfig, IpoConfig, KtoConfig, OrpoConfig, SimpoConfig
from lmpipe.training.preferences import preference_losses
from lmpipe.training.sparsity import Sparsity
from lmpipe.training.sparsity_config import TwoFourConfig

PACKAGE = str(Path(sys.modules["lmpipe"].__file__ or "").parent)
EXEMPT = {"kind": "the tag of a union: it chooses the class, so its value says nothing more"}


def texts(number: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    words = ["the", "a", "red", "old", "cat", "dog", "bird", "river", "sees", "hears", "finds", "under"]
    return ["\n".join(" ".join(generator.choices(words, k=12)) + "." for _ in range(10)) for _ in range(number)]


def write_sources(folder: Path) -> list[dict[str, Any]]:
    """One source of every kind, the data set of the Hub as the folder that it may also be."""
    rows = [
        {"body": text, "id": f"r{i}", "by": "CC0-1.0" * (i % 2), "tongue": "en" * (i % 2), "year": str(i)}
        for i, text in enumerate(texts(6, 2))
    ]
    columns = {
        "text_column": "body",
        "id_column": "id",
        "licence_column": "by",
        "language_column": "tongue",
        "meta_columns": ["year"],
    }
    marked = [{"text": f"Ada {i} met Alan.", "spans": [{"start": 0, "end": 3, "label": "PERSON"}]} for i in range(9)]
    (folder / "marked").mkdir()
    (folder / "marked" / "names.jsonl").write_text("\n".join(map(json.dumps, marked)), encoding="utf-8")
    (folder / "hub").mkdir()
    passage = texts(1, 3)[0]  # in two documents: what spans and lines are about
    for number, text in enumerate(texts(30, 1)):
        text = f"{text}\n\n{passage}" if number < 2 else text
        (folder / f"{number:02d}.txt").write_text(text, encoding="utf-8")
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with (folder / "a.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "id": "c" + row["id"]} for row in rows)
    pq.write_table(pa.Table.from_pylist([{**row, "id": "p" + row["id"]} for row in rows]), folder / "a.parquet")
    pq.write_table(pa.Table.from_pylist([{**row, "id": "h" + row["id"]} for row in rows]), folder / "hub" / "train.parquet")
    return [
        {"kind": "text", "paths": [str(folder / "*.txt")], "licence": "CC0-1.0"},
        {"kind": "jsonl", "paths": [str(folder / "*.jsonl")], **columns},
        {"kind": "csv", "paths": [str(folder / "*.csv")], **columns},
        {"kind": "parquet", "paths": [str(folder / "*.parquet")], **columns},
        {"kind": "hub", "name": str(folder / "hub"), **columns},
        *write_pages_and_media(folder, *texts(3, 3)),
    ]


def write_pages_and_media(folder: Path, *paragraphs: str) -> list[dict[str, Any]]:
    """One small source of every kind whose text has to be found first."""
    page = f"<html lang='en'><title>A page</title><body><article><p>{paragraphs[0]}</p></article></body></html>".encode()
    (folder / "page.html").write_bytes(page)
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page
    head = f"WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http\r\nContent-Length: {len(answer)}\r\n\r\n"
    (folder / "crawl.warc").write_bytes(head.encode() + answer + b"\r\n\r\n")
    (folder / "note.md").write_text("---\ntitle: A note\n---\n\n" + paragraphs[1], encoding="utf-8")
    (folder / "paper.pdf").write_bytes(pdf("The text of a paper stands in a layer of its own"))
    with zipfile.ZipFile(folder / "letter.docx", "w") as archive:
        space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
        body = "<w:document xmlns:w='{}'><w:body><w:p><w:r><w:t>A letter</w:t></w:r></w:p></w:body></w:document>"
        archive.writestr("word/document.xml", body.format(space))
    for name in ("media/1.png", "sound/1.wav", "tar/1.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"bytes of a medium")
        (folder / name).with_suffix(".json").write_text(json.dumps({"caption": f"What is in {name}"}), encoding="utf-8")
    with tarfile.open(folder / "shard.tar", "w") as tar:
        for path in sorted((folder / "tar").iterdir()):
            tar.add(path, path.name)
    return [
        {"kind": "html", "paths": [str(folder / "*.html")]},
        {"kind": "warc", "paths": [str(folder / "*.warc")], "extract": {"engine": "resiliparse"}},
        {"kind": "markdown", "paths": [str(folder / "*.md")]},
        {"kind": "pdf", "paths": [str(folder / "*.pdf")]},
        {"kind": "docx", "paths": [str(folder / "*.docx")]},
        {"kind": "image", "paths": [str(folder / "media")]},
        {"kind": "audio", "paths": [str(folder / "sound")]},
        {"kind": "webdataset", "paths": [str(folder / "*.tar")]},
    ]


def pdf(text: str) -> bytes:
    """The smallest file with a text layer."""
    drawn = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    data, places = b"%PDF-1.4\n", []
    for number, value in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj%s\nendobj\n" % (number, value)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return data + b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        table,
        len(data),
    )


def write_encoder(folder: Path) -> str:
    """A model for embeddings, as small as it can be, with weights by chance."""
    words = {"[PAD]": 0, "[UNK]": 1, "the": 2, "cat": 3, "dog": 4}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=5, **sizes)).save_pretrained(folder)
    return str(folder)


def augmentation(folder: Path) -> list[dict[str, Any]]:
    """Every kind of augmentation."""
    (folder / "synonyms.csv").write_text("red,scarlet\nold,aged\n", encoding="utf-8")
    parts: list[dict[str, Any]] = [
        {"kind": "eda", "operations": ["replace", "swap"], "synonyms": str(folder / "synonyms.csv")},
        {"kind": "keyboard"},
        {"kind": "ocr"},
        {"kind": "case"},
        {"kind": "punctuation"},
        {"kind": "templates", "templates": ["{hail} {text}"], "slots": {"hail": ["Hi."]}},
    ]
    return [{**part, "share": 0.5} for part in parts]


def write_lists(folder: Path) -> dict[str, str]:
    """A list of words and one of places, neither of which drops anything."""
    for name, entry in (("words", "darn"), ("urls", "example.org")):
        (folder / f"{name}.list").write_text(entry, encoding="utf-8")
    return {name: str(folder / f"{name}.list") for name in ("words", "urls")}


def write_teachers(folder: Path) -> dict[str, Any]:
    """Corpora that filters learn from."""
    folder.mkdir()
    rows = [{"text": text, "label": i % 2, "who": "ab"[i % 4 // 2]} for i, text in enumerate(texts(40, 5))]
    (folder / "comments.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "taught.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts(40, 6)), encoding="utf-8")
    split = {"train": 0.5, "validation": 0.25, "test": 0.25}
    comments = {"kind": "jsonl", "paths": [str(folder / "comments.jsonl")], "meta_columns": ["label", "who"]}
    taught = {"kind": "jsonl", "paths": [str(folder / "taught.jsonl")]}
    return {"comments": {"read": [comments], "split": split}, "taught": {"read": [taught], "split": split}}


def recipe(sources: list[dict[str, Any]], encoder: str, lists: dict[str, str], teachers: dict[str, Any]) -> dict[str, Any]:
    """Everything that a recipe can ask for at once, as small as it can be."""
    return {
        "name": "whole",
        "description": "Every part once.",
        "goal": {"at_most": 7.9},
        "data": {
            "corpus": {
                "read": sources,
                "clean": [
                    {"kind": "unicode"},
                    {"kind": "lines", "repeated_in": 100},
                    {"kind": "length", "max_words": 10_000},
                    {"kind": "gopher_quality", "min_stop_words": 1},
                    {"kind": "gopher_repetition"},
                    {"kind": "c4"},
                    {"kind": "fineweb", "max_line_feeds_per_word": 1.0},
                    {"kind": "code", "min_comment_line_fraction": None},
                    {"kind": "language", "min_confidence": 0.0},
                    {"kind": "words", "path": lists["words"]},
                    {"kind": "urls", "path": lists["urls"]},
                    {"kind": "quality", "positive": "taught", "negative": "comments", "min_score": 0.0},
                    {
                        "kind": "toxicity",
                        "labelled": {"on": "comments"},
                        "identity": [{"on": "comments", "group": "who"}],
                        "max_score": 1.0,
                    },
                    {"kind": "perplexity", "reference": "taught", "order": 3, "max_quantile": 1.0},
                ],
                "dedup": [
                    *({"kind": kind} for kind in ("exact", "minhash")),
                    {"kind": "semantic", "model": encoder, "threshold": 1.0},
                    *({"kind": kind} for kind in ("spans", "paragraphs", "lines")),
                ],
                "pii": {"entities": ["ip", "person"], "names": {"kind": "tagger", "train_on": ["marked.jsonl"], "epochs": 1}},
                "split": {"train": 0.8, "validation": 0.1, "test": 0.1},
                "decontaminate": {},
            },
            "other": {"read": sources[:1], "split": {"train": 0.2, "validation": 0.1, "test": 0.7}},
            **teachers,
        },
        "tokenizer": {"vocab_size": 300, "train_on": "corpus"},
        "model": {"layers": 1, "width": 16, "heads": 2, "context": 64},
        "train": [
            {
                "name": "pretrain",
                "on": "corpus",
                "tokens": 4096,
                "batch_tokens": 256,
                "schedule": {"kind": "cosine"},
                "parameters": [{"match": "norm.*", "freeze": True}, {"match": "blocks.*", "lr_factor": 0.5}],
                "validation": {"every_tokens": 1024, "tokens": 256},
                "early_stopping": {"patience": 50},
                "average": {"decay": 0.9},
                "on_spike": {"window": 8},
                "samples": {"prompts": ["the"], "every_tokens": 2048, "new_tokens": 2},
            },
            {
                "name": "more",
                "on": "corpus",
                "tokens": 512,
                "batch_tokens": 512,
                "validation": {"tokens": 256},
                "sparsity": {"kind": "magnitude", "share": 0.1},
                "samples": {"prompts": ["the"], "every_tokens": 512, "new_tokens": 2},
            },
        ],
        "evaluate": [
            {
                "kind": "perplexity",
                "on": "corpus",
                "resamples": 100,
                "baselines": [
                    {"kind": "ngram", "order": 2},
                    {"kind": "hmm", "states": 2, "iterations": 2},
                    {"kind": "xz", "preset": 1},
                ],
            },
            {"kind": "perplexity", "on": "other", "resamples": 100, "baselines": []},
        ],
        "audit": [
            {
                "kind": "memorization",
                "prefix_tokens": 4,
                "suffix_tokens": 4,
                "samples": 10,
                "canaries": {"count": 1, "repeats": 1, "candidates": 100},
            },
            {"kind": "energy", "max_wh": 100.0},
        ],
        "gate": {"require": [{"metric": "goal"}, {"finding": "memorization.extractable", "at_most": 1.0}]},
    }


def written(server: Server) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Augmentation and synthesis by a generator: a server on this machine that is in trouble at first."""
    server.reply = lambda prompt, number: (
        completion("tie" if "[Answer A]" in prompt else f"{prompt[-50:]} said anew, 9")
        if server.asked.total() > 1
        else failure(503)
    )
    endpoint = server.config(api_key_env="PARROT_KEY", price={"input_per_million": 1.0, "output_per_million": 2.0})
    rewrite = {"generator": endpoint, "length_ratio": [0.0, 9.0], "share": 0.5}
    augment = [{"kind": "paraphrase", **rewrite}, {"kind": "back_translation", "through": ["a"], "language": "b", **rewrite}]
    synthesis = {
        "generator": endpoint,
        "prompts": ["{topic} {seed}"],
        "seeds": {"corpus": "other", "count": 2},
        "attributes": {"topic": ["cats", "dogs"]},
        "combine": "sample",
        "count": 3,
        "rules": {"must_contain": ["said"], "must_match": ["anew"], "must_not_match": ["AI"]},
        "judge": {"prompt": "{text}", "at_least": 5},
    }
    return augment, {"synthesis": synthesis}


def judged(server: Server, path: Path) -> dict[str, Any]:
    row = {"prompt": "the", "reference": "cat", "other": "dog", "human": "tie"}
    path.write_text(json.dumps(row), encoding="utf-8")
    return {"name": "pets", "file": str(path), "human": {}, "judge": server.config(), "limit": 1, "max_new_tokens": 4}


def write_problems(path: Path) -> Path:
    problem = {
        "task_id": 1,
        "text": "Add two numbers.",
        "code": "def add(a, b): return a + b",
        "test_list": ["assert add(1, 2) == 3"],
    }
    path.write_text(json.dumps(problem), encoding="utf-8")
    return path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("PARROT_KEY", "a key")
    with serving() as state:
        yield state


class Reads:
    """Which fields of which class were read by our code, its validators left out: they look at a value without using it."""

    def __init__(self) -> None:
        self.of: dict[type, set[str]] = defaultdict(set)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        def get(config: Config, name: str) -> Any:
            if not name.startswith(("_", "model_")):
                caller = sys._getframe(1).f_code
                if caller.co_filename.startswith(PACKAGE) and caller.co_name not in validators(type(config)):
                    self.of[type(config)].add(name)
            return BaseModel.__getattribute__(config, name)

        patch.setattr(Config, "__getattribute__", get, raising=False)


def validators(cls: type[BaseModel]) -> set[str]:
    decorators = cls.__pydantic_decorators__
    return {*decorators.model_validators, *decorators.field_validators}


def every_class() -> set[type[BaseModel]]:
    stages = [c for c in vars(stage_configs).values() if isinstance(c, type) and issubclass(c, Config)]
    return {c for root in (Recipe, *stages) for c in walk_classes(root)} - {Config}


def is_choice_of_one(annotation: Any) -> bool:
    """A section whose only class has nothing but its tag: there is nothing in it to read."""
    return [set(c.model_fields) for c in classes_of(annotation)] == [{"kind"}]


def use_every_family(folder: Path) -> None:
    """What a run does with a model's config, without a run for each: plan, build, a step, save."""
    for kind in FAMILIES:
        written = {"kind": kind, "parameters": "1M", "for_vocabulary": 50, "layers": 1, "context": 16}
        config: Any = TypeAdapter(ModelConfig).validate_python(written)
        config.resolved()
        derivation(config, parameter_count(config, 50))
        flops_per_token(config, 50)
        network = build(config, 50)
        network.train()(*[torch.zeros(1, 4, dtype=torch.long)] * (2 if config.architecture == "encoder-decoder" else 1))
        save(network, folder / kind, end_of_text_id=0)


def small(kind: str) -> Any:
    written = {"kind": kind, "parameters": "1M", "for_vocabulary": 50, "layers": 1, "context": 16}
    return build(TypeAdapter(ModelConfig).validate_python(written), 50)


EVALUATED = {"scores": "regression", "tags": "tagging", "pairs": "generation", "matches": "retrieval"}


def tasks(folder: Path, encoder: str) -> list[dict[str, Any]]:
    """A recipe for every kind of example, each on 60 of them."""
    generator = random.Random(1)
    words = [generator.choices(["red", "old", "cat", "sees", "river"], k=5) for _ in range(60)]
    rows = [
        {
            "text": " ".join(row),
            "label": row[0],
            "labels": ",".join(row[:2]),
            "score": len(row[0]),
            "tags": row,
            "target": row[0],
            "chosen": row[0],
            "rejected": "no",
        }
        for row in words
    ]
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sentences = [[*row, f"new{number}"] for number, row in enumerate(words)]  # a word that training never saw
    (folder / "rows.conll").write_text("\n\n".join("\n".join(f"{word} {word[0]}" for word in row) for row in sentences))
    (folder / "rows.tsv").write_text("".join(f"{' '.join(row)}\t{row[0]}\n" for row in words))
    held: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "classes": ({"kind": "labels", "column": "label"}, {"kind": "classification"}),
        "several": ({"kind": "labels", "column": "labels", "several": True}, {"kind": "classification"}),
        "scores": ({"kind": "scores"}, {"kind": "classification"}),
        "tags": ({"kind": "tags"}, {"kind": "tagging"}),
        "pairs": ({"kind": "pairs", "prefix": "first: "}, {"kind": "seq2seq", "target_tokens": 32}),
        "matches": ({"kind": "matches", "column": "target"}, {"kind": "contrastive", "passage_tokens": 16}),
        "preferences": ({"kind": "preferences"}, {"kind": "preference"}),
        "rewarded": ({"kind": "pairs"}, {"kind": "grpo", "reward": {"kind": "tests"}, "group": 2, "answer_tokens": 4}),
    }
    models = {"pairs": "t5", "preferences": "llama", "rewarded": "llama"}
    recipes = []
    for name, (holds, objective) in held.items():
        model = {"kind": models.get(name, "bert"), "layers": 1, "width": 16, "heads": 2, "context": 64}
        phase = {"name": "learn", "on": "corpus", "objective": objective, "epochs": 1, "batch_tokens": 512, "row_tokens": 64}
        if name == "rewarded":  # every answer is a program that is run
            phase |= {"epochs": None, "tokens": 512}
        source: dict[str, Any] = {"kind": "jsonl", "paths": [str(folder / "rows.jsonl")]}
        if name == "classes":
            source = {"kind": "csv", "paths": [str(folder / "rows.tsv")], "columns": ["text", "label"]}
        if name == "tags":
            source = {"kind": "conll", "paths": [str(folder / "rows.conll")], "words": 1, "tags": 2}
        measured = {"kind": EVALUATED.get(name, "classification"), "on": "corpus", "resamples": 100, "slices": ["source"]}
        measured |= {"robustness": ["case"]} if name == "scores" else {}
        if name == "pairs":
            measured["baselines"] = [{"kind": kind, "sentences": 1} for kind in ("lead", "textrank", "oracle")]
            measured["mauve"] = {"encoder": encoder}
        recipes.append(
            {
                "name": name,
                **({"seeds": [1, 2], "cross_validation": {"folds": 2}, "learning_curve": {}} if name == "scores" else {}),
                "data": {"corpus": {"read": [source], "holds": holds, "split": {"train": 0.6, "validation": 0.2, "test": 0.2}}},
                "tokenizer": {"kind": "bpe", "vocab_size": 280, "train_on": "corpus"},
                "model": model,
                "train": [phase],
                "evaluate": [measured] if name not in ("preferences", "rewarded") else [],
            }
        )
    return recipes


def bots(task: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The same recipe with a restaurant's bot: with intents of its own, and with intents that the model tells apart."""
    bot = parse_recipe(BOT, "bot").data
    rows = [
        {"text": text, "intent": intent["name"]} for intent in bot["intents"] for text in intent["examples"] for _ in "abcd"
    ]
    rows = [{**row, "text": f"{row['text']} {number % 4}"} for number, row in enumerate(rows)]
    rows += [{"text": f"what is {number} times 9", "intent": "none"} for number in range(12)]
    (folder / "messages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "faq.md").write_text("# Cash\n\nWe take cash and cards.\n")
    split = {"train": 0.5, "validation": 0.25, "test": 0.25, "by": "stratum", "column": "intent"}
    read = [{"kind": "jsonl", "paths": [str(folder / "messages.jsonl")]}]
    messages = {"read": read, "holds": {"kind": "labels", "column": "intent", "none_of_them": "none"}, "split": split}
    faq = {"read": [{"kind": "markdown", "paths": [str(folder / "faq.md")]}], "split": {"train": 1, "validation": 0, "test": 0}}
    (folder / "spans.conll").write_text("".join(f"soup B-dish\nplease O\nnow{number} O\n\n" for number in range(20)))
    marked = [{"kind": "conll", "paths": [str(folder / "spans.conll")], "words": 1, "tags": 2}]
    spans = {"read": marked, "holds": {"kind": "tags"}, "split": {"train": 0.6, "validation": 0, "test": 0.4}}
    (folder / "vectors").mkdir()
    train_on_texts([], ByteConfig(), folder / "vectors", progress=Silent())
    save(build(small("bert").config, 300), folder / "vectors", end_of_text_id=0)
    own = {**bot, "messages": "messages", "snippets_from": "faq", "spans_from": "spans", "encoder": str(folder / "vectors")}
    own["snippets"] = {**bot["snippets"], "embedding": {}}
    own["entities"] = [*bot["entities"], {"kind": "tagged", "name": "dish"}]
    own["understanding"] = {**bot["understanding"], "threshold": {"kind": "kept_accuracy", "at_least": 0.2}}
    own["fallback"] = {"search_first": True, "steps": ["offer", "hand_over"], "choices": 2}
    by_model = {"messages": "messages", "classifier": {"kind": "model"}}
    by_model |= {"intents": [{"name": intent["name"]} for intent in bot["intents"]]}
    by_model["rules"] = [{"on": [intent["name"] for intent in bot["intents"]], "do": {"kind": "hand_over"}}]
    learned = {**task["train"][0], "on": "messages"}
    measured = {**task["evaluate"][0], "on": "messages"}
    model = {"data": {"messages": messages}, "tokenizer": {**task["tokenizer"], "train_on": "messages"}}
    return [
        {**task, "data": {**task["data"], "messages": messages, "faq": faq, "spans": spans}, "chatbot": own},
        {**task, **model, "train": [learned], "evaluate": [measured], "chatbot": by_model},
    ]


class Helpers:
    """A tagger, an embedder and a writer, as small as they can be."""

    name = "helpers"

    def tag(self, words: Sequence[str]) -> list[str]:
        return ["B-dish" if word == "soup" else "O" for word in words]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[len(text), text.count("a") + 1.0] for text in texts])

    def count(self, text: str) -> int:
        return len(text.split())

    def write(self, messages: Sequence[Any], *, max_tokens: int, temperature: float, seed: int) -> Iterator[str]:
        yield "We are open from 12:00."


def talk_to_a_bot() -> None:
    """What a conversation does with the config that stories alone do not reach."""
    bot = parse_recipe(BOT, "bot").data
    returning = {"on": "greet", "when": [{"slot": "branch", "equals": "rome"}], "do": {"kind": "respond", "response": "hello"}}
    changes = {
        "entities": [*bot["entities"], {"kind": "tagged", "name": "dish", "label": "dish", "after": ["the"]}],
        "snippets": {**bot["snippets"], "embedding": {"threshold": 0.9}},
        "rules": [returning, *bot["rules"]],
    }
    helpers: Any = Helpers()
    config = validate(ChatbotConfig, Source("bot", "", {**bot, **changes}))
    understander = Understander(config, trained(), threshold=0.45, tagger=helpers)
    talking = Chatbot(config, understander, build_index(config.snippets, embedder=helpers), helpers)
    for conversation in (
        ["hello", "when are you open", "the soup", "xyzzy", "plugh", "1", "frobnicate", "qux", "zzz"],
        ["I want to book a table in Roma tomorrow", "four", "hm", "hm hm", "Ann", "yes", "hello", "a real person please"],
        ["please cancel my reservation", "er", "er er", "er er er"],
    ):
        _, state = talking.start()
        for text in conversation:
            _, state = talking.reply(state, text)


def use_a_foreign_model(folder: Path) -> None:
    """Of a family that Transformers computes."""
    small = {"vocab_size": 300, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16}
    GPTNeoXForCausalLM(GPTNeoXConfig(**small, max_position_embeddings=32)).save_pretrained(folder)
    config: Any = describe(folder)
    assert (config.kind, config.family, config.architecture, config.layers) == ("auto", "gpt_neox", "decoder", 1)
    config.resolved()
    parameter_count(config, 300)
    flops_per_token(config, 300)
    assert load_network(folder).context_length == config.context
    train_on_texts([], ByteConfig(), folder, progress=Silent())


def use_every_tokenizer(folder: Path) -> None:
    """A recipe has one; each of the others is made on a few texts."""
    for kind in MAKERS:
        sized = {} if kind == "byte" else {"vocab_size": 400, "train_on": "corpus"}
        config: Any = TypeAdapter(TokenizerConfig).validate_python({"kind": kind, **sized})
        assert config.corpus == sized.get("train_on")
        (folder / kind).mkdir(parents=True)
        train_on_texts(texts(20, 1), config, folder / kind, progress=Silent(), corpus_bytes=1000)


def use_every_objective_and_adapter(folder: Path) -> None:
    """What a phase does with them, without a run for each."""
    ids = np.arange(10, 42).reshape(2, 16)
    batch = Batch(ids, ids + 1, np.zeros_like(ids))
    for objective, model in ((ChatConfig(), "llama"), (PrefixConfig(), "llama"), (MaskedConfig(), "bert")):
        network = small(model)
        learned = make_objective(objective, vocab_size=50, controls=Controls.ours(), seed=1)
        learned.losses(network, *(torch.from_numpy(array) for array in learned.prepare(batch, 0)))
    with ShardWriter(folder / "shards", vocab_size=50, end_of_text_id=0, controls=Controls(0, 1, (0,), (49, 48))) as writer:
        writer.append(list(range(10, 30)), 20)
    hidden = span_corruption(SpanCorruptionConfig(), open_shards(folder / "shards"), small("t5"), context=16, seed=1)
    hidden.losses(small("t5"), *(torch.from_numpy(array) for array in hidden.prepare(batch, 0)))
    (folder / "mine.py").write_text("def worth(prompt, answer, target):\n    return 1.0\n")
    judge_of(FunctionReward(function="mine.py:worth"), folder / "mine.py", 1)
    kto_losses(KtoConfig(), torch.zeros(1, 2, 1), torch.zeros(1, 2, 1), torch.zeros(1))
    for loss in (DpoConfig(), IpoConfig(), SimpoConfig(), OrpoConfig()):
        preference_losses(loss, *torch.full((3, 1, 2, 1), -2.0))
    for adapter in (LoraConfig(rank=2), DoraConfig(rank=2)):
        network = small("llama")
        adapt(network, mapping(network), adapter)
        save_adapter(network, folder, adapter, mapping(network), network.state_dict())
    network = small("llama")
    halved = Sparsity(TwoFourConfig(), hidden_matrices(network), MasterOptimizer(network, AdamWConfig(), "fp32"), 4)
    assert halved.prune_before(0, None)
    assert halved.facts()["share"] == 0.5


def test_every_field_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    (tmp_path / "data").mkdir()
    teachers = write_teachers(tmp_path / "teachers")
    lists = write_lists(tmp_path / "data")
    whole = recipe(write_sources(tmp_path / "data"), write_encoder(tmp_path / "encoder"), lists, teachers)
    whole["data"]["corpus"]["pii"]["names"]["train_on"] = [str(tmp_path / "data" / "marked" / "names.jsonl")]
    whole["suites"] = [{"folder": str(write_tasks(tmp_path / "asked")), "tasks": ["rolling"], "limit": 2}]
    whole["programs"] = [
        {"name": "sums", "format": "mbpp", "samples": 1, "at": [1], "submissions": 1, "max_new_tokens": 4, "limit": 1}
    ]
    whole["programs"][0]["file"] = str(write_problems(tmp_path / "problems.jsonl"))
    whole["judged"] = [judged(server, tmp_path / "prompts.jsonl")]
    rewrites, whole["data"]["made"] = written(server)
    whole["data"]["corpus"]["augment"] = [*augmentation(tmp_path), *rewrites]
    whole["data"]["corpus"]["dedup"][1] = {"kind": "minhash", "against": ["made"]}
    runtime = Runtime(store=str(tmp_path / "store"), device="cpu", threads=1, workers=1, compile=False, isolate=False)
    reads = Reads()
    reads.watch(monkeypatch)
    first = run(whole, runtime=runtime)
    assert first.status == "finished"
    whole = {key: value for key, value in whole.items() if key not in ("suites", "programs")}  # once is enough
    by_year = {"by": "group", "column": "year", "without_value": "train", "leakage": {"action": "drop"}}
    by_year = {f"data.corpus.split.{key}": value for key, value in by_year.items()}
    other = {"train.0.schedule": {"kind": "constant"}, "train.0.optimizer": {"kind": "muon"}}
    second = {
        "read": whole["data"]["corpus"]["read"][:1],
        "select_toward": {"corpus": "corpus", "fraction": 0.9},
        "balance": {"column": "source", "method": "undersample"},
        "curriculum": {"by": "words", "runs": 2},
    }
    mixture = {"data.second": second, "train.0.on": {"mixture": ["corpus", "second"], "temperature": 2.0}}
    run(whole, {**other, **by_year, **mixture}, runtime=runtime)
    rates = {"train.0.optimizer": {"kind": "lion"}, "train.0.schedule": {"kind": "linear"}}
    rates |= {"train.1.optimizer": {"kind": "adafactor"}, "train.1.schedule": {"kind": "inverse_sqrt"}}
    run(whole, rates, runtime=runtime)
    goes_on = {key: value for key, value in whole.items() if key != "tokenizer"}
    plan({**goes_on, "model": {"from": str(first.bundle)}}, runtime=runtime)
    learns_from = {"train.1.objective": {"kind": "distillation", "teacher": str(first.bundle)}}
    run(whole, learns_from, runtime=runtime)
    of_every_kind = tasks(tmp_path / "tasks", str(tmp_path / "encoder"))
    for task in (*of_every_kind, *bots(of_every_kind[0], tmp_path / "tasks")):
        run(task, runtime=runtime)
    talk_to_a_bot()
    use_every_family(tmp_path / "models")
    use_a_foreign_model(tmp_path / "foreign")
    plan({**goes_on, "model": {"from": str(tmp_path / "foreign")}}, {"train.1.sparsity": None}, runtime=runtime)
    use_every_tokenizer(tmp_path / "tokenizers")
    use_every_objective_and_adapter(tmp_path / "adapter")
    spacy.blank("en").to_disk(tmp_path / "model")
    names = {"entities": ["person"], "names": {"kind": "presidio", "model": str(tmp_path / "model")}}
    changed = {
        "train.0.schedule": {"kind": "wsd"},
        "train.0.optimizer": {"kind": "sgd"},
        "data.corpus.split.by": "position",
        "data.corpus.pii": names,
    }
    run(whole, changed, runtime=runtime)
    with pytest.raises(SourceError):  # a data set that is no folder is asked for at its revision, and there is no network
        check(whole, {"data.corpus.read.4.name": "someone/something"})
    with pytest.raises(SourceError):
        check(whole, {"data.made.synthesis.judge.generator": {"kind": "bundle", "path": "nowhere"}})
    monkeypatch.undo()
    unread = [
        f"{cls.__name__}.{name}"
        for cls in every_class()
        for name, field in cls.model_fields.items()
        if not any(name in reads.of[one] for one in cls.__mro__)
        and name not in EXEMPT
        and not is_choice_of_one(field.annotation)
    ]
    assert not unread, f"nobody reads {', '.join(sorted(unread))}"
