"""The numbers of training against other ways to get them: torch's own optimiser and kernels, transformers, closed forms."""

from __future__ import annotations

import copy
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import training_example as example
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from lmpipe.base.errors import TrainingError
from lmpipe.models.layers.attention import Attention, document_mask
from lmpipe.models.layers.rotary import rotary_table
from lmpipe.models.llama.hf import load, save
from lmpipe.models.llama.model import Llama
from lmpipe.tokens.loader import Batch, Loader
from lmpipe.tokens.shards import open_shards
from lmpipe.training import step as step_module
from lmpipe.training.config import PhaseConfig
from lmpipe.training.loop import marks
from lmpipe.training.objective_config import CausalConfig
from lmpipe.training.objectives import Causal, Losses, causal_nats
from lmpipe.training.optimizer_config import AdamWConfig, MuonConfig
from lmpipe.training.optimizers import MasterOptimizer
from lmpipe.training.prediction import Calibration, predict
from lmpipe.training.schedule_config import (
    ConstantConfig,
    CosineConfig,
    InverseSqrtConfig,
    LinearConfig,
    ScheduleConfig,
    WsdConfig,
)
from lmpipe.training.schedules import rate_fraction
from lmpipe.training.startup import check_startup
from lmpipe.training.validation import validation_loss


def fresh(**options: object) -> Llama:
    torch.manual_seed(3)
    return Llama(example.tiny_model(**{"dropout": 0.0, **options}), example.VOCABULARY)


CAUSAL = Causal(CausalConfig())


def losses_of(model: Llama) -> Callable[..., Losses]:
    return lambda *part: CAUSAL.losses(model, *part)


def first_batch(corpus: Path, rows: int = 4) -> Batch:
    return Loader(open_shards(corpus / "train"), context_length=example.CONTEXT, batch_size=rows, seed=1).batch(0)


# -------------------------------------------------------------------------------------------------------------- optimiser


def test_the_optimiser_is_torchs_adamw(corpus: Path) -> None:
    ours, theirs = fresh(), fresh()
    config = AdamWConfig(lr=1e-3, weight_decay=0.2)
    optimizer = MasterOptimizer(ours, config, "fp32")
    matrices = [p for p in theirs.parameters() if p.ndim >= 2]
    norms = [p for p in theirs.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.2}, {"params": norms, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, fused=True)
    (part,) = step_module.parts_of(first_batch(corpus), 4, "cpu")
    for number in range(5):
        rate = (number + 1) / 5
        step_module.accumulate(losses_of(ours), optimizer, [part], part[0].numel())
        optimizer.update(rate, 0.5)
        (causal_nats(theirs, *part) / part[0].numel()).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        for group in reference.param_groups:
            group["lr"] = 1e-3 * rate
        reference.step()
        reference.zero_grad()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other), name


