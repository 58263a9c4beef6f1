import re

import pytest
import yaml
from huggingface_hub import ModelCard

from lmpipe.audit.gate import Bound, decide
from lmpipe.base.measures import Finding, Interval, Metric
from lmpipe.export.architecture import architecture_of, shape_of
from lmpipe.export.cards import ModelFacts, model_card
from lmpipe.export.data_card import data_card
from lmpipe.export.markdown import front_matter, table

CORPUS = {
    "name": "corpus",
    "sources": [{"name": "stdlib/*.py", "documents": 800, "licence": "PSF-2.0"}, "notes.txt"],
    "steps": [
        {
            "step": "read",
            "rows_in": 1000,
            "rows_kept": 990,
            "dropped": {},
            "failed": {"invalid UTF-8": 10},
            "characters_in": 100_000,
            "characters_kept": 99_000,
        },
        {
            "step": "select",
            "rows_in": 990,
            "rows_kept": 800,
            "dropped": {"too short": 100, "exact duplicate": 50, "repetition": 20, "a": 15, "b": 5},
            "failed": {},
            "characters_in": 99_000,
            "characters_kept": 90_000,
        },
    ],
    "licences": {"PSF-2.0": 790, "": 10},
    "languages": {"no": 700, "en": 90, "und": 10},
    "pii": {"counts": {"email": 12, "ip": 3, "iban": 0}, "documents": 9},
    "splits": {
        "train": {"documents": 720, "characters": 81_000, "bytes": 82_000},
        "test": {"documents": 80, "characters": 9_000, "bytes": 9_100},
    },
    "canaries": {"count": 4, "repeats": 8},
}


def metric(name, value, interval=True):
    span = Interval(low=value * 0.9, high=value * 1.1, method="percentile bootstrap over 80 documents") if interval else None
    return Metric(name=name, value=value, unit="u", direction="lower", interval=span, count=80, count_unit="documents")


METRICS = [
    metric("corpus.test.bits_per_byte", 1.9),
    metric("corpus.test.perplexity", 31.5),
    metric("corpus.test.ngram.bits_per_byte", 2.2),
    metric("corpus.test.xz.bits_per_byte", 2.4, interval=False),
]
FINDINGS = [
    Finding(
        name="memorization.extractable",
        value=0.005,
        unit="fraction of passages",
        direction="lower",
        interval=Interval(low=0.0, high=0.02, method="Wilson"),
        threshold=0.01,
        method="greedy",
        limits="One attack | among many.",
    )
]


def facts(**changes):
    values = {
        "name": "shakespeare",
        "parameters": 12_345_678,
        "model_config": {
            "model_type": "llama",
            "num_hidden_layers": 6,
            "hidden_size": 384,
            "max_position_embeddings": 256,
            "vocab_size": 4096,
        },
        "dtype": "float32",
        "weights": "best",
        "goal": "generate text with bits per byte of at most 2.2 on the test split",
        "metrics": METRICS,
        "findings": FINDINGS,
        "verdict": decide([Bound("corpus.test.bits_per_byte", False, 2.2, None)], METRICS, FINDINGS),
        "data_cards": [CORPUS],
        "recipe": {"train": [{"name": "pretrain", "optimizer": {"kind": "adamw", "lr": 1e-3}}]},
        "training": {"steps": 1200, "tokens": 20_000_000, "stopped_early": False},
        "provenance": {"recipe": "ab" * 32, "stages": {"read": "cd" * 32}},
    }
    return ModelFacts(**{**values, **changes})


def test_the_hub_reads_front_matter_and_results():
    card = ModelCard(model_card(facts()))
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.language == ["en", "no"]
    assert {(r.metric_type, r.metric_value) for r in card.data.eval_results} == {("bits_per_byte", 1.9), ("perplexity", 31.5)}
    assert card.data.eval_results[0].dataset_split == "test"


@pytest.mark.parametrize("name", ["no", "1e-3", 'quote " and: colon', "naïve"])
def test_front_matter_survives_awkward_words(name):
    values = {"name": name, "list": [name, "b"], "deep": [{"name": name, "inner": [{"x": 1.5}, {"x": [True]}]}]}
    block = front_matter(values)
    assert yaml.safe_load(block.strip().removeprefix("---").removesuffix("---")) == values


def test_card_puts_baselines_limits_and_verdict_beside_the_numbers():
    text = model_card(facts())
    (row,) = [line for line in text.splitlines() if line.startswith("| Bits per byte")]
    assert [cell.strip() for cell in row.strip("|").split("|")][1:] == ["1.9 (1.71 to 2.09)", "2.2 (1.98 to 2.42)", "2.4"]
    assert "12.3 million parameters" in text
    assert "20.0 million tokens" in text
    assert "## Gate: GO" in text
    assert "One attack | among many." in text
    assert "made to generate text" in text
    assert "abababab" in text


