"""Questions about the text of a run: what happened to one document, what is known of all.

    why      a document through every step of its corpus: there, noted, dropped by which rule with which value and threshold
    cards    the account of every corpus as plain data

Reads what the stages left; knows no step by name except where bounds are applied, so steps added later are shown, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lmpipe.base.errors import RecipeError
from lmpipe.recipes.results import Run, open_run
from lmpipe.recipes.schema import Recipe
from lmpipe.recipes.stages import NO_DATA

NEAREST = 5


@dataclass(frozen=True)
class Fate:
    """What happened to one document."""

    run: str
    identity: str
    corpus: str
    state: str
    """`kept`, `dropped` or `failed`."""
    at: str
    """The last step that had it: where it lies, or what took it out."""
    steps: list[dict[str, Any]]
    """[{stage, state, where, values}] in the order of the run."""
    bounds: list[dict[str, Any]]
    """[{rule, score, value, at_least | at_most, holds}]: every bound of the recipe beside the document's own score."""

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        facts = {key: value for key, value in self.__dict__.items() if key != "identity"}
        return {"id": self.identity, **facts}

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [f"{self.identity}  (corpus {self.corpus}, run {self.run})", f"{self.state} at {self.at}", ""]
        lines += [f"{step['stage']:<24} {step['state']:<8} {_told(step)}".rstrip() for step in self.steps]
        lines += ["", *(f"{'holds ' if bound['holds'] else 'BROKEN'}  {_bound(bound)}" for bound in self.bounds)]
        return lines if self.bounds else lines[:-1]


def _told(step: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in step["values"].items() if key != "id" and value not in (None, "", "{}")}
    limit = 12 if step["state"] == "noted" else None
    parts = [f"{key} {_number(value)}" for key, value in list(shown.items())[:limit]]
    return ", ".join(parts + ([f"and {len(shown) - limit} more (--json)"] if limit and len(shown) > limit else []))


def _bound(bound: Mapping[str, Any]) -> str:
    words = [f"at {kind} {_number(bound[f'at_{kind}'])}" for kind in ("least", "most") if bound.get(f"at_{kind}") is not None]
    words += [f"one of {', '.join(bound['one_of'])}"] if bound.get("one_of") is not None else []
    return f"{bound['rule']}: {bound['score']} is {_number(bound['value'])}, {' and '.join(words)}"


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def why(reference: str, identity: str, *, store: str, corpus: str | None = None) -> Fate:
    """What happened to a document.

    Args:
        reference: a run, as `open_run` takes it.
        identity: the document's id, as cards, reports and `dropped.parquet` name it.
        store: where results live.
        corpus: look only there.

    Raises:
        RecipeError: when the run has no such corpus or document; names ids that are near.
    """
    run = open_run(reference, store)
    recipe = _recipe(run)
    if corpus is not None and corpus not in recipe.data:
        raise RecipeError(f"the run has no corpus '{corpus}'", where=run.id, expected=f"one of {', '.join(recipe.data)}")
    for name in [corpus] if corpus else recipe.data:
        steps = list(_steps(run, name, identity))
        if steps:
            return _fate(run, identity, name, steps, recipe)
    raise _unknown(run, identity, [corpus] if corpus else list(recipe.data))


def corpus_stages(run: Run, corpus: str) -> dict[str, str]:
    """Kind of stage to name of stage, for those of one corpus, in the order of the run."""
    found = {}
    for name in run.entry.planned:
        kind = run.records[name].code.function.rpartition(":")[2] if name in run.records else ""
        if kind and kind not in NO_DATA and name == f"{kind}-{corpus}":
            found[kind] = name
    return found


def _steps(run: Run, corpus: str, identity: str) -> Iterator[dict[str, Any]]:
    from lmpipe.data.lookup import traces

    for name in corpus_stages(run, corpus).values():
        folder = run.folder(name)
        for trace in traces(folder, identity) if folder else ():
            yield {"stage": name, **trace._asdict()}


