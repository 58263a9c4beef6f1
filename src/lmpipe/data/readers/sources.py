"""From the paths of a recipe to the raw files behind them: names free of machine paths, where to open them, what changes them.

    books/*.txt            ->  books/emma.txt              the last folder before the first wildcard, and what lies below it
    /home/me/books         ->  books/part one/emma.txt     a folder: all files below it with a suffix of the source's kind
    {stdlib}/json/*.py     ->  stdlib/json/decoder.py      a named root is never shortened
    s3://bucket/a/*.jsonl  ->  a/x.jsonl

Promises: the same files under another root have the same names in the same order. Needs neither numpy nor pyarrow, and opens no
file unless a digest is asked for. Does not know what is in a file.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from lmpipe.base.canonical import CHUNK_BYTES, digest_of, digests_of_folder
from lmpipe.base.errors import LmpipeError, RecipeError, SourceError
from lmpipe.data.readers import hub
from lmpipe.data.readers.config import SUFFIXES, HubSource, PathSource, ReadConfig, SourceConfig, modules_of
from lmpipe.data.readers.opening import (
    is_url,
    missing_protocol,
    open_raw,
    protocol_problem,
    reading,
    shown,
    without_compression,
)
from lmpipe.data.readers.remote import filesystem_of, full_url

ROOTS: dict[str, Callable[[], str]] = {"stdlib": lambda: sysconfig.get_path("stdlib")}
"""Named roots: places that exist on every machine, each under a path of its own."""
STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated")
"""Under which keys fsspec's file systems say what changes with the bytes."""
EXTRACTORS = {"trafilatura", "resiliparse", "pypdfium2"}
"""Libraries of which another version may find another text."""
NAMED_ROOT = re.compile(r"\{([^{}/]*)\}/?")
WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class SourceFile:
    """One raw file, or one whole data set of the hub."""

    name: str
    """The same on every machine."""
    url: str
    """Where it is opened: an absolute local path or a URL."""
    size: int
    """Bytes; 0 where nobody says."""
    stamp: str
    """Changes when the bytes do: modification time in nanoseconds, an ETag, a commit; "" where nothing of the kind is known."""
    allow_private: bool = False
    """Whether a URL may lead to this machine or its own network."""

    def digest(self) -> str:
        """sha256 (hex) of the bytes; of a folder, of the names and digests in it; of a data set on the hub, of its commit.

        Raises:
            SourceError: when it cannot be read.
        """
        if self.url.startswith(hub.SCHEME):
            return digest_of({"data set at commit": self.url})
        with reading(self.name, self.url):
            if not is_url(self.url) and Path(self.url).is_dir():
                return digest_of(digests_of_folder(Path(self.url)))
            sha = hashlib.sha256()
            with open_raw(self.url, allow_private=self.allow_private) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    sha.update(chunk)
            return sha.hexdigest()


def resolve(config: SourceConfig, base_folders: Sequence[Path]) -> list[SourceFile]:
    """The files of one source, sorted by name.

    Args:
        config: one entry of a corpus's `read`.
        base_folders: where relative paths are looked up, in order.

    Raises:
        SourceError: when a path leads to nothing, or two files would have one name.
        RecipeError: for a named root that does not exist.
    """
    if isinstance(config, HubSource):
        return [_resolve_hub(config, base_folders)]
    found: dict[str, SourceFile] = {}
    for path in config.paths:
        matched = _resolve_path(path, config, base_folders)
        if not matched:
            raise _nothing(path, config, base_folders)
        for file in matched:
            if file.url != found.setdefault(file.name, file).url:
                raise _ambiguous(found[file.name], file)
    return [found[name] for name in sorted(found)]


def resolve_all(configs: Sequence[SourceConfig], base_folders: Sequence[Path]) -> list[list[SourceFile]]:
    """The files of every source of a corpus, in the order of the sources.

    Raises:
        SourceError: as `resolve`, and when two sources share a name: one file twice, or two files that cannot be told apart.
    """
    resolved = [resolve(config, base_folders) for config in configs]
    seen: dict[str, SourceFile] = {}
    for file in (file for files in resolved for file in files):
        if file.name in seen:
            raise _ambiguous(seen[file.name], file)
        seen[file.name] = file
    return resolved


