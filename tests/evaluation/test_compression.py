import shutil
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmpipe.base.errors import SourceError
from lmpipe.evaluation.compression import texts_of, xz_size

TEXTS = [f"document {i}: the quick brown fox jumps over the lazy dog, naïvely\n" * (i + 1) for i in range(30)]


def test_texts_are_read_in_order_from_all_parts(tmp_path):
    pq.write_table(pa.table({"text": pa.array(TEXTS[:10], pa.large_string())}), tmp_path / "part-00000.parquet")
    pq.write_table(pa.table({"text": pa.array(TEXTS[10:], pa.large_string())}), tmp_path / "part-00001.parquet")
    assert list(texts_of(tmp_path)) == [text.encode() for text in TEXTS]


@pytest.mark.skipif(shutil.which("xz") is None, reason="no xz program to compare with")
@pytest.mark.parametrize("preset", [1, 9])
def test_size_is_that_of_the_xz_program(preset):
    data = "".join(TEXTS).encode()
    program = subprocess.run(["xz", f"-{preset}", "--threads=1", "-c"], input=data, capture_output=True, check=True)
    measured = xz_size((text.encode() for text in TEXTS), preset)
    assert measured.bytes_out == len(program.stdout)
    assert measured.bits_per_byte == pytest.approx(8 * len(program.stdout) / len(data))


def test_nothing_to_compress_is_said():
    with pytest.raises(SourceError, match="no text"):
        xz_size([], 9)


def test_folder_without_texts_is_said(tmp_path):
    with pytest.raises(SourceError, match="part-"):
        list(texts_of(tmp_path))
