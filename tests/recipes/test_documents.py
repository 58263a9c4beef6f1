"""Questions about a run's text: why a document was dropped, taking sources out, the account of everything."""

import json

import pytest
from typer.testing import CliRunner

from lmpipe.base.errors import RecipeError
from lmpipe.base.runtime import Runtime
from lmpipe.cli.main import app
from lmpipe.recipes.documents import Fate, cards, estimate_tokens, why
from lmpipe.recipes.project import open_project
from lmpipe.recipes.removal import remove, without_sources

CORPUS = {
    "read": [
        {
            "kind": "jsonl",
            "paths": ["good.jsonl", "bad.jsonl"],
            "id_column": "id",
            "meta_columns": ["by"],
            "licence": "CC0-1.0",
        },
        {"kind": "text", "paths": ["books/*.txt"], "licence": "CC-BY-4.0"},
    ],
    "max_failed_fraction": 0.5,
    "clean": [{"kind": "unicode"}, {"kind": "length", "min_characters": 30, "max_words": 300}],
    "dedup": [{"kind": "exact"}],
    "pii": {"action": "drop", "entities": ["email"]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("documents")


@pytest.fixture(scope="module")
def done(folder, run_data):
    """A run with one document for every fate."""
    rows = [{"id": f"fine{i}", "text": f"A text of its own, with the number {i} in it, and {i * 7}."} for i in range(40)]
    rows.append({"id": "copy", "text": rows[3]["text"]})
    rows.append({"id": "short", "text": "Too short.", "by": "Ada Lovelace"})
    rows.append({"id": "hidden", "text": "\u200b\u200b\u200b"})
    rows.append({"id": "void", "text": " "})
    rows.append({"id": "mail", "text": "A long enough text that ends with me@example.org."})
    (folder / "good.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    bad = '{"id": "x", "text": "A text that can be read, long enough."}\nno json\n'
    (folder / "bad.jsonl").write_text(bad, encoding="utf-8")
    (folder / "books").mkdir()
    for number in range(3):
        text = f"Book {number} tells a story of some length to its readers.\n"
        (folder / f"books/{number}.txt").write_text(text, encoding="utf-8")
    return run_data(folder, CORPUS)


def document(run, part):
    """The whole id of the document that has `part` in it."""
    from lmpipe.data.documents import read_documents

    return next(doc.id for doc in read_documents(run.folder("read-corpus")) if part in doc.id)


def ask(run, part):
    return why("text-only", document(run, part), store=run.store.url)


def test_a_bound_that_was_broken_is_named_with_value_and_threshold(done):
    fate = ask(done, ":short:")
    assert (fate.state, fate.at) == ("dropped", "select-corpus by length.min_characters")
    dropped = next(step for step in fate.steps if step["state"] == "dropped")
    assert (dropped["values"]["value"], dropped["values"]["threshold"]) == (10, 30)
    broken = [bound for bound in fate.bounds if not bound["holds"]]
    assert [(bound["rule"], bound["value"], bound["at_least"]) for bound in broken] == [("length.min_characters", 10, 30)]
    assert any("BROKEN" in line and "at least 30" in line for line in fate.lines())
    assert not any(word in json.dumps(fate.to_json()) + " ".join(fate.lines()) for word in ("Too short", "Ada Lovelace"))


def test_a_duplicate_names_the_document_that_stayed(done):
    fate = ask(done, ":copy:")
    assert fate.state == "dropped"
    assert next(s for s in fate.steps if s["state"] == "dropped")["values"]["duplicate_of"] == document(done, ":fine3:")


def test_what_is_kept_says_on_which_side(done):
    fate = ask(done, ":fine3:")
    assert fate.state == "kept"
    assert any(side in fate.at for side in ("train/", "validation/", "test/"))
    assert fate.steps[0]["values"]["licence"] == "CC0-1.0"
    assert all(bound["holds"] for bound in fate.bounds)


def test_a_document_that_held_personal_data_is_explained_by_its_kind(done):
    fate = ask(done, ":mail:")
    assert (fate.state, fate.at) == ("dropped", "mask-corpus by pii.email")
    dropped = next(step for step in fate.steps if step["state"] == "dropped")
    assert (dropped["values"]["value"], dropped["values"]["threshold"]) == (1, 0)
    assert "me@example.org" not in json.dumps(fate.to_json())


def test_what_repair_leaves_empty_is_named(done):
    fate = ask(done, ":hidden:")
    assert (fate.state, fate.at) == ("dropped", "repair-corpus by empty after repair")


def test_what_was_no_document_is_named_by_file_and_record(done):
    fate = why("text-only", "good.jsonl:void", store=done.store.url)
    assert (fate.state, fate.at) == ("dropped", "read-corpus by empty")


def test_a_record_that_could_not_be_read(done):
    failures = done.folder("read-corpus") / "failures.jsonl"
    row = json.loads(failures.read_text().splitlines()[0])
    fate = why("text-only", f"{row['file']}:{row['record']}", store=done.store.url)
    assert fate.state == "failed"


def test_an_unknown_id_names_some_that_are_near(done):
    with pytest.raises(RecipeError, match="no document") as raised:
        why("text-only", "good.jsonl:fine3:wrong", store=done.store.url)
    assert document(done, ":fine3:") in raised.value.fix
    with pytest.raises(RecipeError, match="no corpus"):
        why("text-only", "x", store=done.store.url, corpus="other")


def test_sources_and_licences_reach_the_card(done):
    account = cards("text-only", store=done.store.url)[0]
    assert {source["name"]: source["licence"] for source in account["sources"]}["books/0.txt"] == "CC-BY-4.0"
    assert account["licences"]["CC-BY-4.0"] == 3
    assert {cost["step"] for cost in account["costs"]} >= {"read", "measure", "exact", "select", "mask", "split"}
    json.dumps(account, allow_nan=False)


def test_tokens_of_each_step_follow_the_rate_of_the_text_that_became_tokens():
    steps = [{"step": "read", "characters_kept": 1000}, {"step": "select", "characters_kept": 600}]
    card = {
        "steps": steps,
        "splits": {"train": {"characters": 400}, "validation": {"characters": 0}, "test": {"characters": 200}},
    }
    estimate_tokens(card, {"splits": {"train": {"tokens": 110}, "test": {"tokens": 40}}})
    assert [step["tokens_kept"] for step in card["steps"]] == [250, 150]
    estimate_tokens(empty := {"steps": [{"characters_kept": 1}]}, None)
    assert empty == {"steps": [{"characters_kept": 1}]}


def test_the_commands_speak_json_and_text(done):
    store = ["--store", done.store.url]
    runner = CliRunner()
    told = runner.invoke(app, ["data", "why", "text-only", document(done, ":short:"), "--json", *store])
    assert json.loads(told.stdout)["state"] == "dropped"
    assert "length.min_characters" in runner.invoke(app, ["data", "why", "text-only", document(done, ":short:"), *store]).stdout
    assert json.loads(runner.invoke(app, ["data", "card", "text-only", "--json", *store]).stdout)[0]["name"] == "corpus"
    assert "# Data card" in runner.invoke(app, ["data", "card", "text-only", *store]).stdout


def test_removing_a_source_that_is_not_there_is_refused_before_anything_runs(done, folder):
    with pytest.raises(RecipeError, match="no source") as raised:
        remove(folder / "recipe.yaml", "books/9*.txt")
    assert "good.jsonl" in raised.value.fix


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("books/1.txt", ["good.jsonl", "bad.jsonl", "books/0.txt", "books/2.txt"]),
        ("bad.jsonl", ["good.jsonl", "books/0.txt", "books/1.txt", "books/2.txt"]),
        ("*.jsonl", ["books/0.txt", "books/1.txt", "books/2.txt"]),
        ("b*", ["good.jsonl"]),
    ],
)
def test_what_is_taken_out_is_no_source_of_the_recipe_any_more(done, folder, pattern, left):
    removed, overrides = without_sources(open_project(folder / "recipe.yaml"), pattern)
    stages = open_project(folder / "recipe.yaml", overrides).stages(Runtime(store=done.store.url))
    read = next(stage for stage in stages if stage.name == "read-corpus")
    names = [source.name for source in read.sources()]
    assert sorted(names) == sorted(left)
    assert not set(removed) & set(names)
    assert len(removed) + len(left) == 5


def test_a_corpus_is_not_emptied(folder, done):
    with pytest.raises(RecipeError, match="nothing would be left"):
        without_sources(open_project(folder / "recipe.yaml"), "*")


def test_a_bound_that_is_a_list_of_words_says_them():
    shown = {"rule": "language.keep", "score": "language.language", "value": "de", "one_of": ("en", "fr"), "holds": False}
    line = Fate("run", "id", "corpus", "dropped", "select", [], [shown]).lines()[-1]
    assert line == "BROKEN  language.keep: language.language is de, one of en, fr"
