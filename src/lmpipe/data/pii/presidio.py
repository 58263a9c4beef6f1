"""Names and addresses by Microsoft Presidio over a spaCy model of the user's: an optional engine (extra [presidio]).

Only its recogniser of named entities is used; what follows a pattern is found by ours, faster and with its checksums. The model
is a folder on this machine, identified by its digest, and nothing is downloaded. About a thousand times slower than patterns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.base.errors import ModelError, RecipeError
from lmpipe.base.extras import require
from lmpipe.data.pii.config import NameKind, PresidioConfig

MODEL_NAME = "spacy-model"
PURPOSE = "finding names by Presidio"


def find_model(path: str, base_folders: Sequence[Path]) -> Path:
    """The folder of a model that a recipe names.

    Raises:
        RecipeError: when there is no such folder.
    """
    found = next((folder / path for folder in base_folders if (folder / path).is_dir()), None)
    if found is None:
        raise RecipeError(
            f"there is no folder {path}",
            where="pii.names.model",
            expected="the folder of a spaCy model; nothing is downloaded",
            fix="unpack a model there, or use `kind: tagger` with marked texts of your own",
        )
    return found.absolute()


@dataclass(frozen=True)
class Presidio:
    """The engine: what is asked of it, for which kinds, and where its model lies."""

    config: PresidioConfig
    kinds: tuple[NameKind, ...]
    model: Path

    def load(self) -> PresidioFinder:
        """The analyzer, ready.

        Raises:
            MissingExtraError: when Presidio is not installed.
            ModelError: when the folder holds no spaCy model.
        """
        spacy = require("spacy", extra="presidio", purpose=PURPOSE)
        analyzers = require("presidio_analyzer", extra="presidio", purpose=PURPOSE)
        engines = require("presidio_analyzer.nlp_engine", extra="presidio", purpose=PURPOSE)
        recognizers = require("presidio_analyzer.predefined_recognizers", extra="presidio", purpose=PURPOSE)
        language = self.config.language
        try:
            pipeline = spacy.load(self.model)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"the folder holds no spaCy model that can be loaded: {error}",
                where=str(self.model),
                expected="a folder as `spacy.Language.to_disk` writes it, or an unpacked model package",
                fix="name such a folder in `pii.names.model`",
            ) from error
        engine = engines.SpacyNlpEngine(models=[{"lang_code": language, "model_name": str(self.model)}])
        engine.nlp = {language: pipeline}  # as its own `load` would, which looks for a package of that name and downloads it
        names = recognizers.SpacyRecognizer(supported_language=language)
        registry = analyzers.RecognizerRegistry(recognizers=[names], supported_languages=[language])
        analyzer = analyzers.AnalyzerEngine(nlp_engine=engine, registry=registry, supported_languages=[language])
        return PresidioFinder(analyzer, self.config, self.kinds)


@dataclass(frozen=True)
class PresidioFinder:
    """Finds names in texts, as the tagger does."""

    analyzer: Any
    config: PresidioConfig
    kinds: tuple[NameKind, ...]

    def find(self, texts: Sequence[str]) -> list[list[tuple[int, int, NameKind]]]:
        """(start, end, kind) of every name and address, by text; of two that overlap the more certain one stays."""
        return [self._find(text) for text in texts]

    def _find(self, text: str) -> list[tuple[int, int, NameKind]]:
        wanted = [label for label, kind in self.config.labels.items() if kind in self.kinds]
        if not text or not wanted:
            return []
        results = self.analyzer.analyze(
            text, language=self.config.language, entities=wanted, score_threshold=self.config.min_score
        )
        found: list[tuple[int, int, NameKind]] = []
        for result in sorted(results, key=lambda one: (-one.score, one.start, -one.end)):
            if not any(result.start < end and start < result.end for start, end, _ in found):
                found.append((result.start, result.end, self.config.labels[result.entity_type]))
        return sorted(found)
