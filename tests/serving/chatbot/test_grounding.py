import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lmpipe.base.errors import DamagedError, ModelError, ServingError
from lmpipe.models.bm25.index import build_bm25
from lmpipe.serving.chatbot.grounding.chunks import snippets_of
from lmpipe.serving.chatbot.grounding.config import EmbeddingConfig, GenerationConfig, SnippetConfig, SnippetsConfig
from lmpipe.serving.chatbot.grounding.fusion import fuse
from lmpipe.serving.chatbot.grounding.index import build_index, load_index, save_index
from lmpipe.serving.chatbot.grounding.prompt import grounded_messages, small_talk_messages
from lmpipe.serving.chatbot.grounding.support import supported_sentences, unsupported
from lmpipe.serving.chatbot.state import Turn

TEXTS = ["the cat sat on the mat", "a dog", "", "cats and dogs: the cat, the dog", "dog dog dog"]


def reference_bm25(question, texts, k1, b):
    """Robertson and Zaragoza 2009, equation 3.15, text by text, with Lucene's idf."""
    split = [re.findall(r"\w+", text.lower()) for text in texts]
    mean = max(sum(map(len, split)) / len(split), 1.0)
    scores = []
    for words in split:
        tf, score = Counter(words), 0.0
        for word in re.findall(r"\w+", question.lower()):
            if not tf[word]:
                continue  # adds nothing; of an empty text with b = 1 the fraction would be 0 / 0
            n = sum(word in other for other in split)
            idf = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
            score += idf * tf[word] * (k1 + 1) / (tf[word] + k1 * (1 - b + b * len(words) / mean))
        scores.append(score)
    return scores


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=8).map(" ".join), min_size=1, max_size=8),
    st.lists(st.sampled_from(["a", "b", "c", "x"]), max_size=5).map(" ".join),
    st.floats(0.1, 3),
    st.floats(0, 1),
)
def test_scores_are_those_of_the_formula(texts, question, k1, b):
    index = build_bm25(texts, k1=k1, b=b)
    np.testing.assert_allclose(index.scores(question), reference_bm25(question, texts, k1, b), rtol=1e-12, atol=1e-15)
    shares = index.shares(question)
    assert ((shares >= 0) & (shares < 1)).all()
    assert ((shares > 0) == (index.scores(question) > 0)).all()


def test_equal_to_rank_bm25_where_its_idf_is_not_changed():
    rank_bm25 = pytest.importorskip("rank_bm25", reason="rank_bm25 is not installed")
    split = [text.split() for text in TEXTS if text]
    theirs = rank_bm25.BM25Okapi(split, k1=1.5, b=0.75)
    theirs.idf = {word: math.log(1 + (len(split) - n + 0.5) / (n + 0.5)) for word, n in theirs.nd.items()}
    ours = build_bm25([text for text in TEXTS if text], k1=1.5, b=0.75)
    np.testing.assert_allclose(ours.scores("the dog"), theirs.get_scores(["the", "dog"]))


def test_the_formula_on_an_example():
    scores = build_bm25(TEXTS, k1=1.2, b=0.75).scores("dog")
    assert scores.argsort()[::-1][:2].tolist() == [4, 1]
    assert scores[2] == 0


def test_the_share_counts_unknown_words_and_leaves_out_ignored_ones():
    index = build_bm25(TEXTS, k1=1.2, b=0.75, ignored=["the"])
    assert index.shares("the dog")[1] == index.shares("dog")[1] > index.shares("dog unicorn")[1]
    assert index.shares("the")[0] > 0
    assert index.shares("")[0] == 0


@given(st.lists(st.permutations(range(5)), min_size=1, max_size=3))
def test_fusion_is_the_sum_of_reciprocal_ranks(rankings):
    fused = dict(fuse(rankings, 60))
    for item in range(5):
        assert fused[item] == pytest.approx(sum(1 / (60 + ranking.index(item) + 1) for ranking in rankings))
    assert [item for item, _ in fuse(rankings, 60)] == sorted(fused, key=lambda item: (-fused[item], item))


ITEMS = (
    SnippetConfig(id="hours", title="Opening hours", text="We are open from 12 to 23."),
    SnippetConfig(id="dogs", text="Dogs are welcome.", questions=("may I bring a puppy",)),
    SnippetConfig(id="cats", text="Cats stay outside."),
)


