import subprocess
import sys
from typing import get_args

import pytest
from pydantic import ValidationError

from lmpipe.data.config import CorpusConfig, SplitConfig
from lmpipe.data.filters.config import GopherRepetitionConfig, LengthConfig
from lmpipe.data.pii.config import Entity, PiiConfig
from lmpipe.data.readers.config import TextSource

TEXT = {"kind": "text", "paths": ["a.txt"]}


def test_importing_the_configs_imports_nothing_heavy():
    code = (
        "import sys, lmpipe.data.config, lmpipe.data.readers.sources\n"
        "print([m for m in ('numpy', 'pyarrow', 'torch', 'datasets', 'fsspec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_corpus_needs_only_a_source_and_has_the_usual_split():
    corpus = CorpusConfig.model_validate({"read": [TEXT]})
    assert corpus.split == SplitConfig(train=0.9, validation=0.05, test=0.05, by="document")
    assert (corpus.unicode(), corpus.measure(), corpus.select(), corpus.pii) == (None, None, None, None)


def test_a_corpus_survives_json():
    corpus = CorpusConfig.model_validate(
        {"read": [TEXT], "clean": [{"kind": "unicode"}, {"kind": "gopher_repetition"}], "dedup": [{"kind": "exact"}], "pii": {}}
    )
    assert CorpusConfig.model_validate_json(corpus.model_dump_json(), strict=True) == corpus


def test_measuring_does_not_know_thresholds():
    def measure(bound):
        return CorpusConfig.model_validate({"read": [TEXT], "clean": [{"kind": "length", "min_characters": bound}]}).measure()

    assert measure(10) == measure(1000) is not None


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"clean": [{"kind": "length"}, {"kind": "length"}]}, "two steps of kind 'length'"),
        ({"clean": [{"kind": "length"}, {"kind": "unicode"}]}, "out of order"),
        ({"split": {"train": 0.9, "validation": 0.1, "test": 0.1}}, "add up to 1.1; expected 1"),
        ({"read": []}, "from files .* or from a generator"),
        ({"read": [{**TEXT, "encoding": "klingon"}]}, "knows no encoding 'klingon'"),
        ({"read": [{**TEXT, "encoding": "utf-7-imap"}]}, "knows no encoding"),
        ({"read": [{**TEXT, "column": "x"}]}, "Extra inputs are not permitted"),
        ({"pii": {"entities": ["shoe_size"]}}, "Input should be"),
    ],
)
def test_what_makes_no_sense_is_refused(section, message):
    with pytest.raises(ValidationError, match=message):
        CorpusConfig.model_validate({"read": [TEXT], **section})


def test_a_bound_that_is_null_is_no_rule():
    assert [rule.name for rule in LengthConfig(min_characters=None, max_words=9).rules()] == ["length.max_words"]
    loose = GopherRepetitionConfig(max_duplicate_line_fraction=None)
    assert len(loose.rules()) == len(GopherRepetitionConfig().rules()) - 1 == 12


def test_all_entities_but_the_common_ones_and_names_are_looked_for_by_default():
    assert set(get_args(Entity)) - set(PiiConfig().entities) == {"url", "date", "person", "address"}


def test_encodings_that_cannot_be_read_by_lines_are_refused():
    with pytest.raises(ValidationError, match="convert them to utf-8"):
        TextSource(paths=("a.txt",), encoding="cp037")
