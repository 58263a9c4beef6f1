"""Lists of words and places that the user gives, languages, and what select does with them."""

import pyarrow.parquet as pq
import pytest

from lmpipe.base.errors import SourceError
from lmpipe.data.documents import read_documents
from lmpipe.data.filters.config import LanguageConfig, LengthConfig, SelectConfig, UrlsConfig, WordsConfig
from lmpipe.data.filters.lists import UrlList, WordList, read_list
from lmpipe.data.filters.scores import MeasureConfig
from lmpipe.data.measuring import measure
from lmpipe.data.selection import select


@pytest.fixture
def selected(write_documents, folders):
    """Runs measure and select; returns the documents that stay and the rows of dropped.parquet."""

    def run(items, *filters, files=None):
        documents = write_documents(items)
        measures, options = folders()
        config = MeasureConfig(scores=tuple(part.scores() for part in filters))
        measure(documents, measures, config=config, files=files, **options)
        output, options = folders()
        select(documents, [measures], {}, output, config=SelectConfig(filters=filters), **options)
        return list(read_documents(output)), pq.read_table(output / "dropped.parquet").to_pylist()

    return run


def test_words_are_counted_whole():
    words = WordList(["ass", "big ass", "a$$", "# no"], whole_words=True)
    assert [words.count(text) for text in ("grass", "An ASS!", "a big  ass", "a big ass", "a$$ a$$es", "")] == [
        0,
        1,
        1,
        2,
        1,
        0,
    ]
    assert WordList(["性"], whole_words=False).count("男性と女性") == 2


def test_a_list_of_words_drops_documents_and_says_how_often(selected, tmp_path):
    (tmp_path / "bad.txt").write_text("# a comment\n\ndarn\nDarn\n", encoding="utf-8")
    config = WordsConfig(path="bad.txt")
    kept, dropped = selected(["darn it, DARN it", "darning"], config, files={"bad.txt": str(tmp_path / "bad.txt")})
    assert [document.text for document in kept] == ["darning"]
    assert [(row["rule"], row["value"], row["threshold"]) for row in dropped] == [("words.max_count", 2.0, 0.0)]


@pytest.mark.parametrize(
    ("url", "listed"),
    [
        ("https://bad.org/a", True),
        ("http://WWW.bad.org:80", True),
        ("https://sub.bad.org/x?y", True),
        ("https://notbad.org", False),
        ("https://good.org/ads/1", True),
        ("https://good.org/adsx", False),
        ("books/emma.txt", False),
        ("https://[broken", False),
    ],
)
def test_urls_are_listed_by_domain_or_beginning(url, listed):
    assert UrlList(["https://bad.org/", "good.org/ads/"], "url").is_listed(url) == listed


def test_urls_come_from_the_metadata_or_the_source(tmp_path):
    from lmpipe.data.filters.batch import Batch

    urls = UrlList(["bad.org"], "address")
    batch = Batch(
        ["a", "b", "c"], ["file.txt", "https://bad.org/1", "file.txt"], ['{"address": "bad.org/x"}', "{}", '{"url": "bad.org"}']
    )
    assert urls(batch)[0].tolist() == [1, 1, 0]
    assert UrlsConfig(path="x", max_listed=None).rules() == []


def test_an_empty_or_broken_list_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="no entries"):
        read_list("empty.txt", str(tmp_path / "empty.txt"))
    with pytest.raises(SourceError, match="no UTF-8"):
        read_list("binary.txt", str(tmp_path / "binary.txt"))


TEXTS = [
    "This is certainly an English sentence, and it has more words than it needs.",
    "Dies ist ohne Zweifel ein deutscher Satz, und er hat mehr Wörter als nötig.",
    "Ceci est sans aucun doute une phrase française avec beaucoup de mots.",
    "12345 67890",
    "Det er uten tvil en norsk setning med flere ord enn det som trengs.",
]


def test_languages_are_found_kept_and_recorded(selected):
    pytest.importorskip("py3langid")
    kept, dropped = selected(TEXTS, LanguageConfig(keep=("en", "nb", "und"), min_confidence=None))
    assert [document.language for document in kept] == ["en", "en", "nb"]  # of digits nobody knows: what the source says stays
    assert [(row["rule"], row["found"], row["value"]) for row in dropped] == [
        ("language.keep", "de", None),
        ("language.keep", "fr", None),
    ]


def test_the_data_card_takes_scores_that_are_words(write_documents, folders):
    pytest.importorskip("py3langid")
    from lmpipe.data.statistics import bounds_of, nearest_kept, score_histograms

    documents, config = write_documents(TEXTS), LanguageConfig(keep=("en", "de"), min_confidence=0.1)
    measures, options = folders()
    measure(documents, measures, config=MeasureConfig(scores=(config.scores(),)), **options)
    output, options = folders()
    select(documents, [measures], {}, output, config=SelectConfig(filters=(config,)), **options)
    assert list(score_histograms(measures, output / "dropped.parquet")) == ["language.confidence"]
    assert list(nearest_kept(measures, output / "dropped.parquet", config.rules())) == ["language.min_confidence"]
    assert list(bounds_of(config.rules())) == ["language.min_confidence"]


def test_unsure_languages_break_the_bound_on_confidence(selected):
    pytest.importorskip("py3langid")
    kept, dropped = selected([*TEXTS[:2], "12345"], LanguageConfig(), LengthConfig())
    assert [document.language for document in kept] == ["en", "de"]
    assert [(row["rule"], row["value"]) for row in dropped] == [("language.min_confidence", 0.0)]


def test_the_vectorised_walk_gives_what_the_library_gives():
    langid = pytest.importorskip("py3langid.langid")
    from lmpipe.data.filters.language import _NaiveBayes

    library = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    texts = [
        *TEXTS,
        "",
        "日本語の文です",
        "UPPER CASE TEXT",
        "x",
        "e\u0301te\u0301",
        *(" ".join(TEXTS)[:n] for n in range(1, 300, 7)),
    ]
    for text, (code, confidence) in zip(texts, _NaiveBayes().find(texts), strict=True):
        expected, probability = library.classify(text)
        assert confidence == pytest.approx(probability, abs=1e-4)
        assert code == expected or confidence == pytest.approx(1 / 140, abs=0.01)
