"""pyarrow without pandas: its first array made of a list imports pandas where that is installed, to know a pandas object if it
meets one. No step here has any, and the import costs every process a quarter of a second of its processor and 35 MB."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import pyarrow as pa


class _NoPandas:
    """Finds no pandas."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Refuse pandas; know nothing of other modules."""
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)


@cache
def spare_pandas() -> None:
    """Let pyarrow look for pandas now and find none. It looks once; what needs pandas (`to_pandas`, other libraries) still
    imports it later. Where pandas is imported already, nothing is spared, and nothing done."""
    if "pandas" not in sys.modules:
        finder: Any = _NoPandas()
        sys.meta_path.insert(0, finder)
        try:
            pa.array([0])
        finally:
            sys.meta_path.remove(finder)
