"""Optional parts: asked for at the moment of use, by an error that names the extra which brings them."""

from __future__ import annotations

import importlib
from types import ModuleType

from lmpipe.base.errors import MissingExtraError

EXTRAS: dict[str, tuple[str, ...]] = {
    "data": ("numpy", "pyarrow", "zstandard"),
    "language": ("py3langid", "lingua"),
    "train": ("numpy", "torch", "tokenizers", "safetensors"),
    "serve": ("fastapi", "uvicorn", "prometheus_client"),
    "presidio": ("presidio_analyzer", "spacy"),
    "hub": ("datasets", "transformers"),
    "ray": ("ray",),
    "web": ("trafilatura", "resiliparse", "brotli", "lxml_html_clean"),
    "documents": ("pypdfium2",),
    "remote": ("aiohttp",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "wandb": ("wandb",),
    "eval": ("sacrebleu", "rouge_score", "lm_eval"),
}
"""Which modules each extra of `pyproject.toml` brings: the table that `lmpipe doctor` prints and a test compares with it."""


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or say which extra brings it.

    Raises:
        MissingExtraError: when the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise  # a broken installation of something else: the traceback helps, a guess would not
        raise MissingExtraError(
            f"{purpose} needs '{module}', which is not installed",
            expected=f"the extra [{extra}]",
            fix=f"pip install 'lmpipe[{extra}]' (`lmpipe doctor` shows what is there)",
        ) from None
