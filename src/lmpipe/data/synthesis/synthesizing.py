"""Documents from a generator: the `synthesize` stage, which stands where other corpora are read.

    seeds, attributes, prompts --> questions --> examples
        --> part-*.parquet     those that stay
       `--> dropped.parquet    id, source, rule, value, threshold, duplicate_of
       `--> calls.jsonl        which answers it was made from, by digest
       `--> synthesis.json     {seeds, seeds_too_long, questions, documents, generator: {...}, judge?: {...}}
       `--> ledger.json        examples kept, dropped{rule}, failed{refused}

Promises: equal answers give equal bytes, so a store that holds the answers gives the same documents at any time. A generator
that runs elsewhere may answer otherwise the next day; what it did answer is kept, and named here by its digest. Memory follows
the number of questions (their slots, not their answers) and one batch of answers.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.dedup.config import ExactConfig, MinhashConfig
from lmpipe.data.dedup.exact import mark_duplicates
from lmpipe.data.dedup.minhash import mark_near_duplicates
from lmpipe.data.documents import parts_of, tables_of
from lmpipe.data.dropped import DROPPED, gather_dropped
from lmpipe.data.filters.config import SelectConfig
from lmpipe.data.generation.asking import Asker, Usage, account
from lmpipe.data.parts import nothing_left
from lmpipe.data.selection import select
from lmpipe.data.synthesis.config import SynthesisConfig
from lmpipe.data.synthesis.questions import Draw, choose_seeds, draws
from lmpipe.data.synthesis.writing import CALLS, USAGE, Batch, Plan, Writer
from lmpipe.data.tasks import add_ledgers, gather_lines, gather_parts, run_tasks, save_ledger

FACTS = "synthesis.json"
BATCH = 256
"""Draws in one task: what is asked in one go, and at most read again from the memory of answers after a kill."""


def synthesize(
    seeds: Path | None,
    output: Path,
    *,
    config: SynthesisConfig,
    seed: int,
    max_failed_fraction: float,
    asker: Asker,
    judge: Asker | None,
    scratch: Path,
    progress: Progress,
    workers: int,
) -> Ledger:
    """Have documents written.

    Args:
        seeds: folder with parts of documents that questions are built around; None where the config names none.
        output: an existing, empty folder.
        config: what is asked and what must hold of the answers.
        seed: of draws and of the generator's seeds.
        max_failed_fraction: share of refused questions that stops the run.
        asker: the generator.
        judge: who judges; None where the config has no judge.
        scratch: survives a kill; what is done is not done again.
        progress: told questions done, then documents.
        workers: of the search for duplicates; changes no byte.

    Raises:
        SourceError: when there is no seed, too many questions are refused, or no example is left.
        LmpipeError: from a generator; what was answered is kept.
    """
    plan = Plan(config, seed, asker, judge, source_name(asker.generator.identity))
    part_by_seed, too_long = _seeds(seeds, config, seed)
    batches = list(_batches(draws(config, sorted(part_by_seed), seed), part_by_seed))
    sizes = [len(batch.draws) for batch in batches]
    folders = run_tasks(Writer(plan), batches, sizes, scratch / "write", workers=1, progress=progress, unit="questions")
    ledger = add_ledgers(folders)
    ledger.close(max_failed_fraction=max_failed_fraction, where="synthesize")
    if not ledger.rows_kept:
        raise nothing_left(ledger, "synthesize")
    ledger = _without_duplicates(folders, seeds, output, config, ledger, scratch, {"progress": progress, "workers": workers})
    gather_lines(folders, output, CALLS)
    counts = {"seeds": len(part_by_seed), "seeds_too_long": too_long, "questions": sum(sizes)}
    write_json(output / FACTS, {**counts, **_accounts(folders, plan), "documents": ledger.rows_kept})
    save_ledger(output, ledger)
    return ledger


def source_name(identity: Mapping[str, str]) -> str:
    """What documents name as their source: `synthetic/<model>`."""
    return f"synthetic/{identity.get('model') or identity['kind']}"


def _seeds(folder: Path | None, config: SynthesisConfig, seed: int) -> tuple[dict[str, Path], int]:
    """(part by id of each chosen seed, how many documents are too long to be one)."""
    if folder is None or config.seeds is None:
        return {}, 0
    found: dict[str, Path] = {}
    too_long = 0
    for part in parts_of(folder):
        for table in tables_of(part, ["id", "text"]):
            for identity, text in zip(*(column.to_pylist() for column in table.columns), strict=True):
                if len(text) > config.seeds.max_characters:
                    too_long += 1
                else:
                    found[identity] = part
    if not found:
        raise SourceError(
            f"there is no seed: {too_long} documents of '{config.seeds.corpus}' are longer than max_characters",
            where="synthesis.seeds",
            expected=f"documents of at most {config.seeds.max_characters:,} characters on its training side",
            fix="raise seeds.max_characters, or read that corpus by paragraphs",
        )
    return {identity: found[identity] for identity in choose_seeds(found, config.seeds.count, seed)}, too_long


def _batches(drawn: Iterator[Draw], part_by_seed: Mapping[str, Path]) -> Iterator[Batch]:
    """Runs of draws whose seeds stand in one part, part by part, so that a task reads one part only."""
    by_part: dict[Path | None, list[Draw]] = defaultdict(list)
    for draw in drawn:
        by_part[part_by_seed.get(draw.seed_id)].append(draw)
    for part in sorted(by_part, key=str):
        of_part = by_part[part]
        for start in range(0, len(of_part), BATCH):
            yield Batch(part, of_part[start : start + BATCH])


def _without_duplicates(
    folders: Sequence[Path],
    seeds: Path | None,
    output: Path,
    config: SynthesisConfig,
    ledger: Ledger,
    scratch: Path,
    options: dict[str, Any],
) -> Ledger:
    """Write the examples that repeat neither a seed nor an earlier example; the whole account comes back."""
    examples = scratch / "examples"
    shutil.rmtree(examples, ignore_errors=True)
    gather_parts(folders, examples)
    against = {"seeds": seeds} if seeds else {}
    marks: dict[str, Path] = {}
    searches: list[tuple[str, Any, Any]] = [("exact", mark_duplicates, ExactConfig())]
    searches += [("minhash", mark_near_duplicates, MinhashConfig(threshold=config.near))] if config.near else []
    for kind, search, settings in searches:
        marked = scratch / f"marked-{kind}"
        shutil.rmtree(marked, ignore_errors=True)
        marked.mkdir()
        search(
            examples,
            marked,
            config=settings,
            scratch=scratch / kind,
            against=against,
            earlier=list(marks.values()),
            **options,
        )
        marks[kind] = marked
    found = select(examples, (), marks, output, config=SelectConfig(), scratch=scratch, **options)
    _add_dropped(folders, output)
    ledger.rows_kept, ledger.characters_kept = found.rows_kept, found.characters_kept
    ledger.dropped.update(found.dropped)
    return ledger


def _add_dropped(folders: Sequence[Path], output: Path) -> None:
    """Those that rules and the judge took out stand before the duplicates."""
    duplicates = list(tables_of(output / DROPPED))
    gather_dropped(folders, output, then=duplicates)


def _accounts(folders: Sequence[Path], plan: Plan) -> dict[str, Any]:
    """Who was asked, what it took and what it costs."""
    usages = {"generator": Usage(), "judge": Usage()}
    for facts in (read_json(folder / USAGE) for folder in folders):
        for role, usage in usages.items():
            usage.add(facts[role])
    config = plan.config
    judge_config = (config.judge.generator if config.judge else None) or config.generator
    accounts = {"generator": account(usages["generator"], plan.asker.generator.identity, _price(config.generator))}
    if plan.judge is not None:
        accounts["judge"] = account(usages["judge"], plan.judge.generator.identity, _price(judge_config))
    return accounts


def _price(generator: Any) -> Any:
    return getattr(generator, "price", None)
