import os
import sysconfig
from pathlib import Path

import pytest
from tests.permissions import permissions_hold

from lmpipe.base.errors import RecipeError, SourceError
from lmpipe.data.readers.config import HubSource, JsonlSource, TextSource
from lmpipe.data.readers.sources import pinned, resolve, resolve_all


@pytest.fixture
def tree(tmp_path):
    for name in ("books/b.txt", "books/a.txt", "books/part one/c.txt", "books/notes.doc", "books/.hidden/d.txt", "top.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def names(paths, base, **options):
    return [file.name for file in resolve(TextSource(paths=tuple(paths), **options), [base])]


def test_names_do_not_show_where_the_root_lies(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "deep").mkdir()
    (tree / "books").rename(elsewhere / "deep" / "books")
    found = names(["books/**/*.txt"], elsewhere / "deep")
    assert found == names([f"{elsewhere}/deep/books/**/*.txt"], Path("/"))
    assert found == ["books/a.txt", "books/b.txt", "books/part one/c.txt"]
    assert str(elsewhere) not in "".join(found)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("books", ["books/a.txt", "books/b.txt", "books/part one/c.txt"]),
        ("books/", ["books/a.txt", "books/b.txt", "books/part one/c.txt"]),
        ("books/*.txt", ["books/a.txt", "books/b.txt"]),
        ("books/*", ["books/a.txt", "books/b.txt", "books/notes.doc"]),
        ("books/[a]*", ["books/a.txt"]),
        ("*.txt", ["top.txt"]),
        ("./top.txt", ["top.txt"]),
        ("books/a.txt", ["books/a.txt"]),
        ("books/**/c.txt", ["books/part one/c.txt"]),
        ("books/.hidden/*.txt", [".hidden/d.txt"]),
    ],
)
def test_paths_folders_and_globs(tree, path, expected):
    assert names([path], tree) == expected


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    (tmp_path / "data [1].txt").write_text("x")
    assert names(["data [1].txt"], tmp_path) == ["data [1].txt"]


def test_relative_paths_are_looked_up_in_order(tmp_path):
    for folder in ("recipe", "working"):
        (tmp_path / folder).mkdir()
    (tmp_path / "working" / "a.txt").write_text("working")
    bases = [tmp_path / "recipe", tmp_path / "working"]
    assert resolve(TextSource(paths=("a.txt",)), bases)[0].url == str(tmp_path / "working" / "a.txt")
    (tmp_path / "recipe" / "a.txt").write_text("recipe")
    assert resolve(TextSource(paths=("a.txt",)), bases)[0].url == str(tmp_path / "recipe" / "a.txt")


def test_a_missing_path_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(SourceError) as error:
        resolve(TextSource(paths=("nowhere/*.txt",)), [tmp_path, Path("/somewhere")])
    assert "no file matches 'nowhere/*.txt'" in error.value.what
    assert str(tmp_path / "nowhere") in error.value.where
    assert "/somewhere/nowhere" in error.value.where
    with pytest.raises(SourceError) as once:
        resolve(TextSource(paths=("nowhere/*.txt",)), [tmp_path, tmp_path])
    assert once.value.where == str(tmp_path / "nowhere" / "*.txt")


def test_exclude_leaves_files_out_by_name(tree):
    assert names(["books/**/*.txt"], tree, exclude=("books/part*/**",)) == ["books/a.txt", "books/b.txt"]
    with pytest.raises(SourceError, match="that `exclude` does not leave out"):
        names(["books/*.txt"], tree, exclude=("books/*",))


def test_one_file_named_twice_is_read_once_within_a_source_and_refused_across_sources(tree):
    assert names(["books/a.txt", "books/*.txt"], tree) == ["books/a.txt", "books/b.txt"]
    once, again = TextSource(paths=("books/a.txt",)), TextSource(paths=("books",))
    with pytest.raises(SourceError, match=r"'books/a.txt' is read twice"):
        resolve_all([once, again], [tree])


def test_two_files_of_one_name_are_refused_with_a_way_out(tmp_path):
    for side in ("left", "right"):
        (tmp_path / side / "texts").mkdir(parents=True)
        (tmp_path / side / "texts" / "a.txt").write_text(side)
    with pytest.raises(SourceError, match=r"two files would be called 'texts/a.txt'") as error:
        names(["left/texts/*.txt", "right/texts/*.txt"], tmp_path)
    assert "further up" in error.value.fix
    assert names(["*/texts/*.txt"], tmp_path) == ["left/texts/a.txt", "right/texts/a.txt"]


