"""What a process that does data tasks need not pay for."""

import subprocess
import sys

CODE = """
import sys
from pathlib import Path
import pyarrow as pa
from lmpipe.data.engines.performing import perform

def task(task, folder, tick):
    pa.array(["text"])
    (folder / "pandas").write_text(str("pandas" in sys.modules))

perform(task, None, Path(sys.argv[1]) / "0", print)
import pandas
assert pa.table({"a": [1]}).to_pandas().shape == (1, 1)
assert pa.array([float("nan")], from_pandas=True).null_count == 1
"""


def test_a_task_does_not_import_pandas_and_who_wants_it_still_can(tmp_path):
    subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], check=True)
    assert (tmp_path / "0" / "pandas").read_text() == "False"
