"""What it takes to load a model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from lmpipe.models.families import save
from lmpipe.models.llama.config import LlamaConfig
from lmpipe.models.llama.model import Llama

LOADING = """
import sys
from pathlib import Path
from lmpipe.models.loading import load_network
load_network(Path(sys.argv[1]))
print([name for name in ("torch._dynamo", "transformers") if name in sys.modules])
"""


def test_loading_a_model_imports_no_compiler(tmp_path: Path) -> None:
    """Its import takes longer than torch's own, in every stage that loads a model."""
    torch.manual_seed(0)
    save(Llama(LlamaConfig(layers=1, width=16, heads=2, context=8), 32), tmp_path, end_of_text_id=0)
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "config.json").stat().st_mode, "others may read it"
    command = [sys.executable, "-c", LOADING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
