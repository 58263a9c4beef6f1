import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmpipe
from lmpipe.base.errors import DamagedError, ModelError, ServingError
from lmpipe.serving.answers import Sampling, StopStrings, answer
from lmpipe.serving.bundle import load_bundle
from lmpipe.tokens.chat import CHAT_TEMPLATE


@settings(deadline=None, max_examples=200)
@given(chunks=st.lists(st.text("abc", max_size=5)), stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_stop_strings_are_found_however_the_text_is_cut(chunks, stops):
    finder = StopStrings(stops)
    shown = ""
    for chunk in chunks:
        shown += finder.push(chunk)
        assert not any(stop in shown for stop in stops)
    shown += finder.finish()
    whole = "".join(chunks)
    # The first stop string to be complete ends the text; where two end together, the one that began first.
    ends = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop in whole]
    assert finder.found == bool(ends)
    if not ends:
        assert shown == whole
    else:
        assert whole.startswith(shown)
        assert any(whole.startswith(stop, len(shown)) for stop in stops)


def test_the_stream_is_the_text(bundle):
    for seed in range(20):
        assert "".join(bundle.stream("def", seed=seed, max_tokens=50)) == bundle.generate("def", seed=seed, max_tokens=50)


def test_seed_decides(bundle):
    assert bundle.generate("def", seed=1) == bundle.generate("def", seed=1)
    assert bundle.generate("def", seed=1) != bundle.generate("def", seed=2)
    assert bundle.generate("def") != bundle.generate("def")
    assert bundle.generate("def", temperature=0) == bundle.generate("def", temperature=0, seed=8)


def test_a_stop_string_ends_the_text_and_is_no_part_of_it(bundle):
    whole = bundle.generate("def", seed=3, max_tokens=60)
    stop = whole[20:23]
    cut = bundle.generate("def", seed=3, max_tokens=60, stop=(stop,))
    assert cut == whole[: whole.index(stop)]
    assert bundle.generate("def", seed=3, max_tokens=60, stop=stop) == cut


def test_the_last_piece_says_why(bundle):
    def last(**settings):
        return list(answer(bundle.generator, bundle.tokenizer, [0], Sampling(seed=3, **settings)))[-1]

    assert last(max_tokens=5).finish_reason == "length"
    assert last(max_tokens=0).finish_reason == "length"
    assert last(max_tokens=200, stop=(" ", "e", "a")).finish_reason == "stop"


def test_a_control_token_ends_the_answer_and_is_not_shown(bundle):
    class Ends:
        def generate(self, prompt_ids, **_):
            yield from [*bundle.tokenizer.encode("abc"), bundle.tokenizer.end_of_text_id]

    pieces = list(answer(Ends(), bundle.tokenizer, [0], Sampling(max_tokens=50, stop=("cd",))))
    assert "".join(piece.text for piece in pieces) == "abc"  # the c that a stop string held back, too
    assert pieces[-1].finish_reason == "stop"


def test_control_tokens_in_a_prompt_are_text(bundle):
    assert bundle.tokenizer.end_of_text_id not in bundle.tokenizer.encode_prompt("<|endoftext|>")[1:]
    assert isinstance(bundle.generate("<|endoftext|>", max_tokens=3), str)


def test_a_long_text_goes_on_beyond_the_context(bundle):
    assert bundle.context_length == 64
    assert bundle.generate("def " * 500, max_tokens=200, seed=1)


def test_half_a_surrogate_pair_is_refused(bundle):
    with pytest.raises(ModelError, match="not Unicode"):
        bundle.generate("\ud800")


def test_chat_of_a_base_model_goes_on_with_the_text(bundle):
    assert not bundle.tuned_to_chat
    messages = [{"role": "user", "content": "def main("}]
    assert bundle.chat(messages, seed=4) == bundle.generate("def main(", seed=4)
    with pytest.raises(ServingError, match="role"):
        bundle.chat([{"role": "robot", "content": ""}])


def test_a_chat_template_is_used(make_tiny_bundle, tmp_path):
    bundle = load_bundle(make_tiny_bundle(tmp_path / "chat", chat_template=CHAT_TEMPLATE))
    assert bundle.tuned_to_chat
    assert bundle.chat([{"role": "user", "content": "a"}], seed=4) != bundle.generate("a", seed=4)


def test_logprobs_cover_the_text(bundle):
    found = bundle.logprobs("def main(argument): 東")
    assert "".join(token for token, _ in found).startswith("def main(argument): ")
    assert all(score < 0 for _, score in found)
    assert bundle.logprobs("") == []


def test_says_what_it_is(bundle, bundle_folder):
    assert (bundle.name, bundle.verdict) == ("tiny", "NO-GO")
    assert "tiny" in repr(bundle)
    assert "NO-GO" in repr(bundle)
    assert lmpipe.load(str(bundle_folder)).digest == bundle.digest


def test_nothing_is_loaded_from_a_damaged_bundle(make_tiny_bundle, tmp_path):
    folder = make_tiny_bundle(tmp_path / "b")
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(DamagedError, match=r"model\.safetensors"):
        load_bundle(folder)
