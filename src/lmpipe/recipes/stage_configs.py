"""What each stage is identified by: exactly those parts of the recipe that its output depends on, `auto` already resolved.

A threshold stands only in the stage that applies it, a path in none: raw files enter an identity by their names and digests.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from lmpipe.audit.config import CanaryConfig, EnergyConfig, MemorizationConfig
from lmpipe.audit.gate import GateConfig, GoalConfig
from lmpipe.base.config import Config
from lmpipe.data.augmentation.config import AugmentConfig
from lmpipe.data.decontamination.config import BroughtItems, DecontaminateConfig
from lmpipe.data.filters.trained_config import TrainedConfig
from lmpipe.data.holding import Holds, LabelsConfig, TagsConfig
from lmpipe.data.mixing.config import BalanceConfig, CurriculumConfig, TowardConfig
from lmpipe.data.pii.config import MaskConfig, NameKind, PresidioConfig, TaggerConfig
from lmpipe.data.splitting.config import SplitConfig
from lmpipe.data.splitting.fold_config import CrossValidationConfig
from lmpipe.data.synthesis.config import SynthesisConfig
from lmpipe.evaluation.code.config import ProgramsConfig
from lmpipe.evaluation.config import PerplexityConfig
from lmpipe.evaluation.suite_config import SuiteConfig
from lmpipe.evaluation.task_config import AnyTaskEvaluation, Change
from lmpipe.export.config import HuggingFaceConfig
from lmpipe.models.config import ModelConfig
from lmpipe.models.hmm.config import HmmConfig
from lmpipe.models.hmm.config import TaggerConfig as HmmTaggerConfig
from lmpipe.models.linear.config import LinearConfig
from lmpipe.recipes.judged_config import JudgedConfig
from lmpipe.serving.chatbot.making_config import MadeChatbotConfig
from lmpipe.tokens.config import MadeTokenizerConfig, MixtureConfig
from lmpipe.training.config import PhaseConfig


class SplitStage(Config):
    """The division into training, validation and test text."""

    split: SplitConfig
    seed: int
    given: bool
    """Whether sources say on which side their documents stand."""


class DecontaminateStage(Config):
    """Training text less what is measured on."""

    decontaminate: DecontaminateConfig
    sets: tuple[str, ...]
    """Evaluation sets: `corpus.split` of other corpora."""
    brought: tuple[BroughtItems, ...]
    """Items that evaluations bring; the digests of their files, which are called as the sets are, are beside this."""


class TowardStage(Config):
    """The selection of documents that resemble a target."""

    toward: TowardConfig
    seed: int


class BalanceStage(Config):
    """Equal classes in the training text."""

    balance: BalanceConfig
    seed: int


class ArrangeStage(Config):
    """Training text in an order that counts."""

    curriculum: CurriculumConfig
    seed: int


class MixStage(Config):
    """Several corpora as one."""

    mixture: MixtureConfig


class LearnStage(Config):
    """The training of a filter; its bounds are empty, because nothing here depends on them."""

    part: Annotated[TrainedConfig, Field(discriminator="kind")]
    seed: int


class ScoreStage(Config):
    """Scores by a trained filter: everything is in the inputs."""


class MaskStage(Config):
    """Personal data taken out."""

    masking: MaskConfig
    engine: PresidioConfig | None


class NamesStage(Config):
    """Training of a tagger of names and addresses."""

    names: TaggerConfig
    kinds: tuple[NameKind, ...]
    seed: int


class SynthesizeStage(Config):
    """Documents that a generator writes. Where the recipe has the path of a bundle, the digest of its manifest stands here."""

    synthesis: SynthesisConfig
    seed: int
    max_failed_fraction: float


class AugmentStage(Config):
    """Further training documents. Where the recipe has the path of a file, its name stands here; its digest is beside it."""

    augment: tuple[AugmentConfig, ...]
    seed: int


class CanariesStage(Config):
    """Planted secrets."""

    canaries: CanaryConfig
    seed: int


class TokenizerStage(Config):
    """A tokenizer that is made."""

    tokenizer: Annotated[MadeTokenizerConfig, Field(discriminator="kind")]
    targets: str | None
    """Of pairs, the column of their targets."""


class TokenizeStage(Config):
    """Text to ids."""

    holds: Holds


class PretrainedStage(Config):
    """A bundle that a model goes on from: everything is in its files."""


class TrainStage(Config):
    """One training phase of one model. Where the recipe has the path of a teacher or of a function, a word or the file's name
    stands here; the files' digests are beside it."""

    model: ModelConfig
    phase: PhaseConfig
    seed: int


