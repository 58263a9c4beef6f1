"""The `synthesize` stage: questions from seeds, attributes and prompts; rules, judge, duplicates; all accounted for."""

import json
import re
from collections import Counter

import pytest
from answering import completion, failure, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json
from lmpipe.data.documents import Document, PartWriter, group_key, read_documents, tables_of
from lmpipe.data.generation.asking import Asker
from lmpipe.data.generation.endpoint import Endpoint
from lmpipe.data.synthesis.config import SynthesisConfig
from lmpipe.data.synthesis.examples import divided
from lmpipe.data.synthesis.questions import choose_seeds, draws
from lmpipe.data.synthesis.synthesizing import synthesize

TOPICS = {"topic": ["law", "sport", "music"], "tone": ["formal", "casual"]}
PROMPT = "Write a {tone} question about {topic}."


@pytest.fixture
def server():
    with serving() as state:
        state.reply = lambda prompt, number: completion(f"What of {prompt}")
        yield state


@pytest.fixture
def seeds(tmp_path):
    with PartWriter(tmp_path / "seeds", part_bytes=120) as writer:
        for number in range(12):
            text = f"a seed with the number {number}" if number else "x" * 5000
            writer.add(Document(f"s.txt:{number}:d", text, "s.txt", "CC0-1.0", "en", f'{{"label":"l{number}"}}'))
    return tmp_path / "seeds"


@pytest.fixture
def write(tmp_path, server, folders):
    """Runs the stage; gives its folder and ledger."""

    def run(folder=None, *, endpoint=None, judge=None, max_failed=1.0, **given):
        config = SynthesisConfig.model_validate(
            {"generator": server.config(**(endpoint or {})), "near": None, **given, **({"judge": judge} if judge else {})}
        )
        output, options = folders(1)
        asker = Asker(Endpoint(config.generator), tmp_path / "answers")
        ledger = synthesize(
            folder,
            output,
            config=config,
            seed=1,
            max_failed_fraction=max_failed,
            asker=asker,
            judge=asker if judge else None,
            **options,
        )
        return output, ledger

    return run


def texts(output):
    return [document.text for document in read_documents(output)]


def dropped(output):
    return Counter(rule for table in tables_of(output / "dropped.parquet") for rule in table.column("rule").to_pylist())


