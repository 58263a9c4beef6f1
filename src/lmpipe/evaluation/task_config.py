"""What a user may ask of an evaluation of examples with answers, and by which names its numbers are known. Nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config
from lmpipe.evaluation.catalogue import TaskKind, statistic_names
from lmpipe.evaluation.extractive_config import ExtractiveConfig
from lmpipe.models.bm25.config import Bm25Baseline
from lmpipe.models.hmm.config import TaggerConfig
from lmpipe.models.linear.config import LinearConfig

LINEAR, HMM, BM25, START = "linear", "hmm", "bm25", "start"
"""Part of the names of these baselines' numbers."""
DEPTH = 100
"""Ranks of a search that are looked at: a passage that comes later counts as not found."""
LEAD = "{statistic}_over_{baseline}"
"""What the difference between the model and a baseline is called."""
OUT_OF_SCOPE = ("in_scope_kept", "out_of_scope_recall")
"""Measured beside a classification where the corpus has texts that belong to no class."""


class TaskEvaluation(Config):
    """What evaluations of examples have in common."""

    measures: ClassVar[tuple[str, ...]]
    """What the corpus must hold."""
    objective: ClassVar[str]
    """What the model must have learned last."""
    task_kinds: ClassVar[tuple[TaskKind, ...]]
    """Whose statistics it may give."""
    decisive: ClassVar[str] = ""
    """The statistic in which the model is set against its baselines."""

    kind: str
    on: str
    """The corpus (a name under `data:`) whose held-out examples are answered."""
    split: Literal["validation", "test"] = "test"
    """Which part of it. `validation` has already chosen the best checkpoint, so only `test` is untouched."""
    slices: tuple[str, ...] = ()
    """Columns by whose values the numbers are given once more: one of the metadata (`meta_columns` of a source keeps it), or,
    where the metadata has none of that name, the document's `source`, `licence`, `language`. Lengths and classes are told
    apart in any case."""
    resamples: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap resamples behind each interval."""
    level: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""

    def metric_names(self) -> list[str]:
        """Every name that it may give a number."""
        names = self.statistics(self.task_kinds)
        for baseline in self.baseline_names():
            names += [f"{baseline}.{name}" for name in self.statistics(self.task_kinds[:1])]
            names.append(LEAD.format(statistic=self.decisive, baseline=baseline))
        return [f"{self.on}.{self.split}.{name}" for name in dict.fromkeys(names)]

    def statistics(self, kinds: Sequence[TaskKind]) -> list[str]:
        """What it may measure of examples of these kinds."""
        return [name for kind in kinds for name in statistic_names(kind, self.ranks())]

    def baseline_names(self) -> list[str]:
        """Of what is put beside the model: part of the names of its numbers."""
        return []

    def ranks(self) -> tuple[int, ...]:
        """How many of what was found first count, where something is searched."""
        return ()


Change = Literal["keyboard", "ocr", "case", "punctuation", "eda"]


class TextEvaluation(TaskEvaluation):
    """Evaluations whose texts may be changed without changing what is right."""

    robustness: tuple[Change, ...] = ()
    """Every number once more on the same test texts changed by typing errors (`keyboard`), misread characters (`ocr`), other
    `case`, other `punctuation`, or words swapped and left out (`eda`), as augmentation makes them by default; and what each
    change costs, in pairs. Training text is never touched."""

    @model_validator(mode="after")
    def _changes_are_of_test_text(self) -> Self:
        if len(set(self.robustness)) < len(self.robustness):
            raise ValueError("robustness names a change twice; expected each once")
        if self.robustness and self.split != "test":
            raise ValueError(
                "robustness is measured on test text: validation text chooses thresholds and stays as it is; "
                "expected split: test"
            )
        return self

    def robust_names(self) -> list[str]:
        """Every name that changed texts may give a number."""
        own = self.statistics(self.task_kinds)
        own += [LEAD.format(statistic=self.decisive, baseline=baseline) for baseline in self.baseline_names()]
        both = [name for one in dict.fromkeys(own) for name in (one, f"{one}_drop")]
        return [f"{self.on}.{self.split}.{change}.{name}" for change in self.robustness for name in both]


class ClassificationEvaluation(TextEvaluation):
    """Are the classes right: accuracy, F1, MCC, AUROC, calibration, each with an interval; and what a threshold is worth."""

    measures = ("labels",)
    objective = "classification"
    task_kinds = ("classification", "multilabel")
    decisive = "accuracy"

    kind: Literal["classification"] = "classification"
    calibrate: bool = True
    """Whether probabilities are at the temperature that fits the validation examples best (Guo et al. 2017); decisions stay the
    same. Of several classes, none is chosen."""
    selective_accuracy: float | None = Field(default=None, gt=0, lt=1)
    """Choose, on validation, the confidence below which the model says nothing, so that its answers are right this often."""

    baselines: tuple[LinearConfig, ...] = Field(default=(LinearConfig(),), max_length=1)
    """What to put beside the model: a linear classifier on the same training examples (of one class each); empty: nothing."""

    def metric_names(self) -> list[str]:
        """As `TaskEvaluation.metric_names`."""
        return [*super().metric_names(), *(f"{self.on}.{self.split}.{name}" for name in OUT_OF_SCOPE)]

    def baseline_names(self) -> list[str]:
        """As `TaskEvaluation.baseline_names`."""
        return [LINEAR] if self.baselines else []


class RegressionEvaluation(TextEvaluation):
    """How far are the numbers off: mean and root mean squared error, explained share, correlations."""

    measures = ("scores",)
    objective = "classification"
    task_kinds = ("regression",)

    kind: Literal["regression"] = "regression"


class TaggingEvaluation(TaskEvaluation):
    """Are the tags right, word by word, and (of BIO tags) whole entities."""

    measures = ("tags",)
    objective = "tagging"
    task_kinds = ("tagging",)
    decisive = "token_accuracy"

    kind: Literal["tagging"] = "tagging"
    baselines: tuple[TaggerConfig, ...] = Field(default=(TaggerConfig(),), max_length=1)
    """What to put beside the model: a hidden Markov model of the same training sentences; empty: nothing."""

    def baseline_names(self) -> list[str]:
        """As `TaskEvaluation.baseline_names`."""
        return [HMM] if self.baselines else []


class MauveConfig(Config):
    """How near the distribution of what is written is to that of the references (Pillutla et al. 2021), by a local encoder."""

    encoder: str
    """Folder of an encoder in Hugging Face layout, or `hub:org/name`. Numbers of two encoders cannot be compared."""
    max_tokens: int = Field(default=256, ge=8)
    """Longer texts are cut for the encoder."""
    clusters: int | None = Field(default=None, ge=2)
    """How many groups texts and references are put into; null: one for ten texts, at least two."""


class GenerationEvaluation(TextEvaluation):
    """Targets written by beam search, beside the right ones: BLEU, chrF, ROUGE, exact match, length, novelty, support."""

    measures = ("pairs",)
    objective = "seq2seq"
    task_kinds = ("generation",)
    decisive = "rougeL"

    kind: Literal["generation"] = "generation"
    beams: int = Field(default=4, ge=1, le=64)
    """Targets that are followed at once; 1: greedy."""
    max_new_tokens: int = Field(default=128, ge=1)
    """How long a target may be."""
    length_penalty: float = 1.0
    """Above 0 longer targets are preferred, below 0 shorter ones."""
    no_repeat_ngram: int = Field(default=0, ge=0)
    """No so many tokens in a row occur twice in a target; 0: no rule."""
    long_texts: Literal["cut", "join", "reduce"] = "cut"
    """Of a text longer than the context: `cut`: only the beginning is read; `join`: it is read in pieces that end where
    sentences do, and their targets follow each other; `reduce`: these are read as a text again, until one target is left."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many examples; null: all."""
    baselines: tuple[ExtractiveConfig, ...] = ()
    """What to put beside a summarizer: sentences of the text, the first (`lead`), central (`textrank`) or best (`oracle`)."""
    mauve: MauveConfig | None = None
    """Also compare all written texts with all first references as two distributions. Thousands of texts make it worth much."""

    @model_validator(mode="after")
    def _each_baseline_once(self) -> Self:
        names = self.baseline_names()
        if len(set(names)) < len(names):
            raise ValueError("two baselines of one kind and length would share one name; expected each once")
        return self

    def baseline_names(self) -> list[str]:
        """As `TaskEvaluation.baseline_names`."""
        return [baseline.name for baseline in self.baselines]

    def statistics(self, kinds: Sequence[TaskKind]) -> list[str]:
        """As `TaskEvaluation.statistics`."""
        return [name for name in super().statistics(kinds) if name != "mauve" or self.mauve is not None]