class EvaluateStage(Config):
    """One evaluation."""

    evaluation: PerplexityConfig
    weights: str
    seed: int


class AnswersStage(Config):
    """One evaluation of examples."""

    evaluation: Annotated[AnyTaskEvaluation, Field(discriminator="kind")]
    holds: Holds
    weights: str
    seed: int


class SuiteStage(Config):
    """Tasks of lm-evaluation-harness. Where the recipe has a folder, its files are beside this."""

    suite: SuiteConfig
    weights: str
    seed: int


class SeedsStage(Config):
    """One evaluation over several training seeds."""

    subject: str
    """How the numbers' names begin."""
    seeds: tuple[int, ...]
    stages: tuple[str, ...]
    """The evaluation of each seed."""
    resamples: int
    level: float
    seed: int


class FoldStage(Config):
    """One fold of a cross-validation as the test side."""

    cross_validation: CrossValidationConfig
    seed: int
    repeat: int
    fold: int


class ShareStage(Config):
    """A part of the training text."""

    share: float
    column: str | None
    """Whose values keep their shares."""
    seed: int


class LearningStage(Config):
    """One evaluation over shares of the training text."""

    subject: str
    """How the numbers' names begin."""
    shares: tuple[float, ...]
    stages: tuple[str, ...]
    """The evaluation of each share."""
    resamples: int
    level: float
    seed: int


class ChangeStage(Config):
    """Test text changed."""

    kind: Change
    side: str
    seed: int


class RobustnessStage(Config):
    """One evaluation on plain and on changed text."""

    subject: str
    """How the numbers' names begin."""
    changes: tuple[Change, ...]
    resamples: int
    level: float
    seed: int


class FoldsStage(Config):
    """One evaluation over all folds."""

    subject: str
    """How the numbers' names begin."""
    stages: tuple[tuple[str, ...], ...]
    """The evaluation of each fold of each repeat."""
    resamples: int
    level: float
    seed: int


class ProgramsStage(Config):
    """Programs written for problems. Where the recipe has the file's path, its name stands here; its digest is beside this."""

    programs: ProgramsConfig
    weights: str
    seed: int


class JudgedStage(Config):
    """Answers that a judge compares. The file and the judge's bundle have their names here; their digests are beside this."""

    judged: JudgedConfig
    chats: bool
    """Whether prompts are messages of a conversation."""
    weights: str
    seed: int


class LinearStage(Config):
    """Training of the linear classifier that a model has to beat."""

    linear: LinearConfig
    holds: LabelsConfig


class HmmStage(Config):
    """Counting of the hidden Markov model that a tagger has to beat."""

    tagger: HmmTaggerConfig
    holds: TagsConfig


class HiddenMarkovStage(Config):
    """Estimation of the hidden Markov language model that a model has to beat."""

    hmm: HmmConfig
    seed: int


class ChatbotStage(Config):
    """A chatbot made: its intents learned, its threshold chosen, its stories told."""

    chatbot: MadeChatbotConfig
    holds: LabelsConfig | None
    """Of the messages."""
    spans: TagsConfig | None
    """Of the sentences that teach the tagger."""
    seed: int | None
    """Of the tagger's intervals; null where there is none."""
    weights: str
    """Of the model, where it tells the intents apart."""
    decision: dict[str, str]


class SamplesStage(Config):
    """Text that the model writes after the beginnings of held-out documents, for the report."""

    weights: str
    seed: int
    count: int = 3
    prompt_tokens: int = 32
    new_tokens: int = 96
    temperature: float = 0.8
    top_p: float = 0.95


class MemorizationStage(Config):
    """The memorization audit."""

    audit: MemorizationConfig
    weights: str
    seed: int
    trained_in: tuple[str, ...]
    """Inputs that are the training phases on this text: how often it was seen is counted over all of them."""


class EnergyStage(Config):
    """The energy audit: reads the records of the stages before it."""

    audit: EnergyConfig


class GateStage(Config):
    """The gate."""

    gate: GateConfig
    goal: GoalConfig | None
    goal_corpus: str


class BundleStage(Config):
    """The bundle, with the whole recipe in it."""

    name: str
    export: HuggingFaceConfig
    goal: str
    chats: bool
    """Whether the last phase taught it to answer: the bundle then says how a conversation is rendered."""
    frames_texts: bool
    """Whether its texts stand between two end-of-text tokens: the bundle's tokenizer then puts them there."""
    decision: dict[str, str]
    """What the model answers and how it is asked, for where it is served."""
    recipe: dict[str, Any]