class Topics:
    """Embeds by topics, so that meaning is not spelling."""

    name = "topics"
    topics = (("open", "hours", "when", "close"), ("dog", "dogs", "puppy", "hound"), ("cat", "cats", "kitten"))

    def embed(self, texts):
        return np.array(
            [[sum(word in topic for word in re.findall(r"\w+", text.lower())) for topic in self.topics] for text in texts]
        )


def test_what_is_near_enough_is_found_and_nothing_else():
    index = build_index(SnippetsConfig(items=ITEMS))
    assert [hit.snippet.id for hit in index.found("when are you open?")] == ["hours"]
    assert [hit.snippet.id for hit in index.found("can I bring a puppy")] == ["dogs"]
    assert index.found("the weather in Paris") == []
    assert index.found("") == []
    assert build_index(SnippetsConfig()).search("anything") == []


def test_meaning_finds_what_words_do_not():
    config = SnippetsConfig(items=ITEMS, embedding=EmbeddingConfig(threshold=0.8))
    index = build_index(config, embedder=Topics())
    (hit,) = index.found("hound")
    assert (hit.snippet.id, hit.words, hit.cosine) == ("dogs", 0.0, pytest.approx(1.0))


def test_two_searches_are_joined_by_their_ranks():
    both = SnippetsConfig(items=ITEMS, embedding=EmbeddingConfig())
    question = "open for dogs and a cat"
    ranks = {}
    for config in (both.model_copy(update={"embedding": None}), both.model_copy(update={"bm25": None})):
        for rank, hit in enumerate(build_index(config, embedder=Topics()).search(question), start=1):
            ranks.setdefault(hit.snippet.id, []).append(rank)
    joined = {hit.snippet.id: hit.score for hit in build_index(both, embedder=Topics()).search(question)}
    assert joined == pytest.approx({name: sum(1 / (60 + rank) for rank in found) for name, found in ranks.items()})


def test_saved_and_loaded_it_finds_the_same_and_equal_snippets_are_equal_bytes(tmp_path):
    config = SnippetsConfig(items=ITEMS, embedding=EmbeddingConfig())
    for name in "ab":
        save_index(build_index(config, embedder=Topics()), tmp_path / name)
    assert [p.read_bytes() for p in sorted((tmp_path / "a").iterdir())] == [
        p.read_bytes() for p in sorted((tmp_path / "b").iterdir())
    ]
    loaded = load_index(tmp_path / "a", embedder=Topics())
    for question in ("open", "puppy", "kitten hours", "nothing"):
        assert loaded.search(question) == build_index(config, embedder=Topics()).search(question)


def test_an_empty_index_lives_too(tmp_path):
    save_index(build_index(SnippetsConfig()), tmp_path)
    assert load_index(tmp_path).search("anything") == []


def test_a_bad_index_is_one_message(tmp_path):
    with pytest.raises(ModelError, match="no index"):
        load_index(tmp_path)
    save_index(build_index(SnippetsConfig(items=ITEMS, embedding=EmbeddingConfig()), embedder=Topics()), tmp_path / "x")
    with pytest.raises(ModelError, match="made by the embedder 'topics'"):
        load_index(tmp_path / "x")
    save_index(build_index(SnippetsConfig(items=ITEMS)), tmp_path / "y")
    (tmp_path / "y" / "snippets.json").write_text((tmp_path / "y" / "snippets.json").read_text().replace('"items"', '"itms"'))
    with pytest.raises(DamagedError, match="cannot be used"):
        load_index(tmp_path / "y")


def test_what_cannot_be_indexed_is_said():
    with pytest.raises(ServingError, match="no embedder"):
        build_index(SnippetsConfig(items=ITEMS, embedding=EmbeddingConfig()))
    with pytest.raises(ServingError, match="two snippets are called 'hours'"):
        build_index(SnippetsConfig(items=ITEMS), [ITEMS[0]])
    with pytest.raises(ValidationError, match="two snippets are called 'a'"):
        SnippetsConfig(items=(SnippetConfig(id="a", text="x"), SnippetConfig(id="a", text="y")))
    with pytest.raises(ValidationError, match="never searched"):
        SnippetsConfig(bm25=None)

    class Bad(Topics):
        def embed(self, texts):
            return np.full((len(texts), 2), np.nan)

    with pytest.raises(ServingError, match="finite"):
        build_index(SnippetsConfig(items=ITEMS, embedding=EmbeddingConfig()), embedder=Bad())