def test_the_standard_library_is_a_named_root():
    files = resolve(TextSource(paths=("{stdlib}/json/*.py",)), [])
    assert "stdlib/json/decoder.py" in [file.name for file in files]
    assert files[0].url.startswith(sysconfig.get_path("stdlib"))
    whole = [file.name for file in resolve(TextSource(paths=("{stdlib}",)), [])]
    assert len(whole) > 300
    assert not [name for name in whole if "site-packages" in name or "/test/" in name or "/tests/" in name]
    with pytest.raises(RecipeError, match=r"'\{stdlob\}' is no named root"):
        resolve(TextSource(paths=("{stdlob}",)), [])


def test_digest_and_stamp_follow_the_bytes(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    first = resolve(TextSource(paths=("a.txt",)), [tmp_path])[0]
    digest = first.digest()
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    second = resolve(TextSource(paths=("a.txt",)), [tmp_path])[0]
    assert (first.name, first.size) == (second.name, second.size)
    assert first.stamp != second.stamp
    assert digest != second.digest()


def test_a_name_that_is_not_utf8_becomes_one_that_is(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    found = resolve(TextSource(paths=("*.txt",)), [tmp_path])[0]
    assert found.name.encode("utf-8").decode() == "caf\\udce9.txt"
    assert found.digest()


def test_linked_folders_do_not_lead_in_circles(tree):
    (tree / "books" / "again").symlink_to(tree / "books", target_is_directory=True)
    assert len(names(["books/**/*.txt"], tree)) == 3


def test_a_folder_that_may_not_be_listed_is_no_silent_loss(tree):
    (tree / "books" / "part one").chmod(0)
    try:
        with permissions_hold(), pytest.raises(SourceError, match="cannot be listed"):
            names(["books/**/*.txt"], tree)
    finally:
        (tree / "books" / "part one").chmod(0o755)


def test_fsspec_urls_are_listed_and_named_without_their_bucket():
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({"/bucket/texts/a.jsonl": b'{"text": "a"}\n', "/bucket/texts/b.jsonl": b"", "/bucket/texts/c.bin": b""})
    try:
        for path in ("memory://bucket/texts/*.jsonl", "memory://bucket/texts"):
            files = resolve(JsonlSource(paths=(path,)), [])
            assert [file.name for file in files] == ["texts/a.jsonl", "texts/b.jsonl"]
        assert files[0].size == 14
        assert files[0].digest() == resolve(JsonlSource(paths=("memory://bucket/texts/a.jsonl",)), [])[0].digest()
        with pytest.raises(SourceError, match="no file matches"):
            resolve(JsonlSource(paths=("memory://bucket/none/*.jsonl",)), [])
    finally:
        memory.rm("/bucket", recursive=True)


def test_credentials_of_a_url_stay_out_of_messages():
    with pytest.raises(Exception) as error:  # noqa: PT011 - which one depends on what is installed
        resolve(JsonlSource(paths=("https://me:hunter2@localhost:1/a.jsonl",)), [])
    assert "hunter2" not in str(error.value)


def test_a_data_set_on_the_hub_is_identified_by_its_commit_without_network_when_pinned(tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    file = resolve(HubSource(name="someone/something", revision=commit), [tmp_path])[0]
    assert (file.name, file.stamp) == ("hub/something/train", commit)
    other = resolve(HubSource(name="someone/something", revision=commit[::-1]), [tmp_path])[0]
    assert file.digest() != other.digest()


def test_a_folder_of_a_hub_source_is_identified_by_its_bytes(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"text": "a"}\n')
    before = resolve(HubSource(name="mine"), [tmp_path])[0]
    digest = before.digest()
    (folder / "train.jsonl").write_text('{"text": "b"}\n')
    after = resolve(HubSource(name="mine"), [tmp_path])[0]
    assert (before.name, after.name) == ("hub/mine/train", "hub/mine/train")
    assert digest != after.digest()
    assert before.stamp != after.stamp


def test_the_identity_of_reading_holds_names_and_no_paths(tree):
    config = TextSource(paths=(f"{tree}/books/*.txt",), licence="CC0-1.0")
    files = resolve(config, [])
    identity = pinned([config], [files], 0.5)
    assert identity.sources[0].paths == ("books/a.txt", "books/b.txt")
    assert str(tree) not in identity.model_dump_json()
    assert type(identity).model_validate_json(identity.model_dump_json(), strict=True) == identity
