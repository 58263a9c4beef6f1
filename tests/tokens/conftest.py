import argparse
import inspect

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmpipe.base.progress import Silent
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import train_on_texts

CODE = inspect.getsource(argparse)  # real text that every Python carries
WORDS = "Straße naïve façade Ωμέγα Москва 東京 🎉👩‍👩‍👧 e\u0301 \u00a0 " * 4


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_on_texts([CODE, WORDS], BpeConfig(vocab_size=1024, train_on="corpus"), folder, progress=Silent())
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder):
    return load_tokenizer(tokenizer_folder)


@pytest.fixture
def write_parts():
    """Writes texts as Parquet parts of documents, two parts."""

    def write(folder, texts, prefix="d"):
        folder.mkdir(parents=True, exist_ok=True)
        half = (len(texts) + 1) // 2
        for number, chunk in enumerate([texts[:half], texts[half:]]):
            ids = [f"{prefix}{number}-{row}" for row in range(len(chunk))]
            table = pa.table({"id": pa.array(ids, pa.string()), "text": pa.array(chunk, pa.large_string())})
            pq.write_table(table, folder / f"part-{number:05d}.parquet")
        return folder

    return write


class Notes(Silent):
    """Keeps what would be shown."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def notes():
    return Notes()
