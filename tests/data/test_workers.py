"""One worker or many, killed or not: the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import SourceError, StageError
from lmpipe.base.progress import Silent
from lmpipe.data.cleaning.config import LinesConfig, UnicodeConfig
from lmpipe.data.cleaning.lines import remove_lines
from lmpipe.data.cleaning.repair import repair
from lmpipe.data.dedup.config import ExactConfig, MinhashConfig
from lmpipe.data.dedup.exact import mark_duplicates
from lmpipe.data.dedup.minhash import mark_near_duplicates
from lmpipe.data.engines.choice import Engine, use_engine
from lmpipe.data.filters.config import GopherRepetitionConfig, LengthConfig, SelectConfig
from lmpipe.data.filters.scores import (
    C4Scores,
    CodeScores,
    FinewebScores,
    GopherQualityScores,
    GopherRepetitionScores,
    LengthScores,
    MeasureConfig,
)
from lmpipe.data.measuring import measure
from lmpipe.data.mixing.balancing import balance
from lmpipe.data.mixing.config import BalanceConfig, CurriculumConfig
from lmpipe.data.mixing.ordering import arrange
from lmpipe.data.pii.config import PiiConfig
from lmpipe.data.pii.masking import mask
from lmpipe.data.selection import select
from lmpipe.data.splitting.config import SplitConfig
from lmpipe.data.splitting.dividing import split
from lmpipe.data.tasks import run_tasks

MEASURE = MeasureConfig(
    scores=(C4Scores(), CodeScores(), FinewebScores(), GopherQualityScores(), GopherRepetitionScores(), LengthScores())
)
SELECT = SelectConfig(filters=(LengthConfig(min_characters=20), GopherRepetitionConfig()))


def whole_pipeline(base, read_corpus, folders, workers):
    """Digests of every file that every stage wrote. `workers` by stage; one where it says nothing."""
    source = {"kind": "text", "paths": ["texts/*.txt"], "max_document_chars": 300}
    done = {"read": read_corpus(source, workers=workers.get("read", 1), part_bytes=9000).output}

    def step(name, function, *inputs, **arguments):
        output, options = folders(workers.get(name, 1))
        paths = (done[i] if isinstance(i, str) else [done[j] for j in i] for i in inputs)
        function(*paths, output, **arguments, **options)
        done[name] = output

    step("repair", repair, "read", config=UnicodeConfig())
    step("lines", remove_lines, "repair", config=LinesConfig(terminal_punctuation=False, min_words=1, repeated_in=3))
    step("measure", measure, "repair", config=MEASURE)
    step("duplicates", mark_duplicates, "repair", config=ExactConfig())
    step("near", mark_near_duplicates, "repair", config=MinhashConfig(threshold=0.5), earlier=[done["duplicates"]])
    output, options = folders(workers.get("select", 1))
    marks = {"exact": done["duplicates"], "minhash": done["near"]}
    select(done["repair"], [done["measure"]], marks, output, config=SELECT, **options)
    done["select"] = output
    step("mask", mask, "select", config=PiiConfig())
    step("source", split, "mask", config=SplitConfig(train=0.6, validation=0.2, test=0.2, by="source"), seed=1)
    step("position", split, "mask", config=SplitConfig(by="position"), seed=1)
    step("balance", balance, "source", config=BalanceConfig(column="source"), seed=1)
    step("arrange", arrange, "source", config=CurriculumConfig(), seed=1, part_bytes=2000)
    return {name: digests_of_folder(folder) for name, folder in done.items()}


STEPS = (
    "read",
    "repair",
    "lines",
    "measure",
    "duplicates",
    "near",
    "select",
    "mask",
    "source",
    "position",
    "balance",
    "arrange",
)
SLOW = [pytest.param(dict.fromkeys(STEPS, workers), marks=pytest.mark.slow, id=f"all-{workers}") for workers in (2, 5)]


@pytest.mark.parametrize(
    "workers", [{"read": 2, "duplicates": 2, "near": 2, "source": 2}, *SLOW]
)  # starting processes takes the time
def test_the_number_of_workers_shows_in_no_byte(tmp_path, read_corpus, folders, workers):
    write_texts(tmp_path)
    one, many = (whole_pipeline(tmp_path, read_corpus, folders, n) for n in ({}, workers))
    assert one == many
    assert len([name for name in one["read"] if name.startswith("part-")]) > 3


@pytest.mark.slow
def test_the_whole_side_on_ray_has_the_same_bytes(tmp_path, read_corpus, folders, monkeypatch):
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    write_texts(tmp_path)
    expected = whole_pipeline(tmp_path, read_corpus, folders, {})
    use_engine(Engine("ray"))
    try:
        assert whole_pipeline(tmp_path, read_corpus, folders, dict.fromkeys(STEPS, 2)) == expected
    finally:
        use_engine(Engine())
        ray.shutdown()


def write_texts(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(30):
        words = random.Random(number % 25).choices([f"wörd{word}" for word in range(500)], k=number % 7 * 40 + 4)
        body = f"naÃ¯ve, mail p{number % 25}@example.org\n" + "\n".join(map(" ".join, zip(*[iter(words)] * 4, strict=True)))
        (tmp_path / "texts" / f"{number:02}.txt").write_bytes(b"\xff" if number == 13 else body.encode())


def fails_on_two(task, folder, tick):
    if task == 2:
        raise SourceError("task two cannot be done", where="here", fix="leave it out")
    (folder / "done").write_text(str(task))


def dies_on_two(task, folder, tick):
    if task == 2:
        while not all((folder.parent / name).is_dir() for name in ("00000", "00001")):
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / "done").write_text(str(task))


def counts(task, folder, tick):
    with (Path(task) / "log").open("a") as log:
        log.write("x")
    (folder / "done").write_text("done")


def run(function, tasks, scratch, workers):
    return run_tasks(function, tasks, [1] * len(tasks), scratch, workers=workers, progress=Silent(), unit="tasks")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_task_keeps_its_message_and_what_was_done(tmp_path, workers):
    with pytest.raises(SourceError, match="task two cannot be done") as error:
        run(fails_on_two, [0, 1, 2], tmp_path / "s", workers)
    assert (error.value.where, error.value.fix) == ("here", "leave it out")
    assert {path.name for path in (tmp_path / "s").iterdir() if not path.name.startswith(".")} == {"00000", "00001"}


def test_a_worker_that_dies_is_named_and_loses_no_finished_task(tmp_path):
    with pytest.raises(StageError, match="a worker process died"):
        run(dies_on_two, [0, 1, 2], tmp_path / "step", 2)
    assert [(tmp_path / "step" / f"0000{n}" / "done").read_text() for n in (0, 1)] == ["0", "1"]


def test_a_finished_task_is_not_done_again(tmp_path):
    for expected in ("xxx", "xxx", "xxxx"):
        folders = run(counts, [str(tmp_path)] * 3, tmp_path / "s", 1)
        assert (tmp_path / "log").read_text() == expected
        assert all((folder / "done").is_file() for folder in folders)
        if expected == "xxx" and not (tmp_path / "again").exists():
            (tmp_path / "again").touch()
        else:
            (folders[1] / "done").unlink()
            folders[1].rmdir()
            (folders[1].with_name(".00001.tmp")).mkdir()
            (folders[1].with_name(".00001.tmp") / "half").write_text("written when it was killed")


PROGRAM = """
import sys
from pathlib import Path
from lmpipe.base.progress import Silent
from lmpipe.data.readers.config import ReadConfig, TextSource
from lmpipe.data.reading import read
from lmpipe.data.readers.sources import SourceFile
base = Path(sys.argv[1])
files = [SourceFile(p.name, str(p), p.stat().st_size, "") for p in sorted((base / "texts").iterdir())]
config = ReadConfig(sources=(TextSource(paths=tuple(f.name for f in files), document="line"),))
output = base / sys.argv[2]
output.mkdir()
read(config, files, output, scratch=base / sys.argv[3], progress=Silent(), workers=1, part_bytes=20_000)
"""


def test_killed_at_any_moment_the_same_call_finishes_with_the_same_bytes(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(12):
        (tmp_path / "texts" / f"{number:02}.txt").write_text("".join(f"{number} {n} text\n" for n in range(1500)))

    def start(output, scratch):
        return subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), output, scratch])

    assert start("straight", "s0").wait() == 0
    kills = 0
    for wanted in (1, 5, 9):  # killed once that many tasks are done
        process = start(f"killed-{wanted}", "s1")
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if len(list((tmp_path / "s1").glob("read/0*"))) >= wanted:
                process.kill()
            time.sleep(0.002)
        kills += process.wait() != 0
    assert kills >= 2
    assert start("resumed", "s1").wait() == 0
    assert digests_of_folder(tmp_path / "resumed") == digests_of_folder(tmp_path / "straight")
