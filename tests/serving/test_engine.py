import queue
import threading

import pytest

from lmpipe.base.errors import LmpipeError, ModelError, ServingError
from lmpipe.serving.answers import Sampling
from lmpipe.serving.engine import Engine, QueueFullError


class Gate:
    """A generator whose every token waits until the test lets it through, and which counts what was drawn."""

    vocab_size, context_length = 400, 64

    def __init__(self):
        self.permits = threading.Semaphore(0)
        self.drawn = queue.Queue()

    def generate(self, prompt_ids, *, max_new_tokens, **_):
        for _ in range(max_new_tokens):
            self.permits.acquire()
            self.drawn.put(prompt_ids[0])
            yield 70


class Caller:
    def __init__(self):
        self.inbox = queue.Queue()

    def __call__(self, what):
        self.inbox.put(what)

    def answer(self):
        text = ""
        while True:
            what = self.inbox.get(timeout=30)
            if isinstance(what, LmpipeError):
                raise what
            text += what.text
            if what.finish_reason:
                return text, what.finish_reason


@pytest.fixture
def engine(bundle):
    engine = Engine(bundle.generator, bundle.tokenizer)
    engine.start()
    yield engine
    engine.close()


@pytest.fixture
def gated(bundle):
    gate = Gate()
    engine = Engine(gate, bundle.tokenizer, queue_limit=2, slots=1)
    engine.start()
    yield engine, gate
    gate.permits.release(10_000)
    engine.close()


def test_neighbours_do_not_change_an_answer(engine, bundle):
    prompts = [bundle.tokenizer.encode_prompt(text) for text in ("def", "class A", "", "import os\n", "x = ", "東京")]
    callers = [Caller() for _ in prompts]
    for number, (prompt, caller) in enumerate(zip(prompts, callers, strict=True)):
        engine.submit(prompt, Sampling(seed=number, max_tokens=40), caller)
    for number, (text, caller) in enumerate(zip(("def", "class A", "", "import os\n", "x = ", "東京"), callers, strict=True)):
        assert caller.answer() == (bundle.generate(text, seed=number, max_tokens=40), "length")
    assert engine.alive


def test_a_full_queue_refuses_and_a_cancelled_place_is_free_again(gated):
    engine, gate = gated
    engine.submit([1], Sampling(max_tokens=100), Caller())
    gate.permits.release()
    assert gate.drawn.get(timeout=10) == 1  # it runs now, so it waits no longer
    jobs = [engine.submit([2], Sampling(), Caller()) for _ in range(2)]
    with pytest.raises(QueueFullError, match="waiting"):
        engine.submit([3], Sampling(), Caller())
    engine.cancel(jobs[0])
    assert engine.waiting == 1
    engine.submit([3], Sampling(), Caller())


def test_cancelling_frees_the_slot_within_one_token(gated):
    engine, gate = gated
    first, second = Caller(), Caller()
    job = engine.submit([1], Sampling(max_tokens=1000), first)
    gate.permits.release(3)
    assert [gate.drawn.get(timeout=10) for _ in range(3)] == [1, 1, 1]
    engine.submit([2], Sampling(max_tokens=2), second)
    for _ in range(3):
        first.inbox.get(timeout=10)
    engine.cancel(job)
    engine.cancel(job)
    gate.permits.release(3)  # one for the token in work at that moment, two for the next answer
    assert [gate.drawn.get(timeout=10) for _ in range(3)] == [1, 2, 2]
    assert second.answer()[1] == "length"
    assert first.inbox.empty()


def test_one_answer_that_fails_leaves_the_others_alone(engine, bundle):
    bad, good = Caller(), Caller()
    engine.submit([10_000], Sampling(seed=1), bad)
    engine.submit([0], Sampling(seed=1, max_tokens=5), good)
    with pytest.raises(ModelError, match="10000"):
        bad.answer()
    assert good.answer()[1] == "length"
    assert engine.alive


def test_a_caller_that_is_gone_does_not_stop_the_engine(engine):
    def gone(_):
        raise RuntimeError("event loop is closed")

    engine.submit([0], Sampling(seed=1, max_tokens=50), gone)
    caller = Caller()
    engine.submit([0], Sampling(seed=1, max_tokens=5), caller)
    assert caller.answer()[1] == "length"


def test_closing_tells_everybody(bundle):
    gate = Gate()
    engine = Engine(gate, bundle.tokenizer, slots=1)
    engine.start()
    callers = [Caller(), Caller()]
    for caller in callers:
        engine.submit([1], Sampling(max_tokens=10**9), caller)
    gate.permits.release()
    gate.drawn.get(timeout=10)
    closing = threading.Thread(target=engine.close)
    closing.start()
    gate.permits.release()
    closing.join(timeout=30)
    assert not closing.is_alive()
    for caller in callers:
        with pytest.raises(ServingError, match="stopped"):
            caller.answer()
    assert not engine.alive
    with pytest.raises(ServingError, match="closed"):
        engine.submit([1], Sampling(), Caller())


def test_a_burst_finds_every_place(bundle):
    gate = Gate()
    engine = Engine(gate, bundle.tokenizer, queue_limit=2, slots=3)
    engine.start()
    engine.submit([1], Sampling(max_tokens=1), Caller())
    for _ in range(4):  # the thread is busy drawing, so none of these has moved to its place yet
        engine.submit([2], Sampling(max_tokens=1), Caller())
    with pytest.raises(QueueFullError):
        engine.submit([3], Sampling(), Caller())
    gate.permits.release(100)
    engine.close()
