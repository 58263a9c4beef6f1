"""Killed while it looks for near duplicates or takes spans out, the same call goes on and ends with the same bytes."""

import json
import random
import subprocess
import sys
import time

import pytest

from lmpipe.base.canonical import digests_of_folder
from lmpipe.data.documents import Document, PartWriter

PROGRAM = """
import sys
from pathlib import Path
from lmpipe.base.progress import Silent
from lmpipe.data.dedup import candidates
from lmpipe.data.dedup.config import MinhashConfig, SpansConfig
from lmpipe.data.dedup.minhash import mark_near_duplicates
from lmpipe.data.dedup.spans import remove_spans

candidates.SLICE_ROWS = 50
step, base, output, scratch = sys.argv[1], *map(Path, sys.argv[2:])
output.mkdir()
options = {"scratch": scratch, "progress": Silent(), "workers": 1}
if step == "minhash":
    mark_near_duplicates(base / "in", output, config=MinhashConfig(threshold=0.6), **options)
else:
    remove_spans(base / "in", output, config=SpansConfig(ngram=5, min_words=10), **options)
"""


def write(folder):
    rng = random.Random(1)
    texts = [" ".join(rng.choices([f"w{number}" for number in range(400)], k=150)) for _ in range(100)]
    texts += [" ".join(w if rng.random() > 0.03 else "changed" for w in rng.choice(texts).split()) for _ in range(500)]
    with PartWriter(folder, part_bytes=60_000) as writer:
        for number, text in enumerate(texts):
            writer.add(Document(str(number), text, "s", "l", "e", "{}"))


PHASES = {"minhash": ("keys/0*", "shingles/0*", "verified/0*", "marks/0*"), "spans": ("runs/0*", "rewrite/0*")}


@pytest.mark.parametrize(
    ("step", "moments"),
    [("minhash", PHASES["minhash"][1:3]), *(pytest.param(*phase, marks=pytest.mark.slow) for phase in PHASES.items())],
)
def test_killed_at_every_phase_the_same_call_finishes_with_the_same_bytes(tmp_path, step, moments):
    write(tmp_path / "in")

    def start(output, scratch):
        command = [sys.executable, "-c", PROGRAM, step, tmp_path, tmp_path / output, tmp_path / scratch]
        return subprocess.Popen(list(map(str, command)))

    straight = start("straight", "s0")
    kills = 0
    for number, moment in enumerate(moments):  # killed once that phase has done three of its tasks
        process = start(f"killed-{number}", "s1")
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if len(list((tmp_path / "s1").glob(moment))) >= 3:
                process.kill()
            time.sleep(0.001)
        kills += process.wait() != 0
    assert kills >= len(moments) - 1
    resumed = start("resumed", "s1")
    assert straight.wait() == resumed.wait() == 0
    assert digests_of_folder(tmp_path / "resumed") == digests_of_folder(tmp_path / "straight")
    ledger = json.loads((tmp_path / "resumed" / "ledger.json").read_text())
    assert ledger["dropped"] or ledger["characters_kept"] < ledger["characters_in"]
