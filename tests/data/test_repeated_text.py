"""Repeated lines, paragraphs and spans: the first document keeps them, the others lose them and nothing else."""

import random

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json
from lmpipe.base.progress import Silent
from lmpipe.data.config import CorpusConfig
from lmpipe.data.dedup.config import LinesConfig, ParagraphsConfig, SpansConfig
from lmpipe.data.dedup.repeated import remove_repeated
from lmpipe.data.dedup.rewriting import without
from lmpipe.data.dedup.spans import remove_spans
from lmpipe.data.documents import Document, PartWriter, read_documents, read_tables

WORDS = [f"w{number}" for number in range(2000)]


@pytest.fixture
def rewritten(write_documents, folders):
    """Texts after a step, its output and its ledger."""

    def run(texts, config, part_bytes=1 << 25, workers=1):
        output, options = folders(workers)
        step = remove_spans if config.kind == "spans" else remove_repeated
        ledger = step(write_documents(texts, part_bytes), output, config=config, **options)
        return [document.text for document in read_documents(output)], output, ledger

    return run


def sentence(seed, count):
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def test_lines_stay_in_the_first_document_only(rewritten):
    notice = "All rights reserved by the company."
    texts = [f"first\n{notice}\nend", f"second\n  {notice}  \n    indented", f"{notice}\nthird\n{notice}", "}\n}\n", "}\n"]
    after, output, ledger = rewritten(texts, LinesConfig(min_characters=10), part_bytes=30)
    assert after == [texts[0], "second\n    indented", "third\n", "}\n}\n", "}\n"]
    assert read_json(output / "repeated.json") == {
        "documents": 2,
        "pieces": 3,
        "characters": len(notice) * 3 + 4 + 2,
        "stands_in_documents": {"3": 1},
    }
    removed = [row for table in read_tables(output / "removed") for row in table.to_pylist()]
    assert [(row["id"].split(":")[0], row["pieces"]) for row in removed] == [("file-1", 1), ("file-2", 2)]
    assert ledger.characters_in - ledger.characters_kept == sum(row["characters"] for row in removed)
    assert notice.encode() not in b"".join(
        path.read_bytes() for path in output.rglob("*") if path.is_file() and path.parent != output
    )


def test_boilerplate_can_go_from_the_first_document_too(rewritten):
    notice = "All rights reserved by the company."
    texts = [f"{notice}\n{number}" for number in range(3)] + ["twice only, this line\n1", "twice only, this line\n2"]
    after, _, _ = rewritten(texts, LinesConfig(min_characters=10, keep="none", min_documents=3))
    assert after == ["0", "1", "2", *texts[3:]]


def test_a_document_of_which_too_little_is_left_is_dropped_and_explained(rewritten):
    line = "the very same line of text in both of them"
    after, output, ledger = rewritten([line, line, f"{line}\nand"], LinesConfig(min_kept=0.5))
    assert after == [line]
    dropped = pq.read_table(output / "dropped.parquet").to_pylist()
    assert [(row["rule"], row["value"], row["threshold"]) for row in dropped] == [
        ("dedup.lines", 0.0, 0.5),
        ("dedup.lines", pytest.approx(3 / 46), 0.5),
    ]
    assert ledger.dropped == {"dedup.lines": 2}
    with pytest.raises(SourceError, match="no document is left after 'lines'"):
        rewritten([line, line], LinesConfig(keep="none"))


def test_a_document_of_which_punctuation_is_left_is_dropped(rewritten):
    line = "A sentence of a book that both of them have, from its first word to its last."
    after, _, ledger = rewritten([line, f"{line}\n”"], LinesConfig())
    assert (after, ledger.dropped) == ([line], {"dedup.lines": 1})


def test_paragraphs_are_what_stands_between_empty_lines(rewritten):
    paragraph = "One sentence here.\nAnother\tsentence there."
    texts = [f"a\n\n{paragraph}\n\nb", f"c\n \n{paragraph.replace(chr(9), ' ')}\n\n\n  d", f"{paragraph}x\n\ne", paragraph]
    after, _, ledger = rewritten(texts, ParagraphsConfig(min_characters=20))
    assert after == [texts[0], "c\n \n  d", texts[2]]
    assert ledger.dropped == {"dedup.paragraphs": 1}


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(st.sampled_from(["ab", "ABC", "abc", ""]), max_size=6), min_size=1, max_size=8), st.integers(2, 3))
def test_lines_are_those_of_a_dictionary(tmp_path_factory, documents, least):
    folder = tmp_path_factory.mktemp("lines")
    texts = ["\n".join(["kept" + str(number), *lines]) for number, lines in enumerate(documents)]
    with PartWriter(folder / "in", part_bytes=20) as writer:
        for number, text in enumerate(texts):
            writer.add(Document(str(number), text, "s", "l", "e", "{}"))
    (folder / "out").mkdir()
    config = LinesConfig(min_characters=1, min_documents=least)
    remove_repeated(folder / "in", folder / "out", config=config, scratch=folder / "s", progress=Silent(), workers=1)
    holders = {}
    for number, text in enumerate(texts):
        for line in set(text.split("\n")):
            holders.setdefault(line, []).append(number)
    for number, document in enumerate(read_documents(folder / "out")):
        lines = texts[number].split("\n")
        stay = [line for line in lines if not line or len(holders[line]) < least or holders[line][0] == number]
        assert [line for line in document.text.split("\n") if line] == [line for line in stay if line]


