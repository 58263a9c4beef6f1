"""The recipe: one file, composed of the configs that live beside the parts they configure. Nothing is configured twice.

Knows names and references (a corpus that is trained on must exist; one that nothing uses is dead); builds nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from lmpipe.audit.config import AuditConfig
from lmpipe.audit.gate import GateConfig, GoalConfig
from lmpipe.base.config import Config, Name
from lmpipe.data.config import CorpusConfig
from lmpipe.data.holding import PreferencesConfig, kind_held
from lmpipe.data.splitting.fold_config import CrossValidationConfig, LearningCurveConfig
from lmpipe.evaluation.code.config import ProgramsConfig
from lmpipe.evaluation.config import EvaluationConfig, PerplexityConfig
from lmpipe.evaluation.suite_config import SuiteConfig
from lmpipe.evaluation.task_config import START, RetrievalEvaluation
from lmpipe.export.config import HuggingFaceConfig
from lmpipe.models.auto.config import AutoConfig
from lmpipe.models.auto.offered import nearest
from lmpipe.models.config import ModelConfig
from lmpipe.models.lstm.config import LstmConfig
from lmpipe.recipes.judged_config import JudgedConfig
from lmpipe.serving.chatbot.making_config import MadeChatbotConfig, ModelIntents
from lmpipe.tokens.config import NewTokenizerConfig, PretrainedTokenizerConfig, TokenizerConfig
from lmpipe.training.config import PhaseConfig
from lmpipe.training.objective_config import SpanCorruptionConfig, objectives_by_kind

FOREIGN_OBJECTIVES = ("causal", "chat", "preference", "classification", "tagging", "seq2seq")
"""What a model that Transformers computes can learn."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]
SeedCount = Annotated[int, Field(ge=2, le=100)]