def words(text):
    return len(text.split())


TURNS = [Turn(user=f"question {n}", intent="x", probability=1, action="ground", bot=f"answer {n}") for n in range(4)]


def test_a_prompt_holds_instructions_snippets_turns_and_question():
    messages, used = grounded_messages("when?", ITEMS[:2], TURNS, GenerationConfig(history=2), words)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert "[1] Opening hours: We are open" in messages[0]["content"]
    assert "[2] Dogs are welcome." in messages[0]["content"]
    assert messages[1]["content"] == "question 2"
    assert messages[-1]["content"] == "when?"
    assert [snippet.id for snippet in used] == ["hours", "dogs"]
    assert small_talk_messages("hi", TURNS, GenerationConfig(), words)[-1] == {"role": "user", "content": "hi"}


@settings(deadline=None)
@given(st.integers(40, 400), st.lists(st.integers(1, 120), max_size=4), st.integers(0, 6))
def test_a_prompt_keeps_its_budget(budget, lengths, history):
    snippets = [SnippetConfig(id=f"s{n}", text=("word " * length).strip()) for n, length in enumerate(lengths)]
    messages, used = grounded_messages(
        "why is it so", snippets, TURNS * 2, GenerationConfig(prompt_tokens=budget, history=history), words
    )
    assert sum(words(message["content"]) + 4 for message in messages) <= budget
    assert used == snippets[: len(used)]


def test_a_snippet_that_is_too_long_is_cut_and_no_later_one_takes_its_place():
    snippets = [SnippetConfig(id="long", text="word " * 300), SnippetConfig(id="short", text="short")]
    messages, used = grounded_messages("why", snippets, [], GenerationConfig(prompt_tokens=100), words)
    assert [snippet.id for snippet in used] == ["long"]
    assert 16 <= messages[0]["content"].count("word") < 100


@pytest.mark.parametrize(
    ("sentence", "facts"),
    [
        ("We open at 12.", []),
        ("We open at 13.", ["13"]),
        ("You find it in Rome.", ["Rome"]),
        ("Rome is where we are [2].", []),  # first words are capitalised anyway
        ("Write to x@y.org, please.", ["x@y.org"]),
        ("Then I say so.", []),
    ],
)
def test_facts_without_a_source(sentence, facts):
    assert unsupported(sentence, ["We are open from 12 to 23.", "when?"]) == facts


def test_sentences_pass_up_to_the_first_without_support():
    text = "We open at 12. We close at 24. Come!"
    pieces = supported_sentences(list(text), ["We are open from 12 to 23."])
    assert next(pieces) == "We open at 12. "
    with pytest.raises(StopIteration) as end:
        next(pieces)
    assert end.value.value is False


@given(st.text(alphabet="ab .!\n", max_size=40), st.integers(1, 5))
def test_supported_sentences_are_the_stream(text, size):
    pieces = [text[place : place + size] for place in range(0, len(text), size)]
    assert "".join(supported_sentences(pieces, [])) == text


def test_a_document_becomes_snippets_by_headings():
    found = snippets_of("intro\n# A\none\n\n## B\ntwo\n```\n# no heading\n```\n# C\n", name="page", source="page.md")
    assert [(s.id, s.title, s.text) for s in found] == [
        ("page#1", "", "intro"),
        ("page#2", "A", "one"),
        ("page#3", "A / B", "two\n```\n# no heading\n```"),
    ]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["word ", "other. ", "\n\n", "\n# head\n", "x" * 1600 + " "]), max_size=60).map("".join),
    st.integers(5, 40),
)
def test_no_word_of_a_document_is_lost(document, size):
    found = snippets_of(document, name="d", source="")
    expected = "".join(line for line in document.splitlines(keepends=True) if not line.startswith("# "))
    assert "".join("".join(s.text for s in found).split()) == "".join(expected.split())
    assert all(s.text.strip() for s in found)
