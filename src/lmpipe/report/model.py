"""What a report is made from: plain data, all of it optional but the name of the run.

`recipes` fills this from records and stage outputs; the page and the terminal summary read nothing else. Whatever is absent is
named as absent on the page: a run that failed half-way still has a report.

Does not know: the store, stages' folders, or any file format but what `base.measures` and `base.ledger` define.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from lmpipe.base.config import Config
from lmpipe.base.measures import Finding, Interval, Metric, Verdict
from lmpipe.report.repeat_model import Repeats
from lmpipe.report.task_model import Fit, Task


def _finite_or_gap(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Point = Annotated[float | None, BeforeValidator(_finite_or_gap)]
"""A value of a curve; None (NaN and infinity become it) is a gap in the line, and the page counts the gaps."""


class Failure(Config):
    """Why a run stopped: the parts of an `LmpipeError`."""

    stage: str
    what: str
    where: str = ""
    expected: str = ""
    fix: str = ""


class RecipeText(Config):
    """The recipe as its author wrote it, and as it was resolved."""

    path: str = ""
    """As given on the command line."""
    text: str
    """YAML, byte for byte as read."""
    overrides: list[str] = Field(default_factory=list)
    """Each `--set`, as given."""
    resolved: dict[str, Any] = Field(default_factory=dict)
    """Every default filled in, every `auto` decided: what the fingerprints were made from."""


class Goal(Config):
    """What the recipe said, before anything was spent, would count as success."""

    subject: str
    """The name of the metric."""
    at_most: float | None = None
    at_least: float | None = None


class Contender(Config):
    """One row of the comparison: a model or a baseline, on the same text and the same axis."""

    label: str
    """Such as `this model`, `5-gram Kneser-Ney, same training text`, `xz -9, same bytes`."""
    role: Literal["model", "baseline"]
    value: float
    interval: Interval | None = None
    note: str = ""
    """How it was made, in a few words."""


class Comparison(Config):
    """The headline number beside its baselines."""

    title: str
    """What is compared, such as `Bits per byte of the test split`."""
    subject: str
    """The name of the metric that the model's own row shows."""
    unit: str
    better: Literal["lower", "higher"]
    contenders: list[Contender] = Field(min_length=1)


class Curve(Config):
    """One quantity over the tokens seen so far."""

    unit: str
    tokens: list[int]
    values: list[Point]

    @model_validator(mode="after")
    def _same_length(self) -> Curve:
        if len(self.tokens) != len(self.values):
            raise ValueError(f"a curve has {len(self.tokens)} positions and {len(self.values)} values; expected as many")
        return self


class Sparsity(Config):
    """What a phase pruned."""

    kind: str
    """How the weights were chosen."""
    pruned: int
    """Weights that are zero."""
    of: int
    """Weights of the matrices that are pruned."""


class Written(Config):
    """What a model wrote at one time of a phase."""

    tokens: int
    """Seen by then."""
    texts: list[str]
    """One for each prompt."""


class Phase(Config):
    """One phase of training."""

    name: str
    steps: int
    tokens: int
    training_loss: Curve | None = None
    validation_loss: Curve | None = None
    learning_rate: Curve | None = None
    gradient_norm: Curve | None = None
    tokens_per_second: Curve | None = None
    best_step: int | None = None
    """The step whose weights were kept as best."""
    best_tokens: int | None = None
    """Tokens seen at that step."""
    best_validation_loss: float | None = None
    stopped_early: bool = False
    stop_reason: str = ""
    processes: int = 1
    """That trained together."""
    sparsity: Sparsity | None = None
    prompts: list[str] = Field(default_factory=list)
    """What the model went on with on the way."""
    written: list[Written] = Field(default_factory=list)
    """Samples on the way, in order."""

    @model_validator(mode="after")
    def _losses_share_an_axis(self) -> Phase:
        units = {curve.unit for curve in (self.training_loss, self.validation_loss) if curve is not None}
        if len(units) > 1:
            raise ValueError(
                f"training and validation loss are in {' and '.join(sorted(units))}; expected one unit for one axis"
            )
        return self


