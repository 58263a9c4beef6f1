"""Which weights learn, how fast, and how strongly they are pulled towards zero.

By default all learn, matrices are pulled and vectors (norms, biases) are not. Knows names and shapes, no optimiser.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from lmpipe.base.errors import TrainingError
from lmpipe.training.optimizer_config import ParameterRule

LAYER_NUMBER = re.compile(r"(?:^|\.)(?:blocks|layers|layer|block|h)\.(\d+)\.")
"""Where the number of its layer stands in a parameter's name, in our families and in those of Transformers."""


class Treatment(NamedTuple):
    """What happens to one parameter in a step."""

    lr_factor: float
    """Its learning rate over the schedule's."""
    weight_decay: float


def treatments(
    model: nn.Module,
    *,
    weight_decay: float,
    layer_decay: float = 1.0,
    rules: Sequence[ParameterRule] = (),
    only: Collection[str] | None = None,
) -> dict[str, Treatment]:
    """The treatment of every parameter that learns; those that are missing are frozen.

    Args:
        model: whose parameters.
        weight_decay: the optimiser's.
        layer_decay: see `layer_factors`.
        rules: the phase's; later ones win.
        only: all others are frozen, whatever the rules say.

    Raises:
        TrainingError: when a rule matches nothing, or nothing is left to learn.
    """
    parameters = dict(model.named_parameters())
    depths = layer_factors(model, layer_decay)
    found: dict[str, Treatment] = {}
    for name, parameter in parameters.items():
        found[name] = Treatment(depths[name], weight_decay if parameter.ndim >= 2 else 0.0)
    for number, rule in enumerate(rules):
        matching = [name for name in parameters if fnmatchcase(name, rule.match)]
        if not matching:
            raise _no_match(rule.match, number, parameters)
        for name in matching:
            if rule.freeze:
                found.pop(name, None)
                continue
            decay = rule.weight_decay
            if decay is None:
                decay = weight_decay if parameters[name].ndim >= 2 else 0.0
            found[name] = Treatment(depths[name] * rule.lr_factor, decay)
    if only is not None:
        found = {name: treatment for name, treatment in found.items() if name in only}
    if not found:
        raise TrainingError(
            "every parameter is frozen", where="parameters", expected="some to learn", fix="narrow the patterns that freeze"
        )
    return {name: found[name] for name in parameters if name in found}


def layer_factors(model: nn.Module, decay: float) -> dict[str, float]:
    """Learning-rate factors that fall with the distance from the output (Clark et al. 2020, ELECTRA; Howard and Ruder 2018).

    Whatever comes after the last layer has factor 1, layer i of L has `decay ** (L - i)`, embeddings have `decay ** (L + 1)`.
    """
    tables = {
        f"{name}.{own}" if name else own
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding)
        for own, _ in module.named_parameters(recurse=False)
    }
    numbers = {name: layer_number(name) for name, _ in model.named_parameters()}
    layers = max((number for number in numbers.values() if number is not None), default=-1) + 1
    factors = {}
    for name, number in numbers.items():
        below_output = layers + 1 if name in tables else 0 if number is None else layers - number
        factors[name] = decay**below_output
    return factors


def layer_number(name: str) -> int | None:
    """The number of the layer that a parameter belongs to; None for what belongs to no layer.

    >>> layer_number("blocks.3.attention.out.weight")
    3
    """
    match = LAYER_NUMBER.search(name)
    return int(match[1]) if match else None


def token_tables(model: nn.Module) -> set[str]:
    """Names of the matrices with a row per token (embedding, head): their rows are vectors of their own, not one map."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    head = getattr(model, "head", None)
    tables |= {id(head.weight)} if isinstance(head, nn.Linear) else set()
    return {name for name, parameter in model.named_parameters() if id(parameter) in tables}


def hidden_matrices(model: nn.Module) -> list[str]:
    """Names of the matrices that have no row per token."""
    tables = token_tables(model)
    return [name for name, parameter in model.named_parameters() if parameter.ndim >= 2 and name not in tables]


def _no_match(pattern: str, number: int, names: Iterable[str]) -> TrainingError:
    known = list(names)
    close = difflib.get_close_matches(pattern, known, n=1, cutoff=0.3)
    return TrainingError(
        f"no parameter is called '{pattern}'" + (f" (did you mean '{close[0]}'?)" if close else ""),
        where=f"parameters.{number}.match",
        expected=f"a pattern for some of: {', '.join(known[:6])}, ... ({len(known)} in all)",
    )