def _fate(run: Run, identity: str, corpus: str, steps: list[dict[str, Any]], recipe: Recipe) -> Fate:
    end = next((step for step in steps if step["state"] in ("dropped", "failed")), None)
    if end is None:
        end = next(step for step in reversed(steps) if step["state"] == "present")
    where = f"{end['stage']} ({end['where']})"
    if end["state"] == "dropped":
        where = f"{end['stage']} by {end['values'].get('rule')}"
    state = "kept" if end["state"] == "present" else end["state"]
    scores = {k: v for step in steps if step["state"] == "noted" for k, v in step["values"].items()}
    return Fate(run.id, identity, corpus, state, where, steps, list(_bounds(recipe, corpus, scores)))


def _bounds(recipe: Recipe, corpus: str, scores: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every bound whose score was noted, beside the value."""
    selection = recipe.data[corpus].select()
    for rule in selection.rules() if selection else ():
        value = scores.get(rule.score)
        if value is not None:
            low, high = rule.at_least, rule.at_most
            if rule.one_of is not None:
                holds = value in rule.one_of
            else:
                holds = (low is None or value >= low) and (high is None or value <= high)
            yield {
                "rule": rule.name,
                "score": rule.score,
                "value": value,
                "at_least": low,
                "at_most": high,
                "one_of": rule.one_of,
                "holds": holds,
            }


def _unknown(run: Run, identity: str, corpora: list[str]) -> RecipeError:
    from lmpipe.data.lookup import ids_like

    record = identity.rpartition(":")[0] or identity
    stems = dict.fromkeys((record, record.rpartition(":")[0] or record))
    first = (run.folder(f"read-{corpus}") or run.folder(f"synthesize-{corpus}") for corpus in corpora)
    folders = [folder for folder in first if folder]
    near = next((ids for stem in stems for folder in folders if (ids := ids_like(folder, stem, NEAREST))), [])
    return RecipeError(
        f"no document '{identity}' in this run",
        where=f"run {run.id}, {', '.join(corpora)}",
        expected="an id as the data card or dropped.parquet names it",
        fix=f"such as {', '.join(near)}" if near else "`lmpipe data card RUN` names some of each rule's documents",
    )


def cards(reference: str, *, store: str) -> list[dict[str, Any]]:
    """The account of every corpus of a run."""
    return run_cards(open_run(reference, store))


def run_cards(run: Run) -> list[dict[str, Any]]:
    """The account of every corpus of a run: from the stages' folders, with what each cost from their records."""
    from lmpipe.data.card import corpus_card

    found, recipe = [], _recipe(run)
    for corpus in recipe.data:
        stages = corpus_stages(run, corpus)
        folders = {kind: folder for kind, name in stages.items() if (folder := run.folder(name))}
        if "read" in folders or "synthesize" in folders:
            canaries = run.folder("canaries")
            selection = recipe.data[corpus].select()
            folders |= {"canaries": canaries} if canaries else {}
            card = corpus_card(corpus, folders, selection.rules() if selection else ())
            if recipe.data[corpus].holds == "text":
                estimate_tokens(card, run.read(f"tokenize-{corpus}", "tokens.json"))
            found.append(card | {"costs": [_cost(run, kind, name) for kind, name in stages.items()]})
    return found


def estimate_tokens(card: dict[str, Any], counted: Mapping[str, Any] | None) -> None:
    """Say of each step about how many tokens it kept, at the rate of the text that became tokens in the end: no tokenizer
    existed while text was cleaned, because it learns from what is left."""
    splits = {side: card.get("splits", {}).get(side, {}) for side in (counted or {}).get("splits", {})}
    characters = sum(facts.get("characters", 0) for facts in splits.values())
    if counted and characters:
        rate = sum(counted["splits"][side]["tokens"] for side in splits) / characters
        for step in card["steps"]:
            step["tokens_kept"] = round((step["characters_kept"] + step.get("characters_added", 0)) * rate)


def _cost(run: Run, kind: str, name: str) -> dict[str, Any]:
    record = run.records[name]
    spent = {key: getattr(record, key) for key in ("seconds", "cpu_seconds", "peak_memory_bytes")}
    return {"step": kind, "stage": name, **spent, "characters": record.facts.get("ledger", {}).get("characters_in")}


def _recipe(run: Run) -> Recipe:
    return Recipe.model_validate_json(json.dumps(run.entry.recipe))
