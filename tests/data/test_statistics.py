"""Histograms, nearest documents and clusters against plain counting in Python."""

import random

import numpy as np
import pyarrow as pa
import pytest

from lmpipe.data.documents import TableWriter
from lmpipe.data.dropped import DROPPED, DROPPED_SCHEMA
from lmpipe.data.filters.bounds import Rule
from lmpipe.data.statistics import clusters, nearest_kept, score_histograms

SCHEMA = pa.schema([("id", pa.string()), ("words", pa.int64()), ("share", pa.float64()), ("vector", pa.list_(pa.float32()))])


@pytest.fixture
def scored(tmp_path):
    """Scores in two parts of two row groups each, and the documents dropped below ten words, in order."""
    draw = random.Random(2)
    rows = [
        {"id": f"d{i:03d}", "words": int(10 ** draw.uniform(0, 4)), "share": draw.random(), "vector": [0.0]} for i in range(400)
    ]
    for part in range(2):
        with TableWriter(tmp_path / "measures" / f"part-0000{part}.parquet", SCHEMA) as writer:
            for group in range(2):
                start = 200 * part + 100 * group
                writer.write(pa.Table.from_pylist(rows[start : start + 100], schema=SCHEMA))
    gone = [row for row in rows if row["words"] < 10]
    dropped = [{"id": row["id"], "source": "s", "rule": "few", "value": row["words"], "threshold": 10} for row in gone]
    with TableWriter(tmp_path / DROPPED, DROPPED_SCHEMA) as writer:
        writer.write(pa.Table.from_pylist(dropped, schema=DROPPED_SCHEMA))
    return rows, tmp_path / "measures", tmp_path / DROPPED


def test_every_document_is_in_one_bin_before_and_those_that_stayed_after(scored):
    rows, measures, dropped = scored
    found = score_histograms(measures, dropped)
    assert set(found) == {"words", "share"}
    assert (found["words"]["scale"], found["share"]["scale"]) == ("log", "linear")
    for score in found:
        edges = found[score]["edges"]
        assert edges == sorted(edges)
        assert sum(found[score]["before"]) == 400
        assert sum(found[score]["after"]) == sum(row["words"] >= 10 for row in rows)
        assert all(after <= before for before, after in zip(found[score]["before"], found[score]["after"], strict=True))
    expected, _ = np.histogram(
        [row["share"] for row in rows], 24, (min(r["share"] for r in rows), max(r["share"] for r in rows))
    )
    assert found["share"]["before"] == expected.tolist()


@pytest.mark.parametrize(
    ("kind", "values", "ends", "bins"),
    [
        (pa.float64(), [0.0, 0.25, 1.0], (0, 1), 24),
        (pa.int64(), [0, 1, 1], (-0.5, 1.5), 2),
        (pa.int64(), [3, 4, 9], (2.5, 9.5), 7),
    ],
)
def test_a_share_goes_from_least_to_greatest_and_few_whole_numbers_have_a_bin_each(tmp_path, kind, values, ends, bins):
    schema = pa.schema([("id", pa.string()), ("score", kind)])
    with TableWriter(tmp_path / "measures" / "part-00000.parquet", schema) as writer:
        writer.write(pa.table({"id": ["a", "b", "c"], "score": pa.array(values, kind)}, schema=schema))
    with TableWriter(tmp_path / DROPPED, DROPPED_SCHEMA) as writer:
        writer.write(DROPPED_SCHEMA.empty_table())
    found = score_histograms(tmp_path / "measures", tmp_path / DROPPED)["score"]
    assert (found["edges"][0], found["edges"][-1]) == ends
    assert len(found["before"]) == bins
    assert sum(found["before"]) == 3


def test_the_nearest_that_stayed_are_the_five_next_to_the_bound(scored):
    rows, measures, dropped = scored
    rules = [Rule("few", "words", at_least=10), Rule("much", "share", at_most=1.0), Rule("none", "absent", at_most=1)]
    found = nearest_kept(measures, dropped, rules)
    kept = [row for row in rows if row["words"] >= 10]
    assert [entry["value"] for entry in found["few"]] == sorted(row["words"] for row in kept)[:5]
    assert [entry["value"] for entry in found["much"]] == sorted((row["share"] for row in kept), reverse=True)[:5]
    assert "none" not in found


def test_clusters_count_the_one_that_stayed(tmp_path):
    schema = pa.schema([("id", pa.string()), ("duplicate_of", pa.string())])
    doubles = ["a", None, "a", "b", None, "a"]
    with TableWriter(tmp_path / "part-00000.parquet", schema) as writer:
        writer.write(pa.table([[str(i) for i in range(6)], doubles], schema=schema))
    assert clusters(tmp_path) == {
        "sizes": {"2": 1, "4": 1},
        "largest": [{"id": "a", "documents": 4}, {"id": "b", "documents": 2}],
    }
