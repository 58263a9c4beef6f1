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
    made = {"documents": {"original": 90, "new": 10}, "kinds": {"swap": {"parents": 5, "documents": 10, "why": "x"}}, "seen": 4}
    tables = fact_tables({"name": "corpus", "turning": made, "splits": {"train": {"documents": 1}}})
    assert [(table.title, table.columns, table.rows) for table in tables] == [
        ("Turning", ["What", "Count"], [["seen", 4]]),
        ("Turning: documents", ["", "original", "new"], [["documents", 90, 10]]),
        ("Turning: kinds", ["", "parents", "documents"], [["swap", 5, 10]]),
    ]


USAGE = {"generator": {"kind": "endpoint", "model": "writer-1"}, "questions": 7, "tokens_in": 70, "tokens_out": 90}


def test_made_documents_have_their_share_and_their_generator():
    kinds = {
        "swap": {"parents": 5, "documents": 6, "characters": 60, "not_made": {"too short": 2}},
        "paraphrase": {"parents": 4, "documents": 4, "characters": 50, "not_made": {}, "usage": USAGE},
    }
    made, asked = fact_tables({"augmentation": {"documents": {"original": 90, "augmented": 10}, "kinds": kinds}})
    assert "10 documents, 10.0% of the training side" in made.note
    assert made.rows == [["swap", 5, 6, "6.0%", 60, "too short 2"], ["paraphrase", 4, 4, "4.0%", 50, "-"]]
    assert asked.rows == [["paraphrase", "writer-1", "7", "70", "90", "no price given"]]


def test_synthesis_names_who_wrote_and_what_it_cost():
    judge = {**USAGE, "cost": {"amount": 1.5, "currency": "EUR"}}
    (table,) = fact_tables({"synthesis": {"questions": 7, "documents": 5, "generator": USAGE, "judge": judge}})
    assert [(row[0], row[1], row[-1]) for row in table.rows] == [
        ("generator", "writer-1", "no price given"),
        ("judge", "writer-1", "1.50 EUR"),
    ]


def test_trained_filters_have_their_area_and_their_false_alarms_by_group():
    facts = {"auc": 0.91234, "auc_low": 0.9, "auc_high": 0.93, "held_out": {"positive": 30, "negative": 40}}
    groups = {"women": {"documents": 50, "above_0.5": 0.125}, "jews": {"documents": 40, "above_0.5": 0.0}}
    toxicity = {**facts, "identity": [{"corpus": "madlibs", "groups": groups}]}
    filters, alarms = fact_tables({"classifiers": {"quality": facts, "toxicity": toxicity}})
    assert filters.rows == [
        ["quality", "0.912", "0.900 to 0.930", 30, 40],
        ["toxicity", "0.912", "0.900 to 0.930", 30, 40],
    ]
    assert alarms.rows == [["toxicity", "madlibs", "women", 50, "12.5%"], ["toxicity", "madlibs", "jews", 40, "0.0%"]]
