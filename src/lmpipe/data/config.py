"""What a user may ask of a corpus: where its text comes from, how it is cleaned, deduplicated, masked and split.

    read -> clean: unicode, lines, filters -> dedup -> pii -> split -> decontaminate, augment (training text)

The order of the steps is fixed; only their presence and their numbers are the user's. Data only: building lives in the modules
beside this one, and neither numpy nor pyarrow is imported here.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config
from lmpipe.data.augmentation.config import AugmentConfig, check_kinds
from lmpipe.data.cleaning.config import LinesConfig, UnicodeConfig
from lmpipe.data.decontamination.config import DecontaminateConfig
from lmpipe.data.dedup.config import DedupConfig, DuplicatesConfig, RepeatedBase, RepeatedConfig
from lmpipe.data.filters.config import FilterConfig, MeasuredFilter, SelectConfig, UrlsConfig, WordsConfig
from lmpipe.data.filters.scores import MeasureConfig
from lmpipe.data.filters.trained_config import TrainedConfig
from lmpipe.data.holding import Holds, columns_held, kind_held
from lmpipe.data.mixing.config import BalanceConfig, CurriculumConfig, TowardConfig
from lmpipe.data.pii.config import PiiConfig
from lmpipe.data.readers.config import ConllSource, RecordSource, SourceConfig
from lmpipe.data.splitting.config import SplitConfig
from lmpipe.data.synthesis.config import SynthesisConfig

CleanConfig = Annotated[UnicodeConfig | LinesConfig | FilterConfig, Field(discriminator="kind")]


class CorpusConfig(Config):
    """One named corpus: a small pipeline from raw files to three splits."""

    read: tuple[SourceConfig, ...] = ()
    """Where the text comes from. The order counts: of two equal documents the first stays."""
    holds: Holds = "text"
    """What a document is: `text`; one of `conversations`: a list of messages with `role` (system, user, assistant) and
    `content`, as JSON text or as a column of lists (`text_column: messages`); or an example with its answer, such as
    `{kind: labels, column: sentiment}` or `{kind: pairs, column: summary}`."""
    synthesis: SynthesisConfig | None = None
    """In the place of `read`: documents that a generator writes."""
    max_failed_fraction: float = Field(default=0.001, ge=0, le=1)
    """The run stops when more than this share of the records cannot be read."""
    max_quarantine_bytes: int = Field(default=64_000_000, ge=0)
    """Bytes of records that cannot be read are kept in the quarantine of the reading stage, the first so many of them."""
    clean: tuple[CleanConfig, ...] = ()
    """Repair of text, removal of lines, filters; in this order."""
    dedup: tuple[DedupConfig, ...] = ()
    """Removal of duplicates, kind by kind in this order; what one kind marked the next does not look at."""
    pii: PiiConfig | None = None
    """Personal data and secrets."""
    select_toward: TowardConfig | None = None
    """Of the documents, those that resemble another corpus; null: all."""
    split: SplitConfig = SplitConfig()
    """Training, validation and test text."""
    decontaminate: DecontaminateConfig | None = None
    """Removal of evaluation text from the training side: what `evaluate:` measures on the held-out text of other corpora."""
    balance: BalanceConfig | None = None
    """Classes of the training text made equally frequent; null: as they are."""
    curriculum: CurriculumConfig | None = None
    """Training text from easy to hard; null: in random order."""
    augment: tuple[AugmentConfig, ...] = ()
    """Further training documents made from those that are there; validation and test text stay as they are."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.read) == bool(self.synthesis):
            raise ValueError("a corpus comes from files (`read`) or from a generator (`synthesis`); expected one of the two")
        return self

    @model_validator(mode="after")
    def _sides_are_decided(self) -> Self:
        if self.sides_given() and self.split.by == "position":
            raise ValueError("split by: position cuts the corpus as a whole, and sources of it name their `side`; choose one")
        able = (RecordSource, ConllSource) if kind_held(self.holds) == "tags" else RecordSource
        records = [isinstance(source, able) for source in self.read]
        if columns_held(self.holds) and not all(records):
            kind = self.read[records.index(False)].kind
            raise ValueError(f"holds {kind_held(self.holds)} needs columns, and a source of kind '{kind}' has none")
        return self

    def sides_given(self) -> bool:
        """Whether sources say on which side their documents stand."""
        return any(source.side for source in self.read)

    def sources(self) -> tuple[SourceConfig, ...]:
        """The sources, each with the columns that the answers are in among those that it keeps."""
        columns = columns_held(self.holds)
        return tuple(
            source.model_copy(update={"meta_columns": tuple(dict.fromkeys((*source.meta_columns, *columns)))})
            if isinstance(source, RecordSource)
            else source
            for source in self.read
        )

    @model_validator(mode="after")
    def _each_step_once(self) -> Self:
        for kind in sorted({part.kind for part in self.clean}):
            if sum(part.kind == kind for part in self.clean) > 1:
                raise ValueError(f"clean has two steps of kind '{kind}'; expected each at most once")
        order = [isinstance(part, UnicodeConfig) * 2 + isinstance(part, LinesConfig) for part in self.clean]
        if order != sorted(order, reverse=True):
            raise ValueError("clean is out of order; expected 'unicode', then 'lines', then filters, which see cleaned text")
        check_kinds(self.augment)
        return self

    @model_validator(mode="after")
    def _each_kind_of_duplicate_once(self) -> Self:
        for kind in sorted({part.kind for part in self.dedup}):
            if sum(part.kind == kind for part in self.dedup) > 1:
                raise ValueError(f"dedup has two steps of kind '{kind}'; expected each at most once")
        if self.dedup != (*self.duplicates(), *self.repeated()):
            whole, parts = (", ".join(part.kind for part in some) for some in (self.duplicates(), self.repeated()))
            raise ValueError(f"dedup takes out text ({parts}) before whole documents ({whole}); expected it after them")
        return self

    def duplicates(self) -> tuple[DuplicatesConfig, ...]:
        """The steps that drop whole documents: their verdicts are applied together with those of the filters."""
        return tuple(part for part in self.dedup if not isinstance(part, RepeatedBase))

    def repeated(self) -> tuple[RepeatedConfig, ...]:
        """The steps that take text out of the documents that stay."""
        return tuple(part for part in self.dedup if isinstance(part, RepeatedBase))

    def unicode(self) -> UnicodeConfig | None:
        """The repair step, where there is one."""
        return next((part for part in self.clean if isinstance(part, UnicodeConfig)), None)

    def lines(self) -> LinesConfig | None:
        """The removal of lines, where it is asked for."""
        return next((part for part in self.clean if isinstance(part, LinesConfig)), None)

    def filters(self) -> tuple[FilterConfig, ...]:
        """The filters, in order."""
        return tuple(part for part in self.clean if not isinstance(part, UnicodeConfig | LinesConfig))

    def measure(self) -> MeasureConfig | None:
        """The scores that the filters need, by name so that the order of bounds is free; None where there are no filters."""
        measured = (part for part in self.filters() if isinstance(part, MeasuredFilter))
        groups = sorted((part.scores() for part in measured), key=lambda group: group.kind)
        return MeasureConfig.model_validate({"scores": groups}) if groups else None

    def trained(self) -> tuple[TrainedConfig, ...]:
        """The filters that learn from other corpora."""
        return tuple(part for part in self.clean if isinstance(part, TrainedConfig))

    def learns_from(self) -> tuple[str, ...]:
        """The corpora that its filters learn from or are tested on, each once."""
        return tuple(dict.fromkeys(name for part in self.trained() for name in part.corpora()))

    def select(self) -> SelectConfig | None:
        """The selection; None where nothing could be dropped."""
        return SelectConfig(filters=self.filters()) if self.filters() or self.duplicates() else None

    def lists(self) -> dict[str, str]:
        """The files of words and of URLs that filters name, by kind."""
        return {part.kind: part.path for part in self.clean if isinstance(part, WordsConfig | UrlsConfig)}

    def without_paths(self) -> Self:
        """The same corpus with kinds where its lists have paths: a machine's paths are part of no identity."""
        clean = tuple(
            part.model_copy(update={"path": part.kind}) if isinstance(part, WordsConfig | UrlsConfig) else part
            for part in self.clean
        )
        return self.model_copy(update={"clean": clean})
