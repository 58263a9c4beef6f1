"""Presidio's analyzer without a model of names, as a process that answers: one JSON line of texts in, one of spans out.

Runs in an environment of its own (presidio-analyzer 2.2.366 with spaCy), started by `pii.py`. Its best setting without a model:
only the recognisers of the kinds that are compared, a blank tokenizer, the public suffix list that tldextract brings along, and
whichever score threshold gives the best F1 (`pii.py` tries several).
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version

import spacy
import tldextract
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    DateRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
    PhoneRecognizer,
    UrlRecognizer,
    UsLicenseRecognizer,
    UsSsnRecognizer,
)

RECOGNISERS = (
    CreditCardRecognizer,
    DateRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
    PhoneRecognizer,
    UrlRecognizer,
    UsLicenseRecognizer,
    UsSsnRecognizer,
)


class BlankEngine(SpacyNlpEngine):
    """A tokenizer without a model."""

    def __init__(self) -> None:
        super().__init__()
        self.nlp = {"en": spacy.blank("en")}


def main() -> None:
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())
    tldextract.extract = tldextract.tldextract.TLD_EXTRACTOR
    registry = RecognizerRegistry(recognizers=[kind() for kind in RECOGNISERS])
    analyzer = AnalyzerEngine(nlp_engine=BlankEngine(), registry=registry, supported_languages=["en"])
    analyzer.analyze("warm up", language="en")
    print(json.dumps({name: version(name) for name in ("presidio-analyzer", "spacy", "phonenumbers")}), flush=True)
    for line in sys.stdin:
        texts = json.loads(line)
        start = time.perf_counter()
        found = [analyzer.analyze(text, language="en") for text in texts]
        seconds = time.perf_counter() - start
        spans = [[(r.start, r.end, r.entity_type, r.score) for r in results] for results in found]
        print(json.dumps({"seconds": seconds, "spans": spans}), flush=True)


if __name__ == "__main__":
    main()