def test_every_combination_is_asked_and_says_what_it_was_made_from(write, server):
    output, ledger = write(prompts=[PROMPT], attributes=TOPICS, answers=2, licence="CC0-1.0", language="en", system="Be brief.")
    assert len(server.asked) == 6
    assert server.asked.total() == 12
    assert server.bodies[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert len({body["seed"] for body in server.bodies}) == 12
    documents = list(read_documents(output))
    assert len(documents) == 6  # the second answers were equal
    assert {document.source for document in documents} == {"synthetic/parrot"}
    assert {(document.licence, document.language) for document in documents} == {("CC0-1.0", "en")}
    for document in documents:
        meta = json.loads(document.meta)
        assert meta["synthetic"] is True
        assert f"{meta['attributes']['tone']} question about {meta['attributes']['topic']}" in document.text
    assert ledger.to_json()["dropped"] == {"dedup.exact": 6}
    facts = read_json(output / "synthesis.json")
    assert (facts["questions"], facts["documents"]) == (12, 6)
    assert facts["generator"]["generator"]["model"] == "parrot"
    assert facts["generator"]["tokens_out"] == 36
    calls = [json.loads(line) for line in (output / "calls.jsonl").read_text().splitlines()]
    assert len({call["question"] for call in calls}) == 12


def test_seeds_stand_in_prompts_and_their_examples_share_a_group(write, server, seeds):
    output, _ = write(seeds, prompts=["On {seed} ({seed.meta.label})"], seeds={"corpus": "books"}, answers=2)
    assert read_json(output / "synthesis.json")["seeds_too_long"] == 1
    assert sorted(server.asked) == sorted(f"On a seed with the number {n} (l{n})" for n in range(1, 12))
    groups = {group_key(document.id): json.loads(document.meta)["seed"] for document in read_documents(output)}
    assert all(group == f"synthetic/{group_key(seed)}" for group, seed in groups.items())
    assert len({document.id for document in read_documents(output)}) == len(texts(output))


def test_equal_answers_give_equal_bytes_and_no_call(write, server, seeds):
    server.reply = lambda prompt, number: completion(f"{prompt} for the {number + 1}. time")
    options = {"prompts": ["On {seed}"], "seeds": {"corpus": "books", "count": 7}, "near": 0.9}
    first, _ = write(seeds, **options)
    again, _ = write(seeds, endpoint={"concurrency": 1, "retries": 0}, **options)
    assert server.asked.total() == 7
    assert digests_of_folder(first) == digests_of_folder(again)


def test_a_further_attribute_leaves_the_other_questions_alone(write, server):
    write(prompts=[PROMPT], attributes=TOPICS)
    write(prompts=[PROMPT], attributes={**TOPICS, "topic": ["art", *TOPICS["topic"]]})
    assert server.asked.total() == 8


def test_rules_say_what_they_took_out(write, server):
    replies = iter(["no", "x" * 99, "a fine law question?", "As an AI, I cannot ask about sport?", "music, no question"])
    server.reply = lambda prompt, number: completion(next(replies))
    rules = {
        "min_characters": 5,
        "max_characters": 50,
        "must_contain": ["{topic}"],
        "must_match": [r"\?$"],
        "must_not_match": ["(?i)as an ai"],
    }
    topics = {"topic": ["a", "b", "law", "sport", "music"]}
    output, ledger = write(prompts=["On {topic}."], attributes=topics, rules=rules, endpoint={"concurrency": 1})
    assert texts(output) == ["a fine law question?"]
    assert dropped(output) == Counter(
        ["rules.min_characters", "rules.max_characters", "rules.must_not_match", "rules.must_match"]
    )
    assert ledger.dropped == dropped(output)


def test_answers_are_divided_and_cut_off_ones_are_not_used(write, server):
    replies = iter([completion("1. one\n\n2. two\n"), completion("3. thr", finish="length"), completion(" ")])
    server.reply = lambda prompt, number: next(replies)
    output, ledger = write(prompts=["a", "b", "c"], examples="line", endpoint={"concurrency": 1})
    assert texts(output) == ["1. one", "2. two"]
    assert dropped(output) == Counter(["generator.cut_off", "generator.empty"])
    assert (ledger.rows_in, ledger.rows_kept) == (4, 2)
    output, _ = write(prompts=["a", "b", "c"], examples="line", cut_off="keep")
    assert texts(output) == ["1. one", "2. two", "3. thr"]


def test_a_judge_scores_and_what_it_says_is_parsed(write, server):
    verdicts = {"good": "Fair. Score: 8.5", "bad": "I give 2 of 10... Score: 3", "odd": "cannot say"}

    def reply(prompt, number):
        return completion(verdicts[prompt.split()[-1]] if prompt.startswith("Judge") else prompt)

    server.reply = reply
    judge = {"prompt": "Judge this on {topic}: {text}", "at_least": 5, "pattern": r"Score: (\d+(?:\.\d+)?)"}
    output, _ = write(prompts=["{topic}"], attributes={"topic": ["good", "bad", "odd"]}, judge=judge)
    assert texts(output) == ["good"]
    assert json.loads(next(read_documents(output)).meta)["judge_score"] == 8.5
    rows = [row for table in tables_of(output / "dropped.parquet") for row in table.to_pylist()]
    assert {(row["rule"], row["value"], row["threshold"]) for row in rows} == {
        ("judge.at_least", 3.0, 5.0),
        ("judge.unreadable", None, None),
    }
    assert read_json(output / "synthesis.json")["judge"]["questions"] == 3
    asked = server.asked.total()
    write(prompts=["{topic}"], attributes={"topic": ["good", "bad", "odd"]}, judge={**judge, "at_least": 3})
    assert server.asked.total() == asked  # another threshold asks nothing


def test_what_repeats_a_seed_or_another_example_goes(write, server, tmp_path):
    long = " ".join(f"word{n}" for n in range(60))
    with PartWriter(tmp_path / "few") as writer:
        writer.add(Document("s:0:d", long, "s", "CC0-1.0", "en", "{}"))
    replies = iter([long, f"{long} more", "something else", "something  else", "all new"])
    server.reply = lambda prompt, number: completion(next(replies))
    options = {"prompts": ["{seed}"], "seeds": {"corpus": "few"}, "answers": 5, "near": 0.8, "endpoint": {"concurrency": 1}}
    output, _ = write(tmp_path / "few", **options)
    assert texts(output) == ["something else", "all new"]
    rows = [row for table in tables_of(output / "dropped.parquet") for row in table.to_pylist()]
    assert sorted((row["rule"], row["duplicate_of"].startswith("seeds/")) for row in rows) == [
        ("dedup.exact", False),
        ("dedup.exact", True),
        ("dedup.minhash", True),
    ]


def test_refused_questions_are_failures_and_too_many_stop_the_run(write, server):
    server.reply = lambda prompt, number: failure(400, "no") if "law" in prompt else completion(prompt)
    _, ledger = write(prompts=[PROMPT], attributes=TOPICS)
    assert dict(ledger.failed) == {"the generator refused the question": 2}
    with pytest.raises(SourceError, match="2 of 6 documents could not be processed"):
        write(prompts=[PROMPT], attributes=TOPICS, max_failed=0.1)


def test_when_nothing_is_left_the_reasons_are_told(write, server):
    with pytest.raises(SourceError, match="no document is left after 'synthesize'") as raised:
        write(prompts=[PROMPT], attributes=TOPICS, rules={"min_characters": 1000})
    assert "rules.min_characters 6" in str(raised.value)


def test_seeds_that_are_all_too_long_are_no_seeds(write, seeds):
    with pytest.raises(SourceError, match="there is no seed: 12 documents of 'books'"):
        write(seeds, prompts=["{seed}"], seeds={"corpus": "books", "max_characters": 3})


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_the_choice_of_seeds_and_draws_depends_on_no_order(random, count):
    ids = [f"f:{n}" for n in range(40)]
    shuffled = ids.copy()
    random.shuffle(shuffled)
    chosen = choose_seeds(shuffled, count, 1)
    assert chosen == choose_seeds(ids, count, 1)
    assert set(chosen) <= set(choose_seeds(ids, min(count + 1, 40), 1))


def test_sampled_draws_are_so_many_and_all_different():
    config = SynthesisConfig.model_validate(
        {
            "generator": {"kind": "endpoint", "base_url": "http://x/v1", "model": "m"},
            "prompts": [PROMPT],
            "attributes": TOPICS,
            "combine": "sample",
            "count": 50,
            "answers": 2,
        }
    )
    drawn = list(draws(config, [], 1))
    assert len(drawn) == config.questions(None) == 100
    assert len({draw.name for draw in drawn}) == 100
    assert len({draw.attributes for draw in drawn}) == 6


def test_division():
    assert divided("  one\n two \n\n \n three", "paragraph") == ["one\n two", "three"]
    assert divided(" \n ", "answer") == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompts": ["On {topik}"]}, r"did you mean '\{topic\}'"),
        ({"prompts": ["On {seed}"]}, r"nothing fills the slot '\{seed\}'"),
        ({"prompts": ["On nothing"]}, "is in no prompt"),
        ({"attributes": {"topic": []}}, "has no value"),
        ({"attributes": {"text": ["a"]}}, "is taken"),
        ({"seeds": {"corpus": "a"}}, "no prompt has a slot"),
        ({"judge": {"prompt": "good?", "at_least": 1}}, "would not see what it judges"),
        ({"judge": {"prompt": "{text}", "at_least": 1, "pattern": "x"}}, "with a group"),
        ({"rules": {"must_match": ["("]}}, "is none"),
        ({"combine": "sample"}, "both or neither"),
        ({"count": 3}, "both or neither"),
    ],
)
def test_wrong_synthesis_is_refused(given, message):
    whole = {
        "generator": {"kind": "endpoint", "base_url": "http://x/v1", "model": "m"},
        "prompts": ["On {topic}"],
        "attributes": {"topic": ["a"]},
    }
    with pytest.raises(ValidationError) as raised:
        SynthesisConfig.model_validate({**whole, **given})
    assert re.search(message, str(raised.value))
