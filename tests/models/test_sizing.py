import json

import pytest
from pydantic import ValidationError

from lmpipe.models.families import parameter_count
from lmpipe.models.llama.config import LlamaConfig
from lmpipe.models.sizing import SHAPES, derivation, optimal_parameters, optimal_tokens
from lmpipe.recipes.schema import json_schema

VOCABULARY = 4096


def make(**options: object) -> LlamaConfig:
    return LlamaConfig.model_validate(options)


@pytest.mark.parametrize("size", SHAPES)
def test_a_size_gives_a_whole_network(size: str) -> None:
    config = make(size=size)
    assert (config.layers, config.width) == SHAPES[size]
    assert config.head_width == 64


def test_what_is_written_out_overrides_the_size() -> None:
    config = make(size="base", layers=3, heads=4, context=77)
    assert (config.layers, config.width, config.heads, config.context) == (3, 768, 4, 77)
    assert "overridden" in derivation(config, 1)["shape"]


@pytest.mark.parametrize("budget", ["2M", "10M", 50_000_000, "1.5B"])
def test_a_budget_is_nearly_spent_and_never_exceeded(budget: object) -> None:
    config = make(parameters=budget, for_vocabulary=VOCABULARY)
    assert config.parameters is not None
    spent = parameter_count(config, VOCABULARY)
    one_layer_less = parameter_count(config.model_copy(update={"layers": config.layers + 1}), VOCABULARY)
    assert spent <= config.parameters < one_layer_less
    assert 1 / 3 < config.width / config.layers / 64 < 3


def test_a_budget_with_a_width_keeps_the_width() -> None:
    config = make(parameters="10M", for_vocabulary=VOCABULARY, width=128)
    assert config.width == 128
    assert parameter_count(config, VOCABULARY) <= 10_000_000


def test_nothing_said_is_a_small_network() -> None:
    assert (make().layers, make().width) == SHAPES["small"]


def test_a_derived_config_read_back_is_the_same() -> None:
    config = make(parameters="10M", for_vocabulary=VOCABULARY)
    assert LlamaConfig.model_validate_json(json.dumps(config.model_dump(mode="json")), strict=True) == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parameters": "2M"}, "for_vocabulary"),
        ({"parameters": "100k", "for_vocabulary": VOCABULARY}, "too small"),
        ({"parameters": "many", "for_vocabulary": VOCABULARY}, "parameters"),
        ({"size": "gigantic"}, "size"),
        ({"layers": 0, "width": 64}, "layers"),
    ],
)
def test_impossible_dials_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**options)


def test_twenty_tokens_for_each_parameter() -> None:
    assert optimal_parameters(optimal_tokens(12345)) == 12345


def test_the_schema_asks_for_no_derived_field() -> None:
    definition = json_schema()["$defs"]["LlamaConfig"]
    assert "required" not in definition
