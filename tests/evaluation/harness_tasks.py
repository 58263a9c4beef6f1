"""Tasks of lm-evaluation-harness on made-up items, as a user would write them."""

from __future__ import annotations

import json
from pathlib import Path

TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: data/items.jsonl}}}}
test_split: test
{rest}
"""
CHOICE = """output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]"""
ROLLING = """output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}, {metric: word_perplexity}]"""
WRITTEN = """output_type: generate_until
doc_to_text: "{{text}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["."], max_gen_toks: 6, do_sample: false}
metric_list: [{metric: exact_match}]"""


def write_tasks(folder: Path) -> Path:
    """Three tasks in a folder: `choice`, `rolling`, `written`; their data is named as seen from there."""
    (folder / "data").mkdir(parents=True)
    town = ["Arden", "Bell", "Corin and more", "Dale"]
    rows = [
        {"text": f"It is {'said ' * (number % 9)}that the market of day {number} is in", "choices": town, "answer": number % 4}
        for number in range(16)
    ]
    rows[3] = {**rows[3], "text": "long " * 90 + "is in "}  # longer than the context, and it ends in a space
    (folder / "data" / "items.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for name, rest in (("choice", CHOICE), ("rolling", ROLLING), ("written", WRITTEN)):
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, rest=rest), encoding="utf-8")
    return folder