class Recipe(Config):
    """Everything that defines a model: what is computed, never where."""

    name: Name
    """What runs of this recipe are called: lower-case letters, digits, `-` and `_`."""
    description: str = Field(default="", max_length=500)
    """One sentence for the report and the model card."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Every random choice of the run is derived from it."""
    seeds: SeedCount | tuple[Seed, ...] | None = None
    """Training is repeated with so many seeds (`seed` and those after it), or with these, and every evaluation is given over
    all of them too: mean, spread, an interval over seeds and test items. Data is prepared with `seed` alone. The bundle is the
    model of the first seed, named before anything is measured. Null: one training with `seed`."""
    goal: GoalConfig | None = None
    """What would count as success, said before anything is measured."""
    cross_validation: CrossValidationConfig | None = None
    """Training and evaluation repeated on folds of what is evaluated on `test`, so that every document is test text once:
    numbers of all documents with intervals, beside those of the run's own division. The bundle is the run's own model."""
    learning_curve: LearningCurveConfig | None = None
    """Training and evaluation repeated on parts of the training text: does more data help?"""
    data: dict[Name, CorpusConfig] = Field(min_length=1)
    """Named corpora, each its own small pipeline."""
    tokenizer: TokenizerConfig
    """How text becomes token ids."""
    model: ModelConfig
    """The architecture; `{from: ...}` goes on from the weights of a bundle, of any folder in Hugging Face layout, or of a model
    on the Hub (`hub:org/name`), with its tokenizer."""
    start_from: str | None = None
    """The model whose weights are the first ones; filled in by `model: {from: ...}`. Null: fresh weights."""
    train: tuple[PhaseConfig, ...] = Field(min_length=1, max_length=20)
    """Training phases, in order, each starting from the weights of the one before."""
    evaluate: tuple[EvaluationConfig, ...] = ()
    """What is measured on held-out text and examples."""
    suites: tuple[SuiteConfig, ...] = ()
    """Tasks of lm-evaluation-harness that are asked of the model."""
    programs: tuple[ProgramsConfig, ...] = ()
    """Programming problems that the model writes programs for."""
    judged: tuple[JudgedConfig, ...] = ()
    """Prompts that the model answers, and another model that compares its answers with references."""
    chatbot: MadeChatbotConfig | None = None
    """A chatbot that the bundle carries: what it understands, remembers, says and does."""
    audit: tuple[AuditConfig, ...] = ()
    """What is asked of the model besides quality."""
    gate: GateConfig | None = None
    """What must hold for the model to be let out."""
    export: tuple[HuggingFaceConfig, ...] = Field(default=(HuggingFaceConfig(),), min_length=1, max_length=1)
    """How the model is packaged."""

    @model_validator(mode="after")
    def _start_is_whole(self) -> Self:
        if (self.start_from is None) == isinstance(self.tokenizer, PretrainedTokenizerConfig):
            raise ValueError("start_from and a pretrained tokenizer belong together; write `model: {from: ...}` for both")
        if self.model.kind == "auto":
            self._check_foreign()
        return self

    def _check_foreign(self) -> None:
        """What a model that Transformers computes cannot do here."""
        if self.start_from is None:
            raise ValueError("model is auto, which is never fresh; write `model: {from: a folder or a name on the Hub}`")
        assert isinstance(self.model, AutoConfig)
        for i, phase in enumerate(self.train):
            objective = phase.objective
            if objective.kind not in FOREIGN_OBJECTIVES:
                raise ValueError(
                    f"train.{i}.objective is {objective.kind}, which a model that Transformers computes cannot learn here; "
                    f"expected {', '.join(FOREIGN_OBJECTIVES[:-1])} or {FOREIGN_OBJECTIVES[-1]}, or one of our own families"
                )
            if self.model.architecture in objective.architectures and objective.head not in self.model.heads_offered:
                raise ValueError(
                    f"train.{i}.objective is {objective.kind}, and Transformers has no {objective.head} head for a "
                    f"{self.model.family} model; expected an encoder that has one, such as "
                    f"{nearest(self.model.family, objective.head)}, or our own bert and modernbert"
                )
            if phase.sparsity is not None:
                raise ValueError(f"train.{i}.sparsity needs a model of our families; this one is computed by Transformers")

    @model_validator(mode="after")
    def _model_can_do_it(self) -> Self:
        kind, architecture = self.model.kind, self.model.architecture
        for i, phase in enumerate(self.train):
            if architecture not in phase.objective.architectures:
                needed = " or ".join(phase.objective.architectures)
                raise ValueError(
                    f"train.{i}.objective is {phase.objective.kind}, which the {architecture} '{kind}' cannot learn: "
                    f"{phase.objective.reason}; it takes a model that is a {needed}"
                )
            if phase.objective.reads_prefix and isinstance(self.model, LstmConfig):
                raise ValueError(
                    f"train.{i}.objective is {phase.objective.kind}, which reads the beginning of a text both ways, and a "
                    f"recurrent model ({self.model.cell}) walks along the text and cannot look ahead; expected a model of kind "
                    "llama, gpt2 or mixtral"
                )
            if isinstance(phase.objective, SpanCorruptionConfig) and isinstance(self.tokenizer, NewTokenizerConfig):
                spans = phase.objective.spans_of(self.model.context)
                if self.tokenizer.sentinels < spans:
                    raise ValueError(
                        f"train.{i}.objective hides up to {spans} spans of a row of {self.model.context:,} tokens, and the "
                        f"tokenizer has {self.tokenizer.sentinels} sentinels; expected tokenizer.sentinels: {spans} at least"
                    )
        if architecture != "decoder":
            asked = [f"evaluate.{i}" for i, part in enumerate(self.evaluate) if part.kind == "perplexity"]
            asked += [f"suites.{i}" for i in range(len(self.suites))] + [f"programs.{i}" for i in range(len(self.programs))]
            asked += [f"audit.{i}" for i, part in enumerate(self.audit) if part.kind == "memorization"]
            if self.judged:
                raise ValueError(f"judged.0 asks for answers to prompts, which the {architecture} '{kind}' does not write here")
            if asked:
                raise ValueError(f"{asked[0]} asks how probable texts are, which the {architecture} '{kind}' does not say")
        return self

    @model_validator(mode="after")
    def _references_hold(self) -> Self:
        used = {
            **{f"data.{name}.dedup.against.{other}": other for name in self.data for other in self._compared_with(name)},
            **({"tokenizer.train_on": self.tokenizer.corpus} if self.tokenizer.corpus else {}),
            **{f"data.{name}.synthesis.seeds.corpus": seeds for name in self.data for seeds in self._seeds_of(name)},
            **{f"train.{i}.on ({name})": name for i, phase in enumerate(self.train) for name in phase.corpora()},
            **{f"data.{name}.select_toward.corpus": c.select_toward.corpus for name, c in self.data.items() if c.select_toward},
            **{f"evaluate.{i}.on": part.on for i, part in enumerate(self.evaluate)},
            **{f"chatbot.{field}": name for field, name in self._chatbot_corpora().items()},
        }
        for name, filtered in self.data.items():
            used |= {f"data.{name}.clean ({teacher})": teacher for teacher in filtered.learns_from()}
            if name in self._teachers() and filtered.select_toward:
                raise ValueError(f"data.{name} has select_toward, and a filter learns from it; expected one of the two")
        for path, corpus in used.items():
            if corpus not in self.data:
                close = difflib.get_close_matches(corpus, self.data, n=1)
                meant = f" (did you mean '{close[0]}'?)" if close else ""
                raise ValueError(f"{path} names the corpus '{corpus}'{meant}; data has: {', '.join(self.data)}")
        for corpus in self.data:
            if corpus not in used.values():
                raise ValueError(
                    f"data.{corpus} is dead: no tokenizer, training phase, evaluation or filter uses it; remove it or use it"
                )
        self.corpora_in_order()
        for name, data in self.data.items():
            brought = self.judged or self.programs or any(suite.folder for suite in self.suites)
            if data.decontaminate and not (self.evaluated_sets(but=name) or brought):
                raise ValueError(
                    f"data.{name}.decontaminate is dead: evaluate measures no other corpus whose text could be looked for, "
                    "and there is nothing under judged, programs or a folder of suites"
                )
        self._check_what_is_held(used)
        names = [phase.name for phase in self.train]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"train has two phases called '{name}'; results are found by their names, so each once")
        self.splits_in_order()
        seen: set[tuple[str, str]] = set()
        for i, part in enumerate(self.evaluate):
            if (part.on, part.split) in seen:
                raise ValueError(f"evaluate.{i} measures {part.on}.{part.split} a second time; each once")
            seen.add((part.on, part.split))
        self._check_own_items()
        for kind in {audit.kind for audit in self.audit}:
            if sum(audit.kind == kind for audit in self.audit) > 1:
                raise ValueError(f"audit has two parts of kind '{kind}'; each once, else their findings share names")
        return self

    @model_validator(mode="after")
    def _seeds_are_several(self) -> Self:
        if self.seeds is None:
            return self
        given = self.training_seeds()
        if len(given) < 2 or len(set(given)) < len(given):
            raise ValueError(f"seeds are {', '.join(map(str, given)) or 'none'}; expected two or more, each once")
        if not self.evaluate:
            raise ValueError("seeds are dead: nothing is evaluated, so they would all be trained for nothing; add `evaluate`")
        return self

    @model_validator(mode="after")
    def _folds_are_whole(self) -> Self:
        if self.cross_validation is None:
            return self
        folded = self.folded_corpora()
        if not folded:
            raise ValueError("cross_validation is dead: no evaluation is on a `test` side of a corpus that is trained on")
        for name, corpus in self.data.items():
            named = {*corpus.learns_from(), *self._seeds_of(name)}
            named |= {corpus.select_toward.corpus} if corpus.select_toward else set()
            if corpus.decontaminate or named & set(folded):
                why = "decontaminate" if corpus.decontaminate else f"text of {', '.join(sorted(named & set(folded)))}"
                raise ValueError(
                    f"cross_validation deals {', '.join(folded)} anew, and data.{name} was made with {why}, which saw one "
                    "division only; expected corpora that were made without looking at each other's sides"
                )
        return self

    def folded_corpora(self) -> list[str]:
        """Names of the corpora that cross-validation divides: trained on, and evaluated on their test side."""
        trained_on = {name for phase in self.train for name in phase.corpora()}
        tested = (part.on for part in self.evaluate if part.split == "test")
        return list(dict.fromkeys(name for name in tested if name in trained_on))

    @model_validator(mode="after")
    def _curve_has_points(self) -> Self:
        if self.learning_curve and not self.shared_corpora():
            raise ValueError("learning_curve is dead: no corpus is both trained on and evaluated")
        return self

    def shared_corpora(self) -> list[str]:
        """Names of the corpora of which a learning curve takes parts: trained on, and evaluated."""
        trained_on = {name for phase in self.train for name in phase.corpora()}
        return list(dict.fromkeys(part.on for part in self.evaluate if part.on in trained_on))

    def training_seeds(self) -> tuple[int, ...]:
        """The seeds of all trainings; the first one's model is the bundle."""
        if isinstance(self.seeds, int):
            return tuple(range(self.seed, self.seed + self.seeds))
        return (self.seed,) if self.seeds is None else self.seeds

    def _check_own_items(self) -> None:
        """Of what is measured on items that are no corpus of the recipe: each name once, and room for a prompt."""
        own: dict[str, Sequence[ProgramsConfig | JudgedConfig]] = {"programs": self.programs, "judged": self.judged}
        for key, parts in own.items():
            names = [part.name for part in parts]
            for i, part in enumerate(parts):
                if names.count(part.name) > 1:
                    raise ValueError(f"{key} has two parts called '{part.name}', and their numbers would share names")
                if part.max_new_tokens >= self.model.context:
                    raise ValueError(
                        f"{key}.{i}.max_new_tokens is {part.max_new_tokens}, and the model's context {self.model.context}; "
                        "expected room for a prompt"
                    )
        tasks = [task for suite in self.suites for task in suite.tasks]
        for task in tasks:
            if tasks.count(task) > 1:
                raise ValueError(f"suites ask the task '{task}' twice, and its numbers would share their names; each once")

    def text_phase(self) -> PhaseConfig | None:
        """The first phase whose corpus is a stream of text, conversations included."""
        streams = ("text", "conversations")
        return next((p for p in self.train if kind_held(self.data[p.corpora()[0]].holds) in streams), None)

    def corpora_in_order(self) -> list[str]:
        """Names of the corpora, one that others are compared with, learn from or are made from before them.

        Raises:
            ValueError: when a corpus needs itself in one of these ways, directly or through others.
        """
        order: list[str] = []

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                raise ValueError(self._circle((*path[path.index(name) :], name)))
            if name not in order:
                for other in (*self._compared_with(name), *self.data[name].learns_from(), *self.made_from(name)):
                    visit(other, (*path, name))
                order.append(name)

        for name in self.data:
            visit(name, ())
        return order

    def used_corpora(self) -> set[str]:
        """Names of the corpora that are trained on, evaluated, learned from, made from or selected toward; others only stand
        beside, for comparison."""
        trained_on = (name for phase in self.train for name in phase.corpora())
        targets = (c.select_toward.corpus for c in self.data.values() if c.select_toward)
        tokenizer = {self.tokenizer.corpus} if self.tokenizer.corpus else set()
        others = {*targets, *self._teachers(), *(seeds for name in self.data for seeds in self._seeds_of(name))}
        measured = {*(part.on for part in self.evaluate), *self._chatbot_corpora().values()}
        return {*tokenizer, *trained_on, *others, *measured}

    def evaluated_sets(self, *, but: str) -> list[tuple[str, str]]:
        """(corpus, side) of all text that is measured on, less that of one corpus: what its training text must not hold."""
        return [(part.on, part.split) for part in self.evaluate if part.on != but]

    def _chatbot_corpora(self) -> dict[str, str]:
        return self.chatbot.corpora() if self.chatbot else {}

    def _compared_with(self, name: str) -> list[str]:
        return [other for part in self.data[name].duplicates() for other in part.against]

    def splits_in_order(self) -> list[str]:
        """Names of the corpora that are divided, each after the one that it is selected toward.

        Raises:
            ValueError: when they are selected toward each other in a circle.
        """
        used = self.used_corpora()
        needs = {name: {c.select_toward.corpus} if c.select_toward else set() for name, c in self.data.items() if name in used}
        try:
            return list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            circle = " toward ".join(error.args[1])
            raise ValueError(f"select_toward goes in a circle: {circle}; expected a corpus that needs none of them") from None

    def made_from(self, name: str) -> list[str]:
        """Corpora that are divided before this one is made: that of its seeds, and before it the one it is selected toward."""
        seeds = self._seeds_of(name)
        targets = (self.data[other].select_toward for other in seeds if other in self.data)
        return [*(target.corpus for target in targets if target), *seeds]

    def _seeds_of(self, name: str) -> list[str]:
        synthesis = self.data[name].synthesis
        return [synthesis.seeds.corpus] if synthesis and synthesis.seeds else []

    def _teachers(self) -> set[str]:
        return {teacher for corpus in self.data.values() for teacher in corpus.learns_from()}

    def _circle(self, names: tuple[str, ...]) -> str:
        if any(other in self.data[name].learns_from() for name, other in pairwise(names)):
            return f"data.{names[0]} learns from itself: {' -> '.join(names)}"
        if any(other in self.made_from(name) for name, other in pairwise(names)):
            return f"data.{names[0]} is made from itself: {' -> '.join(names)}"
        return f"data.{names[0]}.dedup compares the corpus with itself: {' against '.join(names)}"

    def _check_what_is_held(self, used: dict[str, str]) -> None:
        for path, corpus in used.items():
            if self.data[corpus].holds == "conversations" and path.startswith("tokenizer."):
                raise ValueError(f"{path} names '{corpus}', which holds conversations; expected a corpus of text")
        for i, phase in enumerate(self.train):
            for name in phase.corpora():
                held, learns = kind_held(self.data[name].holds), phase.objective.learns
                if held not in learns:
                    able = [kind for kind, config in objectives_by_kind().items() if held in config.learns]
                    raise ValueError(
                        f"train.{i}.objective is {phase.objective.kind}, which learns from {' or '.join(learns)}, and "
                        f"data.{name} holds {held}; expected objective: {' or '.join(able)}"
                    )
                held_as = self.data[name].holds
                if isinstance(held_as, PreferencesConfig) and held_as.unpaired and not phase.objective.learns_unpaired:
                    raise ValueError(
                        f"data.{name}.holds.unpaired is true, and train.{i}.objective.loss compares two answers to a prompt; "
                        "expected loss: {kind: kto}, or two answers everywhere"
                    )
            if not isinstance(phase.on, str) and "text" not in phase.objective.learns:
                raise ValueError(f"train.{i}.on is a mixture, and {phase.objective.kind} learns from one corpus")
        if self.text_phase() is None:
            asked = [f"audit.{i} ({part.kind})" for i, part in enumerate(self.audit) if part.kind == "memorization"]
            asked += [
                f"evaluate.{i}.baselines ({baseline.kind})"
                for i, part in enumerate(self.evaluate)
                if isinstance(part, PerplexityConfig)
                for baseline in part.language_models()
            ]
            if asked:
                raise ValueError(f"{asked[0]} needs text that was trained on, and no phase learns from text")
        self._check_chatbot()
        last = self.train[-1].objective.kind
        for i, part in enumerate(self.evaluate):
            if not isinstance(part, PerplexityConfig) and part.objective != last:
                raise ValueError(
                    f"evaluate.{i} measures {part.kind}, and the model learns {last} last; "
                    f"expected a last phase with objective: {part.objective}"
                )
            if isinstance(part, RetrievalEvaluation) and START in part.baseline_names() and self.start_from is None:
                raise ValueError(
                    f"evaluate.{i}.baselines has start, and the model starts with fresh weights; expected bm25 alone, or "
                    "`model: {from: ...}`"
                )
            held = kind_held(self.data[part.on].holds)
            if held not in part.measures:
                raise ValueError(
                    f"evaluate.{i} measures {part.kind}, and data.{part.on} holds {held}; expected {' or '.join(part.measures)}"
                )

    def _check_chatbot(self) -> None:
        named = self._chatbot_corpora()
        for field, wanted in (("messages", "labels"), ("snippets_from", "text"), ("spans_from", "tags")):
            held = kind_held(self.data[named[field]].holds) if field in named else wanted
            if held != wanted:
                raise ValueError(f"chatbot.{field} names '{named[field]}', which holds {held}; expected {wanted}")
        if self.chatbot and isinstance(self.chatbot.classifier, ModelIntents):
            last = self.train[-1]
            if last.objective.kind != "classification" or last.on != self.chatbot.messages:
                raise ValueError(
                    f"chatbot.classifier is the model, which learns {last.objective.kind} on {last.on} last; "
                    f"expected a last phase with objective: classification on {self.chatbot.messages}"
                )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of recipes, for editors: every key with its help text; what `complete` fills in may be left out."""
    schema = Recipe.model_json_schema(mode="validation")
    properties = schema["properties"]
    del properties["start_from"]
    schema["required"].remove("tokenizer")  # a bundle brings its own
    for name in ("model", "tokenizer"):  # without a `kind`, which has a default, a section fits several members of the union
        properties[name]["anyOf"] = properties[name].pop("oneOf", None) or [{"$ref": properties[name].pop("$ref")}]
        properties[name].pop("discriminator", None)
    properties["model"]["anyOf"].append(
        {"type": "object", "properties": {"from": {"type": "string"}}, "required": ["from"], "additionalProperties": False}
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "lmpipe recipe", **schema}
