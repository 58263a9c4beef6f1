"""Repair, measure, duplicates, select: from documents to those that stay, with a reason for every other."""

import json
import random

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.errors import DamagedError, SourceError
from lmpipe.base.ledger import Ledger
from lmpipe.data.cleaning.config import UnicodeConfig
from lmpipe.data.cleaning.repair import repair
from lmpipe.data.dedup.config import ExactConfig
from lmpipe.data.dedup.exact import mark_duplicates, normalised
from lmpipe.data.documents import count_rows, read_documents, read_tables
from lmpipe.data.filters.config import GopherRepetitionConfig, LengthConfig, SelectConfig
from lmpipe.data.filters.scores import GopherRepetitionScores, LengthScores, MeasureConfig
from lmpipe.data.measuring import measure
from lmpipe.data.selection import select

BOTH = MeasureConfig(scores=(LengthScores(), GopherRepetitionScores()))


def rows(folder):
    return [row for table in read_tables(folder) for row in table.to_pylist()]


def texts(folder):
    return [document.text for document in read_documents(folder)]


def test_repair_changes_text_and_never_ids(write_documents, folders):
    documents = write_documents(["naÃ¯ve\r\n", "fine", "\x00\x01", "\ufeff \n"])
    output, options = folders()
    ledger = repair(documents, output, config=UnicodeConfig(), **options)
    assert texts(output) == ["naïve\n", "fine"]
    before, after = list(read_documents(documents)), list(read_documents(output))
    assert [d.id for d in after] == [d.id for d in before[:2]]
    assert [d[2:] for d in after] == [d[2:] for d in before[:2]]
    assert ledger.dropped == {"empty after repair": 2}
    assert (ledger.characters_in, ledger.characters_kept) == (8 + 4 + 2 + 3, 6 + 4)
    assert Ledger.from_json(json.loads((output / "ledger.json").read_text())) == ledger


def test_repair_takes_its_options_from_the_config(write_documents, folders):
    documents = write_documents(["ﬁne cafÃ©"])
    output, options = folders()
    repair(documents, output, config=UnicodeConfig(normal_form="NFKC", mojibake=False), **options)
    assert texts(output) == ["fine cafÃ©"]


def test_scores_are_aligned_with_documents(write_documents, folders):
    documents = write_documents([f"document {'word ' * n}" for n in range(40)], part_bytes=600)
    output, options = folders()
    ledger = measure(documents, output, config=BOTH, **options)
    found = rows(output)
    assert ledger.rows_kept == len(found) == 40
    assert len(list(output.glob("part-*"))) == len(list(documents.glob("part-*"))) > 1
    for row, document in zip(found, read_documents(documents), strict=True):
        assert (row["id"], row["length.characters"], row["length.words"]) == (
            document.id,
            len(document.text),
            len(document.text.split()),
        )
    assert found[30]["gopher_repetition.top_2_gram_fraction"] > 0.9


def test_the_first_of_equal_documents_survives(write_documents, folders):
    documents = write_documents(["same  text", "other", "same text\n", "Same text", "other"], part_bytes=12)
    output, options = folders()
    ledger = mark_duplicates(documents, output, config=ExactConfig(), **options)
    ids = [document.id for document in read_documents(documents)]
    assert [(row["id"], row["duplicate_of"]) for row in rows(output)] == [
        (ids[0], None),
        (ids[1], None),
        (ids[2], ids[0]),
        (ids[3], None),
        (ids[4], ids[1]),
    ]
    assert ledger.dropped == {"exact duplicate": 2}


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.sampled_from(["a", "A", "a ", "b", "  a", "B b", "b  B", "c"]), min_size=1, max_size=30),
    st.booleans(),
    st.booleans(),
)
def test_duplicates_are_those_of_a_dictionary(tmp_path_factory, items, case, space):
    from lmpipe.base.progress import Silent
    from lmpipe.data.documents import Document, PartWriter

    folder = tmp_path_factory.mktemp("duplicates")
    config = ExactConfig(ignore_case=case, ignore_white_space=space)
    with PartWriter(folder / "in", part_bytes=5) as writer:
        for number, text in enumerate(items):
            writer.add(Document(f"id{number}", text, "s", "l", "e", "{}"))
    (folder / "out").mkdir()
    mark_duplicates(folder / "in", folder / "out", config=config, scratch=folder / "s", progress=Silent(), workers=1)
    first: dict[str, str] = {}
    expected = []
    for number, text in enumerate(items):
        survivor = first.setdefault(normalised(text, config), f"id{number}")
        expected.append(None if survivor == f"id{number}" else survivor)
    assert [row["duplicate_of"] for row in rows(folder / "out")] == expected


@pytest.fixture
def selected(write_documents, folders):
    """Runs measure, duplicates and select over texts."""

    def run(items, *filters, dedup=True, part_bytes=1 << 25):
        documents = write_documents(items, part_bytes)
        measures, options = folders()
        measure(documents, measures, config=BOTH, **options)
        duplicates, options = folders()
        mark_duplicates(documents, duplicates, config=ExactConfig(), **options)
        output, options = folders()
        config = SelectConfig(filters=filters)
        ledger = select(
            documents,
            [measures] if filters else [],
            {"exact": duplicates} if dedup else {},
            output,
            config=config,
            **options,
        )
        return output, ledger, pq.read_table(output / "dropped.parquet").to_pylist()

    return run


