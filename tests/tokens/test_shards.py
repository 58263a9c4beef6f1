import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.errors import DamagedError, ModelError
from lmpipe.tokens.shards import ShardWriter, TokenShards

END = 0
DOCUMENTS = st.lists(st.lists(st.integers(1, 299), max_size=12), max_size=12)


def write(folder, documents, vocab_size=300, shard_tokens=10):
    with ShardWriter(folder, vocab_size=vocab_size, end_of_text_id=END, shard_tokens=shard_tokens) as writer:
        for number, ids in enumerate(documents):
            writer.append(ids, 100 + number)
    return folder


@settings(deadline=None, max_examples=100)
@given(DOCUMENTS, st.integers(1, 40), st.sampled_from([300, 70_000]))
def test_what_was_written_is_read(documents, shard_tokens, vocab_size):
    with tempfile.TemporaryDirectory() as name:
        shards = TokenShards(write(Path(name), documents, vocab_size, shard_tokens))
        closed = [[*ids, END] for ids in documents]
        stream = [token for ids in closed for token in ids]
        assert (shards.documents, shards.tokens) == (len(documents), len(stream))
        assert shards.bytes == sum(100 + i for i in range(len(documents)))
        assert [shards.document(i).tolist() for i in range(shards.documents)] == closed
        assert [ids.tolist() for ids in shards.iter_documents()] == closed
        assert [shards.document_bytes(i) for i in range(shards.documents)] == [100 + i for i in range(len(documents))]
        assert shards.slice(0, shards.tokens).tolist() == stream
        for start in range(0, len(stream), 3):
            for stop in (start, start + 1, len(stream)):
                assert shards.slice(start, stop).tolist() == stream[start:stop]
        assert shards.dtype == (np.uint16 if vocab_size == 300 else np.uint32)


def test_the_format_on_disk(tmp_path):
    write(tmp_path, [[1, 2], [258]])
    assert (tmp_path / "shard-00000.bin").read_bytes() == bytes([1, 0, 2, 0, 0, 0, 2, 1, 0, 0])
    index = np.frombuffer((tmp_path / "shard-00000.documents.bin").read_bytes(), "<i8")
    assert index.tolist() == [3, 100, 5, 101]
    assert json.loads((tmp_path / "shards.json").read_text()) == {
        "format": "lmpipe-tokens",
        "version": 1,
        "dtype": "uint16",
        "vocab_size": 300,
        "end_of_text_id": 0,
        "documents": 2,
        "tokens": 5,
        "bytes": 201,
        "shards": [{"file": "shard-00000.bin", "tokens": 5, "documents": 2}],
    }


def test_a_long_document_stays_in_one_shard(tmp_path):
    shards = TokenShards(write(tmp_path, [[1] * 95, [2], [3]], shard_tokens=10))
    assert [len(shards.document(i)) for i in range(3)] == [96, 2, 2]
    assert len(list(tmp_path.glob("shard-*[0-9].bin"))) == 2


@pytest.mark.parametrize(
    "call", [lambda s: s.document(2), lambda s: s.document(-1), lambda s: s.slice(0, 99), lambda s: s.slice(3, 1)]
)
def test_what_is_not_there_is_an_index_error(tmp_path, call):
    shards = TokenShards(write(tmp_path, [[1], [2]]))
    with pytest.raises(IndexError):
        call(shards)


@pytest.mark.parametrize("name", ["shard-00000.bin", "shard-00000.documents.bin"])
@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b""])
def test_a_file_of_another_size_is_damaged(tmp_path, name, change):
    write(tmp_path, [[1, 2], [3]])
    path = tmp_path / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DamagedError, match=f"{name} has"):
        TokenShards(tmp_path)


def test_a_missing_file_is_damaged(tmp_path):
    write(tmp_path, [[1, 2], [3]])
    (tmp_path / "shard-00000.bin").unlink()
    with pytest.raises(DamagedError, match="missing"):
        TokenShards(tmp_path)


@pytest.mark.parametrize(("key", "value"), [("tokens", 7), ("documents", 1)])
def test_counts_that_do_not_add_up_are_damaged(tmp_path, key, value):
    write(tmp_path, [[1, 2], [3]])
    path = tmp_path / "shards.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(DamagedError, match="counts"):
        TokenShards(tmp_path)


def test_another_version_is_refused(tmp_path):
    write(tmp_path, [[1, 2], [3]])
    path = tmp_path / "shards.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    with pytest.raises(ModelError, match="lmpipe-tokens 2"):
        TokenShards(tmp_path)


@pytest.mark.parametrize(("content", "error"), [("{", DamagedError), ("[]", ModelError), ("{}", ModelError)])
def test_a_header_that_is_none_is_refused(tmp_path, content, error):
    (tmp_path / "shards.json").write_text(content)
    with pytest.raises(error, match="header"):
        TokenShards(tmp_path)


def test_a_folder_without_a_header_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no token shards"):
        TokenShards(tmp_path)


def test_writing_that_failed_leaves_no_header(tmp_path):
    def fail():
        with ShardWriter(tmp_path, vocab_size=300, end_of_text_id=END) as writer:
            writer.append([1], 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not (tmp_path / "shards.json").exists()