class DataStep(Config):
    """One step of a corpus's pipeline: a `Ledger` with a name, so `DataStep(name=..., **ledger.to_json())`."""

    name: str
    rows_in: int
    rows_kept: int
    dropped: dict[str, int] = Field(default_factory=dict)
    failed: dict[str, int] = Field(default_factory=dict)
    characters_in: int
    characters_kept: int
    added: dict[str, int] = Field(default_factory=dict)
    """Documents that the step made from others, by how; they are no part of `rows_kept`."""
    characters_added: int = 0
    seconds: float | None = None
    """What the step's stage took, now or when it was computed."""
    tokens_kept: int | None = None
    """About so many, at the rate of the text that was made into tokens in the end; of what was added, too."""

    @property
    def rows_out(self) -> int:
        """Documents that the next step gets."""
        return self.rows_kept + sum(self.added.values())

    @property
    def characters_out(self) -> int:
        """Characters that the next step gets."""
        return self.characters_kept + self.characters_added


class Example(Config):
    """One document by its id: dropped, or nearly."""

    id: str
    value: float | None = None
    """Of the score that the rule looks at."""
    duplicate_of: str = ""


class DropRule(Config):
    """One reason for which a selection drops documents."""

    name: str
    score: str = ""
    at_least: float | None = None
    at_most: float | None = None
    documents: int
    """How many it dropped."""
    dropped: list[Example] = Field(default_factory=list)
    nearest: list[Example] = Field(default_factory=list)
    """Documents that stayed and came nearest to the bound."""


class Histogram(Config):
    """One score over all documents, before and after the selection."""

    score: str
    scale: Literal["linear", "log"]
    edges: list[float] = Field(min_length=2)
    """Borders of the bins, one more than there are bins."""
    before: list[int]
    after: list[int]
    bounds: list[float] = Field(default_factory=list)
    """Where the recipe's rules cut."""

    @model_validator(mode="after")
    def _bins_have_borders(self) -> Histogram:
        if not len(self.before) == len(self.after) == len(self.edges) - 1:
            raise ValueError(f"the histogram of {self.score} has {len(self.edges)} edges; expected one more than bins")
        return self


class Clusters(Config):
    """Documents that repeat one another, as one kind of deduplication found them."""

    kind: str
    sizes: dict[str, int]
    """Clusters by the number of documents in them, the one that stayed counted in."""
    largest: dict[str, int] = Field(default_factory=dict)
    """Documents by the id of the one that stayed."""


class FactTable(Config):
    """What a step counted, as a table: whatever has no place of its own on the page."""

    title: str
    note: str = ""
    columns: list[str] = Field(min_length=1)
    rows: list[list[str | int | float]] = Field(default_factory=list)


class TextSource(Config):
    """One file or data set that was read."""

    name: str
    licence: str
    documents: int
    characters: int


class PersonalData(Config):
    """What masking found: counts by kind, never a value."""

    counts: dict[str, int]
    documents: int
    """Documents with at least one."""
    documents_by_kind: dict[str, int] = Field(default_factory=dict)
    action: Literal["mask", "pseudonym", "drop", "tag"] = "mask"
    names_found_by: str = ""
    """Who found names and addresses, and how well, in one sentence."""


class Split(Config):
    """One part of a corpus."""

    name: str
    documents: int
    characters: int
    bytes: int
    tokens: int | None = None


class Corpus(Config):
    """One named corpus, from its sources to its splits."""

    name: str
    sources: int
    """Files or data sets that were read."""
    steps: list[DataStep] = Field(default_factory=list)
    rules: list[DropRule] = Field(default_factory=list)
    """What the selection dropped and nearly dropped."""
    histograms: list[Histogram] = Field(default_factory=list)
    clusters: list[Clusters] = Field(default_factory=list)
    facts: list[FactTable] = Field(default_factory=list)
    """Contamination, augmentation and whatever else a step counted."""
    largest_sources: list[TextSource] = Field(default_factory=list)
    licences: dict[str, int] = Field(default_factory=dict)
    """Documents of the kept corpus by licence."""
    languages: dict[str, int] = Field(default_factory=dict)
    """Documents of the kept corpus by language."""
    personal_data: PersonalData | None = None
    splits: list[Split] = Field(default_factory=list)
    limits: str = ""
    """What the cleaning does not catch."""