def pinned(
    configs: Sequence[SourceConfig],
    resolved: Sequence[Sequence[SourceFile]],
    max_failed_fraction: float,
    max_quarantine_bytes: int = 64_000_000,
) -> ReadConfig:
    """What identifies a reading stage beside the digests of its files: the names of files stand where paths stood, and the
    versions of the libraries that extract text."""
    sources: list[SourceConfig] = []
    for config, files in zip(configs, resolved, strict=True):
        if isinstance(config, HubSource):
            sources.append(config.model_copy(update={"name": files[0].name, "revision": None}))
        else:
            sources.append(config.model_copy(update={"paths": tuple(file.name for file in files), "exclude": ()}))
    modules = sorted({module for config in configs for module in modules_of(config)} & EXTRACTORS)
    return ReadConfig(
        sources=tuple(sources),
        max_failed_fraction=max_failed_fraction,
        max_quarantine_bytes=max_quarantine_bytes,
        libraries={module: _version(module) for module in modules},
    )


def _version(module: str) -> str:
    try:
        return metadata.version(module)
    except metadata.PackageNotFoundError:
        return ""


def whole_folder(path: str, name: str, base_folders: Sequence[Path]) -> SourceFile | None:
    """A local folder with everything in it as one source called `name`; None where there is no such folder."""
    for folder in _candidates(path, base_folders):
        if folder.is_dir():
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            stats = [(path.relative_to(folder).as_posix(), path.stat()) for path in files]
            stamp = digest_of([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats])
            return SourceFile(name, str(folder), sum(stat.st_size for _, stat in stats), stamp)
    return None


def _resolve_hub(config: HubSource, base_folders: Sequence[Path]) -> SourceFile:
    label = "/".join(["hub", PurePosixPath(config.name).name, *([config.config] if config.config else []), config.split])
    folder = whole_folder(config.name, label, base_folders)
    if folder:
        return folder
    commit = hub.commit_of(config.name, config.revision)
    return SourceFile(label, hub.hub_url(config.name, commit), 0, commit)


def _resolve_path(path: str, config: PathSource, base_folders: Sequence[Path]) -> list[SourceFile]:
    suffixes = SUFFIXES[config.kind]
    if is_url(path):
        found = _resolve_url(path, suffixes, config.allow_private_addresses)
        return [file for file in found if not _is_excluded(file.name, config.exclude)]
    named = NAMED_ROOT.match(path)
    if named:
        return _below(_named_root(named[1]), path[named.end() :], config, label=named[1])
    for candidate in _candidates(path, base_folders):
        if candidate.exists():  # also a name that only looks like a glob
            folder, pattern = (PurePosixPath(path), "") if candidate.is_dir() else _last_part(path)
        else:
            folder, pattern = _static_part(path)
        found = _below(_cut(candidate, pattern), pattern, config, label=_written_name(folder))
        if found:
            return found
    return []


def _candidates(path: str, base_folders: Sequence[Path]) -> list[Path]:
    """The absolute places that a written path may mean, each once: the recipe's folder is often the working folder."""
    written = Path(path).expanduser()
    if written.is_absolute():
        return [written]
    return list(dict.fromkeys(Path(os.path.abspath(folder)) / written for folder in base_folders))


def _static_part(path: str) -> tuple[PurePosixPath, str]:
    """`a/b/*/c.txt` -> (`a/b`, `*/c.txt`)."""
    parts = PurePosixPath(path).parts
    first = next((i for i, part in enumerate(parts) if WILDCARD.search(part)), len(parts))
    return PurePosixPath(*parts[:first]), "/".join(parts[first:])


def _last_part(path: str) -> tuple[PurePosixPath, str]:
    """`a/b/c.txt` -> (`a/b`, `c.txt`)."""
    return PurePosixPath(path).parent, PurePosixPath(path).name


def _cut(candidate: Path, pattern: str) -> Path:
    """`candidate` without the parts that `pattern` takes up."""
    for _ in PurePosixPath(pattern).parts:
        candidate = candidate.parent
    return candidate


