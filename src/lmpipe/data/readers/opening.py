"""Opening raw files: local or by URL, decompressed by suffix, every refusal turned into a `SourceError` that names the file.

A truncated or damaged file is an error and not a short file: how much text it should have held, nobody knows.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from lmpipe.base.errors import MissingExtraError, SourceError
from lmpipe.data.readers.remote import filesystem_of, refused_address

BUFFER_BYTES = 1 << 20
MAX_UNFOLDING = 100
"""Of a file that has to be unpacked whole; one of this kind is compressed inside already."""
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst", ".lz4")
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
        if is_url(url) and error.__cause__ is not None:  # fsspec's HTTP takes every refusal for an absent file
            raise protocol_problem(url, error.__cause__) from error
        raise SourceError(f"'{name}' is not there any more", where=shown(url), fix="plan the run again") from error
    except PermissionError as error:
        raise SourceError(
            f"no permission to read '{name}'", where=shown(url), expected="a file that this user may read"
        ) from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if refused_address(error):
            raise protocol_problem(url, error) from error
        raise damaged(name, url, str(error)) from error


def damaged(name: str, url: str, why: str) -> SourceError:
    """A file ends too early or is not what its suffix says."""
    return SourceError(
        f"'{name}' cannot be read to its end: {why}",
        where=shown(url),
        expected="a whole, undamaged file of the kind that its suffix says",
        fix="fetch or write the file again, or leave it out with `exclude`",
    )


def is_compressed(url: str) -> bool:
    """Whether a suffix names a compression."""
    return _suffix(url) in COMPRESSIONS


def _suffix(url: str) -> str:
    return PurePosixPath(url.partition("?")[0] if is_url(url) else url).suffix


def open_raw(url: str, *, allow_private: bool = False) -> IO[bytes]:
    """The bytes of a local file or URL as they are stored."""
    if not is_url(url):
        return Path(url).open("rb", buffering=BUFFER_BYTES)
    filesystem, path = filesystem_of(url, allow_private=allow_private)
    return cast("IO[bytes]", filesystem.open(path, "rb"))


def can_seek(stream: IO[bytes]) -> bool:
    """Whether a stream can be read from its middle; some web servers give no ranges, and fsspec's `seekable` does not tell."""
    try:
        here = stream.tell()
        stream.seek(0, io.SEEK_END)
        stream.seek(here)
    except (OSError, ValueError):
        return False
    return True


def seekable(stream: IO[bytes], name: str, url: str) -> IO[bytes]:
    """The stream, if it can be read from its middle.

    Raises:
        SourceError: when it cannot.
    """
    if not can_seek(stream):
        raise SourceError(
            f"'{name}' has to be read from its end, and its server gives no parts of files",
            where=shown(url),
            expected="a server that answers range requests, or a local file",
            fix="download it, and name the local file",
        )
    return stream


@contextmanager
def open_decompressed(url: str, *, allow_private: bool = False) -> Iterator[IO[bytes]]:
    """The bytes of a local file or URL, decompressed as its suffix says. Reads of n bytes take memory for n bytes."""
    with open_raw(url, allow_private=allow_private) as raw:
        if not is_compressed(url):
            yield raw
        else:
            with decompressor(raw, _suffix(url)) as stream:
                yield stream


@contextmanager
def open_to_seek(name: str, url: str, *, allow_private: bool = False) -> Iterator[IO[bytes]]:
    """The bytes of a file that has to be read from its end: what is compressed is unpacked into a temporary file first.

    Raises:
        SourceError: when its server gives no parts of files, or when it unfolds more than a hundredfold.
    """
    if not is_compressed(url):
        with open_raw(url, allow_private=allow_private) as stream:
            yield seekable(stream, name, url)
        return
    with open_raw(url, allow_private=allow_private) as raw, tempfile.TemporaryFile() as unpacked:
        with decompressor(raw, _suffix(url)) as stream:
            while block := stream.read(BUFFER_BYTES):
                unpacked.write(block)
                if unpacked.tell() > MAX_UNFOLDING * (raw.tell() + BUFFER_BYTES):
                    raise damaged(name, url, f"it unfolds more than {MAX_UNFOLDING} times")
        unpacked.seek(0)
        yield cast("IO[bytes]", unpacked)


def decompressor(raw: IO[bytes], suffix: str) -> IO[bytes]:
    """A stream, unpacked."""
    if suffix == ".gz":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    if suffix == ".bz2":
        return bz2.BZ2File(raw)
    if suffix == ".xz":
        return lzma.LZMAFile(raw)
    import pyarrow as pa  # its reader, unlike python-zstandard's, does not take a truncated stream for the end

    return cast(
        "IO[bytes]", pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), suffix.removeprefix(".").replace("zst", "zstd"))
    )


def missing_protocol(url: str, error: ImportError) -> MissingExtraError:
    """fsspec knows the protocol, and its package is not installed."""
    protocol = url.partition("://")[0]
    return MissingExtraError(
        f"reading {protocol}:// is not possible here: {error}", where=shown(url), fix="install that package"
    )


def protocol_problem(url: str, error: Any) -> SourceError:
    """A server or bucket refuses, or cannot be reached."""
    address = refused_address(error)
    if address:
        return SourceError(
            f"{shown(url)} leads to {address}, an address of this machine or its own network",
            where=shown(url),
            expected="an address on the internet",
            fix="correct the address; `allow_private_addresses: true` in the source, if that network is meant",
        )
    reason = " ".join(shown(str(error)).split())
    return SourceError(
        f"{shown(url)} cannot be read: {type(error).__name__}: {reason[:300]}",
        where=shown(url),
        expected="a place that can be reached and read from here",
        fix="check the address, the network and the credentials",
    )
