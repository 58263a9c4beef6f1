"""What steps counted, as tables: contamination by name, everything else as it came."""

from lmpipe.recipes.facts import fact_tables


def test_contamination_has_a_table_of_sets_and_one_of_items():
    found = {
        "documents": 3,
        "sets": {"gsm8k": {"items": 100, "too_short": 4, "found": 2}},
        "items": [{"set": "gsm8k", "item": "17", "documents": 3, "in": ["a:0:1", "b:0:2"]}],
    }
    sets, items = fact_tables({"name": "corpus", "steps": [], "contamination": found})
    assert sets.rows == [["gsm8k", 100, 4, 2]]
    assert items.rows == [["gsm8k/17", 3, "a:0:1, b:0:2"]]


def test_what_nobody_named_is_shown_as_it_came():
    made = {
        "documents": {"original": 90, "augmented": 10},
        "kinds": {"swap": {"parents": 5, "documents": 10, "why": "x"}},
        "seen": 4,
    }
    tables = fact_tables({"name": "corpus", "augmentation": made, "splits": {"train": {"documents": 1}}})
    assert [(table.title, table.columns, table.rows) for table in tables] == [
        ("Augmentation", ["What", "Count"], [["seen", 4]]),
        ("Augmentation: documents", ["", "original", "augmented"], [["documents", 90, 10]]),
        ("Augmentation: kinds", ["", "parents", "documents"], [["swap", 5, 10]]),
    ]
