"""Tagged sentences as CoNLL-U and CoNLL-2003 files have them."""

import io

from lmpipe.data.readers.config import ConllSource
from lmpipe.data.readers.conll import COLUMNS, read_conll

UNIVERSAL = """\
# sent_id = 1
# text = Don't go
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVBP\t_\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
3\tgo\tgo\tVERB\tVB\t_\t0\troot\t_\t_
3.1\tthere\tthere\tADV\tRB\t_\t_\t_\t_\t_

1\t10 000\t_\tNUM\tCD\t_\t0\troot\t_\t_
"""
ENTITIES = "-DOCSTART- -X- O O\n\nAnna NNP B-NP B-PER\nleft VBD B-VP O\n\n# NN B-NP O\n"


def read(text, **options):
    return list(read_conll(ConllSource(paths=("x",), **options), io.BytesIO(text.encode()), lambda amount: None))


def test_contractions_and_left_out_words_are_no_words_and_a_space_in_a_word_splits_nothing():
    first, second = read(UNIVERSAL)
    assert (first.text, first.meta) == ("Do n't go", {"tags": ["AUX", "PART", "VERB"]})
    assert (second.text, second.meta) == ("10\u00a0000", {"tags": ["NUM"]})


def test_other_columns():
    first, second = read(ENTITIES, words=1, tags=4)
    assert (first.text, first.meta["tags"]) == ("Anna left", ["B-PER", "O"])
    assert (second.text, second.meta["tags"]) == ("#", ["O"])


def test_a_short_line_fails_its_sentence_alone():
    broken, whole = read("1\tDo\n\n" + UNIVERSAL.split("\n\n")[1])
    assert broken.error == COLUMNS
    assert whole.text == "10\u00a0000"
