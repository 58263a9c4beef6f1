"""Peak memory of every data stage on an input and on ten times as much: it must stay flat.

    python benchmarks/data/memory.py                   # 40 MB and 400 MB of made-up but realistic JSON lines
    python benchmarks/data/memory.py --megabytes 20
    python benchmarks/data/memory.py FOLDER            # files of your own: all of them, and ten copies under other names

Each stage runs in a process of its own, one worker, as in a run; the peak is what the kernel reports for that process (VmHWM).
The interpreter with its libraries alone takes much of it, so that is measured, too, and the ratio is also given without it.

The made-up text has the traits that cost memory: documents from 200 to 20,000 characters, 10% exact duplicates, letters beyond
ASCII, some personal data, some documents that repeat themselves, and new words without end (every twentieth is rare).
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

STAGES = (
    "nothing",
    "read",
    "repair",
    "measure",
    "duplicates",
    "near",
    "select",
    "mask",
    "toward",
    "split",
    "balance",
    "arrange",
)
BAR = 1.10
WORDS = """the of and to in that was his he it with as for had you not be her on at by which have or from this but all were she
they model data token loss gradient naïve façade größer Straße über café résumé coöperate — “quoted” text river mountain letter
morning house garden window answer question number people water country against between nothing another through without"""
SYLLABLES = [
    "ba",
    "ko",
    "ri",
    "ten",
    "mu",
    "sal",
    "dor",
    "vi",
    "pe",
    "lan",
    "gri",
    "so",
    "fa",
    "hel",
    "ju",
    "nok",
    "wem",
    "tra",
]


def make_text(folder: Path, megabytes: float, seed: int = 1) -> None:
    """JSON lines in files of 10 MB."""
    generator = random.Random(seed)
    recent: list[str] = []
    written, number = 0, 0
    while written < megabytes * 1e6:
        with (folder / f"made-up-{number:04d}.jsonl").open("w", encoding="utf-8") as file:
            size = 0
            while size < 10e6 and written + size < megabytes * 1e6:
                text = generator.choice(recent) if recent and generator.random() < 0.1 else document(generator)
                recent = [*recent[-50:], text]
                size += file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        written += size
        number += 1


def document(generator: random.Random) -> str:
    characters = int(10 ** generator.uniform(2.3, 4.3))
    words, paragraphs = WORDS.split(), []
    while characters > 0:
        chosen = generator.choices(words, k=generator.randint(10, 120))
        for place in range(generator.randrange(20), len(chosen), 20):
            chosen[place] = "".join(generator.choices(SYLLABLES, k=generator.randint(3, 5)))
        paragraph = " ".join(chosen)
        paragraphs.append(paragraph)
        characters -= len(paragraph)
    if generator.random() < 0.05:
        number, place = generator.randrange(10**6), generator.randrange(1000, 9999)
        paragraphs.append(f"write to user{number}@example.org or call 905-674-{place}")
    if generator.random() < 0.05:
        paragraphs *= 3
    return "\n\n".join(paragraphs)


def run_stage(stage: str, folder: Path, source: Path) -> None:
    """One stage in this process; its output stays in `folder` for the next one."""
    from lmpipe.base.progress import Silent
    from lmpipe.data import measuring, reading, selection
    from lmpipe.data.cleaning.repair import repair
    from lmpipe.data.config import CorpusConfig
    from lmpipe.data.dedup import exact, minhash
    from lmpipe.data.mixing import balancing, importance, ordering
    from lmpipe.data.mixing.config import BalanceConfig, CurriculumConfig, TowardConfig
    from lmpipe.data.pii import masking
    from lmpipe.data.readers.sources import pinned, resolve_all
    from lmpipe.data.splitting import dividing
    from lmpipe.data.splitting.config import LeakageConfig, SplitConfig

    suffix = next(path.suffix for path in sorted(source.iterdir()))
    kind = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet"}.get(suffix, "text")
    corpus = CorpusConfig.model_validate(
        {
            "read": [{"kind": kind, "paths": [f"{source}/**/*"]}],
            "max_failed_fraction": 1.0,
            "clean": [{"kind": "unicode"}, {"kind": "length", "min_characters": 200}, {"kind": "gopher_repetition"}],
            "dedup": [{"kind": "exact"}, {"kind": "minhash"}],
            "pii": {},
        }
    )
    output, scratch = folder / stage, folder / "scratch" / stage
    output.mkdir()
    scratch.mkdir(parents=True)
    kwargs = {"scratch": scratch, "progress": Silent(), "workers": 1}
    repaired = folder / "repair"

    def read() -> None:
        files = resolve_all(corpus.read, [])
        config = pinned(corpus.read, files, corpus.max_failed_fraction)
        reading.read(config, [file for group in files for file in group], output, **kwargs)

    stages: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "read": read,
        "repair": lambda: repair(folder / "read", output, config=corpus.unicode(), **kwargs),
        "measure": lambda: measuring.measure(repaired, output, config=corpus.measure(), **kwargs),
        "duplicates": lambda: exact.mark_duplicates(repaired, output, config=corpus.dedup[0], **kwargs),
        "near": lambda: minhash.mark_near_duplicates(
            repaired, output, config=corpus.dedup[1], earlier=[folder / "duplicates"], **kwargs
        ),
        "select": lambda: selection.select(
            repaired,
            [folder / "measure"],
            {"exact": folder / "duplicates", "minhash": folder / "near"},
            output,
            config=corpus.select(),
            **kwargs,
        ),
        "mask": lambda: masking.mask(folder / "select", output, config=corpus.pii.masking(), **kwargs),
        "toward": lambda: importance.select_toward(
            folder / "mask", folder / "mask", output, config=TowardConfig(corpus="itself", fraction=0.9), seed=1, **kwargs
        ),
        "split": lambda: dividing.split(
            folder / "mask", output, config=SplitConfig(leakage=LeakageConfig(action="drop")), seed=1, **kwargs
        ),
        "balance": lambda: balancing.balance(
            folder / "split", output, config=BalanceConfig(column="source", max_repeats=2), seed=1, **kwargs
        ),
        "arrange": lambda: ordering.arrange(folder / "split", output, config=CurriculumConfig(), seed=1, **kwargs),
    }
    stages[stage]()
    shutil.rmtree(scratch)


def measured(stage: str, folder: Path, source: Path) -> tuple[float, float]:
    """(peak MB, seconds) of one stage in a process of its own."""
    command = [sys.executable, __file__, "--stage", stage, "--work", str(folder), str(source)]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout) / 1000, time.perf_counter() - started


def peak_kilobytes() -> int:
    """The most memory that this process ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def size_of(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def compare(small: Path, large: Path, work: Path) -> bool:
    """Print the table; say whether every stage is within the bar."""
    print(f"input {size_of(small):,.0f} MB and {size_of(large):,.0f} MB, one worker, one process per stage")
    print("stage         peak 1x   peak 10x  ratio  less libraries  seconds 1x     10x   MB/s")
    base, good = 0.0, True
    for stage in STAGES:
        results = []
        for name, source in (("1x", small), ("10x", large)):
            folder = work / name
            folder.mkdir(exist_ok=True)
            results.append(measured(stage, folder, source))
        (peak, seconds), (peak_10, seconds_10) = results
        base = base or peak
        alone = (peak_10 - base) / max(1.0, peak - base)
        speed = size_of(large) / seconds_10
        figures = f"{peak:6.0f} MB {peak_10:7.0f} MB {peak_10 / peak:6.2f} {alone:15.2f}"
        figures += f" {seconds:11.1f} {seconds_10:7.1f} {speed:6.0f}"
        print(f"{stage:12}{figures}" if stage != "nothing" else f"{stage:12}{peak:6.0f} MB {peak_10:7.0f} MB")
        good &= peak_10 / peak <= BAR
    print(f"bar: at most {BAR:.2f} for every stage: {'held' if good else 'MISSED'}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path, help="folder with files of one kind")
    parser.add_argument("--megabytes", type=float, default=40, help="of made-up text where no folder is given")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        run_stage(arguments.stage, arguments.work, arguments.source)
        print(peak_kilobytes())
        return 0
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        large = work / "large"
        large.mkdir()
        if arguments.source:
            small = arguments.source
            for copy in range(10):
                shutil.copytree(small, large / f"copy-{copy}")
        else:
            small = work / "small"
            small.mkdir()
            make_text(small, arguments.megabytes)
            make_text(large, 10 * arguments.megabytes)
        return 0 if compare(small, large, work) else 1


if __name__ == "__main__":
    sys.exit(main())
