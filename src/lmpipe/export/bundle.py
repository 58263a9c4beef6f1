"""The bundle: one folder that says what the model is, how good it is, where it came from, and that Transformers loads as it is.

    config.json, generation_config.json, model.safetensors      the weights' folder, checked
    tokenizer.json, tokenizer_config.json, chat_template.jinja  the tokenizer's folder
    metrics.json, findings.json, verdict.json                   what was measured
    modules.json, 1_Pooling/, sentence_bert_config.json         of encoders that make vectors: what sentence-transformers reads
    README.md, DATA_CARD.md, data_card.json, record.json        for people, for programs, and for tracing
    manifest.json                                               sha256 of every file above; written last

Promises: equal inputs give equal bytes (no clock, machine or path enters), a weight that is not a finite number is refused, and
a folder without its manifest was not finished. Pickle is neither read nor written. It knows no model code: weights are named
arrays. Where the recipe has no gate there is no verdict.json.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lmpipe.base.bundle import write_manifest
from lmpipe.base.errors import ModelError
from lmpipe.base.files import atomic_file, read_json, share, storing, write_json
from lmpipe.base.measures import Finding, Metric, Verdict, write_metrics
from lmpipe.export.cards import ModelFacts, model_card
from lmpipe.export.config import HuggingFaceConfig
from lmpipe.export.data_card import data_card
from lmpipe.models import sentences
from lmpipe.tokens.chat import CHAT_TEMPLATE
from lmpipe.tokens.special import END_OF_TEXT
from lmpipe.tokens.tokenizer import vocabulary_size

MODEL_FILES = ("config.json", "model.safetensors")
GENERATION_FILE = "generation_config.json"
WRITERS = ("LMHeadModel", "ForCausalLM", "ForConditionalGeneration")
"""Ends of the names of architectures that write text, and so have that file."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
TEMPLATE_FILE = "chat_template.jinja"
ROLES_FILE = "special_tokens_map.json"
"""Beside tokenizers that others made."""
DECISION_FILE = "decision.json"
PROBLEMS = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
"""What Transformers calls kinds of answers."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def make_bundle(
    config: HuggingFaceConfig,
    *,
    name: str,
    train_folder: Path,
    tokenizer_folder: Path,
    output: Path,
    metrics: Sequence[Metric],
    findings: Sequence[Finding],
    verdict: Verdict | None,
    chats: bool = False,
    decision: Mapping[str, Any] | None = None,
    frames_texts: bool = False,
    goal: str = "",
    data_cards: Sequence[Mapping[str, Any]] = (),
    recipe: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    parts: Mapping[str, Path] | None = None,
) -> None:
    """Write the bundle into `output`, an empty folder or none.

    Args:
        config: which weights, stored how.
        name: the model's name on its card.
        train_folder: the train stage's output, with `best/`, `last/` and `training.json`.
        tokenizer_folder: the tokenizer stage's output.
        chats: whether the model was taught to answer: conversations are then rendered as it learned them.
        decision: what was chosen on validation text (temperature, thresholds), to be used where the model is served.
        frames_texts: whether texts stand between two end-of-text tokens, as an encoder of ours learns them.
        output: where to write, made if it is not there. A folder of its own: a file that the manifest does not list, such as a
            stage's own record, makes the bundle count as damaged.
        metrics: all evaluations' numbers.
        findings: all audits' findings that do not depend on the clock: this folder is digested.
        verdict: the gate's answer; None where the recipe has no gate.
        goal: the goal as a sentence part.
        data_cards: one account for each corpus, as `export/data_card.py` describes.
        recipe: the resolved recipe.
        parts: folders that the bundle carries, by the names that they have there.
        provenance: `recipe` (digest) and `stages` (name -> fingerprint).

    Raises:
        ModelError: when a file is missing, a weight is not finite, or tokenizer and weights do not fit together.
    """
    weights = train_folder / config.weights
    _check_present(weights, MODEL_FILES)
    if any(str(name).endswith(WRITERS) for name in read_json(weights / "config.json").get("architectures", ())):
        _check_present(weights, [GENERATION_FILE])
    _check_present(tokenizer_folder, TOKENIZER_FILES)
    output.mkdir(parents=True, exist_ok=True)
    parameters = _copy_weights(weights, output, config.dtype)
    _copy_sentence_files(weights, output)
    _copy_tokenizer(tokenizer_folder, output)
    if chats:
        with storing(output / TEMPLATE_FILE):
            (output / TEMPLATE_FILE).write_text(CHAT_TEMPLATE, encoding="utf-8")
    if decision:
        write_json(output / DECISION_FILE, dict(decision))
        if decision.get("kind") in PROBLEMS:
            config_json = read_json(output / "config.json")
            write_json(output / "config.json", {**config_json, "problem_type": PROBLEMS[decision["kind"]]})
    if frames_texts:
        _frame_texts(output / "tokenizer.json")
    training = train_folder / "training.json"
    facts = ModelFacts(
        name=name,
        parameters=parameters,
        model_config=read_json(output / "config.json"),
        dtype=config.dtype,
        weights=config.weights,
        goal=goal,
        metrics=metrics,
        findings=findings,
        verdict=verdict,
        data_cards=data_cards,
        recipe=recipe or {},
        training=read_json(training) if training.is_file() else {},
        provenance=provenance or {},
    )
    _check_vocabulary(output, facts.model_config)
    _write_results(output, facts)
    for part, folder in (parts or {}).items():
        with storing(output / part):
            shutil.copytree(folder, output / part)
    write_manifest(output)


def _frame_texts(path: Path) -> None:
    """Let the tokenizer put end-of-text before and after each text, unless it has a way of its own: Transformers then
    give what this model gives here."""
    tokenizer = read_json(path)
    if (tokenizer.get("post_processor") or {}).get("type") not in (None, "ByteLevel"):
        return
    added = {entry["content"]: entry["id"] for entry in tokenizer["added_tokens"]}
    if END_OF_TEXT not in added:
        return
    end = {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [end, {"Sequence": {"id": "A", "type_id": 0}}, end],
        "pair": [end, {"Sequence": {"id": "A", "type_id": 0}}, end, {"Sequence": {"id": "B", "type_id": 0}}, end],
        "special_tokens": {END_OF_TEXT: {"id": END_OF_TEXT, "ids": [added[END_OF_TEXT]], "tokens": [END_OF_TEXT]}},
    }
    write_json(path, tokenizer)


def _check_present(folder: Path, names: Sequence[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{', '.join(missing)} is missing, so there is nothing whole to export",
            where=str(folder),
            expected=f"{', '.join(names)}",
            fix="run the stage that makes it again: the same `lmpipe run` goes on where files are missing",
        )


def _copy_weights(source: Path, output: Path, dtype: str) -> int:
    """Check every tensor and store it in `dtype`; returns the number of parameters."""
    tensors: dict[str, torch.Tensor] = {}
    with safe_open(source / "model.safetensors", framework="pt") as file:
        for key in sorted(file.keys()):
            tensor = file.get_tensor(key)
            _check_finite(key, tensor)
            tensors[key] = tensor.to(DTYPES[dtype]).contiguous()
    with storing(output / "model.safetensors"):
        save_file(tensors, output / "model.safetensors", metadata={"format": "pt"})
        share(output / "model.safetensors")
    config = read_json(source / "config.json")
    config.pop("torch_dtype", None)  # the key's old name; two of them could disagree
    write_json(output / "config.json", {**config, "dtype": dtype})
    if (source / GENERATION_FILE).is_file():
        write_json(output / GENERATION_FILE, read_json(source / GENERATION_FILE))
    return sum(tensor.numel() for tensor in tensors.values())


def _copy_sentence_files(source: Path, output: Path) -> None:
    """How vectors are made of hidden states, where that is what the model is for."""
    for name in sentences.FILES if all((source / name).is_file() for name in sentences.FILES) else ():
        with storing(output / name):
            (output / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, output / name)


def _check_finite(key: str, tensor: torch.Tensor) -> None:
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise ModelError(
            f"{bad:,} of {tensor.numel():,} weights in '{key}' are not finite numbers",
            expected="finite weights: anything else makes every answer NaN",
            fix="train with a lower learning rate or stronger clipping, then export again",
        )


def _copy_tokenizer(source: Path, output: Path) -> None:
    there = [name for name in (TEMPLATE_FILE, ROLES_FILE) if (source / name).is_file()]
    for name in (*TOKENIZER_FILES, *there):
        with storing(output / name):
            shutil.copyfile(source / name, output / name)


def _check_vocabulary(output: Path, model_config: Mapping[str, Any]) -> None:
    ids = vocabulary_size(output)
    if ids > model_config["vocab_size"]:
        raise ModelError(
            f"the tokenizer has {ids:,} ids, and the model knows {model_config['vocab_size']:,}",
            expected="a model trained with this tokenizer",
            fix="export weights and tokenizer of one run",
        )


def _write_results(output: Path, facts: ModelFacts) -> None:
    write_metrics(output, facts.metrics)
    write_json(output / "findings.json", [finding.model_dump(mode="json") for finding in facts.findings])
    if facts.verdict:
        write_json(output / "verdict.json", facts.verdict.model_dump(mode="json"))
    record = {"name": facts.name, "weights": facts.weights, "dtype": facts.dtype, **facts.provenance}
    write_json(output / "record.json", {**record, "resolved_recipe": facts.recipe})
    _write_text(output / "README.md", model_card(facts))
    _write_text(output / "DATA_CARD.md", data_card(facts.data_cards))
    write_json(output / "data_card.json", list(facts.data_cards))


def _write_text(path: Path, text: str) -> None:
    with atomic_file(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
