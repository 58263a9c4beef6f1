"""Text that stands on two sides of a split is counted, dropped or refused."""

import random

import pytest
from pydantic import ValidationError

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json
from lmpipe.data.documents import read_documents, tables_of
from lmpipe.data.lookup import traces
from lmpipe.data.splitting.config import LeakageConfig, SplitConfig
from lmpipe.data.splitting.dividing import split

SIDES = ("train", "validation", "test")
SHARES = {"train": 0.5, "validation": 0.25, "test": 0.25}


def sentence(seed, words=60):
    return " ".join(random.Random(seed).choices([f"word{n}" for n in range(3000)], k=words))


def nearly(text):
    return " ".join(["changed", *text.split()[1:]])


@pytest.fixture
def divided(write_documents, folders):
    """Splits texts; gives the output folder, the ledger and the texts of each side."""

    def run(texts, **config):
        output, options = folders()
        config = SplitConfig(**SHARES, **config)
        ledger = split(write_documents(texts, 4000), output, config=config, seed=1, **options)
        return output, ledger, {side: [d.text for d in read_documents(output / side)] for side in SIDES}

    return run


def corpus():
    """40 texts alone, 20 that stand twice with other white space, 20 that stand twice with another first word."""
    alone = [sentence(n) for n in range(40)]
    equal = [text for n in range(40, 60) for text in (sentence(n), sentence(n).replace(" ", "  "))]
    near = [text for n in range(60, 80) for text in (sentence(n), nearly(sentence(n)))]
    return alone + equal + near


def tables_rows(path):
    return (row for table in tables_of(path) for row in table.to_pylist())


def straddling(sides, key):
    """How many pairs of sides (earlier, later) share a text, by a plain comparison of all with all."""
    counts = {}
    for side, of in (("train", "test"), ("train", "validation"), ("validation", "test")):
        known = set(map(key, sides[of]))
        counts[f"{side} in {of}"] = sum(key(text) in known for text in sides[side])
    return counts


def loosely(text):
    return tuple(text.split()[1:])


def strictly(text):
    return tuple(text.split())


def test_what_is_found_is_what_a_plain_comparison_finds(divided):
    output, ledger, sides = divided(corpus(), leakage=LeakageConfig())
    facts = read_json(output / "leakage.json")
    exact, both = straddling(sides, strictly), straddling(sides, loosely)
    assert facts["exact"] == exact
    assert facts["near"] == {name: both[name] - exact[name] for name in both}
    assert sum(exact.values()) > 5 < sum(facts["near"].values())
    assert (facts["action"], facts["dropped"], facts["threshold"]) == ("report", 0, 0.8)
    assert ledger.rows_kept == 120
    leaks = list(tables_rows(output / "leaks.parquet"))
    assert [trace.state for trace in traces(output, leaks[0]["id"])] == ["noted", "present"]  # a report takes nothing out
    texts = {d.id: d.text for side in SIDES for d in read_documents(output / side)}
    assert len(leaks) == sum(both.values())
    assert all(loosely(texts[leak["id"]]) == loosely(texts[leak["of"]]) for leak in leaks)
    assert all((leak["similarity"] == 1) == (strictly(texts[leak["id"]]) == strictly(texts[leak["of"]])) for leak in leaks)


def test_what_leaks_can_be_dropped_and_test_text_never_is(divided):
    _, _, before = divided(corpus())
    output, ledger, sides = divided(corpus(), leakage=LeakageConfig(action="drop"))
    assert sides["test"] == before["test"]
    assert not any(straddling(sides, loosely).values())
    dropped = read_json(output / "leakage.json")["dropped"]
    assert dropped == ledger.dropped["split.leakage"] == 120 - ledger.rows_kept > 10
    listed = {row["id"]: row for row in tables_rows(output / "dropped.parquet")}
    assert len(listed) == dropped
    assert {row["rule"] for row in listed.values()} == {"split.leakage"}
    assert all(row["value"] >= row["threshold"] >= 0.8 and row["source"] in identity for identity, row in listed.items())
    leaks = {(row["id"], row["of"]) for row in tables_rows(output / "leaks.parquet")}
    assert all((identity, row["duplicate_of"]) in leaks for identity, row in listed.items())
    (trace,) = traces(output, identity := next(iter(listed)))[:1]
    assert (trace.state, trace.values["id"]) == ("dropped", identity)
    sizes = read_json(output / "splits.json")
    assert {side: sizes[side]["documents"] for side in SIDES} == {side: len(texts) for side, texts in sides.items()}
    assert read_json(output / "composition.json")["languages"]["en"] == ledger.rows_kept


def test_a_split_that_leaks_can_be_refused(divided):
    with pytest.raises(SourceError, match=r"the sides of the split share text: [0-9]+ documents of train in test") as error:
        divided(corpus(), leakage=LeakageConfig(action="refuse"))
    assert "action: drop" in error.value.fix
    assert "word1" not in str(error.value)
    divided([sentence(n) for n in range(40)], leakage=LeakageConfig(action="refuse"))


def test_by_position_nothing_can_be_dropped(divided):
    with pytest.raises(ValidationError, match="pieces cannot be dropped"):
        SplitConfig(by="position", leakage=LeakageConfig(action="drop"))
    output, _, _ = divided(
        [sentence(1, 40)] * 3 + [sentence(n) for n in range(9)] + [sentence(1, 40)], by="position", leakage={}
    )
    assert read_json(output / "leakage.json")["exact"]["train in test"] == 3
