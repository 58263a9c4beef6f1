"""Semantic duplicates: every pair whose vectors reach the threshold, whatever the function that gives the vectors."""

import zlib

import numpy as np
import pytest

from lmpipe.base.files import read_json
from lmpipe.data.dedup import semantic
from lmpipe.data.dedup.config import ExactConfig, SemanticConfig
from lmpipe.data.dedup.exact import mark_duplicates
from lmpipe.data.dedup.semantic import mark_semantic_duplicates
from lmpipe.data.documents import read_tables

CONFIG = SemanticConfig(model="somewhere", threshold=0.8)


def embed(texts):
    """Each word has a random direction, known by its letters; a text is the sum of its words."""
    vectors = [
        sum(np.random.default_rng(zlib.crc32(word.encode())).standard_normal(64) for word in text.split()) for text in texts
    ]
    return np.array(vectors, np.float32)


def cosine(one, other):
    a, b = embed([one, other]).astype(float)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def rows(folder):
    return [row for table in read_tables(folder) for row in table.to_pylist()]


TEXTS = [
    "a cat sat on the mat",
    "the mat on which sat a cat",
    "rain falls in spring",
    " ",
    "on the mat a cat sat",
    "in spring rain falls again",
    "nothing of the kind",
]


@pytest.mark.parametrize(("part_bytes", "block"), [(1 << 25, 1024), (30, 2)])
def test_marks_are_those_of_comparing_all_with_all(write_documents, folders, monkeypatch, part_bytes, block):
    monkeypatch.setattr(semantic, "BLOCK", block)
    output, options = folders()
    documents = write_documents(TEXTS, part_bytes)
    ledger = mark_semantic_duplicates(documents, output, config=CONFIG, embed=embed, **options)
    found = rows(output)
    names = [row["id"].split(":")[0] for row in found]
    survivors = [row["duplicate_of"] and row["duplicate_of"].split(":")[0] for row in found]
    assert dict(zip(names, survivors, strict=True)) == {
        "file-0": None,
        "file-1": "file-0",
        "file-2": None,
        "file-3": None,
        "file-4": "file-0",
        "file-5": "file-2",
        "file-6": None,
    }
    assert found[5]["similarity"] == pytest.approx(cosine(TEXTS[2], TEXTS[5]), abs=1e-5)
    assert found[4]["similarity"] == pytest.approx(1.0, abs=1e-5)
    assert ledger.dropped == {"semantic duplicate": 3}
    assert read_json(output / "clusters.json")["sizes"] == {"2": 1, "3": 1}


def test_marked_documents_are_left_out_and_fixed_ones_stay(write_documents, folders):
    fixed = write_documents(["in spring rain falls", "rain in spring falls"])
    documents = write_documents(["rain falls in spring", "cats sat", "cats sat", "sat cats"])
    exact, options = folders()
    mark_duplicates(documents, exact, config=ExactConfig(), **options)
    output, options = folders()
    mark_semantic_duplicates(
        documents, output, config=CONFIG, embed=embed, against={"fixed": fixed}, earlier=[exact], **options
    )
    found = [row["duplicate_of"] and row["duplicate_of"].rsplit(":", 1)[0] for row in rows(output)]
    assert found == ["fixed/file-0:0", None, None, "file-1:1"]