def _written_name(folder: PurePosixPath) -> str:
    """The last name of a folder as the recipe spells it; "" for `.`, `..`, `/` and `~`."""
    return "" if folder.name in ("", ".", "..", "~") else folder.name


def _labelled(label: str, name: str) -> str:
    return "/".join(part for part in (label, name) if part)


def _named_root(name: str) -> Path:
    if name not in ROOTS:
        raise RecipeError(
            f"'{{{name}}}' is no named root",
            expected="a path, or one of: " + ", ".join("{" + known + "}" for known in sorted(ROOTS)),
            fix="correct the name in `paths`",
        )
    return Path(ROOTS[name]())


def _below(root: Path, pattern: str, config: PathSource, label: str) -> list[SourceFile]:
    """Files below `root` that match `pattern`; where it names a folder or nothing, files with a suffix of the source's kind."""
    if pattern and (root / pattern).is_file():
        names = [pattern]
    else:
        static, wild = _static_part(pattern)
        folder = "" if static.as_posix() == "." else static.as_posix()
        hidden = "/." in f"/{wild}"
        below = (_labelled(folder, name) for name in _walk(root / folder, _labelled(label, folder), config.exclude, hidden))
        suffixes = SUFFIXES[config.kind]
        names = [name for name in below if (_matches(name, pattern) if wild else without_compression(name).endswith(suffixes))]
    named = [(name, _labelled(label, name)) for name in names]
    return [_local_file(root / name, full) for name, full in named if not _is_excluded(full, config.exclude)]


def _walk(root: Path, label: str, exclude: Sequence[str], hidden: bool) -> Iterator[str]:
    """Relative POSIX paths of all files below a folder. Linked folders are not entered: they may lead in circles. Folders that
    are excluded as a whole are not entered either: the standard library's `site-packages` may hold more than all the rest."""
    closed = [pattern.removesuffix("/**") for pattern in exclude if pattern.endswith("/**")]
    for parent, folders, files in os.walk(root, onerror=_refused) if root.is_dir() else ():
        base = Path(parent).relative_to(root).as_posix().removeprefix(".")
        shown_folders = (name for name in folders if hidden or not name.startswith("."))
        folders[:] = sorted(n for n in shown_folders if not _is_excluded(_labelled(label, _labelled(base, n)), closed))
        yield from (_labelled(base, name) for name in files if hidden or not name.startswith("."))


def _refused(error: OSError) -> None:
    raise SourceError(
        f"a folder cannot be listed: {error.strerror}",
        where=str(error.filename),
        expected="folders that this user may read",
        fix="change its permissions, or name the files more narrowly",
    ) from error


def _local_file(path: Path, name: str) -> SourceFile:
    with reading(name, str(path)):
        stat = path.stat()
    name = name.encode("utf-8", "backslashreplace").decode()  # a file's name need not be UTF-8, a document's source must
    return SourceFile(name, str(path), stat.st_size, str(stat.st_mtime_ns))


def _is_excluded(name: str, patterns: Sequence[str]) -> bool:
    return any(_matches(name, pattern) for pattern in patterns)


def _matches(name: str, pattern: str) -> bool:
    return _glob(pattern).fullmatch(name) is not None


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    """`*` stays within a folder, `**` as a whole part stands for any number of folders.

    >>> bool(_glob("a/**/*.py").fullmatch("a/b.py")), bool(_glob("a/*.py").fullmatch("a/b/c.py"))
    (True, False)
    """
    parts = pattern.split("/")
    spelled = []
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if part == "**":
            spelled.append(".*" if last else "(?:[^/]+/)*")
        else:
            inner = fnmatch.translate(part).removeprefix("(?s:").removesuffix(r")\Z")
            spelled.append(_within_folder(inner) + ("" if last else "/"))
    return re.compile("".join(spelled), re.DOTALL)


def _within_folder(translated: str) -> str:
    """fnmatch lets `*` and `?` match a slash; here they do not."""
    return re.sub(r"\\.|\[[^\]]*\]|\.", lambda m: "[^/]" if m[0] == "." else m[0], translated)


