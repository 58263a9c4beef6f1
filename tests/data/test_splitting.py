import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json
from lmpipe.data.config import SplitConfig
from lmpipe.data.documents import group_key, read_documents
from lmpipe.data.splitting.config import SPLITS
from lmpipe.data.splitting.dividing import split
from lmpipe.data.splitting.sides import Survey, hash_of, side_of

WIDE = SplitConfig(train=0.6, validation=0.2, test=0.2)


@pytest.fixture
def divided(write_documents, folders):
    """Splits texts; gives the documents of each side."""

    def run(items, config, seed=1, part_bytes=1 << 25):
        output, options = folders()
        ledger = split(write_documents(items, part_bytes), output, config=config, seed=seed, **options)
        return output, ledger, {side: list(read_documents(output / side)) for side in SPLITS}

    return run


def test_no_group_stands_on_two_sides_and_nothing_is_lost(divided):
    items = [(f"file-{number % 40}", f"text {number}") for number in range(400)]
    config = WIDE.model_copy(update={"by": "source"})
    output, ledger, sides = divided(items, config, part_bytes=500)
    sources = {side: {document.source for document in documents} for side, documents in sides.items()}
    assert sum(map(len, sources.values())) == len(set.union(*sources.values())) == 40
    assert sorted(d.text for documents in sides.values() for d in documents) == sorted(text for _, text in items)
    assert ledger.rows_kept == 400
    facts = read_json(output / "splits.json")
    assert list(facts) == list(SPLITS)
    for side, documents in sides.items():
        assert facts[side]["documents"] == len(documents)
        assert facts[side]["characters"] == sum(len(d.text) for d in documents)
        assert facts[side]["bytes"] == sum(len(d.text.encode()) for d in documents)
    assert read_json(output / "composition.json") == {"licences": {"CC0-1.0": 400}, "languages": {"en": 400}}


def test_shares_are_met_on_many_documents(divided):
    _, _, sides = divided([f"text {number}" for number in range(4000)], SplitConfig())
    assert 3500 < len(sides["train"]) < 3700
    assert 150 < len(sides["test"]) < 250


def test_more_text_moves_no_document(divided):
    items = [f"text {number}" for number in range(300)]
    _, _, before = divided(items, WIDE)
    _, _, after = divided([*items, *(f"more {number}" for number in range(200))], WIDE)
    for side in SPLITS:
        assert {document.id for document in before[side]} <= {document.id for document in after[side]}


def test_the_seed_decides(divided):
    items = [f"text {number}" for number in range(100)]
    first, second, third = (divided(items, WIDE, seed=seed)[2]["test"] for seed in (1, 1, 2))
    assert first == second != third


def test_pieces_of_one_document_stay_together(tmp_path, read_corpus, folders):
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(f"{number} some line of text\n" * 40)
    documents = read_corpus({"kind": "text", "paths": ["*.txt"], "max_document_chars": 200}).output
    output, options = folders()
    split(documents, output, config=WIDE, seed=1, **options)
    groups = [{group_key(document.id) for document in read_documents(output / side)} for side in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 30


@pytest.mark.parametrize("count", [3, 4, 7])
@pytest.mark.parametrize("seed", range(12))
def test_three_groups_are_enough_for_three_sides(divided, count, seed):
    _, _, sides = divided([f"text {number}" for number in range(count)], SplitConfig(), seed=seed)
    assert all(sides.values())


@settings(deadline=None, max_examples=200)
@given(st.sets(st.integers(0, 10**6), min_size=3, max_size=12), st.integers(0, 5), st.floats(0.05, 0.45), st.floats(0.05, 0.45))
def test_no_side_stays_empty_whatever_the_shares_and_the_order_of_merging(names, seed, validation, test):
    config = SplitConfig(train=1 - validation - test, validation=validation, test=test)
    groups = [(hash_of(seed, str(name)), str(name)) for name in sorted(names)]
    forward, backward = Survey(), Survey()
    for group in groups:
        forward.add([group, group], config)
    half = len(groups) // 2
    for chunk in (groups[half:], groups[:half]):
        one = Survey()
        one.add(chunk, config)
        backward.merge(one)
    exceptions = forward.exceptions(config)
    assert exceptions == backward.exceptions(config)
    sides = [exceptions.get(name) or side_of(hashed, config) for hashed, name in groups]
    assert set(sides) == set(SPLITS)


def test_too_few_groups_say_what_to_do(divided):
    with pytest.raises(SourceError, match="a split by source needs at least 3 sources, and the corpus has 1") as error:
        divided([("one.txt", f"text {number}") for number in range(9)], SplitConfig(by="source"))
    assert "by: document" in error.value.fix
    with pytest.raises(SourceError, match="needs at least 3 documents, and the corpus has 2") as error:
        divided(["a", "b"], SplitConfig(by="document"))
    assert "by: position" in error.value.fix


TEXT = "".join(f"line {number} of one long text\n" for number in range(1000))


@pytest.mark.parametrize("pieces", [1, 3, 40])
def test_by_position_one_long_text_is_cut_twice_at_line_ends(divided, pieces):
    size = len(TEXT) // pieces + 1
    items = [("long.txt", TEXT[start : start + size]) for start in range(0, len(TEXT), size)]
    _, ledger, sides = divided(items, SplitConfig(by="position"), part_bytes=5000)
    joined = {side: "".join(document.text for document in documents) for side, documents in sides.items()}
    assert joined["train"] + joined["validation"] + joined["test"] == TEXT
    assert abs(len(joined["train"]) - 0.9 * len(TEXT)) < 40
    assert abs(len(joined["validation"]) - 0.05 * len(TEXT)) < 40
    assert joined["train"].endswith("\n")
    assert joined["validation"].endswith("\n")
    ids = [document.id for documents in sides.values() for document in documents]
    assert len(set(ids)) == len(ids)
    assert ledger.rows_in == len(items)
    assert sum("/" in identity for identity in ids) in (0, 2, 3, 4)


def test_by_position_without_lines_or_spaces_still_cuts(divided):
    _, _, sides = divided(["x" * 100], SplitConfig(by="position"))
    assert [len(sides[side][0].text) for side in SPLITS] == [90, 5, 5]
    with pytest.raises(SourceError, match="text is empty: the corpus has 1 documents with 2 characters"):
        divided(["xy"], SplitConfig(by="position"))


def test_sides_have_numbered_parts_and_an_account(divided):
    output, _, _ = divided([f"text {number}" for number in range(300)], WIDE, part_bytes=400)
    for side in SPLITS:
        parts = sorted(path.name for path in (output / side).iterdir())
        assert parts == [f"part-{number:05d}.parquet" for number in range(len(parts))]
    assert json.loads((output / "ledger.json").read_text())["rows_kept"] == 300
