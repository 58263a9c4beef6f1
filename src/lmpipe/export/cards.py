"""README.md of a bundle: the model card, as a person reads it and as the Hugging Face hub parses it.

Everything on it comes from measured numbers, findings and the resolved recipe, handed in as plain data; nothing is claimed that
was not measured, and every finding stands beside its limits. It holds no clock and no machine: equal runs give equal cards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmpipe.base.measures import Finding, Interval, Metric, Requirement, Verdict
from lmpipe.export.architecture import Architecture, architecture_of, shape_of
from lmpipe.export.markdown import front_matter, number, quantity, table

EMBEDS = "sentence-similarity"
"""The task of models that make vectors."""
BASELINE_NAMES = {"ngram": "n-gram baseline", "hmm": "hidden Markov baseline", "xz": "xz", "bm25": "BM25"}
STATISTIC_NAMES = {
    "bits_per_byte": "Bits per byte (lower is better)",
    "perplexity": "Perplexity per token (lower is better)",
    "next_token_accuracy": "Next-token accuracy (higher is better)",
}


@dataclass(frozen=True)
class ModelFacts:
    """What the card says of a model, all of it plain data."""

    name: str
    parameters: int
    model_config: Mapping[str, Any]
    """`config.json` of the bundle."""
    dtype: str
    weights: str
    goal: str = ""
    """What would count as success, as a sentence part: `generate text with bits per byte of at most 2.2 on the test split`."""
    metrics: Sequence[Metric] = ()
    findings: Sequence[Finding] = ()
    verdict: Verdict | None = None
    data_cards: Sequence[Mapping[str, Any]] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    """`training.json` of the train stage."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """`recipe` (digest) and `stages` (name -> fingerprint)."""


def model_card(facts: ModelFacts) -> str:
    """The whole page, front matter included."""
    sections = [
        f"# {facts.name}",
        _opening(facts),
        _intended_use(facts),
        _how_to_use(architecture_of(facts.model_config)),
        READS_BOTH_WAYS if facts.model_config.get("prefix_lm") else "",
        _training_data(facts),
        _training(facts),
        _evaluation(facts.metrics),
        _audits(facts.findings),
        _gate(facts.verdict),
        _provenance(facts),
    ]
    return front_matter(_metadata(facts)) + "\n" + "\n\n".join(section for section in sections if section) + "\n"


def _metadata(facts: ModelFacts) -> dict[str, Any]:
    languages = {code for card in facts.data_cards for code in card.get("languages") or {}}
    metadata: dict[str, Any] = {
        "library_name": "sentence-transformers" if architecture_of(facts.model_config).task == EMBEDS else "transformers",
        "pipeline_tag": architecture_of(facts.model_config).task,
        "language": sorted(code for code in languages if 2 <= len(code) <= 3 and code.isalpha() and code != "und"),
        "tags": ["lmpipe", str(facts.model_config.get("model_type", "llama"))],
        "model-index": [{"name": facts.name, "results": _results(facts.metrics, architecture_of(facts.model_config).task)}],
    }
    if not metadata["model-index"][0]["results"]:
        del metadata["model-index"]
    return {key: value for key, value in metadata.items() if value}


def _results(metrics: Sequence[Metric], task: str) -> list[dict[str, Any]]:
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for metric in metrics:
        corpus, *rest, statistic = metric.name.split(".")
        if len(rest) == 1:  # of a split, and no baseline's
            (split,) = rest
            results.setdefault((corpus, split), []).append({"type": statistic, "value": round(metric.value, 6)})
    return [
        {
            "task": {"type": task},
            "dataset": {"name": f"{corpus} ({split} split)", "type": corpus, "split": split},
            "metrics": values,
        }
        for (corpus, split), values in results.items()
    ]


def _opening(facts: ModelFacts) -> str:
    architecture, shape = architecture_of(facts.model_config), shape_of(facts.model_config)
    tokens = facts.training.get("tokens")
    trained = f", trained from scratch on {quantity(tokens)} tokens" if isinstance(tokens, (int, float)) else ""
    verdict = f" The gate says **{facts.verdict.verdict}**." if facts.verdict else " No gate was asked."
    return (
        f"A {architecture.sentence} with {quantity(facts.parameters)} parameters: {shape}{trained}. "
        f"These are the {facts.weights} weights of the run, stored in {facts.dtype}.{verdict}"
    )


def _intended_use(facts: ModelFacts) -> str:
    goal = f"It was made to {facts.goal}. " if facts.goal else ""
    if architecture_of(facts.model_config).task == EMBEDS:
        return (
            "## Intended use\n\n"
            f"{goal}It gives a text one vector of length 1; texts that belong together, as its training pairs did, have a "
            "large cosine. A cosine is no probability, and how large one must be is to be chosen on your own texts.\n\n"
            "Not intended: decisions about people without a person who reads the texts, or any language or kind of text that "
            "the data card does not list."
        )
    if architecture_of(facts.model_config).task not in ("text-generation", "fill-mask"):
        return (
            "## Intended use\n\n"
            f"{goal}It answers texts of the kind it was trained on, and knows no other answers than those of its training "
            "examples; what is unlike them it answers, too, as surely as it was measured to be.\n\n"
            "Not intended: decisions about people without a person who reads the text, or any language or kind of text that "
            "the data card does not list."
        )
    return (
        "## Intended use\n\n"
        f"{goal}It continues text of the kind it was trained on. It has not learned to follow instructions, was not aligned "
        "with anyone's preferences, and states falsehoods as fluently as facts.\n\n"
        "Not intended: decisions about people, advice on health, law or money, text shown to others without a person reading "
        "it first, or any language or kind of text that the data card does not list."
    )


def _how_to_use(architecture: Architecture) -> str:
    if architecture.loader == "AutoModelForCausalLM":
        return HOW_TO_USE
    if architecture.task == EMBEDS:
        return "## How to use\n\n" + VECTORS
    if not architecture.loader:
        return "## How to use\n\n" + WITH_LMPIPE
    loading = (
        f"from transformers import {architecture.loader}, AutoTokenizer\n\n"
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")\n'
        f'model = {architecture.loader}.from_pretrained("path/to/this/folder")\n'
        'logits = model(**tokenizer("Once upon a time", return_tensors="pt")).logits'
    )
    return f"## How to use\n\n```python\n{loading}\n```"


VECTORS = """```python
from sentence_transformers import SentenceTransformer

vectors = SentenceTransformer("path/to/this/folder").encode(["a query", "a passage"])
similarity = vectors @ vectors.T
```

