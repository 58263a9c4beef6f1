"""What a finished run writes: weights in the public layout, totals, curve; and beside them what depends on the clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lmpipe.base.errors import TrainingError
from lmpipe.base.files import atomic_file, write_json
from lmpipe.models import families
from lmpipe.models.published import carry_roles
from lmpipe.training.adapters import merged
from lmpipe.training.config import PhaseConfig
from lmpipe.training.optimizers import all_finite
from lmpipe.training.peft_layout import save_adapter
from lmpipe.training.state import TrainingState, WholeWeights


def write_results(
    state: TrainingState,
    weights: WholeWeights,
    output: Path,
    observed: Path,
    *,
    end_of_text_id: int,
    epochs: float,
    epochs_by_corpus: dict[str, float],
    phase: PhaseConfig,
    start: Path | None = None,
) -> dict[str, Any]:
    """Write `best/`, `last/`, training.json, curve.jsonl, statistics.jsonl; give the facts for the record.

    Adapters are worked into the weights of `best/` and `last/`; the best ones also lie alone in `adapter/`, as PEFT reads them.

    Raises:
        TrainingError: when a final weight is not finite.
    """
    if not all_finite(weights.last.values()):
        raise TrainingError("a trained weight is not a finite number", fix="lower optimizer.lr or set clip_norm")
    for name, learned in (("last", weights.last), ("best", weights.best)):
        whole = {**weights.frozen, **learned}
        families.save(state.model, output / name, end_of_text_id=end_of_text_id, state=merged(state.model, whole))
        if start is not None:
            carry_roles(start, output / name)
        if phase.adapter and name == "best":
            save_adapter(state.model, output / "adapter", phase.adapter, families.mapping(state.model), whole)
    totals = {
        "steps": state.step,
        "tokens": state.tokens,
        "epochs": epochs,
        **({"epochs_by_corpus": epochs_by_corpus} if epochs_by_corpus else {}),
        "parameters": sum(p.numel() for name, p in state.model.named_parameters() if ".adapter_" not in name),
        "trained_parameters": sum(weight.numel() for weight in weights.last.values()),
        "precision": phase.precision,
        "best_step": state.best_step,
        "best_tokens": state.best_tokens,
        "best_validation_loss": state.best_loss,
        **({"best_validation_accuracy": state.best_accuracy} if state.best_accuracy is not None else {}),
        **({"sparsity": state.sparsity.facts()} if state.sparsity else {}),
        "incidents": state.incidents,
        "stopped_early": bool(state.stop_reason),
        "stop_reason": state.stop_reason or "the budget of tokens is spent",
    }
    write_json(output / "training.json", totals)
    _write_lines(output / "curve.jsonl", state.curve)
    if state.statistics:
        _write_lines(output / "statistics.jsonl", state.statistics)
    _write_lines(observed / "meters.jsonl", state.meters)
    if state.samples:
        _write_lines(observed / "samples.jsonl", state.samples)
    return {**totals, "step_seconds": state.seconds, "tokens_per_second": state.tokens / max(state.seconds, 1e-9)}


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_file(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
