"""Folds of cross-validation: whole units, exact shares, independent of order; beside scikit-learn's folds."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from sklearn.model_selection import GroupKFold, StratifiedKFold

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json
from lmpipe.data.documents import Document, PartWriter, group_key
from lmpipe.data.splitting.fold_config import CrossValidationConfig
from lmpipe.data.splitting.folds import deal, divide_fold

SIDES = ("train", "validation", "test")


def write(folder: Path, count: int, *, order: int = 0, parts: tuple[float, ...] = (0.6, 0.2, 0.2)) -> Path:
    """A division of documents with a class and a writer each; every fourth document is in two pieces."""
    documents = []
    for n in range(count):
        meta = f'{{"class": "{"abbbcccccc"[n % 10]}", "writer": "w{(n * n) % 23}"}}'
        for piece in ("~0", "~1") if n % 4 == 0 else ("",):
            documents.append(Document(f"f.txt:{n}{piece}:{n:012x}", f"text {n} {piece}", "f.txt", "CC0-1.0", "en", meta))
    random.Random(order).shuffle(documents)
    start = 0
    for side, share in zip(SIDES, parts, strict=True):
        stop = start + round(share * len(documents))
        with PartWriter(folder / side) as writer:
            for document in documents[start:stop]:
                writer.add(document)
        start = stop
    return folder


def divided(splits: Path, output: Path, fold: int, repeat: int = 0, seed: int = 1, **config: Any) -> dict[str, list[str]]:
    output.mkdir(parents=True)
    given = CrossValidationConfig(folds=5, **config)
    divide_fold(splits, output, output.parent / f"{output.name}-s", config=given, seed=seed, repeat=repeat, fold=fold)
    return {
        side: [i for part in sorted((output / side).glob("*")) for i in pq.read_table(part)["id"].to_pylist()] for side in SIDES
    }


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("splits"), 120)


@pytest.mark.parametrize("config", [{}, {"stratify": "class"}, {"group": "writer"}])
def test_every_document_is_held_out_once_and_whole(splits: Path, tmp_path: Path, config: dict[str, str]) -> None:
    folds = [divided(splits, tmp_path / str(fold), fold, **config) for fold in range(5)]
    tested = Counter(identity for fold in folds for identity in fold["test"])
    assert set(tested.values()) == {1}
    assert len(tested) == 150
    for fold in folds:
        sides = [{group_key(identity) for identity in fold[side]} for side in SIDES]
        assert len(set.union(*sides)) == sum(map(len, sides)), "pieces stay together"
        assert sum(map(len, fold.values())) == 150
        assert fold["validation"]
    counted = read_json(tmp_path / "0" / "splits.json")
    assert {side: counted[side]["documents"] for side in SIDES} == {side: len(folds[0][side]) for side in SIDES}


def test_groups_stay_together(splits: Path, tmp_path: Path) -> None:
    for fold in range(5):
        sides = divided(splits, tmp_path / str(fold), fold, group="writer")
        writers = [{(int(group_key(i).split(":")[1]) ** 2) % 23 for i in sides[side]} for side in SIDES]
        assert len(set.union(*writers)) == sum(map(len, writers))


def test_order_and_sides_of_the_division_do_not_matter(splits: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", 120, order=5, parts=(0.2, 0.1, 0.7))
    for config in ({}, {"stratify": "class"}, {"group": "writer"}):
        name = next(iter(config), "plain")
        one, two = (divided(folder, tmp_path / f"{name}-{n}", 2, **config) for n, folder in enumerate((splits, other)))
        assert {side: set(ids) for side, ids in one.items()} == {side: set(ids) for side, ids in two.items()}


def test_repeats_and_seeds_deal_anew(splits: Path, tmp_path: Path) -> None:
    tests = [divided(splits, tmp_path / f"{r}-{s}", 0, repeat=r, seed=s)["test"] for r, s in ((0, 1), (1, 1), (0, 2))]
    assert len({frozenset(one) for one in tests}) == 3


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_as_exact_as_scikit_learns(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.choice(["a", "b", "c"], size=200, p=[0.1, 0.3, 0.6])
    units = {(str(label), f"d{n}"): 1 for n, label in enumerate(labels)}
    dealt = deal(units, folds=5, seed=seed, repeat=0, grouped=False)
    ours = np.array([dealt[(str(label), f"d{n}")][0] for n, label in enumerate(labels)])
    theirs = np.empty(200, int)
    for fold, (_, held_out) in enumerate(StratifiedKFold(5, shuffle=True, random_state=seed).split(labels, labels)):
        theirs[held_out] = fold
    for folds in (ours, theirs):
        for label in "abc":
            counts = np.bincount(folds[labels == label], minlength=5)
            assert counts.max() - counts.min() <= 1
    assert np.ptp(np.bincount(ours)) <= 1
    for fold in range(5):
        training = {unit[0] for unit, (own, validation) in dealt.items() if own != fold and not validation}
        assert training == {"a", "b", "c"}


@pytest.mark.parametrize("seed", range(5))
def test_folds_of_groups_are_about_as_even_as_scikit_learns(seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups = generator.choice(30, size=400, p=generator.dirichlet(np.full(30, 2.0)))
    sizes = Counter(groups.tolist())
    dealt = deal({("", str(g)): n for g, n in sizes.items()}, folds=4, seed=seed, repeat=0, grouped=True)
    ours = Counter[int]()
    for group, size in sizes.items():
        ours[dealt[("", str(group))][0]] += size
    theirs = [len(held_out) for _, held_out in GroupKFold(4).split(groups, groups=groups)]
    assert sum(ours.values()) == sum(theirs) == 400
    assert max(ours.values()) - min(ours.values()) <= max(sizes.values())


def test_what_cannot_be_dealt_is_said(splits: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no value in 'colour'"):
        divided(splits, tmp_path / "a", 0, group="colour")
    few = write(tmp_path / "few", 8)
    with pytest.raises(SourceError, match="8 documents leave nothing"):
        divided(few, tmp_path / "b", 0)
    rare = write(tmp_path / "rare", 30)
    with pytest.raises(SourceError, match="'a' has"):
        divided(rare, tmp_path / "c", 0, stratify="class")
    with pytest.raises(ValidationError, match="expected one"):
        CrossValidationConfig(stratify="class", group="writer")
