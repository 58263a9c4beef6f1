"""A real server process and the unmodified OpenAI client."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import openai
import pytest

from lmpipe.base.errors import DamagedError, ServingError
from lmpipe.serving.server import serve

DRIVER = Path(__file__).with_name("serve_driver.py")
KEY = "ключ-🔑-secret".encode().hex()


class Server:
    def __init__(self, folder, *limits, key=""):
        environment = {**os.environ, "LMPIPE_API_KEY": key, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(DRIVER), str(folder), "0", *limits],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, line + self.process.stderr.read()
        self.port = int(found.group(1))

    def client(self, key="none"):
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, max_retries=0, timeout=60)

    def request(self, method, path, body=None, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"content-type": "application/json", **dict(headers)})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def post(self, path, **body):
        status, _, data = self.request("POST", path, json.dumps(body))
        return status, json.loads(data)

    def metric(self, name):
        text = self.request("GET", "/metrics")[2].decode()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}(\{{|\s)", line))

    def until(self, name, value):
        """Ask for a figure until it is `value`."""
        deadline = time.monotonic() + 30
        while self.metric(name) != value:
            assert time.monotonic() < deadline, (name, self.metric(name))

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            out, err = self.process.communicate(timeout=60)
        finally:
            self.process.kill()
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def server(bundle_folder):
    server = Server(bundle_folder)
    yield server
    code, _, err = server.stop()
    assert (code, err) == (0, "")


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture
def own_server(bundle_folder):
    """Makes a server for a test that stops it."""
    with ExitStack() as servers:

        def make(*limits):
            server = Server(bundle_folder, *limits)
            servers.callback(server.stop)
            return server

        yield make


ENDLESS = {"model": "tiny", "prompt": "def", "max_tokens": 16384, "seed": 1}


def test_models(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "lmpipe"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt")


def test_a_completion_is_the_bundles_text(client, bundle):
    answer = client.completions.create(model="tiny", prompt="def", max_tokens=30, seed=5, temperature=0.8)
    assert answer.choices[0].text == bundle.generate("def", max_tokens=30, seed=5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.prompt_tokens == len(bundle.tokenizer.encode_prompt("def"))
    assert answer.usage.completion_tokens == 30
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 30
    ids = client.completions.create(
        model="tiny", prompt=bundle.tokenizer.encode_prompt("def"), max_tokens=30, seed=5, temperature=0.8
    )
    assert ids.choices[0].text == answer.choices[0].text


@pytest.mark.parametrize("seed", range(5))
def test_the_stream_is_the_answer(client, seed):
    asked = {"model": "tiny", "prompt": "class ", "max_tokens": 60, "seed": seed}
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert chunks[-2].choices[0].finish_reason == "length"
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)


def test_chat_streams_and_answers(client, bundle):
    parts = [{"type": "text", "text": "def "}, {"type": "text", "text": "main("}]
    asked = {"model": "tiny", "messages": [{"role": "user", "content": parts}], "max_completion_tokens": 30, "seed": 2}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == bundle.generate("def main(", max_tokens=30, seed=2, temperature=1.0)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"
    again = [*asked["messages"], whole.choices[0].message.model_dump(), {"role": "user", "content": "b"}]
    assert client.chat.completions.create(model="tiny", messages=again, max_tokens=3).choices[0].message.content


def test_stop_strings(client):
    asked = {"model": "tiny", "prompt": "def", "max_tokens": 60, "seed": 7}
    whole = client.completions.create(**asked).choices[0].text
    stop = [whole[20:23], whole[30:32]]
    cut = client.completions.create(**asked, stop=stop).choices[0]
    assert cut.finish_reason == "stop"
    assert whole.startswith(cut.text)
    assert not any(part in cut.text for part in stop)
    stream = client.completions.create(**asked, stop=stop, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == cut.text


REFUSED = {
    "n": 3,
    "best_of": 2,
    "logprobs": 5,
    "echo": True,
    "suffix": "x",
    "logit_bias": {"5": 1},
    "presence_penalty": 0.5,
    "frequency_penalty": 1,
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
    "top_logprobs": 3,
    "reasoning_effort": "low",
    "temperature": -3,
    "top_p": 0,
    "top_k": -1,
    "max_tokens": -1,
    "seed": 1 << 70,
    "stop": ["a", "b", "c", "d", "e"],
    "stream_options": {"include_usage": True},
    "temprature": 1,
    "prompt": ["a", "b"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_refused_by_name(server, name):
    status, body = server.post("/v1/completions", **{"model": "tiny", "prompt": "a", name: REFUSED[name]})
    assert status == 400
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert name in body["error"]["param"]
    assert body["error"]["type"] == "invalid_request_error"


def test_a_mistyped_field_gets_a_suggestion(server):
    assert "'temperature'" in server.post("/v1/completions", model="tiny", temprature=1)[1]["error"]["message"]


def test_values_that_ask_for_nothing_are_fine(client):
    asked = {"n": 1, "presence_penalty": 0.0, "logit_bias": {}, "user": "me", "extra_body": {"top_k": 3}}
    assert client.completions.create(model="tiny", prompt="a", logprobs=None, **asked).choices
    messages = [{"role": "developer", "content": "x"}, {"role": "user", "content": "a"}]
    settings = {"response_format": {"type": "text"}, "logprobs": False, "max_tokens": 2}
    assert client.chat.completions.create(model="tiny", messages=messages, **asked, **settings).choices


BROKEN = {
    "empty": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "NaN": b'{"model":"tiny","prompt":"a","temperature":NaN}',
    "infinite": b'{"model":"tiny","prompt":"a","temperature":1e999}',
    "not UTF-8": b'{"model":"tiny","prompt":"\xff"}',
    "deep": b"[" * 200_000,
    "long number": b'{"seed":' + b"9" * 6000 + b"}",
    "half a surrogate": b'{"model":"tiny","prompt":"\\ud800"}',
    "id too high": b'{"model":"tiny","prompt":[999999]}',
    "wrong type": b'{"model":"tiny","prompt":{"a":1}}',
    "truth for a number": b'{"model":"tiny","prompt":"a","max_tokens":true}',
    "no model": b'{"prompt":"a"}',
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_body_is_a_400(server, name):
    status, _, data = server.request("POST", "/v1/completions", BROKEN[name])
    assert status == 400, data
    assert json.loads(data)["error"]["message"]


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        [{}],
        ["a"],
        [{"role": "robot", "content": "a"}],
        [{"role": "user"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://example.org"}}]}],
        [{"role": "user", "content": "a", "name": "b"}],
        [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}],
        [{"role": "assistant", "content": "a", "tool_calls": [{"id": "x"}]}],
    ],
)
def test_what_is_no_conversation_is_a_400(server, messages):
    status, body = server.post("/v1/chat/completions", model="tiny", messages=messages)
    assert status == 400
    assert "messages" in body["error"]["param"]


def test_other_models_routes_and_methods_have_openais_shape(server):
    assert server.post("/v1/completions", model="gpt", prompt="a")[1]["error"]["code"] == "model_not_found"
    for method, path, expected in (("GET", "/nowhere", 404), ("GET", "/v1/completions", 405), ("GET", "/docs", 404)):
        status, _, data = server.request(method, path)
        assert (status, "error" in json.loads(data)) == (expected, True)
    assert server.request("POST", "/v1/completions", b"{}", {"content-type": "text/plain"})[0] == 415


def test_a_large_body_is_refused_before_it_is_read(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {1 << 40}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")

    def endless():
        for _ in range(2 * 16):
            yield b"x" * (1 << 16)

    assert server.request("POST", "/v1/completions", endless())[0] == 413


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place(server, stream):
    body = json.dumps({**ENDLESS, "stream": stream})
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
    before = server.metric("lmpipe_requests_aborted_total")
    server.until("lmpipe_requests_running", 1)
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    server.until("lmpipe_requests_running", 0)
    assert server.metric("lmpipe_requests_aborted_total") == before + 1
    assert server.post("/v1/completions", model="tiny", prompt="a", max_tokens=1)[0] == 200


def test_a_full_queue_answers_429_at_once(server):
    with ExitStack() as connections:
        for _ in range(4 + 32):
            connection = connections.enter_context(closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)))
            connection.request("POST", "/v1/completions", json.dumps(ENDLESS), {"content-type": "application/json"})
        server.until("lmpipe_requests_running", 4)
        server.until("lmpipe_requests_waiting", 32)
        status, headers, data = server.request("POST", "/v1/completions", json.dumps(ENDLESS))
        assert (status, headers["retry-after"], json.loads(data)["error"]["code"]) == (429, "1", "queue_full")
        assert server.request("GET", "/health")[0] == 200
        with server.client() as client, pytest.raises(openai.RateLimitError):
            client.completions.create(model="tiny", prompt="a")
    server.until("lmpipe_requests_waiting", 0)
    assert server.post("/v1/completions", model="tiny", prompt="a", max_tokens=1)[0] == 200


def test_metrics_count_what_clients_count(server):
    names = ("lmpipe_prompt_tokens_total", "lmpipe_generation_tokens_total", "lmpipe_request_duration_seconds_count")
    before = [server.metric(name) for name in names]
    usage = [server.post("/v1/completions", model="tiny", prompt="a b", max_tokens=n)[1]["usage"] for n in (1, 5, 9)]
    counted = [server.metric(name) - old for name, old in zip(names, before, strict=True)]
    assert counted == [sum(one["prompt_tokens"] for one in usage), sum(one["completion_tokens"] for one in usage), 3]


def test_every_route_but_two_wants_the_key(bundle_folder):
    from lmpipe.serving.app import create_app
    from lmpipe.serving.bundle import load_bundle

    routes = [(m, route.path) for route in create_app(load_bundle(bundle_folder)).routes for m in route.methods]
    assert len(routes) >= 7
    server = Server(bundle_folder, key=KEY)
    try:
        for method, path in [*routes, ("GET", "/nowhere"), ("GET", "//health"), ("GET", "/health/")]:
            wanted = 401 if path not in ("/", "/health") else 200
            for key in ("", "Bearer", "Bearer wrong", f"Bearer {KEY[:-1]}", f"Basic {KEY}", "Bearer \xff"):
                headers = {"authorization": key} if key else {}
                assert server.request(method, path.replace("{name:path}", "tiny"), headers=headers)[0] == wanted, (path, key)
        with server.client(KEY) as client:
            assert client.completions.create(model="tiny", prompt="a").choices
        with server.client("wrong") as client, pytest.raises(openai.AuthenticationError):
            client.models.list()
    finally:
        code, out, err = server.stop()
    assert code == 0
    assert KEY not in out + err


def test_pages_of_other_sites_get_nothing(server):
    status, headers, _ = server.request("GET", "/v1/models", headers={"origin": "http://evil.example"})
    assert status == 200
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert server.request("OPTIONS", "/v1/completions", headers={"origin": "http://evil.example"})[0] == 405
    assert server.request("GET", "/v1/models", headers={"host": "evil.example"})[0] == 421


def test_the_policy_allows_the_pages_own_code_and_nothing_else(server):
    status, headers, html = server.request("GET", "/")
    policy = headers["content-security-policy"]
    assert status == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert policy.count("sha256-") == 2
    assert headers["x-content-type-options"] == "nosniff"
    assert not re.search(rb"https?://", html)


def test_health_says_what_runs(server):
    status, _, data = server.request("GET", "/health")
    facts = json.loads(data)
    assert status == 200
    assert (facts["status"], facts["model"], facts["verdict"], facts["mode"]) == ("ok", "tiny", "NO-GO", "complete")


def ask(connection, **body):
    connection.request("POST", "/v1/completions", json.dumps({**ENDLESS, **body}), {"content-type": "application/json"})


def test_sigterm_lets_the_answer_finish(own_server):
    own_server = own_server()
    with closing(http.client.HTTPConnection("127.0.0.1", own_server.port, timeout=60)) as connection:
        ask(connection, max_tokens=400, stream=True)
        response = connection.getresponse()
        first = response.readline()
        own_server.process.send_signal(signal.SIGTERM)
        rest = response.read()
    assert first.startswith(b"data: ")
    assert rest.rstrip().endswith(b"data: [DONE]")
    assert b'"finish_reason":"length"' in rest
    code, _, err = own_server.stop()
    assert (code, err) == (0, "")


def test_at_the_end_of_the_drain_who_still_waits_is_told(own_server):
    own_server = own_server("drain_seconds=0.5")
    with ExitStack() as stack:
        streaming, whole = (
            stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", own_server.port, timeout=60))) for _ in range(2)
        )
        ask(streaming, stream=True)
        ask(whole)
        own_server.until("lmpipe_requests_running", 2)
        own_server.process.send_signal(signal.SIGTERM)
        events = streaming.getresponse().read()
        response = whole.getresponse()
        body = json.loads(response.read())
    assert b"stopped before" in events.rstrip().rpartition(b"data: ")[2]
    assert (response.status, "stopped before" in body["error"]["message"]) == (503, True)
    code, _, err = own_server.stop()
    assert (code, err) == (0, "")


def test_an_answer_that_takes_too_long_is_given_up(own_server):
    own_server = own_server("answer_seconds=0.5")
    status, body = own_server.post("/v1/completions", **ENDLESS)
    assert (status, body["error"]["code"]) == (504, "timeout")
    _, _, events = own_server.request("POST", "/v1/completions", json.dumps({**ENDLESS, "stream": True}))
    assert b'"code":"timeout"' in events.rstrip().rpartition(b"data: ")[2]
    own_server.until("lmpipe_requests_running", 0)
    assert own_server.metric("lmpipe_requests_aborted_total") == 2
    with own_server.client() as client:
        assert client.completions.create(model="tiny", prompt="a", max_tokens=1).choices
        with pytest.raises(openai.APIError, match=r"0\.5 seconds"):
            list(client.completions.create(**ENDLESS, stream=True))


def test_a_port_in_use_is_one_error_before_the_model_loads(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=f"port {port}.*in use") as error:
            serve(tmp_path / "no bundle here", port=port, announce=print)  # it would complain of that, had it come so far
    assert "--port" in error.value.fix


def test_one_flipped_bit_is_refused(make_tiny_bundle, tmp_path):
    folder = make_tiny_bundle(tmp_path / "bundle")
    data = bytearray((folder / "tokenizer.json").read_bytes())
    data[100] ^= 4
    (folder / "tokenizer.json").write_bytes(data)
    with pytest.raises(DamagedError, match=r"tokenizer\.json"):
        serve(folder, port=0, announce=print)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_one_error(tmp_path, host):
    with pytest.raises(ServingError, match=host) as error:
        serve(tmp_path, host=host, port=0, announce=print)
    assert "--host" in error.value.fix
