"""Copies that a generator writes: counted, refused, resumed; asked through a real server."""

import json
import shutil
import subprocess
import sys
import threading

import pytest
from answering import completion, failure, serving

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import EndpointError
from lmpipe.base.files import read_json
from lmpipe.base.progress import Silent
from lmpipe.data.augmentation.augmenting import augment
from lmpipe.data.augmentation.config import BackTranslationConfig, ParaphraseConfig
from lmpipe.data.documents import Document, PartWriter, read_documents
from lmpipe.data.generation.asking import Asker
from lmpipe.data.generation.config import EndpointConfig
from lmpipe.data.generation.endpoint import Endpoint


@pytest.fixture
def server():
    with serving() as state:
        yield state


def write_splits(folder, texts):
    """Sides as the split stage leaves them; all of it for training, but for one document on each other side."""
    counts = {}
    for side, some in {"train": texts, "validation": ["held out"], "test": ["held out too"]}.items():
        with PartWriter(folder / side, part_bytes=300) as writer:
            for number, text in enumerate(some):
                writer.add(Document(f"{side}:{number}:x", text, "f", "CC0-1.0", "en", '{"tone":"dry"}'))
        counts[side] = {"documents": len(some), "characters": sum(map(len, some)), "bytes": sum(map(len, some))}
    (folder / "splits.json").write_text(json.dumps(counts))
    (folder / "composition.json").write_text(json.dumps({"licences": {"CC0-1.0": len(texts) + 2}, "languages": {"en": 2}}))
    return folder


@pytest.fixture
def grow(tmp_path, server):
    count = 0

    def run(texts, make=ParaphraseConfig, endpoint=None, **fields):
        nonlocal count
        count += 1
        splits = write_splits(tmp_path / f"splits-{count}", texts)
        part = make(generator=EndpointConfig.model_validate(server.config(**(endpoint or {}))), share=1.0, **fields)
        output = tmp_path / f"grown-{count}"
        output.mkdir()
        asker = Asker(Endpoint(part.generator), tmp_path / "answers")
        options = {"scratch": tmp_path / f"scratch-{count}", "progress": Silent(), "workers": 2}
        ledger = augment(splits, output, config=(part,), seed=1, synonyms={}, askers={part.kind: asker}, **options)
        return output, ledger

    return run


def copies(output):
    metas = [(document, json.loads(document.meta)) for document in read_documents(output / "train")]
    return {meta["parent"]: document.text for document, meta in metas if "parent" in meta}


def test_paraphrases_are_asked_for_and_kept_beside_their_parents(grow, server):
    server.reply = lambda prompt, number: completion(f" {prompt.partition(': ')[2]} anew \n", tokens=(20, 10))
    output, ledger = grow([f"text {n} here" for n in range(20)], prompts=("Say it {meta.tone}: {text}",))
    assert copies(output) == {f"train:{n}:x": f"text {n} here anew" for n in range(20)}
    assert not any("held out" in prompt for prompt in server.asked)
    usage = read_json(output / "augmentation.json")["kinds"]["paraphrase"]["usage"]
    assert usage["generator"] == {"kind": "endpoint", "base_url": server.url, "model": "parrot"}
    assert (usage["questions"], usage["tokens_in"], usage["tokens_out"]) == (20, 400, 200)
    assert (ledger.rows_in, ledger.rows_kept, dict(ledger.added)) == (22, 22, {"paraphrase": 20})


def test_equal_answers_give_equal_bytes_without_a_call(grow, server):
    server.reply = lambda prompt, number: completion(prompt[-12:] + f" said the {number + 1}. time")
    texts = [f"text {n} to be said otherwise" for n in range(30)]
    first, _ = grow(texts, length_ratio=(0.1, 9.0))
    asked = server.asked.total()
    again, _ = grow(texts, length_ratio=(0.1, 9.0), endpoint={"concurrency": 1})
    assert server.asked.total() == asked == 30
    assert digests_of_folder(first) == digests_of_folder(again)


