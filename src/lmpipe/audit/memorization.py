"""The memorization audit as a whole: extraction of passages, and exposure of canaries where any were planted.

train shards, held-out shards --> extraction --+
canaries ----------------------> exposure -----+--> findings.json
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmpipe.audit.config import MemorizationConfig
from lmpipe.audit.exposure import Canary, TextScorer, exposure_finding, measure_exposures
from lmpipe.audit.extraction import check_fits, extraction_findings
from lmpipe.audit.findings import write_findings
from lmpipe.base.measures import Finding
from lmpipe.base.progress import Progress
from lmpipe.evaluation.subject import Subject
from lmpipe.tokens.shards import TokenShards
from lmpipe.tokens.tokenizer import Tokenizer


def audit_memorization(
    config: MemorizationConfig,
    subject: Subject,
    *,
    tokenizer: Tokenizer,
    train: TokenShards,
    heldout: TokenShards,
    canaries: Sequence[Canary],
    epochs: float | None,
    output: Path,
    seed: int,
    progress: Progress,
) -> list[Finding]:
    """Measure, and write `findings.json` into `output`.

    Args:
        config: what to measure.
        subject: the model.
        tokenizer: the one that made the shards.
        train: the training split's tokens.
        heldout: the test split's.
        canaries: what was planted in the training split.
        epochs: how often training saw its split on average; None: not known.
        output: an existing folder.
        seed: the recipe's.
        progress: told after each batch.

    Raises:
        RecipeError: when the passages do not fit the model's context.
        ModelError: when a canary does not, or a probability is not a number.
    """
    check_fits(config, subject.context_length)
    findings = extraction_findings(
        config,
        subject.decoder,
        train=train,
        heldout=heldout,
        decode=tokenizer.decode,
        epochs=epochs,
        seed=seed,
        device=subject.device,
        progress=progress,
    )
    if config.canaries and canaries:
        borders = (tokenizer.start_of_text_id, tokenizer.end_of_text_id)
        scorer = TextScorer(subject.decoder, tokenizer.encode, borders, subject.context_length, subject.device)
        exposures = measure_exposures(canaries, scorer, candidates=config.canaries.candidates, seed=seed, progress=progress)
        findings.append(exposure_finding(config.canaries, exposures))
    write_findings(output, findings)
    return findings
