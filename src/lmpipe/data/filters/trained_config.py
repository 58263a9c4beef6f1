"""Filters that learn what they look for from corpora of the same recipe. Data only.

The corpora are named (`data:` has them, and they count as used); their training split teaches, the other two tell how well it
was learned. Bounds apply in `select`, so that changing one neither trains nor scores again.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config
from lmpipe.data.filters.bounds import Bounds, Filter, Fraction

CorpusName = Annotated[str, Field(min_length=1)]


class ClassifierConfig(Config):
    """A linear classifier over hashed words and runs of words, as fastText's (Joulin et al. 2017, arXiv 1607.01759)."""

    buckets: int = Field(default=1 << 18, ge=1 << 8, le=1 << 24)
    """Weights; two runs of words that fall into one share it."""
    word_ngrams: int = Field(default=2, ge=1, le=4)
    """Longest run of words that is a feature."""
    epochs: int = Field(default=16, ge=1, le=100)
    """Passes over the examples."""
    learning_rate: float = Field(default=1.0, gt=0)
    """Step size of Adagrad (Duchi et al. 2011)."""
    max_documents: int = Field(default=20_000, ge=10)
    """Of each side, an even sample of at most about so many documents teaches; they are held in memory."""


class QualityConfig(Filter):
    """How much more a document resembles good examples than bad ones (Brown et al. 2020, arXiv 2005.14165, appendix A)."""

    BOUNDS: ClassVar[Bounds] = {"min_score": ("score", "at_least")}

    kind: Literal["quality"] = "quality"
    positive: CorpusName
    """A corpus of this recipe that is as documents should be."""
    negative: CorpusName
    """A corpus of this recipe that is as they should not be, such as an unselected sample of the crawl."""
    classifier: ClassifierConfig = ClassifierConfig()
    """How it is trained."""
    min_score: Fraction | None = 0.5
    """Least probability of being one of the good ones, were both equally many."""

    @model_validator(mode="after")
    def _two_sides(self) -> Self:
        if self.positive == self.negative:
            raise ValueError(f"positive and negative are both '{self.positive}'; expected two corpora")
        return self

    def corpora(self) -> tuple[str, ...]:
        """The corpora that it learns from."""
        return self.positive, self.negative


class LabelledConfig(Config):
    """A corpus whose metadata say which documents are toxic (`meta_columns` of its source must name the label)."""

    on: CorpusName
    """A corpus of this recipe."""
    label: str = "label"
    """The key of the label in the metadata."""
    toxic: tuple[str, ...] = Field(default=("1",), min_length=1)
    """Labels that mean toxic; all others mean not."""


class IdentityConfig(LabelledConfig):
    """A labelled corpus about groups of people: how often is a harmless text about each taken for toxic?"""

    group: str | None = None
    """The key in the metadata that names the group; all documents count together without it."""


class ToxicityConfig(Filter):
    """How much a document resembles those that people called toxic.

    Such classifiers take harmless texts about some groups for toxic (Dixon et al. 2018): name sets under `identity`."""

    BOUNDS: ClassVar[Bounds] = {"max_score": ("score", "at_most")}

    kind: Literal["toxicity"] = "toxicity"
    labelled: LabelledConfig
    """What teaches."""
    identity: tuple[IdentityConfig, ...] = ()
    """Sets on which the share of false alarms is reported, for each group of people."""
    classifier: ClassifierConfig = ClassifierConfig()
    """How it is trained."""
    max_score: Fraction | None = 0.5
    """Greatest probability of being toxic, were both kinds equally many."""

    def corpora(self) -> tuple[str, ...]:
        """The corpora that it learns from or is tested on."""
        return self.labelled.on, *(part.on for part in self.identity)


class PerplexityFilterConfig(Filter):
    """How well a language model of reference text predicts a document (Wenzek et al. 2020, arXiv 1911.00359): an n-gram model
    over bytes, trained here.

    Low is fluent or repetitive, high is unlike the reference; a band by quantiles is how CCNet used it."""

    BOUNDS: ClassVar[Bounds] = {
        "min_bits_per_byte": ("bits_per_byte", "at_least"),
        "max_bits_per_byte": ("bits_per_byte", "at_most"),
        "min_quantile": ("quantile", "at_least"),
        "max_quantile": ("quantile", "at_most"),
    }

    kind: Literal["perplexity"] = "perplexity"
    reference: CorpusName
    """A corpus of this recipe that the model learns."""
    order: int = Field(default=6, ge=1, le=12)
    """Longest run of bytes."""
    max_bytes: int = Field(default=5_000_000, ge=1000)
    """Of a larger reference an even sample of documents is counted; takes about 100 bytes of memory for each."""
    min_bits_per_byte: float | None = Field(default=None, ge=0)
    """Least bits per byte."""
    max_bits_per_byte: float | None = Field(default=None, ge=0)
    """Most bits per byte."""
    min_quantile: Fraction | None = None
    """Drop the share of documents that is predicted best: 0.1 drops a tenth."""
    max_quantile: Fraction | None = None
    """Keep the share of documents that is predicted best: 0.9 drops the worst tenth."""

    def corpora(self) -> tuple[str, ...]:
        """The corpora that it learns from."""
        return (self.reference,)


TrainedConfig = QualityConfig | ToxicityConfig | PerplexityFilterConfig
