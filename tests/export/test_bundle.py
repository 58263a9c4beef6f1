import random
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from lmpipe.base.bundle import check_bundle
from lmpipe.base.errors import ModelError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.progress import Silent
from lmpipe.export.bundle import make_bundle
from lmpipe.export.config import HuggingFaceConfig
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import train_tokenizer


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    rng = random.Random(0)
    texts = [" ".join(rng.choices(["the", "cat", "sat", "naïve", "def f(x):"], k=80)) for _ in range(20)]
    (root / "texts").mkdir()
    (root / "tokenizer").mkdir()
    table = pa.table({"id": [str(i) for i in range(20)], "text": pa.array(texts, pa.large_string())})
    pq.write_table(table, root / "texts/part-00000.parquet")
    config = BpeConfig(vocab_size=290, train_on="corpus")
    train_tokenizer(root / "texts", config, root / "tokenizer", progress=Silent(), threads=1)
    tokenizer = load_tokenizer(root / "tokenizer")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.vocab_size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.end_of_text_id,
            eos_token_id=tokenizer.end_of_text_id,
        )
    )
    for name in ("best", "last"):
        model.save_pretrained(root / "train" / name)
    write_json(root / "train/training.json", {"steps": 10, "tokens": 5000, "best_step": 8, "stopped_early": False})
    return root


def bundle(parts, output, config=HuggingFaceConfig(), **changes):  # noqa: B008
    arguments = {
        "train_folder": parts / "train",
        "tokenizer_folder": parts / "tokenizer",
        "metrics": [],
        "findings": [],
        "verdict": None,
        **changes,
    }
    make_bundle(config, name="tiny", output=output, **arguments)
    return output


def test_transformers_loads_the_folder_as_it_is(parts, tmp_path):
    folder = bundle(parts, tmp_path / "bundle")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(tokenizer.eos_token + "the cat", return_tensors="pt", add_special_tokens=False)
    ours = load_tokenizer(folder)
    assert ids["input_ids"][0].tolist() == ours.encode_prompt("the cat")
    original = AutoModelForCausalLM.from_pretrained(parts / "train/best")
    with torch.no_grad():
        assert torch.equal(model(**ids).logits, original(**ids).logits)
        assert model.generate(**ids, max_new_tokens=3, do_sample=False).shape[1] == ids["input_ids"].shape[1] + 3


def test_manifest_covers_every_file_and_a_flipped_bit_is_found(parts, tmp_path):
    folder = bundle(parts, tmp_path / "bundle")
    listed = set(read_json(folder / "manifest.json")["files"])
    assert listed == {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert {"README.md", "DATA_CARD.md", "record.json", "metrics.json", "findings.json", "chat_template.jinja"} <= listed
    check_bundle(folder)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(Exception, match="safetensors"):
        check_bundle(folder)


def test_equal_inputs_give_equal_bytes_anywhere(parts, tmp_path):
    shutil.copytree(parts, tmp_path / "elsewhere")
    first, second = bundle(parts, tmp_path / "a"), bundle(tmp_path / "elsewhere", tmp_path / "b")
    assert (first / "manifest.json").read_bytes() == (second / "manifest.json").read_bytes()


def test_bfloat16_halves_the_file_and_says_so(parts, tmp_path):
    folder = bundle(parts, tmp_path / "bundle", HuggingFaceConfig(dtype="bfloat16"))
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    assert read_json(folder / "config.json")["dtype"] == "bfloat16"
    assert "stored in bfloat16" in (folder / "README.md").read_text()
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.bfloat16


def test_weights_that_are_not_finite_are_refused(parts, tmp_path):
    broken = tmp_path / "train"
    shutil.copytree(parts / "train", broken)
    tensors = load_file(broken / "best/model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].clone()
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, broken / "best/model.safetensors")
    with pytest.raises(ModelError, match=r"1 of 32 weights in 'model\.norm\.weight'"):
        bundle(parts, tmp_path / "bundle", train_folder=broken)
    assert not (tmp_path / "bundle/manifest.json").exists()
    last = bundle(parts, tmp_path / "other", HuggingFaceConfig(weights="last"), train_folder=broken)
    assert (last / "manifest.json").exists()


@pytest.mark.parametrize("missing", ["train/best/generation_config.json", "tokenizer/tokenizer.json"])
def test_missing_files_are_named(parts, tmp_path, missing):
    copy = tmp_path / "copy"
    shutil.copytree(parts, copy)
    (copy / missing).unlink()
    with pytest.raises(ModelError, match=missing.split("/")[-1]):
        bundle(copy, tmp_path / "bundle")


def test_tokenizer_of_another_model_is_refused(parts, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(parts, copy)
    config = read_json(copy / "train/best/config.json")
    write_json(copy / "train/best/config.json", {**config, "vocab_size": 100})
    with pytest.raises(ModelError, match="100"):
        bundle(copy, tmp_path / "bundle")
