"""Presidio as the finder of names, over a spaCy model that the test makes: rules instead of a network, a real folder."""

import pytest

from lmpipe.base.errors import ModelError, RecipeError
from lmpipe.data.documents import read_documents
from lmpipe.data.pii.config import PiiConfig, PresidioConfig
from lmpipe.data.pii.masking import mask
from lmpipe.data.pii.presidio import Presidio, find_model

spacy = pytest.importorskip("spacy", reason="the extra [presidio] is not installed")
pytest.importorskip("presidio_analyzer", reason="the extra [presidio] is not installed")

CONFIG = PresidioConfig(model="model")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pipeline = spacy.blank("en")
    patterns = [{"label": "PERSON", "pattern": "Ada Lovelace"}, {"label": "GPE", "pattern": "London"}]
    pipeline.add_pipe("entity_ruler").add_patterns(patterns)
    folder = tmp_path_factory.mktemp("spacy") / "model"
    pipeline.to_disk(folder)
    return folder


def test_names_of_the_model_are_masked_beside_patterns(model, write_documents, folders):
    output, options = folders()
    config = PiiConfig(entities=("email", "person", "address"), names=CONFIG).masking()
    engine = Presidio(CONFIG, config.name_kinds(), model)
    text = "Ada Lovelace lived in London; ada@example.org."
    mask(write_documents([text, ""]), output, config=config, names=engine, **options)
    assert next(read_documents(output)).text == "<PERSON> lived in <ADDRESS>; <EMAIL>."


def test_only_the_kinds_and_the_certainty_asked_for(model):
    text = "Ada Lovelace lived in London."
    assert Presidio(CONFIG, ("person",), model).load().find([text]) == [[(0, 12, "person")]]
    sure = CONFIG.model_copy(update={"min_score": 0.99})
    assert Presidio(sure, ("person",), model).load().find([text]) == [[]]


def test_a_folder_that_is_none_or_holds_no_model_is_named(tmp_path):
    with pytest.raises(RecipeError, match="no folder absent"):
        find_model("absent", [tmp_path])
    with pytest.raises(ModelError, match="no spaCy model"):
        Presidio(CONFIG, ("person",), find_model(".", [tmp_path])).load()
