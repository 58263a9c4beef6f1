import json

import pytest

from lmpipe.base.bundle import check_bundle, write_manifest
from lmpipe.base.errors import DamagedError, ModelError


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "deep/weights.safetensors").write_bytes(bytes(range(256)) * 10)
    write_manifest(folder)
    return folder


def test_lists_every_file_by_its_bytes(bundle):
    files = check_bundle(bundle)["files"]
    assert list(files) == ["config.json", "deep/weights.safetensors"]
    assert files["deep/weights.safetensors"]["bytes"] == 2560
    before = (bundle / "manifest.json").read_bytes()
    write_manifest(bundle)
    assert (bundle / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("position", [0, 1000, 2559])
@pytest.mark.parametrize("bit", [0, 7])
def test_one_flipped_bit_is_found_and_its_file_named(bundle, position, bit):
    path = bundle / "deep/weights.safetensors"
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"deep/weights\.safetensors"):
        check_bundle(bundle)


def test_missing_added_and_shortened_files_are_named(bundle):
    path = bundle / "config.json"
    text = path.read_text()
    path.write_text(text[:-1])
    with pytest.raises(DamagedError, match=r"config\.json"):
        check_bundle(bundle)
    path.unlink()
    with pytest.raises(DamagedError, match=r"config\.json.*missing"):
        check_bundle(bundle)
    path.write_text(text)
    (bundle / "deep/more.py").write_text("print()")
    with pytest.raises(DamagedError, match=r"deep/more\.py"):
        check_bundle(bundle)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "a.pt", "a.PTH", "a.pkl", "a.ckpt"])
def test_pickles_are_refused_by_name(bundle, name):
    (bundle / name).write_bytes(b"")
    with pytest.raises(ModelError, match="pickle"):
        check_bundle(bundle)
    with pytest.raises(ModelError, match="pickle"):
        write_manifest(bundle)


def test_links_are_refused(bundle):
    (bundle / "config.json").rename(bundle.parent / "elsewhere.json")
    (bundle / "config.json").symlink_to(bundle.parent / "elsewhere.json")
    with pytest.raises(ModelError, match=r"config\.json"):
        check_bundle(bundle)


def test_no_manifest_means_no_bundle(bundle, tmp_path):
    (bundle / "manifest.json").unlink()
    with pytest.raises(ModelError, match="manifest"):
        check_bundle(bundle)
    with pytest.raises(ModelError, match="manifest"):
        check_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"files": []}', '{"files": {}}', '{"files": {"a": 1}}', "\x00"])
def test_a_damaged_manifest_is_one_clear_error(bundle, content):
    (bundle / "manifest.json").write_text(content)
    with pytest.raises(DamagedError, match="manifest"):
        check_bundle(bundle)


def test_a_manifest_cannot_point_outside(bundle):
    outside = bundle.parent / "secret"
    outside.write_text("x")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["../secret"] = manifest["files"]["config.json"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DamagedError, match="secret"):
        check_bundle(bundle)
