"""Language identification: accuracy on sentences, word pairs and words, and texts per second, beside py3langid and lingua.

    python benchmarks/data/language_id.py FOLDER [--each 60] [--rounds 3]

FOLDER holds lingua's own test data: `sentences/en.txt`, `word-pairs/de.txt`, ... Every language counts the same. py3langid
calls Norwegian `no`, which counts as `nb`. Needs this project's [language]; runs alternate, one thread.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from lingua import LanguageDetectorBuilder
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from lmpipe.data.filters.language import LanguageFinder, sample_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=60, help="texts of each language")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    versions = {name: importlib.metadata.version(name) for name in ("py3langid", "lingua-language-detector")}
    print(f"{platform.processor() or platform.machine()}; {versions}; load {os.getloadavg()[0]:.1f}")
    contenders = detectors()
    for kind in ("sentences", "word-pairs", "single-words"):
        texts, truth = read(options.folder / kind, options.each)
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        right: dict[str, float] = {}
        for _ in range(options.rounds):
            for name, detect in contenders.items():
                started = time.process_time()
                found = detect(texts)
                rates[name].append(len(texts) / (time.process_time() - started))
                right[name] = statistics.mean(a == b for a, b in zip(found, truth, strict=True))
        for name, found_rates in rates.items():
            ratios = [a / b for a, b in zip(found_rates, rates["lingua"], strict=True)]
            print(
                f"{kind:13} {name:10} accuracy {right[name]:.4f}, {statistics.median(found_rates):7.0f} texts/s "
                f"({min(found_rates):.0f} to {max(found_rates):.0f}), {statistics.median(ratios):.1f}x lingua"
            )


def detectors() -> dict[str, Callable[[list[str]], list[str]]]:
    finder = LanguageFinder()
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    lingua = LanguageDetectorBuilder.from_all_languages().with_preloaded_language_models().build()

    def by_lingua(texts: list[str]) -> list[str]:
        found = (lingua.detect_language_of(text) for text in texts)
        return [language.iso_code_639_1.name.lower() if language else "und" for language in found]

    return {
        "ours": lambda texts: [code for code, _ in finder.find([sample_of(text) for text in texts])],
        "py3langid": lambda texts: ["nb" if (code := identifier.classify(text)[0]) == "no" else code for text in texts],
        "lingua": by_lingua,
    }


def read(folder: Path, each: int) -> tuple[list[str], list[str]]:
    texts, truth = [], []
    for path in sorted(folder.glob("*.txt")):
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        random.Random(1).shuffle(lines)
        texts += lines[:each]
        truth += [path.stem] * len(lines[:each])
    return texts, truth


if __name__ == "__main__":
    main()