def test_everything_dropped_is_explained(selected):
    repeating = "\n".join(["the same line again"] * 20)
    texts_in = ["short", "long enough to stay, this one", "long enough to stay, this one", repeating]
    output, ledger, dropped = selected(texts_in, LengthConfig(min_characters=10), GopherRepetitionConfig())
    assert texts(output) == [texts_in[1]]
    assert [(row["id"].split(":")[0], row["rule"], row["value"], row["threshold"]) for row in dropped] == [
        ("file-0", "length.min_characters", 5.0, 10.0),
        ("file-2", "dedup.exact", None, None),
        ("file-3", "gopher_repetition.max_duplicate_line_fraction", 0.95, 0.3),
    ]
    assert dropped[1]["duplicate_of"].startswith("file-1:")
    assert (ledger.rows_in, ledger.rows_kept) == (4, 1)
    assert ledger.dropped == {row["rule"]: 1 for row in dropped}
    assert "text" not in dropped[0]


def test_every_bound_drops_what_breaks_it_and_keeps_what_meets_it(selected):
    items = ["a b c", "a b c d e f", "a b c d e f g h i"]
    for config, kept in (
        (LengthConfig(min_characters=11), items[1:]),
        (LengthConfig(max_characters=11), items[:2]),
        (LengthConfig(min_words=6), items[1:]),
        (LengthConfig(max_words=6), items[:2]),
    ):
        output, ledger, _ = selected(items, config)
        assert texts(output) == kept
        assert ledger.dropped.total() == 1


@pytest.mark.parametrize("field", sorted(GopherRepetitionConfig.model_fields.keys() - {"kind"}))
def test_every_repetition_bound_is_applied(selected, field):
    alone = GopherRepetitionConfig(
        **{name: None for name in GopherRepetitionConfig.model_fields if name != "kind"} | {field: 0.0}
    )
    unit = "one two three four five six seven eight nine ten eleven twelve"
    _, ledger, dropped = selected([f"{unit}\n\n{unit}", "no word comes twice"], alone, dedup=False)
    assert ledger.dropped == {f"gopher_repetition.{field}": 1}
    assert dropped[0]["value"] > dropped[0]["threshold"] == 0.0


def test_select_without_filters_and_without_duplicates_is_the_identity(selected):
    items = ["one", "two", "one"]
    output, ledger, dropped = selected(items, dedup=False)
    assert texts(output) == items
    assert dropped == []
    assert ledger.rows_kept == 3


def test_nothing_left_is_an_error_with_the_reasons(selected):
    with pytest.raises(SourceError, match="no document is left after 'select': 2 went in") as error:
        selected(["a", "b"], LengthConfig(min_characters=100))
    assert error.value.where == "length.min_characters 2"


def test_a_part_of_which_nothing_is_left_is_no_trouble(selected, folders):
    output, _, _ = selected(["short"] * 3 + ["long enough to stay"], LengthConfig(min_characters=10), dedup=False, part_bytes=6)
    assert texts(output) == ["long enough to stay"]
    again, options = folders()
    repair(output, again, config=UnicodeConfig(), **options)
    assert count_rows(again) == 1


def test_scores_of_other_documents_are_refused(write_documents, folders):
    one, other = write_documents(["a", "b"]), write_documents(["a", "c"])
    measures, options = folders()
    measure(other, measures, config=BOTH, **options)
    output, options = folders()
    with pytest.raises(DamagedError, match="not aligned"):
        select(one, [measures], {}, output, config=SelectConfig(filters=(LengthConfig(),)), **options)


@settings(deadline=None, max_examples=6)
@given(st.lists(st.text("ab \n", max_size=12), min_size=1, max_size=20), st.integers(0, 2**32))
def test_rows_in_are_kept_dropped_or_failed_at_every_step(tmp_path_factory, items, seed):
    from lmpipe.base.progress import Silent
    from lmpipe.data.documents import Document, PartWriter

    folder = tmp_path_factory.mktemp("ledger")
    options = {"scratch": folder / "scratch", "progress": Silent(), "workers": 1}
    random.Random(seed).shuffle(items)
    with PartWriter(folder / "in", part_bytes=10) as writer:
        for number, text in enumerate([*items, "a long text that stays in any case"]):
            writer.add(Document(f"id{number}", text, "s", "l", "e", "{}"))
    for name in ("repaired", "measures", "duplicates", "selected"):
        (folder / name).mkdir()
    steps = [
        repair(folder / "in", folder / "repaired", config=UnicodeConfig(), **options),
        measure(folder / "repaired", folder / "measures", config=BOTH, **options),
        mark_duplicates(folder / "repaired", folder / "duplicates", config=ExactConfig(), **options),
        select(
            folder / "repaired",
            [folder / "measures"],
            {"exact": folder / "duplicates"},
            folder / "selected",
            config=SelectConfig(filters=(LengthConfig(min_characters=3), GopherRepetitionConfig())),
            **options,
        ),
    ]
    for ledger in steps:
        assert ledger.rows_in == ledger.rows_kept + ledger.dropped.total() + ledger.failed.total()
    assert steps[0].rows_in == len(items) + 1
    assert steps[0].rows_kept == steps[3].rows_in == count_rows(folder / "repaired")
    assert steps[3].rows_kept == count_rows(folder / "selected")
