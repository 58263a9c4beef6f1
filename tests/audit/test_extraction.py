import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from lmpipe.audit.config import MemorizationConfig
from lmpipe.audit.extraction import check_fits, extract, extraction_findings, redact, sample_passages
from lmpipe.base.errors import RecipeError
from lmpipe.base.progress import Silent
from lmpipe.evaluation.intervals import newcombe, wilson

CPU = torch.device("cpu")
VOCAB = 50


class Folder:
    def __init__(self, rows):
        self._rows = [np.asarray(row, dtype=np.uint16) for row in rows]

    @property
    def documents(self):
        return len(self._rows)

    def document(self, index):
        return self._rows[index]

    def document_bytes(self, index):
        return 0


def random_folder(seed, documents=12, tokens=80):
    rng = np.random.default_rng(seed)
    return Folder([np.append(rng.integers(1, VOCAB, tokens), 0) for _ in range(documents)])


class Parrot:
    """A decoder that continues four tokens as its training text did, and says 7 where it never saw them."""

    def __init__(self, folder):
        rows = [folder.document(i).tolist() for i in range(folder.documents)]
        self._next = {tuple(row[i : i + 4]): row[i + 4] for row in rows for i in range(len(row) - 4)}

    def __call__(self, ids):
        logits = torch.zeros(*ids.shape, VOCAB)
        for b, row in enumerate(ids.tolist()):
            for t in range(len(row)):
                logits[b, t, self._next.get(tuple(row[max(0, t - 3) : t + 1]), 7)] = 1.0
        return logits


CONFIG = MemorizationConfig(prefix_tokens=8, suffix_tokens=8, samples=60, canaries=None, shown=2)


def findings(decoder, train, heldout, **options):
    options = {"epochs": 1.5, "seed": 3, **options}
    found = extraction_findings(
        CONFIG, decoder, train=train, heldout=heldout, decode=lambda ids: " ".join(map(str, ids)), device=CPU,
        progress=Silent(), **options,
    )  # fmt: skip
    return {finding.name: finding for finding in found}


def test_a_parrot_is_caught_and_held_out_text_is_not_blamed():
    train, heldout = random_folder(1), random_folder(2)
    found = findings(Parrot(train), train, heldout)
    assert found["memorization.extractable"].value == 1.0
    assert found["memorization.extractable"].interval.low > 0.9
    assert found["memorization.extractable_heldout"].value == 0.0
    assert found["memorization.extractable_excess"].interval.low > 0.8
    assert len(found["memorization.extractable"].samples) == 2
    assert "1.5 times" in found["memorization.extractable"].limits


def test_predictable_text_is_not_counted_as_memorized():
    licence = Folder([[*range(1, 41), *range(1, 41), 0]] * 6)
    found = findings(Parrot(licence), licence, licence)
    assert found["memorization.extractable"].value > 0.5
    assert found["memorization.extractable_excess"].value == pytest.approx(0, abs=0.15)


def test_what_cannot_be_measured_is_absent():
    short = Folder([[1, 2, 3, 0]])
    train = random_folder(1)
    assert list(findings(Parrot(train), train, short)) == ["memorization.extractable"]
    assert list(findings(Parrot(train), short, short)) == []


def test_one_forward_pass_decides_as_greedy_decoding_does():
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        initializer_range=0.4, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    prefixes = torch.randint(1, VOCAB, (20, 6))
    with torch.no_grad():
        decoded = model.generate(
            prefixes, attention_mask=torch.ones_like(prefixes), max_new_tokens=10, do_sample=False, use_cache=True
        )
    passages = decoded.numpy().copy()
    for row in range(0, 20, 2):  # every other passage leaves the greedy path, at a different place each
        passages[row, 6 + row // 2] = (passages[row, 6 + row // 2] + 1) % VOCAB
    result = extract(lambda ids: model(ids).logits, passages, 6, device=CPU, progress=Silent())
    assert result.extracted_N.tolist() == [row % 2 == 1 for row in range(20)]
    assert result.matched_N[::2].tolist() == list(range(10))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(1, 12), st.integers(1, 40), st.integers(0, 99))
@settings(deadline=None, max_examples=100)
def test_passages_are_distinct_places_inside_one_document(lengths, length, samples, seed):
    rows, start = [], 1
    for tokens in lengths:
        rows.append([*range(start, start + tokens), 0])
        start += tokens + 1  # a gap: runs of consecutive ids cannot cross documents unnoticed
    passages = sample_passages(Folder(rows), length, samples, seed)
    places = sum(max(0, n - length + 1) for n in lengths)
    assert len(passages) == min(samples, places)
    assert len({tuple(p) for p in passages.tolist()}) == len(passages)
    assert (np.diff(passages, axis=1) == 1).all()
    assert (passages > 0).all()


def test_passages_longer_than_the_context_are_refused():
    check_fits(CONFIG, 16)
    with pytest.raises(RecipeError, match="context is 15"):
        check_fits(CONFIG, 15)


def test_shown_text_hides_digits_and_addresses():
    assert redact("Jane, jane@example.org\n call 030 12345") == "Jane, [address] call ### #####"


def test_wilson_interval_against_published_values():
    interval = wilson(81, 263)  # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 20).high == pytest.approx(0.1611, abs=1e-4)
    assert wilson(20, 20).high == 1.0


def test_difference_interval_against_published_values():
    interval = newcombe(56, 70, 48, 80)  # Newcombe 1998, Statistics in Medicine 17, table II, method 10
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.0524, 0.3339)