class StartBaseline(Config):
    """What the encoder finds that the recipe goes on from, as it was before: what training was worth."""

    kind: Literal["start"] = "start"


class RetrievalEvaluation(TaskEvaluation):
    """Does a query find its passage among all, by the largest cosine: recall at k, nDCG at k, mean reciprocal rank."""

    measures = ("matches",)
    objective = "contrastive"
    task_kinds = ("retrieval",)
    decisive = "mrr"

    kind: Literal["retrieval"] = "retrieval"
    at: tuple[Annotated[int, Field(ge=1, le=DEPTH)], ...] = Field(default=(1, 5, 10), min_length=1)
    """The k: how many of the first found passages count."""
    among: Literal["corpus", "split"] = "corpus"
    """Which passages are searched, each text once: those of all sides, or only those of the measured one, which is easier."""
    baselines: tuple[Annotated[Bm25Baseline | StartBaseline, Field(discriminator="kind")], ...] = (Bm25Baseline(),)
    """What to put beside the model: a search by words (`bm25`), and the encoder before it was trained here (`start`)."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name, given in (("at", self.at), ("baselines", self.baseline_names())):
            if len(set(given)) < len(given):
                raise ValueError(f"{name} names one twice; expected each once")
        return self

    def baseline_names(self) -> list[str]:
        """As `TaskEvaluation.baseline_names`."""
        return [baseline.kind for baseline in self.baselines]

    def ranks(self) -> tuple[int, ...]:
        """As `TaskEvaluation.ranks`."""
        return self.at


AnyTaskEvaluation = (
    ClassificationEvaluation | RegressionEvaluation | TaggingEvaluation | GenerationEvaluation | RetrievalEvaluation
)
