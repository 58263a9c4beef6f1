"""Recipes with several corpora: what names what, and which stage reads which."""

import pytest

from lmpipe.base.errors import RecipeError
from lmpipe.base.runtime import Runtime
from lmpipe.recipes.project import open_project


@pytest.fixture
def recipe(tmp_path):
    """A recipe over two corpora; `data` adds to them, `on` is what is trained on."""
    (tmp_path / "a.txt").write_text("some text")

    def make(on="books", **data):
        read = [{"kind": "text", "paths": [str(tmp_path / "a.txt")]}]
        return {
            "name": "several",
            "data": {name: {"read": read, **data.get(name, {})} for name in ("books", "web")},
            "tokenizer": {"vocab_size": 300, "train_on": "books"},
            "model": {"layers": 1, "width": 16, "heads": 2, "context": 64},
            "train": [{"name": "pretrain", "on": on, "tokens": 4096}],
        }

    return make


def stages(recipe):
    return {stage.name: stage for stage in open_project(recipe).stages(Runtime(device="cpu"))}


def test_a_mixture_is_one_stage_between_tokens_and_training(recipe):
    found = stages(recipe(on={"mixture": {"books": 3, "web": 1}}))
    assert found["mix-pretrain"].inputs == {"books": found["tokenize-books"], "web": found["tokenize-web"]}
    assert found["train-pretrain"].inputs["tokens"] is found["mix-pretrain"]
    assert found["samples"].inputs["tokens"] is found["mix-pretrain"]


def test_another_share_computes_the_mixture_and_what_follows_alone(recipe):
    one, other = (stages(recipe(on={"mixture": {"books": 1, "web": web}})) for web in (1, 2))
    assert one["tokenize-web"].config == other["tokenize-web"].config
    assert one["mix-pretrain"].config != other["mix-pretrain"].config


def test_a_target_needs_no_other_use_and_comes_first(recipe):
    found = stages(recipe(books={"select_toward": {"corpus": "web", "count": 5}}))
    assert found["toward-books"].inputs["target"] is found["split-web"]
    assert found["split-books"].inputs["documents"] is found["toward-books"]
    assert "tokenize-web" not in found


def test_training_text_is_balanced_then_arranged(recipe):
    found = stages(recipe(on={"mixture": ["books", "web"]}, books={"balance": {"column": "label"}, "curriculum": {}}))
    assert found["balance-books"].inputs["documents"] is found["split-books"]
    assert found["arrange-books"].inputs["documents"] is found["balance-books"]
    assert found["tokenize-books"].inputs["documents"] is found["arrange-books"]
    assert found["tokenize-web"].inputs["documents"] is found["split-web"]


@pytest.mark.parametrize(
    ("on", "data", "message"),
    [
        ({"mixture": ["books", "films"]}, {}, "names the corpus 'films'; data has: books, web"),
        (
            {"mixture": ["books", "web"]},
            {"books": {"select_toward": {"corpus": "films", "count": 1}}},
            "names the corpus 'films'",
        ),
        (
            {"mixture": ["books", "web"]},
            {n: {"select_toward": {"corpus": o, "count": 1}} for n, o in (("books", "web"), ("web", "books"))},
            "select_toward goes in a circle: ",
        ),
        ("books", {}, "data.web is dead"),
        ({"mixture": ["books"]}, {}, "mixture"),
    ],
)
def test_what_names_nothing_is_refused(recipe, on, data, message):
    with pytest.raises(RecipeError) as error:
        open_project(recipe(on=on, **data))
    assert message in str(error.value)
