"""From a recipe to its stages: names, identities and who reads whose output. Imports nothing heavy, computes nothing.

read > repair > measure ----.                        canaries
             \\> exact, ... -> select > lines, ... > mask > split ---> tokenizer > tokenize > train > evaluate, samples,
             audits
                                                                 \\> ngram ----------^        > gate > bundle
"""

from __future__ import annotations

from pathlib import Path

from lmpipe.base.runtime import Runtime
from lmpipe.recipes.corpus_graph import canaries, corpora
from lmpipe.recipes.graph import Graph
from lmpipe.recipes.items_graph import judged, programs, suites
from lmpipe.recipes.model_graph import (
    audits,
    bundle,
    chatbot,
    evaluations,
    gate_stage,
    made_tokenizer,
    samples,
    starting_model,
    tokenized,
    training,
)
from lmpipe.recipes.repeats import folds, learning_curve, robustness, seeds
from lmpipe.recipes.schema import Recipe
from lmpipe.training.config import resolve_precision


def resolve(recipe: Recipe, runtime: Runtime) -> Recipe:
    """The recipe with every `auto` decided for this runtime: what identities are made from."""
    phases = tuple(
        phase.model_copy(update={"precision": resolve_precision(phase.precision, runtime.resolved_device())})
        for phase in recipe.train
    )
    return recipe.model_copy(update={"train": phases})


def build_graph(recipe: Recipe, runtime: Runtime, base_folders: list[Path]) -> Graph:
    """All stages of `recipe`."""
    recipe = resolve(recipe, runtime)
    graph = Graph()
    planted = canaries(graph, recipe)
    splits = corpora(graph, recipe, base_folders)
    start = starting_model(graph, recipe, base_folders)
    tokenizer = made_tokenizer(graph, recipe, splits, start)
    tokens = tokenized(graph, recipe, splits, tokenizer, planted)
    train = training(graph, recipe, tokens, tokenizer, start, base_folders, seed=recipe.training_seeds()[0])
    measured = evaluations(graph, recipe, splits, tokens, tokenizer, train, base_folders)
    samples(graph, recipe, tokens, tokenizer, train)
    measured |= programs(graph, recipe, tokenizer, train, base_folders)
    measured |= judged(graph, recipe, tokenizer, train, base_folders)
    measured |= suites(graph, recipe, tokenizer, train, base_folders)
    measured |= chatbot(graph, recipe, splits, tokenizer, train, measured, base_folders)
    measured |= seeds(graph, recipe, splits, tokens, tokenizer, start, base_folders)
    measured |= folds(graph, recipe, splits, start, planted, base_folders)
    measured |= robustness(graph, recipe, splits, tokenizer)
    learning_curve(graph, recipe, splits, tokenizer, start, planted, base_folders)
    measured |= audits(graph, recipe, tokens, tokenizer, train, planted)
    gate = gate_stage(graph, recipe, measured)
    bundle(graph, recipe, tokenizer, train, measured, gate, planted)
    return graph