def test_muon_turns_hidden_matrices_and_adamw_the_rest(corpus: Path) -> None:
    ours, theirs = fresh(tie_embeddings=False), fresh(tie_embeddings=False)
    config = MuonConfig(lr=1e-3)
    optimizer = MasterOptimizer(ours, config, "fp32")
    hidden = [p for name, p in theirs.named_parameters() if name.startswith("blocks") and p.ndim == 2]
    tables = [theirs.embedding.weight, theirs.head.weight]
    norms = [p for p in theirs.parameters() if p.ndim < 2]
    muon = torch.optim.Muon(hidden, lr=1e-3, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    groups = [{"params": tables, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=1e-3, betas=config.betas, eps=config.eps, fused=True)
    assert len(hidden) == 2 * 4
    (part,) = step_module.parts_of(first_batch(corpus), 4, "cpu")
    for _ in range(3):
        step_module.accumulate(losses_of(ours), optimizer, [part], part[0].numel())
        optimizer.update(1.0, None)
        (causal_nats(theirs, *part) / part[0].numel()).backward()
        for reference in (muon, adamw):
            reference.step()
            reference.zero_grad()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other), name


def test_bf16_weights_are_the_rounded_masters(corpus: Path) -> None:
    model = fresh()
    optimizer = MasterOptimizer(model, AdamWConfig(), "bf16")
    (part,) = step_module.parts_of(first_batch(corpus), 4, "cpu")
    causal_nats(model, *part).backward()
    optimizer.take_gradients()
    optimizer.update(1.0, None)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.bfloat16
        assert optimizer.weights()[name].dtype == torch.float32
        assert torch.equal(parameter, optimizer.weights()[name].bfloat16())


def test_parts_of_a_batch_give_the_gradient_of_the_whole(corpus: Path) -> None:
    batch = first_batch(corpus, 8)
    gradients = []
    for micro_rows in (8, 2):
        model = fresh()
        parts = step_module.parts_of(batch, micro_rows, "cpu")
        for part in parts:
            (causal_nats(model, *part) / batch.inputs_BT.size).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for whole, summed in zip(*gradients, strict=True):
        assert (whole - summed).abs().max() <= 1e-6


# -------------------------------------------------------------------------------------------------------------- schedules

SCHEDULES = st.one_of(
    st.builds(CosineConfig, warmup_fraction=st.floats(0, 0.9), final_fraction=st.floats(0, 1)),
    st.builds(ConstantConfig, warmup_fraction=st.floats(0, 0.9)),
    st.builds(InverseSqrtConfig, warmup_fraction=st.floats(0, 0.9)),
    st.builds(LinearConfig, warmup_fraction=st.floats(0, 0.9), final_fraction=st.floats(0, 1)),
    st.floats(0, 0.5).flatmap(
        lambda warmup: st.builds(
            WsdConfig, warmup_fraction=st.just(warmup), decay_fraction=st.floats(0, 0.5), final_fraction=st.floats(0, 1)
        )
    ),
)


@settings(deadline=None, max_examples=200)
@given(schedule=SCHEDULES, steps=st.integers(1, 300))
def test_a_rate_rises_then_never_rises_again(schedule: ScheduleConfig, steps: int) -> None:
    rates = [rate_fraction(schedule, number, steps) for number in range(steps)]
    warmup = round(schedule.warmup_fraction * steps)
    assert all(0 <= rate <= 1 + 1e-12 for rate in rates)
    assert rates[:warmup] == [(number + 1) / warmup for number in range(warmup)]
    after = rates[max(0, warmup - 1) :]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(after))
    endless = isinstance(schedule, ConstantConfig | InverseSqrtConfig)
    if not endless and warmup < steps and getattr(schedule, "decay_fraction", 1) * steps > 0.5:
        assert rates[-1] == pytest.approx(schedule.final_fraction, abs=1e-12)


def test_schedules_at_hand_computed_points() -> None:
    cosine = CosineConfig(warmup_fraction=0.1, final_fraction=0.1)
    assert rate_fraction(cosine, 9, 100) == 1.0
    assert rate_fraction(cosine, 54, 100) == pytest.approx(0.55)  # half way down
    assert rate_fraction(cosine, 99, 100) == pytest.approx(0.1)
    wsd = WsdConfig(warmup_fraction=0.1, decay_fraction=0.5)
    assert [rate_fraction(wsd, step, 100) for step in (4, 30, 49, 74, 99)] == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.0])
    assert rate_fraction(ConstantConfig(), 57, 100) == 1.0


@settings(deadline=None, max_examples=100)
@given(steps=st.integers(1, 1000), times=st.integers(1, 50))
def test_marks_are_even_and_end_with_the_last_step(steps: int, times: int) -> None:
    found = sorted(marks(steps, times))
    assert found[-1] == steps
    assert found[0] >= 1
    assert len(found) == min(steps, times)
    gaps = [later - earlier for earlier, later in zip([0, *found], found, strict=False)]
    assert max(gaps) - min(gaps) <= 1


# ------------------------------------------------------------------------------------------------------- loss and attention


