"""Evaluation text in training text: what is found, what is left alone, what is said about it."""

import gzip
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json
from lmpipe.base.progress import Silent
from lmpipe.data.decontamination.brought import write_brought_items
from lmpipe.data.decontamination.config import BroughtItems, DecontaminateConfig
from lmpipe.data.decontamination.decontaminating import decontaminate
from lmpipe.data.decontamination.index import build_index, load_index
from lmpipe.data.decontamination.matching import find_hits
from lmpipe.data.dedup.shingles import words_of
from lmpipe.data.documents import Document, PartWriter, read_documents
from lmpipe.data.splitting.config import SplitConfig
from lmpipe.data.splitting.dividing import split

RNG = random.Random(1)
VOCABULARY = ["".join(RNG.choices("abcdefghij", k=RNG.randint(2, 8))) for _ in range(3000)]


def words(seed, count):
    return random.Random(seed).choices(VOCABULARY, k=count)


def text(seed, count):
    return " ".join(words(seed, count))


def edited(item, share, seed=0):
    """The same with a share of the words replaced."""
    rng, parts = random.Random(seed), item.split()
    for place in rng.sample(range(len(parts)), round(share * len(parts))):
        parts[place] = "changed"
    return " ".join(parts)


def inside(item, seed):
    return f"{text(seed, 60)}. {item}! {text(seed + 1, 60)}"


@pytest.fixture
def cleaned(tmp_path, write_documents):
    """Splits training documents, looks for items, gives the output and its ledger."""
    count = 0

    def run(training, items, part_bytes=1 << 25, workers=1, **config):
        nonlocal count
        count += 1
        base = tmp_path / f"run-{count}"
        folders = {name: write_items(base / name, texts) for name, texts in items.items()}
        held = [("held", text(10_000 + number, 30)) for number in range(8)]
        documents = write_documents([*[("train", one) for one in training], *held], part_bytes)
        for folder in ("split", "out"):
            (base / folder).mkdir(parents=True)
        options = {"progress": Silent(), "workers": workers}
        shares = SplitConfig(train=0.5, validation=0.25, test=0.25)
        split(documents, base / "split", config=shares, seed=1, scratch=base / "s1", **options)
        ledger = decontaminate(
            base / "split",
            base / "out",
            items=folders,
            config=DecontaminateConfig(**config),
            scratch=base / "s2",
            **options,
        )
        return base / "split", base / "out", ledger

    return run


def write_items(folder, texts):
    with PartWriter(folder) as writer:
        for number, one in enumerate(texts):
            writer.add(Document(f"q{number}", one, "s", "l", "e", "{}"))
    return folder


def hits_of(tmp_path_factory, training, items, **config):
    folder = tmp_path_factory.mktemp("hits")
    settings_ = DecontaminateConfig(**config)
    build_index({"set": write_items(folder / "items", items)}, settings_, folder / "index")
    import pyarrow as pa

    found = find_hits(words_of(pa.array(training, pa.large_string())), load_index(folder / "index"), settings_)
    return {(hit.document, hit.item): hit for hit in found}


@pytest.mark.parametrize("length", [8, 12, 13, 40, 256, 257, 2000])
def test_verbatim_items_are_found_whatever_stands_around_them(tmp_path_factory, length):
    items = [text(seed, length) for seed in range(20)]
    training = [inside(item.upper().replace(" ", ",\n", 3), 500 + number) for number, item in enumerate(items)]
    found = hits_of(tmp_path_factory, [*training, text(999, 3000)], items)
    assert set(found) == {(number, number) for number in range(20)}
    assert all(hit.value == 1.0 for hit in found.values())


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.integers(10, 300))
def test_an_item_with_every_tenth_word_changed_is_found(tmp_path_factory, seed, length):
    items = [text(seed + number, length) for number in range(10)]
    training = [inside(edited(item, 0.1, seed), seed + 77) for item in items]
    found = hits_of(tmp_path_factory, training, items)
    assert len(set(found) & {(number, number) for number in range(10)}) >= 9
    assert all(document == item for document, item in found)