def test_card_of_a_run_that_measured_nothing_claims_nothing():
    text = model_card(
        facts(metrics=[], findings=[], verdict=None, data_cards=[], recipe={}, training={}, provenance={}, goal="")
    )
    assert ModelCard(text).data.eval_results is None
    assert not re.search(r"^## (Evaluation|Audits|Gate|Training data|Provenance)", text, re.M)
    assert "No gate was asked" in text


def test_tables_have_equal_columns_everywhere():
    for text in (model_card(facts()), data_card([CORPUS])):
        for block in re.findall(r"(?:^\|.*\n?)+", text, re.M):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
            assert len({len(line) for line in block.splitlines()}) == 1
    assert "a \\| b" in table(["x"], [["a | b"]])


def test_data_card_tells_the_waterfall():
    text = data_card([CORPUS])
    assert "Of 1,000 documents read, 800 (80.0%) are left after 2 steps" in text
    assert "Tokens" not in text
    assert "failed: invalid UTF-8 10" in text
    assert "too short 100, exact duplicate 50, repetition 20, a 15, other reasons 5" in text
    assert "15 passages look like personal data or keys, in 9 documents. Each was replaced" in text
    assert "iban" not in text
    assert "not stated" in text
    assert "4 synthetic secrets" in text


def test_what_was_not_done_is_not_told():
    bare = data_card([{"name": "tiny"}])
    assert "Personal data\n" not in bare
    assert "Canaries" not in bare
    assert "nothing was found" in data_card([{"name": "tiny", "pii": {"email": 0}}])


def test_personal_data_that_stayed_is_said_to_have_stayed():
    pii = {"counts": {"email": 2}, "documents": 1, "action": "tag"}
    assert "**left in the text**" in data_card([{"name": "tiny", "pii": pii}])


def test_long_lists_of_sources_are_cut_and_counted():
    card = {"name": "tiny", "sources": [{"name": f"{i}.txt", "bytes": i} for i in range(30)], "source_count": 4000}
    text = data_card([card])
    assert "- `19.txt` (19 bytes)\n- and 3,980 more" in text


def test_evaluation_text_in_training_text_is_told_set_by_set():
    sets = {"other.test": {"items": 1200, "found": 3, "too_short": 40}}
    text = data_card([{"name": "corpus", "contamination": {"documents": 7, "sets": sets}}])
    assert "7 training documents that held evaluation text were taken out." in text
    assert re.search(r"other\.test.*1,200.*3.*40", text)
    assert "No training document was found" in data_card([{"name": "corpus", "contamination": {"documents": 0, "sets": sets}}])
    assert "Evaluation text" not in data_card([{"name": "corpus"}])


def test_a_card_says_what_its_models_config_says() -> None:
    gpt2 = {"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_positions": 128, "vocab_size": 300}
    assert shape_of(gpt2) == "2 layers of width 64, a context of 128 tokens and a vocabulary of 300"
    assert "GPT-2" in architecture_of(gpt2).sentence
    tagger = architecture_of({"model_type": "bert", "architectures": ["BertForTokenClassification"]})
    assert (tagger.task, tagger.loader) == ("token-classification", "AutoModelForTokenClassification")
    assert architecture_of({"model_type": "lstm"}).loader == ""


def test_trained_filters_say_how_well_and_whom_they_wrong():
    rates = {"documents": 1200, "above_0.5": 0.25, "above_0.9": 0.1}
    facts = {"auc": 0.91, "auc_low": 0.88, "auc_high": 0.94, "held_out": {"positive": 300, "negative": 900}}
    card = {"name": "web", "classifiers": {"toxicity": {**facts, "identity": [{"corpus": "lib", "groups": {"women": rates}}]}}}
    page = data_card([card])
    assert "0.910 [0.880, 0.940]" in page
    row = next(line for line in page.splitlines() if "women" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["toxicity", "lib", "women", "1,200", "25.0%"]
    assert "False alarms" not in data_card([{"name": "web", "classifiers": {"quality": facts}}])
    assert "Trained filters" not in data_card([{"name": "web"}])


def test_what_augmentation_made_is_not_left_of_what_was_read_and_tokens_are_told_where_they_are_known():
    read, select = CORPUS["steps"]
    steps = [{**read, "tokens_kept": 24_750}, {**select, "tokens_kept": 22_500}]
    grown = {"step": "augment", "rows_in": 800, "rows_kept": 800, "dropped": {}, "added": {"keyboard": 100, "case": 50}}
    steps.append({**select, **grown, "tokens_kept": 27_000})
    text = data_card([{**CORPUS, "steps": steps}])
    assert "Of 1,000 documents read, 800 (80.0%) are left after 2 steps" in text
    assert "150 more were made from others" in text
    row = next(line for line in text.splitlines() if line.startswith("| augment"))
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "augment",
        "800",
        "800 (100.0%)",
        "150: keyboard 100, case 50",
        "90.9%",
        "27,000",
        "-",
    ]
