"""Learns from a larger model: the divergence of what both expect, beside the text's own cross-entropy (Hinton et al. 2015).

    (1 - weight) -ln p(target)  +  weight temperature^2 KL(teacher || student), both softened by the temperature

The factor temperature^2 keeps the gradient's size whatever the temperature (section 2 there). The teacher is frozen, predicts
without dropout, and reads the same rows.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lmpipe.base.errors import ModelError
from lmpipe.base.files import read_json
from lmpipe.models.loading import load_model
from lmpipe.models.network import Decoder, Network
from lmpipe.tokens.tokenizer import FILE, load_tokenizer
from lmpipe.training.distillation_config import DistillationConfig
from lmpipe.training.objectives import IGNORED, Causal, Losses, token_losses, with_auxiliary


class Distillation(Causal):
    """Every token from those before it, as the teacher has it."""

    def __init__(self, config: DistillationConfig, teacher: Decoder, *, known_ids: int) -> None:
        """Store the arguments; `known_ids` are the tokenizer's: either model's vocabulary may be rounded up beyond them."""
        super().__init__(config)
        self.distilling, self.teacher, self.known_ids = config, teacher, known_ids

    def losses(self, network: Network, *part: Tensor) -> Losses:
        """Of one part. Reported is the plain loss; the divergence from the teacher stands beside it."""
        ids_BT, targets_BT, segments_BT = part
        logits_BTV = network(ids_BT, segments_BT)
        with torch.no_grad():
            taught_BTV = self.teacher(ids_BT, segments_BT)
        plain = token_losses(logits_BTV, targets_BT, self.distilling)
        divergence = softened_divergence(
            logits_BTV[..., : self.known_ids],
            taught_BTV[..., : self.known_ids],
            targets_BT != IGNORED,
            self.distilling.temperature,
        )
        weight, scale = self.distilling.weight, self.distilling.temperature**2
        minimised = (1 - weight) * plain.minimised + weight * scale * divergence
        found = with_auxiliary(Losses(minimised, plain.nats), network, targets_BT)
        return found._replace(measured={"divergence": divergence.detach()})


def softened_divergence(student_BTV: Tensor, teacher_BTV: Tensor, asked_BT: Tensor, temperature: float) -> Tensor:
    """Sum over the asked positions of KL(teacher || student) at a temperature, in nats and fp32."""
    student = F.log_softmax(student_BTV.flatten(0, -2).float() / temperature, dim=-1)
    teacher = F.log_softmax(teacher_BTV.flatten(0, -2).float() / temperature, dim=-1)
    nats = (teacher.exp() * (teacher - student)).sum(-1)
    return (nats * asked_BT.flatten()).sum()


def distillation(
    config: DistillationConfig, network: Network, *, teacher: Path, tokenizer: Path, context: int, precision: str
) -> Distillation:
    """The objective, with the teacher loaded where `network` is, computing as training does.

    Raises:
        ModelError: when the teacher is no decoder, has another tokenizer or a shorter context, or its files are damaged.
    """
    _check_tokenizers(tokenizer, teacher)
    device = next(network.parameters()).device.type
    taught = load_model(teacher, device=device, dtype="bfloat16" if precision == "bf16" else "float32")
    if precision == "fp16":
        taught = taught.half()
    if taught.context_length < context:
        raise ModelError(
            f"the teacher sees {taught.context_length:,} tokens, and rows have {context:,}",
            where="objective.teacher",
            expected=f"a model.context of at most {taught.context_length:,}",
        )
    return Distillation(config, taught.requires_grad_(False).eval(), known_ids=load_tokenizer(tokenizer).vocab_size)


def _check_tokenizers(ours: Path, teachers: Path) -> None:
    """Both must give the same ids: equal vocabularies, and equal ways to cut.

    Raises:
        ModelError: with how many ids differ.
    """
    one, other = (load_tokenizer(folder).library.get_vocab(with_added_tokens=True) for folder in (ours, teachers))
    shared = sum(other.get(token) == number for token, number in one.items())
    if shared != len(one) or len(one) != len(other):
        raise ModelError(
            f"the teacher has another tokenizer: {len(other):,} tokens, here {len(one):,}; {shared:,} have the same id",
            where="objective.teacher",
            expected="the same tokenizer: its distribution is over its own tokens",
            fix="start from a model with the teacher's tokenizer (`model: {from: ...}`), or choose another teacher",
        )
    cuts = [json.dumps([read_json(folder / FILE).get(key) for key in CUTTING], sort_keys=True) for folder in (ours, teachers)]
    if cuts[0] != cuts[1]:
        raise ModelError(
            f"the teacher's tokenizer has the same {len(one):,} tokens and cuts text in another way",
            where="objective.teacher",
            expected="the same tokenizer",
        )


CUTTING = ("normalizer", "pre_tokenizer", "model")
"""The parts of a tokenizer.json that say how text becomes tokens."""
