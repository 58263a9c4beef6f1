"""A compiled step is trusted only where it computes what the uncompiled one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from lmpipe.base.progress import Silent
from lmpipe.training.compiling import architecture_by_name, compiled_or_plain, has_compiler, is_torn, torn_library

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


COMPILED = """
from types import SimpleNamespace
import torch
from lmpipe.base.progress import Silent
from lmpipe.training.compiling import compiled_or_plain

class Told(Silent):
    def note(self, text):
        print(text)

torch.manual_seed(0)
weight = torch.nn.Parameter(torch.randn(16, 16))
losses = compiled_or_plain(lambda x: SimpleNamespace(minimised=torch.tanh(x @ weight).pow(2).sum()), [weight], Told())
print(losses(torch.randn(8, 16)).minimised.item())
"""


@pytest.mark.slow
def test_what_a_killed_run_left_half_compiled_is_compiled_anew(tmp_path: Path) -> None:
    def compiled() -> list[str]:
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", COMPILED]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()

    (whole,) = compiled()
    libraries = list(tmp_path.rglob("*.main.so"))
    libraries[0].write_bytes(b"")
    assert compiled() == ["a compiled library was half-written when a run was killed; it is compiled anew", whole]
    libraries[1].write_bytes(libraries[1].read_bytes()[:5000])
    os.utime(libraries[1], (0, 0))
    assert compiled() == [whole]
    assert not any(is_torn(library) for library in libraries)


def test_the_loaders_words_name_the_library() -> None:
    told = "backend='inductor' raised:\nImportError: /tmp/c/3k/ab.main.so: file too short\n\nSet TORCHDYNAMO_VERBOSE=1"
    assert torn_library(told) == Path("/tmp/c/3k/ab.main.so")
    assert torn_library("CppCompileError: C++ compile error") is None
