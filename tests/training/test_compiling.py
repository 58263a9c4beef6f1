"""A compiled step is trusted only where it computes what the uncompiled one does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from lmpipe.base.progress import Silent
from lmpipe.training.compiling import architecture_by_name, compiled_or_plain, has_compiler

GCC_12_ON_EMERALD_RAPIDS = """The following options are target specific:
  -mavx512bf16                		[enabled]
  -march=                     		cooperlake
  -mtune-ctrl=
  -mtune=                     		generic
  Known valid arguments for -march= option:
"""


class Notes(Silent):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


@pytest.mark.filterwarnings("ignore:.*jit.script_method:DeprecationWarning")  # of torch's own compiler
@pytest.mark.skipif(not has_compiler("cpu"), reason="no C++ compiler")
@pytest.mark.parametrize("wrong_by", [1.0, 2.0, float("nan"), float("inf")])
def test_what_the_compiler_got_wrong_is_not_learned_from(wrong_by: float) -> None:
    weight = torch.ones(8, requires_grad=True)
    state = torch.get_rng_state()

    def losses(x: Tensor) -> SimpleNamespace:
        factor = wrong_by if torch.compiler.is_compiling() else 1.0
        return SimpleNamespace(minimised=(weight * x).sum() * factor)

    notes = Notes()
    step = compiled_or_plain(losses, [weight], notes)  # type: ignore[arg-type]
    x = torch.arange(8.0)
    for _ in range(2):
        step(x).minimised.backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == (2 * x).tolist()
    assert torch.equal(state, torch.get_rng_state())
    assert [note.split(":")[0] for note in notes.told] == (
        [] if wrong_by == 1.0 else ["the compiled training step is wrong here"]
    )


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (GCC_12_ON_EMERALD_RAPIDS, "cooperlake"),
        (GCC_12_ON_EMERALD_RAPIDS.replace("generic", "sapphirerapids"), None),
        (GCC_12_ON_EMERALD_RAPIDS.replace("cooperlake", "x86-64-v3"), None),
        ("", None),
    ],
)
def test_gcc_is_told_the_processor_that_it_does_not_tune_for(told: str, name: str | None) -> None:
    assert architecture_by_name(told) == name
