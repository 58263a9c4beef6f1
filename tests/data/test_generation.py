"""Questions to an endpoint: asked once, in order, within bounds; and what is said when it does not answer."""

import socket
import threading
from pathlib import Path

import pytest
from answering import Server, completion, failure, serving
from pydantic import TypeAdapter, ValidationError

from lmpipe.base.errors import EndpointError
from lmpipe.data.generation.asking import Answer, Asker, Question, Refusal, Usage, account
from lmpipe.data.generation.config import EndpointConfig, GeneratorConfig, PriceConfig, SamplingConfig
from lmpipe.data.generation.endpoint import Endpoint


@pytest.fixture
def server():
    with serving() as state:
        yield state


def asker(server: Server, folder: Path, **more: object) -> Asker:
    return Asker(Endpoint(EndpointConfig.model_validate(server.config(**more))), folder)


def questions(*prompts: str) -> list[Question]:
    return [Question((("user", prompt),), SamplingConfig(max_tokens=9), seed=number) for number, prompt in enumerate(prompts)]


def test_answers_come_in_order_and_within_the_bound(server, tmp_path):
    gate = threading.Barrier(3, timeout=30)  # passes only when three are under way

    def reply(prompt, number):
        if int(prompt) < 30:
            gate.wait()
        return completion(prompt)

    server.reply = reply
    found = list(asker(server, tmp_path, concurrency=3).answers(questions(*map(str, range(30)))))
    assert [answer.text for answer in found] == [str(number) for number in range(30)]
    assert server.most_at_once == 3


