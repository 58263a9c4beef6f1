"""Removal of boilerplate lines: what goes, what is counted, and that text which stays is not touched."""

import json

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.errors import SourceError
from lmpipe.data.cleaning.config import LinesConfig
from lmpipe.data.cleaning.lines import remove_lines
from lmpipe.data.documents import read_documents
from lmpipe.data.filters.c4 import LineJudge

LOOSE = {"terminal_punctuation": False, "min_words": 1}


@pytest.fixture
def cleaned(write_documents, folders):
    def run(items, part_bytes=1 << 25, workers=1, **config):
        documents = write_documents(items, part_bytes)
        output, options = folders(workers)
        ledger, removed = remove_lines(documents, output, config=LinesConfig(**config), **options)
        assert json.loads((output / "lines.json").read_text()) == removed
        return output, ledger, removed

    return run


def texts(folder):
    return [document.text for document in read_documents(folder)]


def test_the_line_rules_of_c4(cleaned):
    page = "\n".join(
        [
            "  A line that stays [12] here.  ",
            "No stop at its end",
            "And so on...",
            "Too short.",
            "Please enable JavaScript now.",
            "By going on you accept our Cookie Policy.",
            "A " + "w" * 1001 + " word is long.",
            "",
            '"Another line," she said, "that stays."',
        ]
    )
    output, ledger, removed = cleaned([page])
    assert texts(output) == ['A line that stays  here.\n"Another line," she said, "that stays."']
    assert {rule: counts["lines"] for rule, counts in removed.items()} == {
        "few_words": 1,
        "javascript": 1,
        "long_word": 1,
        "no_terminal_punctuation": 2,
        "policy": 1,
    }
    assert removed["javascript"]["characters"] == len("Please enable JavaScript now.")
    assert (ledger.characters_in, ledger.characters_kept) == (len(page), len(texts(output)[0]))


def test_a_document_without_a_line_left_is_explained(cleaned):
    output, ledger, _ = cleaned(["menu\nhome", "This one stays here."])
    assert texts(output) == ["This one stays here."]
    assert ledger.dropped == {"lines.nothing_left": 1}
    (row,) = pq.read_table(output / "dropped.parquet").to_pylist()
    assert (row["id"].split(":")[0], row["rule"]) == ("file-0", "lines.nothing_left")
    with pytest.raises(SourceError, match="no document is left after 'lines'"):
        cleaned(["menu"])


def test_lines_that_stand_in_many_documents_go(cleaned):
    footer = "Copyright by the makers of this site"
    items = [("one", f"Text number {n} of one.\n{footer}\nshort") for n in range(4)]
    items += [("two", f"Text number {n} of two.\n{footer}\n{footer}") for n in range(2)]
    output, _, removed = cleaned(items, part_bytes=120, repeated_in=3, **LOOSE)
    assert [footer in text for text in texts(output)] == [False] * 4 + [True] * 2
    assert all("short" in text for text in texts(output)[:4])  # too short to be counted
    assert removed == {"repeated": {"lines": 4, "characters": 4 * len(footer)}}
    output, _, _ = cleaned(items, part_bytes=120, repeated_in=3, repeated_within="corpus", **LOOSE)
    assert not any(footer in text for text in texts(output))
    output, _, removed = cleaned(items, repeated_in=4, **LOOSE)
    assert removed == {}


def test_hosts_are_counted_together(cleaned):
    items = [(f"https://www.a.org/{n}", f"Page {n} of a.\nThe same line on a host.") for n in range(3)]
    items.append(("https://b.org/1", "Page of b.\nThe same line on a host."))
    output, _, _ = cleaned(items, repeated_in=2, repeated_within="host", **LOOSE)
    assert [text.count("\n") for text in texts(output)] == [0, 0, 0, 1]


LINE = st.sampled_from(
    ["Three words here.", "two words", "no end at all", "use JavaScript now.", "[3] Cited it is.", " ", "{ a b c."]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(LINE, max_size=12))
def test_cleaning_twice_changes_nothing(lines):
    judge = LineJudge(LinesConfig())

    def clean(text):
        return "\n".join(line.strip() for line, rule in judge.lines_of(text) if not rule)

    once = clean("\n".join(lines))
    assert clean(once) == once


def test_dialogue_set_with_typographic_quotes_needs_its_marks():
    said = "“It is late,” she said, “and I go.”"
    rules = [LineJudge(LinesConfig(**marks)).lines_of(said)[0][1] for marks in ({}, {"terminal_marks": (".", "”")})]
    assert rules == ["no_terminal_punctuation", ""]