With lmpipe: `lmpipe.load("path/to/this/folder").embed(["a query", "a passage"])`. With Transformers alone: the hidden states of
`AutoModel`, pooled as `1_Pooling/config.json` says, then scaled to length 1."""

WITH_LMPIPE = """With lmpipe: `lmpipe chat path/to/this/folder` in a terminal, `lmpipe serve path/to/this/folder` as an
OpenAI-compatible server, or `lmpipe.load("path/to/this/folder").generate("Once upon a time")` in Python."""

READS_BOTH_WAYS = """This is a prefix language model (`prefix_lm` in config.json): it learned to go on with a text whose
beginning it reads both ways, and lmpipe reads prompts so. Transformers, vLLM and llama.cpp do not know that key and read
prompts causally: they load the model, and what it then writes is not what was trained, sampled and audited."""

HOW_TO_USE = """## How to use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
start = tokenizer.eos_token + "Once upon a time"  # every training document begins after this token
ids = tokenizer(start, return_tensors="pt", add_special_tokens=False)
print(tokenizer.decode(model.generate(**ids, max_new_tokens=50)[0]))
```

"""
HOW_TO_USE += WITH_LMPIPE


def _training_data(facts: ModelFacts) -> str:
    if not facts.data_cards:
        return ""
    lines = []
    for card in facts.data_cards:
        train = (card.get("splits") or {}).get("train") or {}
        amount = f": {quantity(train['documents'])} documents, {quantity(train['bytes'])} bytes to train on" if train else ""
        lines.append(f"- corpus `{card['name']}`{amount}")
    return (
        "## Training data\n\n"
        + "\n".join(lines)
        + "\n\nWhere it came from, what was taken out and why, licences, personal data "
        "and splits: [DATA_CARD.md](DATA_CARD.md)."
    )


def _training(facts: ModelFacts) -> str:
    phases = facts.recipe.get("train") or []
    asked = [row for phase in phases for row in _phase_rows(phase)] if isinstance(phases, Sequence) else []
    done = [[_words(name), _plain(value)] for name, value in facts.training.items() if _is_plain(value)]
    tables = [table(header, rows) for header, rows in ((["Asked for", "Value"], asked), (["Came out", "Value"], done)) if rows]
    return "\n\n".join(["## Training", *tables]) if tables else ""


def _phase_rows(phase: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name, value in phase.items():
        if isinstance(value, Mapping):
            words = [str(value["kind"])] if value.get("kind") else []
            words += [f"{_words(key)} {_plain(item)}" for key, item in value.items() if key != "kind" and _is_plain(item)]
            rows.append([_words(name), ", ".join(words) or "defaults"])
        elif _is_plain(value):
            rows.append(["phase" if name == "name" else _words(name), _plain(value)])
    return rows


def _words(name: str) -> str:
    return name.replace("_", " ")


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and value != ""


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _evaluation(metrics: Sequence[Metric]) -> str:
    if not metrics:
        return ""
    own = [metric for metric in metrics if len(metric.name.split(".")) <= 3]
    baselines = list(dict.fromkeys(name[2] for metric in metrics if len(name := metric.name.split(".")) == 4))
    by_name = {metric.name: metric for metric in metrics}
    rows = []
    for metric in own:
        *subject, statistic = metric.name.split(".")
        others = [by_name.get(".".join((*subject, baseline, statistic))) for baseline in baselines]
        title = f"{STATISTIC_NAMES.get(statistic, statistic)}, {' '.join(subject)}"
        rows.append([title, _measured(metric), *(_measured(other) if other else "-" for other in others)])
    methods = sorted({metric.interval.method for metric in own if metric.interval})
    how = f"Intervals: {'; '.join(methods)}. " if methods else ""
    header = ["Metric", "This model", *(BASELINE_NAMES.get(name, name.replace("_", " ")) for name in baselines)]
    shown = "## Evaluation\n\n" + table(header, rows, right=range(1, len(header))) + f"\n\n{how}"
    if not any(metric.name.endswith("bits_per_byte") for metric in metrics):
        return shown + "`metrics.json` holds the full figures."
    return (
        f"{shown}Every token of every document is scored "
        "once, the one that ends the document included, and no document sees another. Bits per byte does not depend on the "
        "tokenizer; perplexity and accuracy are per token of this one. The n-gram model was trained on the same text; xz has "
        "seen none of it. `metrics.json` holds the full figures."
    )


def _measured(number_with_doubt: Metric | Finding) -> str:
    return number(number_with_doubt.value) + _span(number_with_doubt.interval)


def _span(interval: Interval | None) -> str:
    return f" ({number(interval.low)} to {number(interval.high)})" if interval else ""


def _audits(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    rows = [
        [f"`{finding.name}`", _measured(finding), finding.unit, "-" if finding.threshold is None else number(finding.threshold)]
        for finding in findings
    ]
    limits: dict[str, list[str]] = {}
    for finding in findings:
        limits.setdefault(finding.limits, []).append(f"`{finding.name}`")
    notes = [f"- {', '.join(names)}: {text}" for text, names in limits.items()]
    overview = table(["Finding", "Value (95% interval)", "Unit", "Acceptable up to"], rows, right=[1, 3])
    return "## Audits\n\n" + overview + "\n\nWhat these numbers do not show:\n\n" + "\n".join(notes)


def _gate(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    rows = [[f"`{item.subject}`", _bounds(item), item.verdict, item.reason] for item in verdict.requirements]
    return f"## Gate: {verdict.verdict}\n\n" + table(["Required", "Bound", "Answer", "Why"], rows)


def _bounds(item: Requirement) -> str:
    words = [f"at most {item.at_most:g}"] if item.at_most is not None else []
    words += [f"at least {item.at_least:g}"] if item.at_least is not None else []
    return " and ".join(words)


def _provenance(facts: ModelFacts) -> str:
    stages = facts.provenance.get("stages") or {}
    digest = facts.provenance.get("recipe")
    if not stages and not digest:
        return ""
    words = (
        "This folder was made from one recipe; the same recipe, inputs and runtime give the same bytes, and `lmpipe verify` "
        "checks that. `manifest.json` holds the sha256 of every file, `record.json` the whole provenance."
    )
    recipe = f" Recipe: `{str(digest)[:16]}`." if digest else ""
    rows = [[name, f"`{str(fingerprint)[:16]}`"] for name, fingerprint in stages.items()]
    listing = "\n\n" + table(["Stage", "Fingerprint"], rows) if rows else ""
    return f"## Provenance\n\n{words}{recipe}{listing}"
