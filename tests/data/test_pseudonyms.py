"""Pseudonyms: consistent, keyed, and nowhere a value or a key."""

import pytest

from lmpipe.base.errors import RecipeError
from lmpipe.base.files import read_json
from lmpipe.data.documents import read_documents
from lmpipe.data.pii.config import PiiConfig
from lmpipe.data.pii.masking import mask
from lmpipe.data.pii.pseudonyms import Pseudonyms, key_digest, key_source, load_key, same_key

KEY = b"a key of more than sixteen bytes"
OTHER = b"another key, also long enough"


def test_equal_values_get_equal_names_under_one_key():
    one, two = Pseudonyms(KEY), Pseudonyms(OTHER)
    assert one.name("credit_card", "4111 1111 1111 1111") == one.name("credit_card", "4111-1111-1111-1111")
    assert one.name("email", "Me@example.org") == one.name("email", "me@EXAMPLE.org")
    assert one.name("email", "me@example.org") != one.name("email", "m.e@example.org")
    assert one.name("phone", "5551234567") != one.name("credit_card", "5551234567")[:1]
    assert one.name("email", "me@example.org") != two.name("email", "me@example.org")


def test_documents_and_metadata_share_names(write_documents, folders):
    output, options = folders()
    texts = ["write to me@example.org", "Me@example.org or you@example.org"]
    config = PiiConfig(action="pseudonym", key_env="K").masking()
    mask(write_documents(texts), output, config=config, key=KEY, **options)
    me, you = (Pseudonyms(KEY).name("email", f"{who}@example.org") for who in ("me", "you"))
    assert [document.text for document in read_documents(output)] == [f"write to {me}", f"{me} or {you}"]
    assert read_json(output / "pii.json")["documents_by_kind"]["email"] == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"action": "pseudonym"}, "needs a key"),
        ({"action": "pseudonym", "key_env": "A", "key_file": "b"}, "needs a key"),
        ({"action": "mask", "key_env": "A"}, "key_env is dead"),
    ],
)
def test_a_key_stands_where_it_is_used(fields, message):
    with pytest.raises(ValueError, match=message):
        PiiConfig(**fields)


def test_the_key_is_found_and_identified_wherever_it_lies(tmp_path, monkeypatch):
    (tmp_path / "key").write_bytes(KEY + b"\n")
    monkeypatch.setenv("LMPIPE_TEST_KEY", KEY.decode())
    by_file = key_source(PiiConfig(action="pseudonym", key_file="key"), [tmp_path / "none", tmp_path])
    by_env = key_source(PiiConfig(action="pseudonym", key_env="LMPIPE_TEST_KEY"), [])
    assert by_file.digest == by_env.digest == key_digest(KEY)
    assert same_key(by_file.location, by_file.digest) == KEY
    assert KEY.decode() not in f"{by_file}{by_env}"
    (tmp_path / "key").write_bytes(OTHER)
    with pytest.raises(RecipeError, match="changed"):
        same_key(by_file.location, by_file.digest)
    assert key_source(PiiConfig(), [tmp_path]) is None


def test_no_key_and_a_short_key_are_refused_without_being_shown(tmp_path, monkeypatch):
    monkeypatch.delenv("LMPIPE_TEST_KEY", raising=False)
    with pytest.raises(RecipeError, match="holds no key"):
        load_key("env:LMPIPE_TEST_KEY")
    monkeypatch.setenv("LMPIPE_TEST_KEY", "hunter2")
    with pytest.raises(RecipeError, match="7 bytes") as raised:
        load_key("env:LMPIPE_TEST_KEY")
    assert "hunter2" not in str(raised.value)
    with pytest.raises(RecipeError, match="holds no key"):
        load_key(str(tmp_path / "absent"))