def test_back_translation_asks_there_and_back(grow, server):
    server.reply = lambda prompt, number: completion("ein Text" if "German" in prompt else "some text")
    output, _ = grow(["a text"], BackTranslationConfig, through=("German",), language="English")
    assert copies(output) == {"train:0:x": "some text"}
    there, back = server.asked
    assert "into German" in there
    assert there.endswith("a text")
    assert "into English" in back
    assert back.endswith("ein Text")


def test_answers_that_are_no_copies_are_counted_with_their_reason(grow, server):
    replies = {
        "same": completion("same"),
        "empty": completion("  "),
        "cut": completion("cut of", finish="length"),
        "chatty": completion("Of course! Here is the text that you asked for: chatty"),
        "long": failure(413, "too long"),
        "fine": completion("good"),
    }
    server.reply = lambda prompt, number: replies[prompt.rpartition("\n")[2]]
    output, ledger = grow([*replies, "x" * 5000])
    assert copies(output) == {"train:5:x": "good"}
    assert not ledger.dropped
    assert read_json(output / "augmentation.json")["kinds"]["paraphrase"]["not_made"] == {
        "nothing was changed": 1,
        "the answer was empty": 1,
        "the answer was cut off at max_tokens": 1,
        "the answer's length is out of proportion": 1,
        "the generator refused the question": 1,
        "the document is longer than max_characters": 1,
    }


RUN = """
import sys
from pathlib import Path
from lmpipe.base.progress import Silent
from lmpipe.data.augmentation.augmenting import augment
from lmpipe.data.augmentation.config import ParaphraseConfig
from lmpipe.data.generation.asking import Asker
from lmpipe.data.generation.config import EndpointConfig
from lmpipe.data.generation.endpoint import Endpoint
base, url, output = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
output.mkdir()
endpoint = EndpointConfig(base_url=url, model="parrot", concurrency=1)
part = ParaphraseConfig(generator=endpoint, share=1.0, length_ratio=(0.1, 90.0))
askers = {"paraphrase": Asker(Endpoint(endpoint), base / "answers")}
augment(base / "splits", output, config=(part,), seed=1, synonyms={}, askers=askers,
        scratch=base / "scratch", progress=Silent(), workers=1)
"""


def test_a_kill_in_the_middle_repeats_no_answered_call(tmp_path, server):
    write_splits(tmp_path / "splits", [f"text {number} of a corpus" for number in range(40)])
    held, release = threading.Event(), threading.Event()

    def reply(prompt, number):
        if prompt.endswith("text 25 of a corpus") and number == 0:
            held.set()
            release.wait(60)
        return completion(f"{prompt} anew")

    server.reply = reply
    command = [sys.executable, "-c", RUN, str(tmp_path), server.url]
    process = subprocess.Popen([*command, str(tmp_path / "killed")])
    assert held.wait(60)
    process.kill()
    process.wait()
    release.set()
    assert server.asked.total() == 26
    subprocess.run([*command, str(tmp_path / "resumed")], check=True)
    repeated = {prompt.rpartition("\n")[2] for prompt, times in server.asked.items() if times > 1}
    assert repeated == {"text 25 of a corpus"}  # the one that was under way
    assert len(server.asked) == 40
    asked = server.asked.total()
    shutil.rmtree(tmp_path / "scratch")
    subprocess.run([*command, str(tmp_path / "again")], check=True)
    assert server.asked.total() == asked
    assert digests_of_folder(tmp_path / "resumed") == digests_of_folder(tmp_path / "again")


def test_a_server_that_fails_stops_the_stage_and_the_next_attempt_goes_on(grow, server):
    server.reply = lambda prompt, number: failure(503) if prompt.endswith("text 7") else completion(f"{prompt[-6:]} anew")
    with pytest.raises(EndpointError, match="HTTP 503"):
        grow([f"text {n}" for n in range(9)], endpoint={"retries": 0, "concurrency": 1}, length_ratio=(0.1, 9.0))
    server.reply = lambda prompt, number: completion(f"{prompt[-6:]} anew")
    output, _ = grow([f"text {n}" for n in range(9)], length_ratio=(0.1, 9.0))
    assert len(copies(output)) == 9
    assert {prompt[-6:] for prompt, times in server.asked.items() if times > 1} == {"text 7"}