def test_spans_go_wherever_their_lines_end(rewritten):
    passage = sentence(1, 60)
    broken = passage.replace(" ", "\n", 7).upper()
    before, after = sentence(2, 30), sentence(3, 30)
    texts = [f"{before} {passage}. {after}", f"My own words: “{broken}.” Then mine again.", f"{sentence(4, 20)} {passage[:60]}"]
    found, output, _ = rewritten(texts, SpansConfig(), part_bytes=200)
    assert found == [texts[0], "My own words: “Then mine again.", texts[2]]
    assert read_json(output / "repeated.json")["stands_in_documents"] == {"2": 48}
    assert rewritten(texts, SpansConfig(min_words=61))[0] == texts


def test_a_passage_repeated_within_a_document_stays(rewritten):
    passage = sentence(1, 60)
    assert rewritten([f"{passage}\n{passage}", "other"], SpansConfig())[0] == [f"{passage}\n{passage}", "other"]


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6))
def test_what_spans_leave_is_what_no_earlier_document_has(tmp_path_factory, seed):
    rng = random.Random(seed)
    passages = [sentence(seed + number, rng.randint(4, 30)).split() for number in range(6)]
    texts = [" ".join(sum(rng.choices(passages, k=4), [f"own{number}"])) for number in range(8)]
    folder = tmp_path_factory.mktemp("spans")
    with PartWriter(folder / "in", part_bytes=500) as writer:
        for number, text in enumerate(texts):
            writer.add(Document(str(number), text, "s", "l", "e", "{}"))
    (folder / "out").mkdir()
    config = SpansConfig(ngram=5, min_words=8)
    remove_spans(folder / "in", folder / "out", config=config, scratch=folder / "s", progress=Silent(), workers=1)
    seen = set()
    after = {document.id: document.text for document in read_documents(folder / "out")}
    for number, text in enumerate(texts):
        words = text.split()
        runs = [tuple(words[place : place + 5]) for place in range(len(words) - 4)]
        covered = {place + step for place, run in enumerate(runs) if run in seen for step in range(5)}
        seen |= set(runs)
        left, place = [], 0
        while place < len(words):
            end = place
            while end in covered:
                end += 1
            if end - place < 8:
                left += words[place : max(end, place + 1)]
            place = max(end, place + 1)
        assert after[str(number)].split() == left


@pytest.mark.parametrize(
    "config", [LinesConfig(min_characters=8), ParagraphsConfig(min_characters=8), SpansConfig(ngram=3, min_words=4)]
)
def test_parts_show_in_no_text(rewritten, config):
    rng = random.Random(1)
    pool = [sentence(number, 6) for number in range(20)]
    texts = ["\n\n".join([f"document {n}", *rng.choices(pool, k=5)]) for n in range(40)]
    (one, output, _), (many, other, _) = rewritten(texts, config), rewritten(texts, config, part_bytes=600)
    assert one == many != texts
    assert read_json(output / "repeated.json") == read_json(other / "repeated.json")


@pytest.mark.slow  # starting five processes twice
@pytest.mark.parametrize("config", [LinesConfig(min_characters=8), SpansConfig(ngram=3, min_words=4)])
def test_workers_show_in_no_byte(rewritten, config):
    texts = ["\n\n".join([f"document {n}", *(sentence(n % 7 + step, 6) for step in range(5))]) for n in range(60)]
    outputs = [rewritten(texts, config, part_bytes=600, workers=workers)[1] for workers in (1, 2, 5)]
    digests = [digests_of_folder(output) for output in outputs]
    assert digests[0] == digests[1] == digests[2]


def test_words_do_not_run_together():
    assert without("Alice wanted a store", [(6, 15)]) == "Alice store"
    assert without("Alice wanted,store", [(6, 12)]) == "Alice ,store"
    assert without("wantedXstore", [(6, 7)]) == "wanted store"
    assert without("all of it", [(0, 9)]) == ""


def test_whole_documents_go_before_parts_of_them():
    read = [{"kind": "text", "paths": ["a.txt"]}]
    with pytest.raises(ValidationError, match=r"takes out text \(lines\) before whole documents \(exact\)"):
        CorpusConfig.model_validate({"read": read, "dedup": [{"kind": "lines"}, {"kind": "exact"}]})
    with pytest.raises(ValidationError, match="two steps of kind 'lines'"):
        CorpusConfig.model_validate({"read": read, "dedup": [{"kind": "lines"}, {"kind": "lines"}]})
    with pytest.raises(ValidationError, match="spans of at least one run"):
        SpansConfig(ngram=20, min_words=10)