def test_the_loss_is_transformers_loss(tmp_path: Path) -> None:
    model = fresh(kv_heads=2)
    save(model, tmp_path, end_of_text_id=0)
    theirs = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = torch.randint(1, example.VOCABULARY, (3, 33))
    inputs, targets = ids[:, :-1], ids[:, 1:]
    ours = causal_nats(model, inputs, targets, torch.zeros_like(inputs))
    expected = F.cross_entropy(theirs(inputs).logits.flatten(0, 1), targets.flatten(), reduction="sum")
    assert ours.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_by_products_is_the_fused_kernel(kv_heads: int, masked: bool) -> None:
    torch.manual_seed(0)
    attention = Attention(32, 4, kv_heads)
    cos, sin = rotary_table(8, 24, 10_000.0)
    x = torch.randn(3, 24, 32)
    mask = document_mask(torch.cumsum(torch.rand(3, 24) < 0.2, dim=1)) if masked else None
    outcomes = []
    for training in (True, False):  # training on a CPU takes products, evaluation the fused kernel
        module, given_x = copy.deepcopy(attention).train(training), x.clone().requires_grad_()
        out = module(given_x, cos, sin, mask)
        out.square().sum().backward()
        outcomes.append([out, given_x.grad, *(p.grad for p in module.parameters())])
    for ours, fused in zip(*outcomes, strict=True):
        ours, fused = ours.detach(), fused.detach()
        assert (ours - fused).abs().max() <= 1e-5 * max(1.0, float(fused.abs().max()))


def test_no_gradient_crosses_a_border_between_documents() -> None:
    model = fresh().train()
    seen = []
    model.embedding.register_forward_hook(lambda _, __, out: (out.retain_grad(), seen.append(out))[0])
    ids = torch.randint(1, example.VOCABULARY, (1, 32))
    segments = (torch.arange(32) >= 20).long()[None]
    logits = model(ids, segments)
    logits[:, 20:].square().sum().backward()
    gradient = seen[0].grad[0].abs().sum(-1)
    assert gradient[:20].max() == 0
    assert gradient[20:].min() > 0
    other = ids.clone()
    other[:, :20] = torch.randint(1, example.VOCABULARY, (1, 20))
    alone = model(ids[:, 20:], segments[:, 20:])  # rotary positions are relative: where a document stands is the same to it
    assert torch.equal(model(other, segments)[:, 20:], logits[:, 20:])
    assert (alone - logits[:, 20:]).abs().max() <= 1e-5


# -------------------------------------------------------------------------------------------------------------------- runs


