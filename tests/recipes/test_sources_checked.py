"""What a source needs beyond the usual is named before a run starts, with the extra that brings it."""

import sys

import pytest

from lmpipe.base.errors import MissingExtraError
from lmpipe.data.config import CorpusConfig
from lmpipe.recipes.project import check_sources
from lmpipe.recipes.schema import Recipe

SOURCES = [
    ({"kind": "pdf", "paths": ["a.pdf"]}, "pypdfium2", "documents"),
    ({"kind": "html", "paths": ["a.html"]}, "trafilatura", "web"),
    ({"kind": "warc", "paths": ["a.warc"], "extract": {"engine": "resiliparse"}}, "resiliparse", "web"),
    ({"kind": "text", "paths": ["https://example.org/a.txt"]}, "aiohttp", "remote"),
    ({"kind": "hub", "name": "someone/something"}, "datasets", "hub"),
]


@pytest.mark.parametrize(("source", "module", "extra"), SOURCES)
def test_a_source_that_lacks_its_extra(monkeypatch, source, module, extra):
    text = {"kind": "text", "paths": ["a.txt"]}
    recipe = Recipe.model_construct(data={"corpus": CorpusConfig.model_validate({"read": [text, source]})})
    check_sources(recipe)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=f"kind '{source['kind']}' needs '{module}'") as error:
        check_sources(recipe)
    assert (error.value.where, error.value.expected) == ("data.corpus.read.1", f"the extra [{extra}]")


def test_an_engine_that_is_not_used_is_not_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    source = {"kind": "html", "paths": ["a.html"], "extract": {"engine": "resiliparse"}}
    check_sources(Recipe.model_construct(data={"corpus": CorpusConfig.model_validate({"read": [source]})}))
