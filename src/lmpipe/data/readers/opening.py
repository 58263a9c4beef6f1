"""Opening raw files: local or by URL, decompressed by suffix, every refusal turned into a `SourceError` that names the file.

A truncated or damaged file is an error and not a short file: how much text it should have held, nobody knows.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from lmpipe.base.errors import MissingExtraError, SourceError

BUFFER_BYTES = 1 << 20
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def is_url(path: str) -> bool:
    """Whether a path is an fsspec URL."""
    return "://" in path


def shown(url: str) -> str:
    """A URL as it may stand in a message: without user name and password.

    >>> shown("https://me:secret@example.org/a.txt")
    'https://example.org/a.txt'
    """
    return CREDENTIALS.sub("", url)


def without_compression(name: str) -> str:
    """A name without its compression's suffix.

    >>> without_compression("a.jsonl.gz")
    'a.jsonl'
    """
    stem, dot, _ = name.rpartition(".")
    return stem if dot and name.endswith(COMPRESSIONS) else name


@contextmanager
def reading(name: str, url: str) -> Iterator[None]:
    """Turn what goes wrong while a file is opened and read into a `SourceError` that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceError(f"'{name}' is not there any more", where=shown(url), fix="plan the run again") from error
    except PermissionError as error:
        raise SourceError(
            f"no permission to read '{name}'", where=shown(url), expected="a file that this user may read"
        ) from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise damaged(name, url, str(error)) from error


def damaged(name: str, url: str, why: str) -> SourceError:
    """A file ends too early or is not what its suffix says."""
    return SourceError(
        f"'{name}' cannot be read to its end: {why}",
        where=shown(url),
        expected="a whole, undamaged file of the kind that its suffix says",
        fix="fetch or write the file again, or leave it out with `exclude`",
    )


def open_raw(url: str) -> IO[bytes]:
    """The bytes of a local file or URL as they are stored."""
    if not is_url(url):
        return Path(url).open("rb", buffering=BUFFER_BYTES)
    import fsspec

    try:
        return cast("IO[bytes]", fsspec.open(url, "rb").open())
    except ImportError as error:
        raise missing_protocol(url, error) from None


@contextmanager
def open_decompressed(url: str) -> Iterator[IO[bytes]]:
    """The bytes of a local file or URL, decompressed as its suffix says. Reads of n bytes take memory for n bytes."""
    suffix = PurePosixPath(url.partition("?")[0] if is_url(url) else url).suffix
    with open_raw(url) as raw:
        if suffix not in COMPRESSIONS:
            yield raw
        else:
            with _decompressor(raw, suffix) as stream:
                yield stream


def _decompressor(raw: IO[bytes], suffix: str) -> IO[bytes]:
    if suffix == ".gz":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    if suffix == ".bz2":
        return bz2.BZ2File(raw)
    if suffix == ".xz":
        return lzma.LZMAFile(raw)
    import pyarrow as pa  # its reader, unlike python-zstandard's, does not take a truncated stream for the end

    return cast("IO[bytes]", pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))


def missing_protocol(url: str, error: ImportError) -> MissingExtraError:
    """fsspec knows the protocol, and its package is not installed."""
    protocol = url.partition("://")[0]
    return MissingExtraError(
        f"reading {protocol}:// is not possible here: {error}", where=shown(url), fix="install that package"
    )


def protocol_problem(url: str, error: Any) -> SourceError:
    """A server or bucket refuses, or cannot be reached."""
    return SourceError(
        f"{shown(url)} cannot be read: {type(error).__name__}: {shown(str(error))}",
        where=shown(url),
        expected="a place that can be reached and read from here",
        fix="check the address, the network and the credentials",
    )
