"""A document that kills its worker or never ends: the worker is replaced, the document booked, nothing else lost. The functions
here stand for a step with a defect in native code; everything else is as in a run."""

import json
import os
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import SourceError, StageError
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Silent
from lmpipe.data.documents import TableWriter, part_name, parts_of, read_documents, tables_of
from lmpipe.data.engines.choice import Engine, use_engine
from lmpipe.data.filters.config import LengthConfig, SelectConfig
from lmpipe.data.parts import PartTask, finish, run_over_parts
from lmpipe.data.rescuing import RescueRows
from lmpipe.data.selection import select
from lmpipe.data.tasks import save_ledger

SCORES = pa.schema([("id", pa.string()), ("length.words", pa.int64())])


def treat(text):
    if "KILL" in text:
        os._exit(7)
    while "HANG" in text:
        signal.pause()
    return text.upper()


def transform(task: PartTask, folder: Path, tick):
    ledger = Ledger()
    with TableWriter(folder / part_name(0)) as writer:
        for table in tables_of(task.part):
            for text in map(treat, table.column("text").to_pylist()):
                ledger.keep(len(text))
            writer.write(table)
            tick(table.num_rows)
    save_ledger(folder, ledger)


def annotate(task: PartTask, folder: Path, tick):
    ledger = Ledger()
    with TableWriter(folder / part_name(0), SCORES) as writer:
        for table in tables_of(task.part):
            texts = list(map(treat, table.column("text").to_pylist()))
            for text in texts:
                ledger.keep(len(text))
            words = pa.array([len(text.split()) for text in texts], pa.int64())
            writer.write(pa.table([table.column("id").combine_chunks(), words], schema=SCORES))
            tick(table.num_rows)
    save_ledger(folder, ledger)


@pytest.fixture
def short_limit():
    use_engine(Engine(document_seconds=3.0))
    yield
    use_engine(Engine())


@pytest.fixture
def work(tmp_path):
    """Runs a step over documents."""
    count = 0

    def run(function, documents, workers, **rescue):
        nonlocal count
        count += 1
        output, scratch = tmp_path / f"out-{count}", tmp_path / f"scratch-{count}"
        options = {"workers": workers, "progress": Silent(), "rescue": RescueRows(**rescue)}
        folders = run_over_parts(function, documents, None, scratch / "step", **options)
        return output, finish(folders, output, "step")

    return run


def corpus(write_documents, bad, number=18, part_bytes=150):
    texts = [f"{bad.get(row, 'good')} document number {row}" for row in range(number)]
    return write_documents(texts, part_bytes)


def failures(output):
    lines = map(json.loads, (output / "failures.jsonl").read_text().splitlines())
    return {line["id"].split(":")[1]: line["error"] for line in lines}


def test_a_document_that_kills_is_booked_and_the_rest_is_done(write_documents, work):
    documents = corpus(write_documents, {3: "KILL"})
    assert len(parts_of(documents)) >= 3
    output, ledger = work(transform, documents, 2)
    ids = [d.id for d in read_documents(documents)]
    assert [d.id for d in read_documents(output)] == [identity for row, identity in enumerate(ids) if row != 3]
    assert (ledger.rows_in, ledger.rows_kept, ledger.failed.total()) == (18, 17, 1)
    assert failures(output) == {"3": "killed its worker"}
    assert "document number" not in (output / "failures.jsonl").read_text()


def test_a_document_that_never_ends_is_booked_and_the_rest_is_done(write_documents, work, short_limit):
    output, ledger = work(transform, corpus(write_documents, {1: "HANG"}, number=6, part_bytes=40), 2)
    assert (ledger.rows_in, ledger.rows_kept) == (6, 5)
    assert failures(output) == {"1": "kept its worker busy beyond the time limit"}


def test_scores_keep_a_row_for_every_document_and_one_without_is_not_kept(write_documents, work, tmp_path):
    documents = corpus(write_documents, {17: "KILL"})
    output, ledger = work(annotate, documents, 2, aligned=True)
    assert ledger.failed == {"killed its worker": 1}
    for scores, part in zip(parts_of(output), parts_of(documents), strict=True):
        assert pq.read_table(scores).column("id").equals(pq.read_table(part).column("id"))
    words = [w for part in parts_of(output) for w in pq.read_table(part).column("length.words").to_pylist()]
    assert [row for row, value in enumerate(words) if value is None] == [17]
    (tmp_path / "kept").mkdir()
    config = SelectConfig(filters=(LengthConfig(min_characters=None, min_words=2),))
    options = {"scratch": tmp_path / "select", "progress": Silent(), "workers": 1}
    kept = select(documents, [output], {}, tmp_path / "kept", config=config, **options)
    assert (kept.rows_kept, kept.dropped) == (17, {"failed.measure": 1})


@pytest.mark.slow  # a new process for every loss
def test_what_is_found_does_not_depend_on_the_number_of_workers(write_documents, work, short_limit):
    documents = corpus(write_documents, {3: "KILL", 4: "KILL", 25: "HANG", 59: "KILL"}, number=60, part_bytes=500)
    for function, aligned in ((transform, False), (annotate, True)):
        first, *others = (digests_of_folder(work(function, documents, n, aligned=aligned)[0]) for n in (2, 3, 5))
        assert others == [first, first]


@pytest.mark.slow
def test_a_part_of_which_every_document_kills_stops_the_run(write_documents, work):
    with pytest.raises(SourceError, match="more than 10 documents of one part end or hang their worker"):
        work(transform, corpus(write_documents, dict.fromkeys(range(60), "KILL"), number=60, part_bytes=500), 2)


def dies_once(task, folder, tick):
    marker = task.part.parent / f"died-{task.part.name}"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    transform(task, folder, tick)


def test_a_worker_killed_from_outside_costs_no_document(write_documents, work):
    output, ledger = work(dies_once, corpus(write_documents, {}), 2)
    assert ledger.rows_kept == 18
    assert not (output / "failures.jsonl").exists()


def dies_with_many(task, folder, tick):
    if sum(table.num_rows for table in tables_of(task.part, ["id"])) > 2:
        os._exit(9)
    transform(task, folder, tick)


@pytest.mark.slow
def test_where_no_single_document_is_to_blame_none_is_blamed(write_documents, work):
    with pytest.raises(StageError, match=r"a worker process died \(status 9\)"):
        work(dies_with_many, corpus(write_documents, {}), 2)


def test_what_ended_the_process_itself_is_tried_in_a_worker_the_next_time(write_documents, tmp_path):
    documents = write_documents(["good", "KILL", "fine"])
    child = os.fork()
    options = {"workers": 1, "progress": Silent(), "rescue": RescueRows()}
    if not child:
        run_over_parts(transform, documents, None, tmp_path / "step", **options)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7  # one part is never worth a worker
    ledger = finish(run_over_parts(transform, documents, None, tmp_path / "step", **options), tmp_path / "out", "step")
    assert (ledger.rows_kept, ledger.failed.total()) == (2, 1)


def raises(task, folder, tick):
    raise ZeroDivisionError("a defect")


def test_a_defect_keeps_its_type_and_its_traceback(write_documents, work):
    with pytest.raises(ZeroDivisionError, match="a defect") as error:
        work(raises, corpus(write_documents, {}), 2)
    assert "in raises" in error.value.__notes__[0]
