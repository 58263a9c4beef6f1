import json

import pytest

from lmpipe.base.files import read_json
from lmpipe.base.progress import Silent
from lmpipe.data.canaries import FORMS, make_canaries, plant
from lmpipe.data.card import corpus_card
from lmpipe.data.cleaning.config import UnicodeConfig
from lmpipe.data.cleaning.repair import repair
from lmpipe.data.config import PiiConfig, SplitConfig
from lmpipe.data.documents import read_documents
from lmpipe.data.filters.config import LengthConfig, SelectConfig
from lmpipe.data.filters.scores import LengthScores, MeasureConfig
from lmpipe.data.measuring import measure
from lmpipe.data.pii.find import FINDERS, find
from lmpipe.data.pii.masking import mask
from lmpipe.data.selection import select
from lmpipe.data.splitting.dividing import split


def test_canaries_are_the_same_for_the_same_seed_and_no_others():
    assert make_canaries(1, 5, 3) == make_canaries(1, 5, 3)
    assert make_canaries(1, 5, 3)[1] != make_canaries(2, 5, 3)[1]
    fewer = make_canaries(1, 2, 3)[1]
    assert make_canaries(1, 5, 3)[1][:2] == fewer


def test_every_secret_stands_in_its_documents_and_only_there():
    documents, secrets = make_canaries(7, 8, 4)
    assert len(documents) == 32
    assert len({document.id for document in documents}) == 32
    assert len({secret["secret"] for secret in secrets}) == 8
    assert len({secret["template"] for secret in secrets}) == len(FORMS)
    for secret in secrets:
        text = secret["template"].replace("{secret}", secret["secret"])
        assert [document.text for document in documents].count(text) == secret["repeats"] == 4
        assert len(secret["secret"]) == secret["length"]
        assert set(secret["secret"]) <= set(secret["alphabet"])
        assert secret["template"].count("{secret}") == 1


def test_canaries_are_not_taken_for_personal_data():
    documents, _ = make_canaries(3, 60, 1)
    assert not [document.text for document in documents if find(document.text, tuple(FINDERS))]


def test_planting_writes_documents_and_marks_secrets_as_synthetic(tmp_path):
    ledger = plant(tmp_path, count=3, repeats=2, seed=1, progress=Silent())
    facts = read_json(tmp_path / "canaries.json")
    assert (facts["synthetic"], facts["count"], facts["repeats"], len(facts["canaries"])) == (True, 3, 2, 3)
    assert set(facts["canaries"][0]) == {"secret", "template", "alphabet", "length", "repeats"}
    assert len(list(read_documents(tmp_path))) == ledger.rows_kept == 6


@pytest.fixture
def stages(tmp_path, read_corpus, folders):
    """A corpus through every step; the folders by step."""
    for number in range(30):
        (tmp_path / f"{number:02}.txt").write_text(f"Text number {number}, private words. Write to p{number}@example.org.")
    (tmp_path / "short.txt").write_text("secret")
    (tmp_path / "bad.txt").write_bytes(b"\xff hidden")
    found = {"read": read_corpus({"kind": "text", "paths": ["*.txt"], "licence": "MIT", "language": "en"}).output}

    def step(name, function, *inputs, **arguments):
        output, options = folders()
        function(*inputs, output, **arguments, **options)
        found[name] = output

    step("repair", repair, found["read"], config=UnicodeConfig())
    step("measure", measure, found["repair"], config=MeasureConfig(scores=(LengthScores(),)))
    filters = SelectConfig(filters=(LengthConfig(min_characters=10),))
    step("select", select, found["repair"], [found.pop("measure")], {}, config=filters)
    step("mask", mask, found["select"], config=PiiConfig())
    step("split", split, found["mask"], config=SplitConfig(), seed=1)
    found["canaries"], _ = folders()
    plant(found["canaries"], count=2, repeats=3, seed=1, progress=Silent())
    return found


def test_the_card_tells_what_became_of_the_corpus(stages):
    card = corpus_card("corpus", stages)
    assert [(step["step"], step["rows_in"], step["rows_kept"]) for step in card["steps"]] == [
        ("read", 32, 31),
        ("repair", 31, 31),
        ("select", 31, 30),
        ("mask", 30, 30),
        ("split", 30, 30),
    ]
    assert card["source_count"] == len(card["sources"]) == 32
    assert card["sources"][0]["licence"] == "MIT"
    assert (card["licences"], card["languages"]) == ({"MIT": 30}, {"en": 30})
    assert (card["pii"]["counts"]["email"], card["pii"]["documents"]) == (30, 30)
    assert sum(side["documents"] for side in card["splits"].values()) == 30
    failure = {"file": "bad.txt", "record": "0", "error": "invalid utf-8", "offset": 0, "quarantined": True}
    assert card["failures"] == [failure]
    (dropped,) = card["dropped"]["length.min_characters"]
    assert (dropped["id"].split(":")[0], dropped["value"], dropped["threshold"]) == ("short.txt", 6.0, 10.0)
    assert card["canaries"] == {"count": 2, "repeats": 3}


def test_the_card_holds_no_text_and_is_json(stages):
    spelled = json.dumps(corpus_card("corpus", stages))
    for word in ("private words", "secret", "hidden", "example.org"):
        assert word not in spelled
    assert str(stages["read"].parent) not in spelled


def test_what_was_not_run_is_absent(stages):
    card = corpus_card("corpus", {"read": stages["read"]})
    assert set(card) == {"name", "steps", "sources", "source_count", "failures"}