def _resolve_url(url: str, suffixes: tuple[str, ...], allow_private: bool) -> list[SourceFile]:
    try:
        filesystem, path = filesystem_of(url, allow_private=allow_private)
        found = _remote_infos(filesystem, url, path, suffixes)
        return [
            SourceFile(name, full_url(url, filesystem, info["name"]), int(info.get("size") or 0), _stamp(info), allow_private)
            for name, info in found
        ]
    except ImportError as error:
        raise missing_protocol(url, error) from None
    except FileNotFoundError as error:
        if error.__cause__ is not None and not isinstance(error.__cause__, FileNotFoundError):
            raise protocol_problem(url, error.__cause__) from error
        return []
    except LmpipeError:
        raise
    except Exception as error:  # every protocol has errors of its own
        raise protocol_problem(url, error) from error


def _remote_infos(filesystem: Any, url: str, path: str, suffixes: tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
    """(name, info) of every file that a URL stands for. HTTP knows no folders, and `?` in it is no wildcard."""
    if url.startswith(("http://", "https://")):
        plain = PurePosixPath(url.partition("://")[2].partition("?")[0])
        return [(_labelled(_written_name(plain.parent), plain.name), filesystem.info(path))]
    static, wild = _static_part(path)
    if wild:
        filesystem.ls(str(static))  # a glob takes a refusal for an empty folder
        infos = filesystem.glob(path, detail=True).values()
        root = static
    elif filesystem.isdir(path):
        infos = [i for i in filesystem.find(path, detail=True).values() if without_compression(i["name"]).endswith(suffixes)]
        root = PurePosixPath(path)
    else:
        infos = [filesystem.info(path)]
        root = PurePosixPath(path).parent
    label = _written_name(root)
    files = [info for info in infos if info.get("type", "file") == "file"]
    return [(_labelled(label, PurePosixPath(info["name"]).relative_to(root).as_posix()), info) for info in files]


def _stamp(info: Mapping[str, Any]) -> str:
    return str(next((info[key] for key in STAMPS if info.get(key)), ""))


def check_unchanged(name: str, url: str, size: int, stamp: str, *, allow_private: bool = False) -> None:
    """Refuse a file that is not any more the one that was planned with: its identity would speak of other bytes.

    Raises:
        SourceError: when size or stamp differ. A file without a stamp is not looked at.
    """
    if not stamp or url.startswith(hub.SCHEME) or (not is_url(url) and Path(url).is_dir()):
        return
    with reading(name, url):
        if is_url(url):
            filesystem, path = filesystem_of(url, allow_private=allow_private)
            info = filesystem.info(path)
            now = (int(info.get("size") or 0), _stamp(info))
        else:
            stat = Path(url).stat()
            now = (stat.st_size, str(stat.st_mtime_ns))
    if now != (size, stamp):
        raise SourceError(
            f"'{name}' changed while the run went on",
            where=shown(url),
            expected=f"the {size:,} bytes that the run was planned with; now there are {now[0]:,}",
            fix="wait until nothing writes to it any more; the same command then plans again",
        )


def _nothing(path: str, config: PathSource, base_folders: Sequence[Path]) -> SourceError:
    suffixes = ", ".join(SUFFIXES[config.kind])
    return SourceError(
        f"no file matches '{shown(path)}'" + (" that `exclude` does not leave out" if config.exclude else ""),
        where=_searched(path, base_folders),
        expected=f"a file, a glob, or a folder with files that end in {suffixes} (also compressed)",
        fix="correct the path; relative paths start at the recipe's folder, then at the working folder",
    )


def _searched(path: str, base_folders: Sequence[Path]) -> str:
    if is_url(path):
        return shown(path)
    named = NAMED_ROOT.match(path)
    return str(_named_root(named[1])) if named else ", ".join(str(place) for place in _candidates(path, base_folders))


def _ambiguous(first: SourceFile, second: SourceFile) -> SourceError:
    if first.url == second.url:
        return SourceError(
            f"'{first.name}' is read twice", where=shown(first.url), expected="each file once", fix="list it in one source only"
        )
    return SourceError(
        f"two files would be called '{first.name}'",
        where=f"{shown(first.url)} and {shown(second.url)}",
        expected="names that tell them apart: the last folder before the first wildcard, and what lies below it",
        fix="name a folder further up, such as 'texts/**/*.txt', or rename one of the folders",
    )
