"""Which generators a recipe asks, and how often as far as that can be known before any document is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lmpipe.data.augmentation.config import BackTranslationConfig, RewriteBase
from lmpipe.data.generation.config import EndpointConfig, GeneratorConfig
from lmpipe.data.synthesis.config import SynthesisConfig
from lmpipe.recipes.schema import Recipe


def generators_of(recipe: Recipe) -> Iterator[tuple[str, GeneratorConfig]]:
    """(place in the recipe, generator), all of them."""
    for name, corpus in recipe.data.items():
        if corpus.synthesis:
            yield f"data.{name}.synthesis.generator", corpus.synthesis.generator
            if corpus.synthesis.judge and corpus.synthesis.judge.generator:
                yield f"data.{name}.synthesis.judge.generator", corpus.synthesis.judge.generator
        for number, part in enumerate(corpus.augment):
            if isinstance(part, RewriteBase):
                yield f"data.{name}.augment.{number}.generator", part.generator
    for number, judged in enumerate(recipe.judged):
        yield f"judged.{number}.judge", judged.judge


def expected_calls(recipe: Recipe) -> list[dict[str, Any]]:
    """[{stage, generator, calls, says}]: `calls` is None where only the documents can say; `says` is for a reader. What a store
    remembers of earlier runs is not asked again, so it may be fewer."""
    found: list[dict[str, Any]] = []
    for name, corpus in recipe.data.items():
        if corpus.synthesis:
            found += _of_synthesis(f"synthesize-{name}", corpus.synthesis)
        for part in corpus.augment:
            if isinstance(part, RewriteBase):
                each = part.copies * (2 if isinstance(part, BackTranslationConfig) else 1)
                says = f"{each} calls for each of about {part.share:.0%} of the training documents ({part.kind})"
                found.append(_entry(f"augment-{name}", part.generator, None, says))
    for judged in recipe.judged:
        each = 4 if judged.human else 2
        calls = each * judged.limit if judged.limit else None
        says = (
            f"at most {calls:,} calls by the judge"
            if calls
            else f"{'up to ' if judged.human else ''}{each} calls for each prompt"
        )
        found.append(_entry(f"evaluate-judged-{judged.name}", judged.judge, calls, says))
    return found


def _of_synthesis(stage: str, synthesis: SynthesisConfig) -> Iterator[dict[str, Any]]:
    count = synthesis.seeds.count if synthesis.seeds else None
    calls = synthesis.questions(count)
    each = synthesis.questions(1)
    bound = "at most " if count else ""
    yield _entry(stage, synthesis.generator, calls, f"{bound}{calls:,} calls" if calls else f"{each} calls for each seed")
    if synthesis.judge:
        judge = synthesis.judge.generator or synthesis.generator
        known = calls if synthesis.examples == "answer" else None
        says = f"at most {known:,} calls by the judge" if known else "one call of the judge for each example left by the rules"
        yield _entry(stage, judge, known, says)


def _entry(stage: str, generator: GeneratorConfig, calls: int | None, says: str) -> dict[str, Any]:
    who = f"{generator.model} at {generator.base_url}" if isinstance(generator, EndpointConfig) else generator.path
    return {"stage": stage, "generator": who, "calls": calls, "says": says}