def test_half_of_the_words_changed_is_another_text(tmp_path_factory):
    items = [text(number, 40) for number in range(20)]
    assert hits_of(tmp_path_factory, [edited(item, 0.5) for item in items], items) == {}


def test_a_proverb_in_common_is_no_hit(tmp_path_factory):
    proverb = "all that glitters is not gold"
    assert hits_of(tmp_path_factory, [inside(proverb, 3)], [f"{text(5, 6)} {proverb} {text(6, 6)}"]) == {}


def test_short_items_are_counted_and_not_looked_for(cleaned):
    _, output, _ = cleaned([inside("what is it", 3)] * 4, {"set": ["what is it", text(1, 30)]})
    assert read_json(output / "contamination.json")["sets"] == {"set": {"items": 2, "too_short": 1, "found": 0}}


def test_a_share_of_the_runs_can_be_asked_for(tmp_path_factory):
    item = text(4, 300)
    part = " ".join(item.split()[:100])
    assert set(hits_of(tmp_path_factory, [part], [item])) == {(0, 0)}
    assert hits_of(tmp_path_factory, [part], [item], min_share=0.5) == {}
    assert hits_of(tmp_path_factory, [part], [item], min_share=0.3)[0, 0].value == pytest.approx(88 / 288)


def test_every_dropped_document_and_every_item_is_accounted_for(cleaned):
    item, other = text(1, 40), text(2, 40)
    training = [inside(item, 100 + 2 * number) for number in range(9)] + [text(300 + n, 50) for n in range(20)]
    before, output, ledger = cleaned(training, {"a.test": [other, item], "b.test": [text(3, 40)]}, part_bytes=900)
    contaminated = {document.id for document in read_documents(before / "train") if item in document.text}
    assert len(contaminated) > 2
    assert {d.id for d in read_documents(before / "train")} - {d.id for d in read_documents(output / "train")} == contaminated
    for side in ("validation", "test"):
        assert list(read_documents(output / side)) == list(read_documents(before / side))
    dropped = pq.read_table(output / "dropped.parquet").to_pylist()
    assert {row["id"] for row in dropped} == contaminated
    assert {(row["rule"], row["value"], row["duplicate_of"]) for row in dropped} == {("decontaminate.ngram", 1.0, "a.test/q1")}
    report = read_json(output / "contamination.json")
    assert report["documents"] == len(contaminated)
    assert report["sets"] == {
        "a.test": {"items": 2, "too_short": 0, "found": 1},
        "b.test": {"items": 1, "too_short": 0, "found": 0},
    }
    assert [(one["set"], one["item"], one["documents"]) for one in report["items"]] == [("a.test", "q1", len(contaminated))]
    assert set(report["items"][0]["in"]) <= contaminated
    assert pq.read_table(output / "contaminated.parquet").to_pylist() == [
        {"set": "a.test", "item": "q1", "documents": len(contaminated)}
    ]
    assert {row["document"] for row in pq.read_table(output / "hits.parquet").to_pylist()} == contaminated
    assert ledger.dropped == {"decontaminate.ngram": len(contaminated)}
    assert ledger.rows_in == len(training) + 8 == ledger.rows_kept + len(contaminated)
    train = list(read_documents(output / "train"))
    assert read_json(output / "splits.json")["train"] == {
        "documents": len(train),
        "characters": sum(len(document.text) for document in train),
        "bytes": sum(len(document.text.encode()) for document in train),
    }
    assert read_json(output / "composition.json")["licences"] == {"CC0-1.0": ledger.rows_kept}
    for path in output.rglob("*"):
        assert not path.is_file() or item.encode() not in path.read_bytes()


def test_refusing_names_what_was_found(cleaned):
    item = text(1, 40)
    training = [inside(item, number) for number in range(12)]
    with pytest.raises(SourceError, match="training documents hold evaluation text: 1 items were found") as error:
        cleaned(training, {"a.test": [item]}, action="refuse")
    assert error.value.where.startswith("a.test/q0 in ")
    _, output, ledger = cleaned([text(number, 30) for number in range(9)], {"a.test": [text(99, 30)]}, action="refuse")
    assert ledger.dropped.total() == 0
    assert json.loads((output / "contamination.json").read_text())["items"] == []


