import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Silent
from lmpipe.data.config import CorpusConfig
from lmpipe.data.documents import Document, PartWriter, read_documents
from lmpipe.data.readers.sources import pinned, resolve_all
from lmpipe.data.reading import read

sys.path.insert(0, str(Path(__file__).parent))  # for `answering`, the server that stands in for an endpoint


@dataclass
class Reading:
    """What the read stage left."""

    output: Path
    ledger: Ledger

    @property
    def documents(self):
        return list(read_documents(self.output))

    @property
    def texts(self):
        return [document.text for document in self.documents]

    @property
    def failures(self):
        """What could not be read; that its bytes were kept is left out."""
        lines = [json.loads(line) for line in (self.output / "failures.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "quarantined"} for line in lines]

    @property
    def quarantine(self):
        return pq.read_table(self.output / "quarantine.parquet").to_pylist()


@pytest.fixture
def read_corpus(tmp_path):
    """Reads sources given as plain data, relative to `tmp_path`; tolerates failures unless told otherwise."""
    count = 0

    def run(*sources, max_failed_fraction=1.0, workers=1, **options):
        nonlocal count
        count += 1
        corpus = CorpusConfig.model_validate({"read": list(sources), "max_failed_fraction": max_failed_fraction})
        files = resolve_all(corpus.read, [tmp_path])
        config = pinned(corpus.read, files, corpus.max_failed_fraction)
        output = tmp_path / f"read-{count}"
        output.mkdir()
        every = [file for group in files for file in group]
        ledger = read(
            config, every, output, scratch=tmp_path / f"scratch-{count}", progress=Silent(), workers=workers, **options
        )
        return Reading(output, ledger)

    return run


@pytest.fixture
def write_documents(tmp_path):
    """Writes texts as parts of documents; every text is `(source, text)` or just the text."""
    count = 0

    def write(texts, part_bytes=1 << 25):
        nonlocal count
        count += 1
        folder = tmp_path / f"documents-{count}"
        folder.mkdir()
        with PartWriter(folder, part_bytes=part_bytes) as writer:
            for number, item in enumerate(texts):
                source, text = item if isinstance(item, tuple) else (f"file-{number}", item)
                digest = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
                writer.add(Document(f"{source}:{number}:{digest}", text, source, "CC0-1.0", "en", "{}"))
        return folder

    return write


@pytest.fixture
def folders(tmp_path):
    """A new output folder and the keyword arguments that every stage takes."""
    count = 0

    def new(workers=1):
        nonlocal count
        count += 1
        output = tmp_path / f"output-{count}"
        output.mkdir()
        return output, {"scratch": tmp_path / f"stage-scratch-{count}", "progress": Silent(), "workers": workers}

    return new