def test_the_request_is_that_of_the_api(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PARROT_KEY", "sk-secret")
    (answer,) = asker(server, tmp_path, api_key_env="PARROT_KEY").answers(questions("hi"))
    assert answer == Answer("answer to hi", "stop", 7, 3)
    (body,) = server.bodies
    assert body == {
        "path": "/v1/chat/completions",
        "model": "parrot",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9,
        "temperature": 0.7,
        "top_p": 1.0,
        "seed": 0,
    }
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"


def test_what_was_answered_is_not_asked_again(server, tmp_path):
    first = list(asker(server, tmp_path).answers(questions("a", "b")))
    again = asker(server, tmp_path, concurrency=1, timeout_seconds=5)  # how it is asked is no part of what is asked
    assert list(again.answers(questions("a", "b", "c")))[:2] == first
    assert server.asked == {"a": 1, "b": 1, "c": 1}
    assert (again.calls, again.remembered) == (1, 2)
    other = [Question(question.messages, question.sampling, seed=77) for question in questions("a")]
    list(asker(server, tmp_path).answers(other))
    assert server.asked["a"] == 2


def test_a_damaged_memory_is_asked_for_anew(server, tmp_path):
    list(asker(server, tmp_path).answers(questions("a")))
    (file,) = tmp_path.rglob("*.json")
    file.write_text(file.read_text()[:20])
    assert [answer.text for answer in asker(server, tmp_path).answers(questions("a"))] == ["answer to a"]
    assert server.asked["a"] == 2


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_in_trouble_is_asked_again(server, tmp_path, status):
    server.reply = lambda prompt, number: failure(status) if number < 2 else completion("at last")
    assert [answer.text for answer in asker(server, tmp_path, retries=2).answers(questions("a"))] == ["at last"]
    assert server.asked["a"] == 3


def test_garbage_is_asked_again_and_then_shown(server, tmp_path):
    server.reply = lambda prompt, number: (200, {}, b"<html>a proxy's page</html>")
    with pytest.raises(EndpointError, match=r"after 2 attempts: the answer is no chat completion: .*a proxy's page"):
        list(asker(server, tmp_path, retries=1).answers(questions("a")))


def test_what_was_answered_before_the_trouble_is_kept(server, tmp_path):
    server.reply = lambda prompt, number: failure(500, "on fire") if prompt == "bad" else completion(prompt)
    with pytest.raises(EndpointError, match="HTTP 500: on fire"):
        list(asker(server, tmp_path, retries=0, concurrency=1).answers(questions("a", "bad", "c")))
    server.reply = lambda prompt, number: completion("fine")
    assert [a.text for a in asker(server, tmp_path).answers(questions("a", "bad"))] == ["a", "fine"]
    assert server.asked["a"] == 1


def test_a_refused_key_stops_at_once_and_is_not_repeated(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PARROT_KEY", "sk-secret")
    server.reply = lambda prompt, number: failure(401, "the key sk-secret is wrong")
    with pytest.raises(EndpointError, match="does not let us in") as raised:
        list(asker(server, tmp_path, api_key_env="PARROT_KEY").answers(questions("a")))
    assert "sk-secret" not in str(raised.value)
    assert "<key>" in str(raised.value)
    assert "PARROT_KEY" in str(raised.value)
    assert server.asked["a"] == 1


def test_a_missing_key_is_named_before_anything_is_asked(server, tmp_path, monkeypatch):
    monkeypatch.delenv("PARROT_KEY", raising=False)
    with pytest.raises(EndpointError, match="PARROT_KEY holds no key"):
        list(asker(server, tmp_path, api_key_env="PARROT_KEY").answers(questions("a")))
    assert not server.asked


def test_a_wrong_model_stops_at_once(server, tmp_path):
    server.reply = lambda prompt, number: failure(404, "no model 'parrot'")
    with pytest.raises(EndpointError, match=r"HTTP 404: no model 'parrot'"):
        list(asker(server, tmp_path).answers(questions("a")))


def test_a_redirect_is_not_followed(server, tmp_path):
    with serving() as elsewhere:
        server.reply = lambda prompt, number: failure(307, Location=elsewhere.url)
        with pytest.raises(EndpointError, match="sends us elsewhere") as raised:
            list(asker(server, tmp_path).answers(questions("a")))
        assert elsewhere.url in str(raised.value)
        assert not elsewhere.asked


def test_one_refused_question_is_no_end(server, tmp_path):
    server.reply = lambda prompt, number: failure(400, "too long") if prompt == "long" else completion(prompt)
    found = list(asker(server, tmp_path).answers(questions("a", "long", "b")))
    assert found[1] == Refusal("HTTP 400: too long")
    assert [found[0].text, found[2].text] == ["a", "b"]


def test_when_all_are_refused_asking_ends_early(server, tmp_path):
    server.reply = lambda prompt, number: failure(400, "unknown parameter: seed")
    with pytest.raises(EndpointError, match="none of the first 8 questions was accepted: HTTP 400: unknown parameter: seed"):
        list(asker(server, tmp_path, concurrency=1).answers(questions(*map(str, range(100)))))
    assert len(server.asked) < 12


def test_nobody_there(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    config = EndpointConfig(base_url=url, model="m", retries=1, backoff_seconds=0.001)
    with pytest.raises(EndpointError, match=r"no answer after 2 attempts: .*refused"):
        Endpoint(config).ask(questions("a")[0])


def test_a_silent_server_has_a_deadline(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        config = EndpointConfig(base_url=url, model="m", retries=0, timeout_seconds=0.2)
        with pytest.raises(EndpointError, match="timed out"):
            Endpoint(config).ask(questions("a")[0])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"base_url": "ftp://x/v1"}, "http or https"),
        ({"base_url": "x:8000"}, "http or https"),
        ({"base_url": "https://me:pass@x/v1"}, "without credentials"),
        ({"base_url": "https://x/v1?key=1"}, "without credentials"),
        ({"api_key_env": "sk-abc def"}, "match pattern"),
        ({"retries": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_endpoints_are_refused(more, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(GeneratorConfig).validate_python({"kind": "endpoint", "base_url": "http://x/v1", "model": "m", **more})


def test_tokens_and_money_are_counted():
    usage = Usage()
    for answer in (Answer("a", "stop", 1000, 500), Answer("b", "stop"), Refusal("no")):
        usage.book(answer)
    facts = account(usage, {"kind": "endpoint"}, PriceConfig(input_per_million=2.0, output_per_million=8.0, currency="EUR"))
    assert facts == {
        "generator": {"kind": "endpoint"},
        "questions": 3,
        "refused": 1,
        "tokens_in": 1000,
        "tokens_out": 500,
        "uncounted": 1,
        "cost": {"amount": 0.006, "currency": "EUR"},
    }
