"""A report with every part filled, plausible for a model of five million parameters trained on Python's standard library.

Made by formulas with a fixed seed, so that it is the same each time; nothing in it was measured.
"""

from __future__ import annotations

import hashlib
import math
import random
from datetime import UTC, datetime, timedelta

from lmpipe.base.measures import Finding, Interval, Metric, Requirement, Verdict
from lmpipe.report.model import (
    Architecture,
    Clusters,
    Command,
    Comparison,
    Contender,
    Corpus,
    Curve,
    DataStep,
    DropRule,
    Energy,
    Example,
    FactTable,
    Failure,
    Goal,
    Histogram,
    Machine,
    PersonalData,
    Phase,
    Prediction,
    RecipeText,
    Report,
    Sample,
    Sparsity,
    Split,
    Stage,
    TextSource,
    TokenGroup,
    Tokenizer,
    Written,
)
from lmpipe.report.task_model import AnsweredExample, Baseline, Choice, Confusion, Fit, Part, ReliabilityBar, Score, Task

STARTED = datetime(2026, 7, 31, 14, 5, 9, tzinfo=UTC)
BOOTSTRAP = "bootstrap over 96 documents, 1000 resamples, seed 7"
ENERGY_METHOD = "processor seconds x 15 W per core (no meter was readable)"
BATCH_TOKENS = 16_384
STEPS = 620
BEST_STEP = 560

RECIPE = """\
name: quickstart
seed: 1
goal: {metric: corpus.test.bits_per_byte, at_most: 2.0}
data:
  corpus:
    read: [{kind: text, paths: ["{stdlib}/**/*.py"]}]
    clean: [{kind: unicode}, {kind: length, at_least: 200}, {kind: gopher_repetition}]
    dedup: [{kind: exact}]
    pii: {entities: [email, phone, ip, iban, key], action: mask}
    split: {train: 0.9, validation: 0.05, test: 0.05, by: document}
tokenizer: {kind: bpe, vocab_size: 4096, train_on: corpus}
model: {kind: llama, layers: 6, width: 256, heads: 4, context: 256}
train:
  - {name: pretrain, on: corpus, tokens: 12_000_000, batch_tokens: 16_384, optimizer: {kind: adamw, lr: 2e-3}}
evaluate: [{kind: perplexity, on: corpus}]
audit: [{kind: memorization}, {kind: energy}]
gate: {require: [{metric: goal}, {finding: memorization.extractable, at_most: 0.01}]}
export: [{kind: huggingface}]
"""

CONTINUATION = '''\
        if not isinstance(value, str):
            raise TypeError("expected str, got %r" % type(value).__name__)
        self._value = value
        return self._parse(value)

    def _parse(self, value):
        """Return a list of (name, value) pairs from the header."""
        parts = value.split(";")
        return [(part.strip(), None) for part in parts]
'''


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def interval(low: float, high: float) -> Interval:
    return Interval(low=low, high=high, method=BOOTSTRAP)


