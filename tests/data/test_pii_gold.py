"""Against texts in which people marked what is there. Spans count when they overlap by half and have the right kind."""

import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from lmpipe.data.pii.find import find

DATA = Path(os.environ.get("LMPIPE_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
GOLD = DATA / "presidio_research_pii"
KINDS = {
    "PHONE_NUMBER": "phone",
    "IP_ADDRESS": "ip",
    "CREDIT_CARD": "credit_card",
    "IBAN_CODE": "iban",
    "EMAIL_ADDRESS": "email",
    "US_SSN": "us_ssn",
    "US_DRIVER_LICENSE": "driver_licence",
    "DOMAIN_NAME": "url",
    "DATE_TIME": "date",
}
BARE = re.compile(r"\d{4}|[A-Za-z]+")
"""A year or a weekday alone, which are marked as dates and name no day."""
pytestmark = pytest.mark.skipif(not GOLD.is_dir(), reason=f"no gold spans in {GOLD}")


def f_scores(path):
    hits, extra, missed = Counter(), Counter(), Counter()
    for item in json.loads(path.read_text()):
        text = item["full_text"]
        gold = [(s["start_position"], s["end_position"], KINDS.get(s["entity_type"])) for s in item["spans"]]
        gold = [span for span in gold if span[2] and not (span[2] == "date" and BARE.fullmatch(text[span[0] : span[1]]))]
        for span in find(text, KINDS.values(), public_ips_only=False):
            match = next((g for g in gold if g[2] == span.kind and overlap(g, span) >= 0.5), None)
            if match:
                gold.remove(match)
            (hits if match else extra)[span.kind] += 1
        missed.update(kind for _, _, kind in gold)
    kinds = {kind: f_score(hits[kind], extra[kind], missed[kind]) for kind in KINDS.values()}
    return {**kinds, "all": f_score(hits.total(), extra.total(), missed.total())}


def overlap(gold, span):
    shared = min(gold[1], span.end) - max(gold[0], span.start)
    return shared / (max(gold[1], span.end) - min(gold[0], span.start))


def f_score(hits, extra, missed):
    return 2 * hits / (2 * hits + extra + missed)


@pytest.mark.parametrize("name", ["data/synth_dataset_v2.json", "tests/data/generated_large.json"])
def test_what_people_marked_is_found(name):
    scores = f_scores(GOLD / name)
    assert scores["all"] >= 0.97
    for kind in KINDS.values():
        assert scores[kind] >= 0.95, (kind, scores)
