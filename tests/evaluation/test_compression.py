import shutil
import subprocess

import pytest

from lmpipe.base.errors import SourceError
from lmpipe.evaluation.compression import xz_size

TEXTS = [f"document {i}: the quick brown fox jumps over the lazy dog, naïvely\n" * (i + 1) for i in range(30)]


@pytest.mark.skipif(shutil.which("xz") is None, reason="no xz program to compare with")
@pytest.mark.parametrize("preset", [1, 9])
def test_size_is_that_of_the_xz_program(preset):
    data = "".join(TEXTS).encode()
    program = subprocess.run(["xz", f"-{preset}", "--threads=1", "-c"], input=data, capture_output=True, check=True)
    measured = xz_size(TEXTS, preset)
    assert measured.bytes_out == len(program.stdout)
    assert measured.bits_per_byte == pytest.approx(8 * len(program.stdout) / len(data))


def test_nothing_to_compress_is_said():
    with pytest.raises(SourceError, match="no text"):
        xz_size([], 9)