def curves(steps: int = STEPS, *, seed: int = 3) -> Phase:
    """A loss that falls as a power of the tokens, with noise and a spike; warm-up and cosine; validation with a minimum."""
    noise = random.Random(seed)
    positions = [BATCH_TOKENS * step for step in range(1, steps + 1)]
    losses = [1.62 + 6.7 * math.exp(-step / 28) + 1.9 * (step + 8) ** -0.42 + noise.gauss(0, 0.045) for step in range(steps)]
    losses[min(211, steps - 1)] += 0.9
    every = max(1, steps // 31)
    at = positions[every - 1 :: every]
    best = BATCH_TOKENS * BEST_STEP
    validation = [
        1.78 + 6.2 * math.exp(-x / BATCH_TOKENS / 30) + 1.9 * (x / BATCH_TOKENS + 8) ** -0.42 + max(0.0, (x - best) / 9e6)
        for x in at
    ]
    warm = max(1, steps // 20)
    rates = [2e-3 * min((s + 1) / warm, 0.1 + 0.45 * (1 + math.cos(math.pi * s / steps))) for s in range(steps)]
    norms = [0.45 + 3.5 * math.exp(-s / 15) + abs(noise.gauss(0, 0.06)) for s in range(steps)]
    norms[min(211, steps - 1)] = 7.9
    speeds = [41_500 + noise.gauss(0, 900) - (9_000 if s == 0 else 0) for s in range(steps)]
    return Phase(
        name="pretrain",
        steps=steps,
        tokens=positions[-1],
        training_loss=Curve(unit="nats per token", tokens=positions, values=losses),
        validation_loss=Curve(unit="nats per token", tokens=at, values=validation),
        learning_rate=Curve(unit="", tokens=positions, values=rates),
        gradient_norm=Curve(unit="L2 norm before clipping", tokens=positions, values=norms),
        tokens_per_second=Curve(unit="tokens per second", tokens=positions, values=speeds),
        best_step=min(BEST_STEP, steps),
        best_tokens=BATCH_TOKENS * min(BEST_STEP, steps),
        best_validation_loss=1.912,
        stopped_early=True,
        stop_reason="validation loss did not fall for 3 evaluations",
        sparsity=Sparsity(kind="magnitude", pruned=5_308_416, of=10_616_832),
        prompts=["def main(", "import "],
        written=[
            Written(tokens=0, texts=["\x07q)=%", "((0x"]),
            Written(tokens=BATCH_TOKENS * 60, texts=["self, self", "os.pa"]),
            Written(tokens=BATCH_TOKENS * 120, texts=["argv=None):", "os\nimport sys"]),
        ],
    )


def metrics() -> list[Metric]:
    def metric(
        name: str, value: float, unit: str, direction: str, low: float | None, high: float | None, count: int, of: str
    ) -> Metric:
        around = None if low is None or high is None else interval(low, high)
        return Metric.model_validate(
            {
                "name": name,
                "value": value,
                "unit": unit,
                "direction": direction,
                "interval": around,
                "count": count,
                "count_unit": of,
            }
        )

    return [
        metric("corpus.test.bits_per_byte", 1.6512, "bits/byte", "lower", 1.6021, 1.7032, 96, "documents"),
        metric("corpus.test.perplexity", 46.81, "per token", "lower", 42.10, 52.31, 412_118, "tokens"),
        metric("corpus.test.next_token_accuracy", 0.4174, "fraction", "higher", 0.4069, 0.4281, 412_118, "tokens"),
        metric("corpus.validation.bits_per_byte", 1.6404, "bits/byte", "lower", 1.5907, 1.6921, 95, "documents"),
        metric("corpus.test.ngram.bits_per_byte", 1.9028, "bits/byte", "lower", 1.8517, 1.9544, 96, "documents"),
        metric("corpus.test.xz.bits_per_byte", 2.1066, "bits/byte", "lower", None, None, 1_421_903, "bytes"),
    ]


def findings() -> list[Finding]:
    return [
        Finding(
            name="memorization.extractable",
            value=0.004,
            unit="fraction of passages",
            direction="lower",
            interval=Interval(low=0.0011, high=0.0087, method="Clopper-Pearson over 1000 prefixes"),
            threshold=0.01,
            samples=[
                {
                    "prefix": "# Licensed to PSF under a Contributor",
                    "continuation": " Agreement.\n# See https://python.org",
                    "tokens": 32,
                },
                {"prefix": "if __name__ == '__main__':\n    unit", "continuation": "test.main()\n", "tokens": 8},
            ],
            method="1000 training documents; prompted with 32 of their tokens, greedily continued by 32; counted if all agree "
            "(Carlini et al. 2023, section 3).",
            limits="Prefixes drawn at random, so rare text that is memorized can be missed; longer prefixes or sampling would "
            "extract more. Licence headers repeated in many files count as memorized although they are no secret.",
        ),
        Finding(
            name="memorization.canary_exposure",
            value=2.31,
            unit="bits",
            direction="lower",
            interval=Interval(low=0.4, high=6.2, method="range over 4 canaries"),
            threshold=5.0,
            method="4 random secrets planted 1, 2, 4 and 8 times in the training text; exposure against 4096 other candidates "
            "(Carlini et al. 2019).",
            limits="Only secrets of this form and frequency; near log2(4096) = 12 bits exposure is full memory.",
        ),
        Finding(
            name="energy.wh",
            value=1.42,
            unit="Wh",
            direction="none",
            samples=[
                {"stage": name, "seconds": seconds, "peak_memory_bytes": mebibytes * 2**20, "energy_wh": None}
                for name, seconds, _, mebibytes, _, _ in STAGES[-6:]
            ],
            method=ENERGY_METHOD,
            limits="Cooling, the display and the making of the machine are not in it; 15 W per core is a typical figure, "
            "not this machine's.",
        ),
    ]


def corpus() -> Corpus:
    def step(
        name: str, rows: int, characters: int, before: tuple[int, int], dropped: dict[str, int], failed: dict[str, int]
    ) -> DataStep:
        return DataStep(
            name=name,
            rows_in=before[0],
            rows_kept=rows,
            dropped=dropped,
            failed=failed,
            characters_in=before[1],
            characters_kept=characters,
            tokens_kept=characters // 4,
            seconds=4.2,
        )

    read = (2_071, 31_884_310)
    return Corpus(
        name="corpus",
        sources=2_071,
        steps=[
            step("read", 2_068, 31_880_122, read, {}, {"not UTF-8": 3}),
            step("repair", 2_068, 31_879_884, (2_068, 31_880_122), {}, {}),
            step(
                "select",
                1_918,
                28_914_009,
                (2_068, 31_879_884),
                {"too short": 87, "repeated lines": 34, "duplicate of another document": 29},
                {},
            ),
            step("mask", 1_918, 28_912_741, (1_918, 28_914_009), {}, {}),
            step("augment", 1_918, 28_912_741, (1_918, 28_912_741), {}, {}).model_copy(
                update={"added": {"keyboard": 120, "case": 30}, "characters_added": 2_251_000}
            ),
        ],
        rules=[
            DropRule(
                name="length.min_characters",
                score="characters",
                at_least=200,
                documents=87,
                dropped=[Example(id="stdlib/this.py:0:9f86d0", value=112)],
                nearest=[Example(id="stdlib/abc.py:0:3ac1b2", value=203)],
            ),
            DropRule(name="dedup.exact", documents=29, dropped=[Example(id="a.py:0:77", duplicate_of="stdlib/enum.py:0:fe")]),
        ],
        histograms=[
            Histogram(
                score="characters",
                scale="log",
                edges=[10, 100, 1_000, 10_000, 100_000],
                before=[40, 210, 1_204, 614],
                after=[0, 160, 1_171, 587],
                bounds=[200],
            ),
            Histogram(score="words", scale="linear", edges=[0, 10, 20], before=[18, 20], after=[18, 20]),
        ],
        clusters=[Clusters(kind="duplicates", sizes={"2": 21, "5": 2}, largest={"stdlib/enum.py:0:fe": 5})],
        facts=[
            FactTable(
                title="Evaluation items found in training text",
                note="2 training documents that held one were taken out.",
                columns=["Set", "Items", "Found"],
                rows=[["gsm8k", 1_319, 2]],
            )
        ],
        largest_sources=[TextSource(name="stdlib/enum.py", licence="PSF-2.0", documents=1, characters=81_002)],
        languages={"en": 1_910, "unknown": 8},
        licences={"PSF-2.0": 1_902, "MIT": 11, "": 5},
        personal_data=PersonalData(
            counts={"email": 214, "ip address": 61, "phone": 9, "key": 2},
            documents=131,
            documents_by_kind={"email": 101, "phone": 7},
            names_found_by="A tagger trained on 1,354 marked texts found person.",
        ),
        splits=[
            Split(name="train", documents=1_727, characters=26_020_114, bytes=26_071_330, tokens=7_544_201),
            Split(name="validation", documents=95, characters=1_470_882, bytes=1_472_640, tokens=427_004),
            Split(name="test", documents=96, characters=1_421_745, bytes=1_421_903, tokens=412_118),
        ],
        limits="Personal names and postal addresses are not looked for; near-duplicates that differ in one character are kept.",
    )


STAGES = (
    ("read", 3.1, 5.2, 212, 2_071, 2_068),
    ("repair", 1.4, 2.3, 198, 2_068, 2_068),
    ("measure", 2.2, 3.9, 231, 2_068, 2_068),
    ("duplicates", 0.6, 0.8, 164, 2_068, 2_068),
    ("select", 0.9, 1.1, 177, 2_068, 1_918),
    ("mask", 2.7, 4.9, 205, 1_918, 1_918),
    ("split", 0.8, 1.0, 181, 1_918, 1_918),
    ("canaries", 0.1, 0.1, 88, None, 4),
    ("tokenizer", 4.8, 8.8, 402, 1_727, None),
    ("tokenize", 3.6, 6.4, 266, 1_918, 1_918),
    ("train", 281.0, 548.0, 1_288, 1_727, None),
    ("ngram", 9.4, 9.9, 803, 1_727, None),
    ("evaluate", 14.1, 26.7, 911, 96, 96),
    ("audit", 18.7, 35.2, 640, 1_000, None),
    ("gate", 0.1, 0.1, 61, None, None),
    ("bundle", 0.7, 0.8, 233, None, None),
)


def stages() -> list[Stage]:
    made, at, before = [], STARTED, ""
    for name, seconds, cpu_seconds, mebibytes, rows_in, rows_out in STAGES:
        content = digest(name, "content")
        made.append(
            Stage(
                name=name,
                version="1",
                status="computed",
                fingerprint=digest(name),
                content_digest=content,
                inputs={STAGES[len(made) - 1][0]: before} if before else {},
                versions={"lmpipe": "0.1.0", "torch": "2.13.0"} if name in ("train", "evaluate") else {"lmpipe": "0.1.0"},
                started_at=at,
                seconds=seconds,
                cpu_seconds=cpu_seconds,
                peak_memory_bytes=mebibytes * 2**20,
                energy=Energy(watt_hours=cpu_seconds * 15 / 3600 / 2, method=ENERGY_METHOD, estimated=True),
                rows_in=rows_in,
                rows_out=rows_out,
            )
        )
        at, before = at + timedelta(seconds=seconds + 0.2), content
    return made


def score(statistic: str, value: float) -> Score:
    """A number of the task."""
    return Score(statistic=statistic, value=value, unit="fraction", low=value - 0.04, high=value + 0.03)


def part(by: str, value: str, *names: str, small: bool = False) -> Part:
    """A slice or a class."""
    return Part(by=by, value=value, count=133, small=small, scores=[score(name, 0.9) for name in names])


def task(classes: int = 3) -> Task:
    """A classifier of reviews, with the given number of classes."""
    names = ["bad", "so so", "good", *(f"kind {n}" for n in range(3, classes))][:classes]
    counts = [[40 if i == j else (i * 7 + j * 3) % 11 // 8 for j in range(classes)] for i in range(classes)]
    return Task(
        subject="reviews.test",
        kind="classification",
        count=400,
        scores=[score("accuracy", 0.91), score("macro_f1", 0.89)],
        baselines=[Baseline(name="linear", scores=[score("accuracy", 0.84)])],
        confusion=Confusion(classes=names, counts=counts),
        classes=[part("class", "bad", "precision", "recall", "f1")],
        slices=[part("source", "shop", "accuracy"), part("length", "4 to 9 characters", "accuracy", small=True)],
        reliability=[
            ReliabilityBar(
                low=0.5, high=0.75, confidence=0.66, accuracy=0.61, accuracy_low=0.55, accuracy_high=0.68, count=140
            ),
            ReliabilityBar(
                low=0.75, high=1.0, confidence=0.97, accuracy=0.94, accuracy_low=0.91, accuracy_high=0.96, count=260
            ),
        ],
        choices=[Choice(name="temperature", value=1.31, effect="Logits are divided by it.")],
        wrong=36,
        examples_title="Most confident and wrong",
        examples=[
            AnsweredExample(
                id="r:17", text="not bad at all", expected="good", answer="bad", group="good", scores={"confidence": 0.993}
            ),
            AnsweredExample(id="r:4", text="well", expected="so so", answer="good", group="so so", scores={"confidence": 0.81}),
        ],
    )


def example() -> Report:
    """The whole report."""
    return Report(
        run_name="quickstart",
        run_id="3f2a91c0d7e4",
        created_at=STARTED + timedelta(seconds=348),
        lmpipe_version="0.1.0",
        description="Python's standard library, read from the running installation.",
        recipe=RecipeText(
            path="recipes/quickstart.yaml",
            text=RECIPE,
            overrides=["train.0.tokens=12_000_000"],
            resolved={
                "name": "quickstart",
                "seed": 1,
                "train": [{"name": "pretrain", "precision": "bf16", "tokens": 12_000_000}],
            },
        ),
        goal=Goal(subject="corpus.test.bits_per_byte", at_most=2.0, at_least=None),
        verdict=Verdict(
            verdict="GO",
            requirements=[
                Requirement(
                    subject="corpus.test.bits_per_byte",
                    value=1.6512,
                    low=1.6021,
                    high=1.7032,
                    at_most=2.0,
                    verdict="GO",
                    reason="the whole 95% interval 1.602 to 1.703 satisfies at most 2",
                ),
                Requirement(
                    subject="memorization.extractable",
                    value=0.004,
                    low=0.0011,
                    high=0.0087,
                    at_most=0.01,
                    verdict="GO",
                    reason="the whole 95% interval 0.0011 to 0.0087 satisfies at most 0.01",
                ),
            ],
        ),
        headline=["corpus.test.bits_per_byte", "corpus.test.next_token_accuracy", "memorization.extractable"],
        comparison=Comparison(
            title="Bits per byte of the test split",
            subject="corpus.test.bits_per_byte",
            unit="bits/byte",
            better="lower",
            contenders=[
                Contender(
                    label="this model", role="model", value=1.6512, interval=interval(1.6021, 1.7032), note="best weights"
                ),
                Contender(
                    label="5-gram Kneser-Ney",
                    role="baseline",
                    value=1.9028,
                    interval=interval(1.8517, 1.9544),
                    note="trained on the same tokens",
                ),
                Contender(label="xz -9", role="baseline", value=2.1066, note="the same bytes, compressed"),
            ],
        ),
        metrics=metrics(),
        tasks=[task()],
        phases=[curves()],
        fits=[
            Fit(
                phase="pretrain",
                verdict="fine",
                best_step=BEST_STEP,
                last_step=STEPS,
                gap=0.06,
                evidence=["validation loss stands 6.0% above training loss"],
            )
        ],
        corpora=[corpus()],
        tokenizer=Tokenizer(
            kind="byte-level BPE",
            vocab_size=4_096,
            bytes_per_token=3.4502,
            measured_on="test split",
            groups=[
                TokenGroup(by="source", name="library", documents=71, tokens_per_word=2.3107, bytes_per_token=3.6113),
                TokenGroup(by="source", name="tests", documents=25, tokens_per_word=2.8709, bytes_per_token=3.0127),
            ],
        ),
        architecture=Architecture(
            kind="Llama",
            layers=6,
            width=256,
            context_length=256,
            parameters=5_245_184,
            parameters_predicted=5_245_184,
            settings={"heads": 4, "feed_forward": 704, "rope_theta": 10_000.0, "tie_embeddings": True, "dropout": 0.1},
        ),
        samples=[
            Sample(
                prompt="    def set_value(self, value):\n",
                continuation=CONTINUATION,
                settings={"temperature": 0.8, "top_p": 0.95, "max_new_tokens": 128, "seed": 1},
            ),
            Sample(
                prompt='"""Utilities for working with',
                continuation=' files and directories.\n\nThis module has a simple interface.\n"""\n\nimport os\n',
                settings={"temperature": 0.0, "max_new_tokens": 48},
            ),
        ],
        findings=findings(),
        stages=stages(),
        predictions=[
            Prediction(
                name="Parameters", unit="count", predicted=5_245_184, actual=5_245_184, method="the layer shapes of the recipe"
            ),
            Prediction(name="Training time", unit="seconds", predicted=259.0, actual=281.0, method="a 10-second calibration"),
            Prediction(
                name="Peak memory of training",
                unit="bytes",
                predicted=1_190 * 2**20,
                actual=1_288 * 2**20,
                method="weights, optimiser state, activations",
            ),
        ],
        machine=Machine(
            processor="AMD EPYC 9R14",
            cores=2,
            memory_bytes=23 * 2**30,
            system="Linux 6.8, x86_64",
            python="3.11.9",
            device="cpu, bf16",
            versions={"torch": "2.13.0", "tokenizers": "0.22.1", "pyarrow": "26.0.0"},
        ),
        verify=[
            Command(
                command="lmpipe verify 3f2a91c0d7e4",
                purpose="Recompute every digest and compare: is this the model that this file makes?",
            ),
            Command(
                command="lmpipe lineage store/bundle/3f2a91c0d7e4/model.safetensors", purpose="Where these weights came from"
            ),
            Command(command="lmpipe report recipes/quickstart.yaml", purpose="Make this page again from the records"),
        ],
    )


def failed() -> Report:
    """A run that stopped while training: no model, no evaluation."""
    whole = example()
    done = [stage for stage in whole.stages if stage.name != "bundle"][:11]
    last = done[-1].model_copy(update={"status": "failed", "content_digest": "", "seconds": 41.0, "cpu_seconds": 80.1})
    values = [*(curves(90).training_loss or Curve(unit="", tokens=[], values=[])).values[:-2], float("nan"), float("nan")]
    phase = curves(90).model_copy(
        update={"best_step": None, "best_tokens": None, "stopped_early": False, "stop_reason": "the loss is not finite"}
    )
    broken = Phase.model_validate(
        {
            **phase.model_dump(),
            "training_loss": {"unit": "nats per token", "tokens": [BATCH_TOKENS * s for s in range(1, 91)], "values": values},
        }
    )
    return Report(
        run_name=whole.run_name,
        run_id="b81c5e0f9a12",
        created_at=STARTED,
        lmpipe_version=whole.lmpipe_version,
        recipe=whole.recipe,
        failure=Failure(
            stage="train",
            what="the loss is not finite at step 89",
            where="train.0, 1,458,176 tokens",
            expected="a finite loss",
            fix="lower train.0.optimizer.lr (now 0.02); the same command goes on from the last checkpoint",
        ),
        phases=[broken],
        corpora=whole.corpora,
        tokenizer=whole.tokenizer,
        stages=[*done[:-1], last],
        machine=whole.machine,
    )


def bare() -> Report:
    """Nothing but a name: what a run that failed at once leaves."""
    return Report(run_name="empty", run_id="0", created_at=STARTED, lmpipe_version="0.1.0")
