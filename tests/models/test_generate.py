import numpy as np
import pytest
import torch

from lmpipe.base.errors import ModelError
from lmpipe.models.api import Generator, Scorer
from lmpipe.models.generate import TextGenerator
from lmpipe.models.llama.config import LlamaConfig
from lmpipe.models.llama.model import Llama

VOCABULARY = 50
CONTEXT = 16
GREEDY = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0, "stop_ids": ()}
WARM = {**GREEDY, "temperature": 1.0}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    model = Llama(LlamaConfig(layers=2, width=32, heads=4, kv_heads=2, context=CONTEXT), VOCABULARY).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.fixture(scope="module")
def generator(model):
    return TextGenerator(model)


def draw(generator, prompt, count=8, **settings):
    return list(generator.generate(prompt, max_new_tokens=count, **settings))


@torch.no_grad()
def reference(model, ids):
    return model(torch.tensor([ids]))[0].double()


def test_satisfies_both_protocols(generator):
    assert isinstance(generator, Generator)
    assert isinstance(generator, Scorer)
    assert (generator.vocab_size, generator.context_length) == (VOCABULARY, CONTEXT)


def test_greedy_takes_the_most_probable_id_of_the_whole_text(model, generator):
    ids = [0, 7, 9]
    for token in draw(generator, ids, count=CONTEXT - 3, **GREEDY):
        assert token == int(reference(model, ids)[-1].argmax())
        ids.append(token)


def test_beyond_the_context_the_last_half_is_read_again(model, generator):
    ids = [0, 7, 9]
    window = list(ids)
    for token in draw(generator, ids, count=3 * CONTEXT, **GREEDY):
        if len(window) > CONTEXT:
            window = window[-CONTEXT // 2 :]
        assert token == int(reference(model, window)[-1].argmax())
        window.append(token)


def test_a_prompt_longer_than_the_context_keeps_its_end(generator):
    prompt = [int(n) for n in np.random.default_rng(0).integers(0, VOCABULARY, 100)]
    assert draw(generator, prompt, **GREEDY) == draw(generator, prompt[-CONTEXT:], **GREEDY)


def test_equal_seeds_give_equal_ids_whatever_else_draws(generator):
    first = draw(generator, [0], count=40, **WARM)
    torch.manual_seed(99)
    iterator = generator.generate([0], max_new_tokens=40, **WARM)
    second = []
    for token in iterator:
        torch.rand(3)
        second.append(token)
    assert first == second
    assert first != draw(generator, [0], count=40, **{**WARM, "seed": 1})


def test_draws_follow_the_probabilities(model, generator):
    expected = torch.softmax(reference(model, [0])[-1], 0).numpy()
    drawn = [draw(generator, [0], count=1, **{**WARM, "seed": seed})[0] for seed in range(3000)]
    counts = np.bincount(drawn, minlength=VOCABULARY)
    frequent = expected * 3000 > 5
    chi_squared = (((counts - expected * 3000) ** 2) / (expected * 3000))[frequent].sum()
    freedom = frequent.sum()
    assert chi_squared < freedom + 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("top_k", [1, 3])
def test_top_k_draws_among_the_k_most_probable(model, generator, top_k):
    allowed = set(reference(model, [0])[-1].topk(top_k).indices.tolist())
    drawn = {draw(generator, [0], count=1, **{**WARM, "top_k": top_k, "seed": seed})[0] for seed in range(200)}
    assert drawn == allowed


def test_top_p_draws_among_the_fewest_that_reach_it(model, generator):
    probabilities, ids = torch.softmax(reference(model, [0])[-1], 0).sort(descending=True)
    kept = int((probabilities.cumsum(0) < 0.3).sum()) + 1
    drawn = {draw(generator, [0], count=1, **{**WARM, "top_p": 0.3, "seed": seed})[0] for seed in range(400)}
    assert drawn == set(ids[:kept].tolist())


def test_a_tiny_temperature_is_greedy_and_nothing_overflows(generator):
    assert draw(generator, [0], **{**WARM, "temperature": 1e-300}) == draw(generator, [0], **GREEDY)


def test_a_stop_id_is_the_last(generator):
    ids = draw(generator, [0], count=20, **WARM)
    stop = ids[4]
    assert draw(generator, [0], count=20, **{**WARM, "stop_ids": (stop,)}) == ids[: ids.index(stop) + 1]
    assert draw(generator, [0], count=0, **WARM) == []


def test_no_prompt_begins_a_document(generator):
    assert draw(generator, [], **WARM) == draw(generator, [0], **WARM)


def test_the_callers_gradient_mode_is_left_alone(generator):
    iterator = generator.generate([0], max_new_tokens=3, **WARM)
    next(iterator)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    "change", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": -1}]
)
def test_settings_out_of_range_are_refused_at_once(generator, change):
    with pytest.raises(ModelError, match="cannot be drawn"):
        generator.generate([0], max_new_tokens=1, **{**WARM, **change})


def test_ids_outside_the_vocabulary_are_refused_at_once(generator):
    with pytest.raises(ModelError, match="50"):
        generator.generate([VOCABULARY], max_new_tokens=1, **WARM)


def test_broken_weights_are_an_error_not_noise(model):
    broken = Llama(model.config, VOCABULARY).eval()
    with torch.no_grad():
        broken.norm.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        draw(TextGenerator(broken), [0], **GREEDY)


@pytest.mark.parametrize("length", [0, 1, CONTEXT, CONTEXT + 1, 45])
def test_scores_are_those_of_the_whole_text_where_it_fits(model, generator, length):
    ids = np.random.default_rng(1).integers(0, VOCABULARY, length)
    scores = generator.log_probabilities(ids)
    assert scores.shape == (length,)
    assert np.isfinite(scores).all()
    stream = [0, *ids.tolist()]
    exact = torch.log_softmax(reference(model, stream[:CONTEXT]), -1) if length else None
    for position in range(min(length, CONTEXT)):
        assert scores[position] == pytest.approx(float(exact[position, stream[position + 1]]), abs=1e-5)
    for position in range(CONTEXT, length):  # further on: a context that begins at a half's border
        start = CONTEXT // 2 * ((position - CONTEXT) // (CONTEXT // 2) + 1)
        window = stream[start : position + 1]
        expected = torch.log_softmax(reference(model, window)[-1], -1)[stream[position + 1]]
        assert scores[position] == pytest.approx(float(expected), abs=1e-5)