@pytest.mark.parametrize("workers", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_parts_and_workers_show_in_nothing_but_the_parts(cleaned, workers):
    items = {"a.test": [text(number, 20) for number in range(5)]}
    training = [inside(edited(items["a.test"][n % 5], 0.1, n), n) if n % 3 else text(n, 90) for n in range(40)]
    _, one, _ = cleaned(training, items)
    _, many, _ = cleaned(training, items, part_bytes=4000, workers=workers)
    documents = [list(read_documents(folder / "train")) for folder in (one, many)]
    assert documents[0] == documents[1]
    same = ("contamination.json", "splits.json", "composition.json", "ledger.json")
    digests = [digests_of_folder(folder) for folder in (one, many)]
    assert [digests[0][name] for name in same] == [digests[1][name] for name in same]


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress])
def test_items_in_a_file_are_found_question_and_answer_by_themselves(tmp_path, tmp_path_factory, pack):
    rows = [{"asked": text(n, 20), "answer": text(100 + n, 20)} for n in range(4)]
    lines = "\n\n".join(json.dumps(row) for row in rows).encode()
    file = tmp_path / ("items.jsonl.gz" if pack is gzip.compress else "items.jsonl")
    file.write_bytes(pack(lines))
    items = BroughtItems(set="judged.some", columns=("asked", "answer"), limit=3)
    for _ in range(2):  # what a killed attempt left is no item
        folder = write_brought_items(file, items, tmp_path / "items")
    found = {one.id: one.text for one in read_documents(folder)}
    assert found == {f"{2 * n + 1}.{column}": rows[n][column] for n in range(3) for column in ("asked", "answer")}
    training = [inside(rows[1]["answer"], 500), inside(rows[2]["asked"], 600), inside(rows[3]["asked"], 700)]
    hits = hits_of(tmp_path_factory, training, list(found.values()))
    assert {(document, list(found)[item]) for document, item in hits} == {(0, "3.answer"), (1, "5.asked")}


@pytest.mark.parametrize(
    ("line", "said"), [("{", "the line is no JSON"), ("[]", "no text in the column 'asked'"), ('{"asked": 1}', "no text in")]
)
def test_a_file_of_items_that_is_none(tmp_path, line, said):
    (tmp_path / "items.jsonl").write_text(line)
    with pytest.raises(SourceError, match=said) as error:
        write_brought_items(tmp_path / "items.jsonl", BroughtItems(set="s", columns=("asked",), limit=None), tmp_path / "out")
    assert "items.jsonl, line 1" in error.value.where


def test_every_text_of_a_row_is_an_item_in_every_kind_of_file(tmp_path):
    rows = [{"asked": text(n, 20), "answer": n, "choices": [text(100 + n, 9), text(200 + n, 9)]} for n in range(2)]
    expected = {f"{n + 1}.asked": rows[n]["asked"] for n in range(2)}
    expected |= {f"{n + 1}.choices.{i}": rows[n]["choices"][i] for n in range(2) for i in range(2)}
    (tmp_path / "list.json").write_text(json.dumps(rows))
    (tmp_path / "lines.json").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for name in ("list.json", "lines.json", "rows.parquet"):
        folder = write_brought_items(tmp_path / name, BroughtItems(set="s", columns=None, limit=None), tmp_path / "out")
        assert {one.id: one.text for one in read_documents(folder)} == expected, name
    (tmp_path / "flat.csv").write_text('asked,answer\n"one, two",3\n')
    folder = write_brought_items(tmp_path / "flat.csv", BroughtItems(set="s", columns=None, limit=None), tmp_path / "out")
    assert {one.id: one.text for one in read_documents(folder)} == {"1.asked": "one, two"}
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(SourceError, match="the file cannot be read"):
        write_brought_items(tmp_path / "rows.parquet", BroughtItems(set="s", columns=None, limit=None), tmp_path / "out")
