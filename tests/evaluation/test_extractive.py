"""Summaries made of a text's own sentences, against networkx and by hand."""

from __future__ import annotations

import math
from collections import Counter

import networkx
import numpy as np
import pytest

from lmpipe.evaluation.extractive import extract, text_ranks
from lmpipe.evaluation.extractive_config import LeadConfig, OracleConfig, TextRankConfig
from lmpipe.evaluation.overlap import words

TEXT = "A fox ran over the hill. The fox saw a hen near the hill. It rained. A hen saw the fox on the hill and ran."


def test_lead_takes_the_first() -> None:
    assert extract(LeadConfig(sentences=1), TEXT, []) == "A fox ran over the hill."
    assert extract(LeadConfig(sentences=9), TEXT, []) == TEXT
    assert extract(LeadConfig(), "", ["x"]) == ""


def test_ranks_are_those_of_pagerank() -> None:
    sentences = ["A fox ran.", "The fox saw a hen.", "It rained on a fox.", "A hen saw the fox and ran.", "Silence!"]
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(sentences)))
    bags = [Counter(words(sentence)) for sentence in sentences]
    for i in range(len(sentences)):
        for j in range(i):
            lengths = math.log(bags[i].total()) + math.log(bags[j].total())
            if shared := sum((bags[i] & bags[j]).values()):
                graph.add_edge(i, j, weight=shared / lengths)
    connected = networkx.pagerank(graph.subgraph(range(4)), alpha=0.85, weight="weight", tol=1e-10)
    ours = text_ranks(sentences)[:4]
    assert (ours / ours.sum()).tolist() == pytest.approx([connected[place] for place in range(4)], abs=1e-6)
    assert np.isfinite(text_ranks(["One"])).all()
    assert extract(TextRankConfig(), TEXT, []) == "A hen saw the fox on the hill and ran."


def test_the_oracle_knows_what_is_wanted() -> None:
    assert extract(OracleConfig(), TEXT, ["There was rain. It rained."]) == "It rained."
    assert extract(OracleConfig(sentences=2), TEXT, ["something", "it rained and a fox ran over the hill"]) == (
        "A fox ran over the hill. It rained."
    )
    assert extract(OracleConfig(), TEXT, ["nothing alike: 1 2 3"]) == "A fox ran over the hill."