def test_it_learns_and_best_is_the_best(corpus: Path, tmp_path: Path) -> None:
    schedule = {"kind": "constant"}
    phase = example.tiny_phase(tokens=60 * 128, optimizer={"kind": "adamw", "lr": 3e-2}, schedule=schedule)
    facts = example.run_training(corpus, tmp_path, phase=phase)
    rows = [json.loads(line) for line in (tmp_path / "output" / "curve.jsonl").read_text().splitlines()]
    watched = {row["step"]: row["validation_loss"] for row in rows if "validation_loss" in row}
    assert min(watched.values()) < 0.8 * math.log(example.VOCABULARY)
    assert watched[facts["best_step"]] == min(watched.values()) == facts["best_validation_loss"]
    assert max(watched) == 60 == facts["steps"]
    best = load(tmp_path / "output" / "best")
    loader = Loader(open_shards(corpus / "validation"), context_length=example.CONTEXT, batch_size=4, seed=0)
    held_out = [loader.batch(0), loader.batch(1)]
    again = validation_loss(best, losses_of(best), CAUSAL, held_out, micro_rows=4, device="cpu").loss
    assert again == pytest.approx(facts["best_validation_loss"], rel=1e-6)
    weights = load_file(tmp_path / "output" / "last" / "model.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())


def test_it_stops_when_nothing_improves(corpus: Path, tmp_path: Path) -> None:
    phase = example.tiny_phase(tokens=40 * 128, early_stopping={"patience": 2, "min_delta": 100.0})
    facts = example.run_training(corpus, tmp_path, phase=phase)
    assert facts["stopped_early"]
    assert facts["steps"] == 10
    assert facts["best_step"] == 4
    assert "2 validations" in facts["stop_reason"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_numbers_that_are_not_finite_end_it_with_nothing_written(precision: str, corpus: Path, tmp_path: Path) -> None:
    options = {"optimizer": {"kind": "adamw", "lr": 1e30}, "clip_norm": None, "precision": precision}
    with pytest.raises(TrainingError, match=r"step|not finite|not a finite") as caught:
        example.run_training(corpus, tmp_path, phase=example.tiny_phase(**options))
    assert "lr" in str(caught.value)
    assert example.result(tmp_path) == {}


def test_too_small_a_corpus_is_refused(tmp_path: Path) -> None:
    corpus = example.write_corpus(tmp_path / "corpus", documents=2)
    with pytest.raises(TrainingError, match="fewer than one batch"):
        example.run_training(corpus, tmp_path / "run")
    assert example.result(tmp_path / "run") == {}


def test_a_batch_smaller_than_a_row_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="less than a row of"):
        example.run_training(corpus, tmp_path, phase=example.tiny_phase(batch_tokens=16))


# ---------------------------------------------------------------------------------------------------------- start-up checks


def test_the_checks_pass_and_leave_no_trace(corpus: Path) -> None:
    model = fresh(dropout=0.1).train()
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    check_startup(model, first_batch(corpus), CAUSAL, micro_rows=2, device="cpu")
    assert torch.equal(torch.get_rng_state(), random_state)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_weight_that_is_not_finite_is_found(corpus: Path) -> None:
    model = fresh()
    with torch.no_grad():
        model.norm.weight[3] = torch.nan
    with pytest.raises(TrainingError, match="weight of the first model"):
        check_startup(model, first_batch(corpus), CAUSAL, micro_rows=4, device="cpu")


def test_weights_of_another_scale_are_found(corpus: Path) -> None:
    model = fresh()
    with torch.no_grad():
        model.embedding.weight.mul_(50)
    with pytest.raises(TrainingError, match="the first loss is"):
        check_startup(model, first_batch(corpus), CAUSAL, micro_rows=4, device="cpu")


def test_parts_that_do_not_add_up_are_found(corpus: Path) -> None:
    class RowsTalk(Llama):
        """Mixes rows, as batch normalisation would: a part then sees less than the whole."""

        def forward(self, ids_BT, segments_BT=None, cache=None):  # type: ignore[no-untyped-def]
            return super().forward(ids_BT, segments_BT, cache) * float(len(ids_BT)) ** 2

    torch.manual_seed(0)
    model = RowsTalk(example.tiny_model(dropout=0.0), example.VOCABULARY)
    with pytest.raises(TrainingError, match="as a whole"):
        check_startup(model, first_batch(corpus), CAUSAL, micro_rows=1, device="cpu")


def test_a_model_that_cannot_learn_is_found(corpus: Path) -> None:
    model = fresh()
    with torch.no_grad():
        model.norm.weight.zero_()  # constant logits, and no gradient but that of the zeros themselves

    class Deaf(Llama):
        """Ignores its input and its weights."""

        def forward(self, ids_BT, segments_BT=None, cache=None):  # type: ignore[no-untyped-def]
            return super().forward(ids_BT, segments_BT, cache) * 0.0

    deaf = Deaf(model.config, example.VOCABULARY)
    with pytest.raises(TrainingError, match="took the loss from"):
        check_startup(deaf, first_batch(corpus), CAUSAL, micro_rows=4, device="cpu")


# --------------------------------------------------------------------------------------------------------------- prediction


def test_a_prediction_adds_up() -> None:
    calibration = Calibration(
        steps=5, phase_steps=100, startup_seconds=10, seconds_per_step=2, validation_seconds=3, checkpoint_seconds=0.5,
        validations=4, checkpoints=20, cpu_seconds_per_second=1.5, peak_memory_bytes=1000,
    )  # fmt: skip
    assert predict(calibration) == {"seconds": 232.0, "cpu_seconds": 348.0, "peak_memory_bytes": 1000}


def test_calibration_in_a_process_of_its_own() -> None:
    phase: PhaseConfig = example.tiny_phase()
    request = {
        "model": example.tiny_model().model_dump(mode="json"), "phase": phase.model_dump(mode="json"), "vocab_size": 100,
        "device": "cpu", "threads": 1, "compile": False, "seconds": 1,
    }  # fmt: skip
    command = [sys.executable, "-m", "lmpipe.training.calibration"]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=True)
    calibration = Calibration.model_validate_json(done.stdout)
    assert calibration.phase_steps == 12
    assert calibration.validations == 4
    assert calibration.steps >= 1
    assert 0 < calibration.seconds_per_step < 60
    assert calibration.peak_memory_bytes > 1 << 20
    assert np.isfinite(predict(calibration)["seconds"])
