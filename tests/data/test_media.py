"""Images and recordings beside their text: from folders and tar files, in columns, in bounded memory."""

import io
import json
import os
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lmpipe.base.errors import SourceError
from lmpipe.data.documents import parts_of
from lmpipe.data.readers.media import media_of

SAMPLE = Path(os.environ.get("LMPIPE_TEST_DATA", "")) / "cc12m_image_text_sample"
IMAGES = {"kind": "image", "paths": ["photos"]}
TARS = {"kind": "webdataset", "paths": ["*.tar"]}


def tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            if isinstance(data, tarfile.TarInfo):
                member.type, member.linkname = data.type, data.linkname
                archive.addfile(member)
            else:
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def link(target):
    info = tarfile.TarInfo()
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def test_a_folder_of_images_with_their_captions(tmp_path, read_corpus):
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    files = {"1.jpg": b"one", "1.txt": b"A cat.", "2.png": b"two", "2.json": b'{"caption": "A dog.", "year": 1999}'}
    files |= {"3.jpg": b"three", "4.txt": b"no picture", "deep/1.webp": b"deep", "deep/1.txt": b"A bird."}
    for name, data in files.items():
        (tmp_path / "photos" / name).write_bytes(data)
    found = read_corpus(IMAGES)
    assert found.texts == ["A cat.", "A dog.", "A bird."]
    assert json.loads(found.documents[1].meta) == {"year": 1999}
    assert [(f["file"], f["error"]) for f in found.failures] == [
        ("photos/3.jpg", "no text"),
        ("photos/4.txt", "no image and no recording"),
    ]
    kept = list(media_of(found.output, {found.documents[0].id, found.documents[2].id}))
    assert [(row["image"], row["audio"], row["name"]) for row in kept] == [
        (b"one", None, "photos/1.jpg"),
        (b"deep", None, "photos/deep/1.txt"),
    ]


def test_recordings_beside_text_from_elsewhere(tmp_path, read_corpus):
    (tmp_path / "words.txt").write_text("Text alone.")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "a.json").write_text('{"transcript": "Seven."}')
    audio = {"kind": "audio", "paths": ["a.*"], "caption_key": "transcript"}
    found = read_corpus({"kind": "text", "paths": ["words.txt"]}, audio)
    assert found.texts == ["Text alone.", "Seven."]
    ids = [document.id for document in found.documents]
    assert [row["audio"] for row in media_of(found.output, ids)] == [None, b"RIFF"]


def test_a_changed_caption_is_another_corpus(tmp_path, read_corpus):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"one")
    (tmp_path / "photos" / "1.txt").write_text("A cat.")
    first = read_corpus(IMAGES).documents[0].id
    (tmp_path / "photos" / "1.txt").write_text("A dog.")
    assert read_corpus(IMAGES).documents[0].id != first


def test_tar_files_in_webdataset_layout(tmp_path, read_corpus):
    members = [("a/1.jpg", b"one"), ("a/1.txt", b"A cat."), ("a/2.seg.png", b"x"), ("a/2.png", b"two"), ("a/2.txt", b"A dog.")]
    (tmp_path / "a.tar").write_bytes(tar(members))
    found = read_corpus(TARS)
    assert found.texts == ["A cat.", "A dog."]
    assert [json.loads(document.meta)["key"] for document in found.documents] == ["a/1", "a/2"]
    assert [row["image"] for row in media_of(found.output, [d.id for d in found.documents])] == [b"one", b"two"]


def test_tar_files_that_are_traps(tmp_path, read_corpus):
    members = [
        ("../../../tmp/evil.jpg", b"one"),
        ("../../../tmp/evil.txt", b"Harmless."),
        ("link.jpg", link("/etc/passwd")),
        ("link.txt", b"What does it show?"),
        ("large.jpg", bytes(5_000)),
        ("large.txt", b"A large one."),
        ("wrong.jpg", b"x"),
        ("wrong.txt", b"\xff"),
        ("nested.jpg", b"x"),
        ("nested.json", b"[" * 100_000),
        ("last.jpg", b"x"),
        ("last.txt", b"The end."),
    ]
    (tmp_path / "a.tar").write_bytes(tar(members))
    found = read_corpus({**TARS, "max_media_bytes": 1_000, "max_record_bytes": 200_000})
    assert found.texts == ["Harmless.", "The end."]
    assert [failure["error"] for failure in found.failures] == [
        "a member that is no regular file",
        "medium longer than max_media_bytes",
        "invalid utf-8",
        "invalid JSON beside the medium",
    ]
    assert not Path("/tmp/evil.txt").exists()


@pytest.mark.parametrize("data", [b"not a tar file", tar([("a.jpg", bytes(3000)), ("a.txt", b"text")])[:2000]])
def test_tar_files_that_are_none(tmp_path, read_corpus, data):
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(SourceError, match=r"'a.tar' cannot be read to its end"):
        read_corpus(TARS)


def test_media_stand_row_for_row_beside_the_text_in_bounded_row_groups(tmp_path, read_corpus):
    members = [(f"{n:03}.{suffix}", data) for n in range(30) for suffix, data in (("jpg", bytes(900_000)), ("txt", b"text"))]
    for name in ("a", "b"):
        (tmp_path / f"{name}.tar").write_bytes(tar(members))
    one = read_corpus(TARS, part_bytes=20_000_000)
    for part in parts_of(one.output):
        media = pq.ParquetFile(one.output / "media" / part.name)
        text = pq.ParquetFile(part)
        assert media.num_row_groups == text.num_row_groups >= 1
        for number in range(text.num_row_groups):
            ids = [file.read_row_group(number, columns=["id"]) for file in (text, media)]
            assert ids[0].column("id").to_pylist() == ids[1].column("id").to_pylist()
            assert text.metadata.row_group(number).num_rows <= 10


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="LMPIPE_TEST_DATA names no folder with cc12m_image_text_sample")
def test_a_real_shard(tmp_path, read_corpus):
    found = read_corpus({"kind": "webdataset", "paths": [str(SAMPLE / "*.tar")]})
    rows = list(media_of(found.output, [document.id for document in found.documents]))
    assert len(rows) == len(found.documents) == 32
    assert all(row["image"].startswith((b"\xff\xd8", b"\x89PNG", b"RIFF")) for row in rows)