class TokenGroup(Config):
    """What the tokenizer makes of one part of a text."""

    by: str
    """What the parts are: `source`, `language`."""
    name: str
    documents: int
    tokens_per_word: float | None = None
    bytes_per_token: float


class Tokenizer(Config):
    """The tokenizer, by numbers."""

    kind: str
    vocab_size: int
    bytes_per_token: float | None = None
    measured_on: str = ""
    """The text that `bytes_per_token` was measured on, such as `test split`."""
    groups: list[TokenGroup] = Field(default_factory=list)
    """Parts of the held-out text, where there are several."""


class Architecture(Config):
    """The model, by numbers."""

    kind: str
    layers: int
    width: int
    context_length: int
    parameters: int
    """Counted in the trained model."""
    parameters_predicted: int | None = None
    """Computed from the recipe before anything was spent."""
    settings: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    """The rest of its configuration."""


class Sample(Config):
    """Text that the model wrote."""

    prompt: str
    continuation: str
    settings: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    """How it was drawn: temperature, top_p, seed, ..."""


class Energy(Config):
    """Energy of one stage."""

    watt_hours: float
    method: str
    """Such as `RAPL counters of the package` or `processor seconds x 15 W per core`."""
    estimated: bool
    """False only where a meter was read."""


class Stage(Config):
    """One stage of the run: what it cost, and what identifies it."""

    name: str
    version: str = ""
    """The version that the stage's author gave it."""
    status: Literal["computed", "reused", "failed", "not reached"]
    fingerprint: str = ""
    content_digest: str = ""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Content digests by the name of the input."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the libraries that computed it."""
    started_at: datetime | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    energy: Energy | None = None
    rows_in: int | None = None
    rows_out: int | None = None


class Prediction(Config):
    """One number that `plan` gave, beside what happened."""

    name: str
    unit: str
    """`seconds` and `bytes` are shown in readable units; anything else as it is."""
    predicted: float
    actual: float | None = None
    method: str = ""
    """How it was predicted."""


class Machine(Config):
    """What the run was computed on. Part of no identity; no host name."""

    processor: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    device: str
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the installed libraries."""


class Command(Config):
    """Something to type, and what it does."""

    command: str
    purpose: str


class Report(Config):
    """Everything that one page says about one run."""

    run_name: str
    run_id: str
    created_at: datetime
    lmpipe_version: str
    description: str = ""
    """One sentence of the recipe's author, if there is one."""
    failure: Failure | None = None
    recipe: RecipeText | None = None
    goal: Goal | None = None
    verdict: Verdict | None = None
    headline: list[str] = Field(default_factory=list)
    """Names of the metrics and findings to put on top, at most three; empty: the page chooses."""
    comparison: Comparison | None = None
    metrics: list[Metric] = Field(default_factory=list)
    tasks: list[Task] = Field(default_factory=list)
    repeats: list[Repeats] = Field(default_factory=list)
    phases: list[Phase] = Field(default_factory=list)
    fits: list[Fit] = Field(default_factory=list)
    corpora: list[Corpus] = Field(default_factory=list)
    tokenizer: Tokenizer | None = None
    architecture: Architecture | None = None
    samples: list[Sample] = Field(default_factory=list)
    findings: list[Finding] = Field(default_factory=list)
    stages: list[Stage] = Field(default_factory=list)
    predictions: list[Prediction] = Field(default_factory=list)
    machine: Machine | None = None
    verify: list[Command] = Field(default_factory=list)
    """Commands that let a reader check this page."""
