"""The page as a parser sees it: well-formed, named, closed to the outside, and complete."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
import report_example as examples
from pydantic import ValidationError

from lmpipe.base.config import Config
from lmpipe.report.html import VOID_TAGS
from lmpipe.report.model import Corpus, Curve, Phase, Report, Sample, Stage
from lmpipe.report.page import render

RAW_TAGS = ("style", "script")
LOADING_ATTRIBUTES = ("src", "srcset", "poster", "data", "action", "background", "xlink:href", "style")


class Page(HTMLParser):
    """Elements in order, with their attributes, the text inside, and every fault of nesting."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.faults: list[str] = []
        self.text = ""
        self.raw: dict[str, str] = {}
        self.headings: list[tuple[int, str]] = []
        self.unnamed_graphics: list[str] = []
        self._open: list[tuple[str, bool]] = []
        self.feed(markup)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag, _ in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if len(attributes) != len(attrs):
            self.faults.append(f"<{tag}> has an attribute twice: {attrs}")
        hidden = attributes.get("aria-hidden") == "true" or any(hidden for _, hidden in self._open)
        inside_graphic = any(tag == "svg" for tag, _ in self._open)
        if tag in ("svg", "img") and not hidden and not inside_graphic and not attributes.get("aria-label"):
            self.unnamed_graphics.append(str(attributes))
        self.elements.append((tag, attributes))
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))
        if tag not in VOID_TAGS:
            self._open.append((tag, hidden))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1][0] != tag:
            self.faults.append(f"</{tag}> closes {self._open[-1:] or 'nothing'} at {self.getpos()}")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        inside = self._open[-1][0] if self._open else ""
        if inside in RAW_TAGS:
            self.raw[inside] = self.raw.get(inside, "") + data
            return
        self.text += data
        if self.headings and any(re.fullmatch(r"h[1-6]", tag) for tag, _ in self._open):
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)

    def all(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(attribute)) is not None]


REPORTS = {"whole": examples.example, "failed": examples.failed, "bare": examples.bare}


@pytest.fixture(params=list(REPORTS), scope="module")
def page(request: pytest.FixtureRequest) -> Page:
    return Page(render(REPORTS[request.param]()))


def test_every_tag_is_closed_in_order(page: Page) -> None:
    assert page.faults == []


def test_ids_are_unique_and_every_reference_resolves(page: Page) -> None:
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    anchors = [href[1:] for href in page.all("href") if href.startswith("#")]
    assert len(anchors) >= 11  # the sections and the skip link
    assert set(anchors) <= set(ids)
    for attribute in ("aria-labelledby", "aria-describedby", "aria-controls", "for"):
        assert set(" ".join(page.all(attribute)).split()) <= set(ids)


def test_one_title_and_headings_that_skip_no_level(page: Page) -> None:
    levels = [level for level, _ in page.headings]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(text.strip() for _, text in page.headings)


def test_every_graphic_has_a_name_or_is_hidden_behind_text(page: Page) -> None:
    assert page.unnamed_graphics == []


def test_landmarks_language_and_table_headers(page: Page) -> None:
    tags = [tag for tag, _ in page.elements]
    assert [tags.count(tag) for tag in ("html", "header", "nav", "main", "footer")] == [1] * 5
    assert dict(page.elements)["html"]["lang"] == "en"
    for tag, attributes in page.elements:
        if tag == "th":
            assert attributes["scope"] in ("row", "col")


def test_nothing_can_be_loaded_and_only_the_page_s_own_style_and_script_may_run(page: Page) -> None:
    for tag, attributes in page.elements:
        assert not set(attributes) & set(LOADING_ATTRIBUTES), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
        assert tag not in ("iframe", "object", "embed", "base", "form", "img", "audio", "video")
    assert all(href.startswith(("#", "data:image/svg+xml,")) for href in page.all("href"))
    policy = next(
        a["content"] or "" for t, a in page.elements if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag in RAW_TAGS:
        digest = base64.b64encode(hashlib.sha256(page.raw[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
        assert "http:" not in page.raw[tag].replace("http://www.w3.org/2000/svg", "")
        assert "@import" not in page.raw[tag]
        assert "url(" not in page.raw[tag]


def test_the_first_screen_says_what_the_verdict_the_numbers_and_the_cost() -> None:
    text = Page(render(examples.example())).text.replace("\u00a0", " ")
    head = text[: text.index("On this page")]
    for words in (
        "quickstart",
        "A Llama model of 5.25 M parameters (6 layers, width 256), trained on 10.2 M tokens from 2,068 documents.",
        "GO",
        "2 of 2 requirements met",
        "1.651",
        "[1.602, 1.703]",
        "13% below 5-gram Kneser-Ney",
        "22% below xz -9",
        "41.7%",
        "the gate asks at most 1%",
        "5 min 44 s",
        "1.26 GiB",
        "≈ 1.4 Wh (estimate)",
    ):
        assert words in head


def test_every_limit_of_a_finding_is_in_the_page() -> None:
    report = examples.example()
    text = Page(render(report)).text
    for finding in report.findings:
        assert finding.limits in text
        assert finding.method in text


def test_a_run_that_failed_says_where_and_how_to_fix_it_and_names_what_is_missing() -> None:
    text = Page(render(examples.failed())).text
    assert "The run stopped in stage train: the loss is not finite at step 89" in text
    assert "lower train.0.optimizer.lr" in text
    assert "2 not finite" in text
    assert "Nothing was evaluated in this run." in text
    assert "No audit was made in this run" in text


def test_a_bare_run_names_every_section_as_missing() -> None:
    page = Page(render(examples.bare()))
    assert page.text.count("not recorded") == 11
    assert "NO VERDICT" in page.text


@pytest.mark.parametrize("word", ["NO-GO", "INCONCLUSIVE"])
def test_a_verdict_other_than_go_says_which_requirement_it_is_about(word: str) -> None:
    report = examples.example()
    assert report.verdict is not None
    data = report.model_dump()
    data["verdict"] = {
        "verdict": word,
        "requirements": [
            data["verdict"]["requirements"][0],
            {"subject": "memorization.extractable", "value": 0.02, "at_most": 0.01, "verdict": word, "reason": "so"},
            {
                "subject": "never.measured",
                "value": None,
                "at_most": 1.0,
                "verdict": "INCONCLUSIVE",
                "reason": "it was not measured",
            },
        ],
    }
    text = Page(render(Report.model_validate(data))).text.replace("\u00a0", " ")
    head = text[: text.index("On this page")]
    assert word in head
    assert "extractable 2%" in head
    assert "asked at most 1%" in head


PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</pre></code></script><svg onload=alert(1)>",
    "<!-- --><!doctype html>",
    "&lt;script&gt; &amp;",
    "{{7*7}}${7*7}",
    "\u202ereversed\u2066\x00\x1b[31m\ud800",
)


def strings(value: Any, change: str) -> Any:
    """The same data with every string that a user can write, keys too, carrying `change`."""
    if isinstance(value, str):
        return value + change
    if isinstance(value, dict):
        return {key + change if isinstance(key, str) else key: strings(item, change) for key, item in value.items()}
    return [strings(item, change) for item in value] if isinstance(value, list) else value


FREE_TEXT = {
    "": ("run_name", "run_id", "lmpipe_version", "description"),
    "recipe": ("path", "text", "overrides", "resolved"),
    "comparison": ("title", "unit"),
    "machine": ("processor", "system", "python", "device", "versions"),
    "tokenizer": ("kind", "measured_on"),
    "architecture": ("kind", "settings"),
}
FREE_TEXT_OF_LISTS = {
    "metrics": ("name", "unit", "count_unit"),
    "findings": ("name", "unit", "samples", "method", "limits"),
    "samples": ("prompt", "continuation", "settings"),
    "stages": ("name", "version", "fingerprint", "content_digest", "inputs", "versions"),
    "predictions": ("name", "unit", "method"),
    "verify": ("command", "purpose"),
    "phases": ("name", "stop_reason", "prompts"),
    "corpora": ("name", "licences", "limits"),
}


def poisoned(payload: str) -> Report:
    data = examples.example().model_dump(mode="json")
    for part, names in FREE_TEXT.items():
        target = data[part] if part else data
        target.update({name: strings(target[name], payload) for name in names})
    for part, names in FREE_TEXT_OF_LISTS.items():
        for target in data[part]:
            target.update({name: strings(target[name], payload) for name in names})
    for group in data["tokenizer"]["groups"]:
        group["name"] = strings(group["name"], payload)
    for one in data["phases"][0]["written"]:
        one["texts"] = strings(one["texts"], payload)
    for corpus in data["corpora"]:
        corpus["steps"][2]["dropped"] = strings(corpus["steps"][2]["dropped"], payload)
        corpus["personal_data"]["counts"] = strings(corpus["personal_data"]["counts"], payload)
        corpus["splits"][0]["name"] += payload
        corpus["languages"] = strings(corpus["languages"], payload)
        for rule in corpus["rules"]:
            rule.update({key: rule[key] + payload for key in ("name", "score")})
            for example in (*rule["dropped"], *rule["nearest"]):
                example["id"] += payload
        for facts in corpus["facts"]:
            facts.update({key: strings(facts[key], payload) for key in ("title", "note", "columns", "rows")})
        for found in corpus["clusters"]:
            found.update(kind=found["kind"] + payload, largest=strings(found["largest"], payload))
        for part in (*corpus["histograms"], *corpus["largest_sources"]):
            part.update({key: value + payload for key, value in part.items() if key in ("score", "name", "licence")})
    for task in data["tasks"]:
        task.update({key: task[key] + payload for key in ("subject", "kind", "examples_title")})
        task["confusion"]["classes"] = strings(task["confusion"]["classes"], payload)
        for one in (*task["classes"], *task["slices"], *task["baselines"], *task["choices"], *task["examples"]):
            one.update({key: value + payload for key, value in one.items() if isinstance(value, str) and key != "by"})
    for fit in data["fits"]:
        fit.update(phase=fit["phase"] + payload, evidence=strings(fit["evidence"], payload))
    for phase in data["phases"]:
        for curve in ("training_loss", "validation_loss", "learning_rate"):
            phase[curve]["unit"] += payload
    for contender in data["comparison"]["contenders"]:
        contender.update(label=contender["label"] + payload, note=contender["note"] + payload)
    for requirement in data["verdict"]["requirements"]:
        requirement.update(subject=requirement["subject"] + payload, reason=requirement["reason"] + payload)
    return Report.model_validate(data)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_payloads_in_any_text_add_no_element_and_no_attribute(payload: str) -> None:
    clean, dirty = Page(render(poisoned("z" * len(payload)))), Page(render(poisoned(payload)))
    assert dirty.faults == []
    assert dirty.raw == clean.raw

    def shape(page: Page) -> list[tuple[str, list[str]]]:  # <wbr> depends on where a name may break
        return [(tag, sorted(attributes)) for tag, attributes in page.elements if tag != "wbr"]

    assert shape(dirty) == shape(clean)
    assert render(poisoned(payload)).encode()


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths to every leaf of a full report; of a list, the first entry stands for all."""
    if isinstance(value, Config):
        for name in type(value).model_fields:
            yield from leaves(getattr(value, name), (*path, name))
    elif isinstance(value, list) and value and isinstance(value[0], Config):
        yield from leaves(value[0], (*path, 0))
    else:
        yield path


def changed(value: Any) -> Any:
    """Another valid value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 2 * value + 1
    if isinstance(value, float):
        return value * 1.5 + 0.25
    if isinstance(value, str):
        return value.replace("2026-07-31", "2025-03-02") if "2026-07-31" in value else value + "-changed"
    if isinstance(value, list):
        return [*value[:-1], changed(value[-1])] if value else ["added"]
    return {**value, "added": 12_345} if isinstance(value, dict) else value


CHOICES: dict[str, Any] = {
    "verdict.verdict": "NO-GO",
    "verdict.requirements.0.verdict": "NO-GO",
    "stages.0.status": "reused",
    "comparison.contenders.0.role": "baseline",
    "comparison.better": "higher",
    "metrics.0.direction": "higher",
    "findings.0.direction": "higher",
    "verdict.requirements.0.at_least": 1.25,
    "goal.at_least": None,
    "failure": {"stage": "train", "what": "it stopped"},
    "headline": ["corpus.test.perplexity"],
    "stages.0.inputs": {"added": "digest"},
    "stages.0.versions": {"added": "1"},
    "machine.versions": {"added": "1"},
    "corpora.0.steps.0.dropped": {"added": 1},
    "corpora.0.steps.0.added": {"oversample": 1},
    "metrics.0.interval.level": 0.9,
    "comparison.contenders.0.interval.level": 0.9,
    "findings.0.interval.level": 0.9,
    "findings.0.samples": [{"added": "sample"}],
    "fits.0.verdict": "overfitted",
    "tasks.0.confusion.classes": ["bad", "so so", "better"],
    "tasks.0.confusion.counts": [[40, 3, 0], [0, 40, 1], [1, 0, 40]],
    "phases.0.training_loss.tokens": None,
    "corpora.0.rules.0.at_most": 5_000.0,
    "corpora.0.facts.0.rows": [["mbpp", 974, 1]],
    "corpora.0.histograms.0.scale": "linear",
    "corpora.0.histograms.0.before": [41, 210, 1_204, 614],
    "corpora.0.histograms.0.after": [0, 160, 1_171, 500],
    "corpora.0.personal_data.action": "drop",
    "corpora.0.personal_data.documents_by_kind": {"email": 5},
    "corpora.0.rules.0.dropped.0.duplicate_of": "another",
}


def test_copies_stand_apart_in_the_waterfall() -> None:
    page = render(examples.example())
    row = next(part for part in page.split("<tr") if "augment" in part and ">150<" in part)
    assert "augment added keyboard 120, case 30 (2.25\xa0M characters)." in page
    assert "1,918" in row
    assert 'class="bar other"' in row
    assert "2,068 documents" in page  # left: 1,918 kept and 150 added


def short() -> Report:
    """The whole report, with a curve of few points: most of what a page takes is drawing it."""
    return examples.example().model_copy(update={"phases": [examples.curves(40)]})


@pytest.fixture(scope="module")
def before() -> str:
    return render(short())


@pytest.mark.parametrize("path", list(leaves(short())), ids=lambda path: ".".join(map(str, path)))
def test_every_field_shows_on_the_page_or_is_refused(path: tuple[str | int, ...], before: str) -> None:
    data = short().model_dump(mode="json")
    target: Any = data
    for key in path[:-1]:
        target = target[key]
    name = ".".join(map(str, path))
    if name == "goal.at_least":
        data["goal"] = {"subject": "corpus.test.bits_per_byte", "at_least": 1.0}
    elif CHOICES.get(name) is not None:
        target[path[-1]] = CHOICES[name]
    else:
        target[path[-1]] = changed(target[path[-1]])
    try:
        after = Report.model_validate(data)
    except ValidationError:
        return  # a value that is compared with another is read
    assert render(after) != before


def test_equal_reports_give_equal_bytes() -> None:
    assert render(examples.example()) == render(examples.example())


def test_a_page_of_five_thousand_points_stays_under_a_megabyte_and_keeps_the_spike() -> None:
    report = examples.example().model_copy(update={"phases": [examples.curves(5_000)]})
    page = render(report)
    assert len(page.encode()) < 1_000_000
    loss = report.phases[0].training_loss
    assert loss is not None
    assert f"{max(v for v in loss.values if v is not None):.5g}" in page
    norm = report.phases[0].gradient_norm
    assert norm is not None
    assert ",7.9," in page


def test_huge_parts_are_cut_with_a_note() -> None:
    report = examples.example()
    flood = {f"rule {i}": i + 1 for i in range(20_000)}
    step = report.corpora[0].steps[2].model_copy(update={"dropped": flood})
    corpus = report.corpora[0].model_copy(update={"steps": [*report.corpora[0].steps[:2], step]})
    text = "x" * 3_000_000
    big = report.model_copy(
        update={
            "corpora": [corpus],
            "samples": [Sample(prompt=text, continuation=text)] * 50,
            "findings": [report.findings[0].model_copy(update={"samples": [{"text": text, "more": text}] * 100})] * 500,
        }
    )
    page = render(big)
    assert len(page.encode()) < 3_000_000
    assert "19,801 more rows are not shown" in page
    assert "2,996,000 more characters" in page


def test_several_phases_and_corpora_stand_beside_each_other() -> None:
    report = examples.example()
    second = report.phases[0].model_copy(update={"name": "chat"})
    other = report.corpora[0].model_copy(update={"name": "dialogs"})
    page = Page(render(report.model_copy(update={"phases": [*report.phases, second], "corpora": [*report.corpora, other]})))
    assert page.faults == []
    assert len(page.all("id")) == len(set(page.all("id")))
    assert "Phase 2: chat" in page.text
    assert "in 2\u00a0corpora" in page.text


def test_parts_with_nothing_in_them_are_drawn_without_complaint() -> None:
    phase = Phase(name="p", steps=0, tokens=0, training_loss=Curve(unit="nats", tokens=[], values=[]))
    broken = Phase(name="q", steps=1, tokens=1, training_loss=Curve(unit="nats", tokens=[1], values=[float("nan")]))
    report = examples.bare().model_copy(
        update={
            "phases": [phase, broken],
            "corpora": [Corpus(name="c", sources=0)],
            "stages": [Stage(name="read", status="not reached")],
        }
    )
    page = Page(render(report))
    assert page.faults == []
    assert "has no value" in page.text


def test_a_run_that_reused_stages_says_what_this_run_took() -> None:
    report = examples.example()
    reused = [stage.model_copy(update={"status": "reused"}) for stage in report.stages[:-3]]
    text = Page(render(report.model_copy(update={"stages": [*reused, *report.stages[-3:]]}))).text.replace("\u00a0", " ")
    assert "20 s, 13 of 16 stages reused" in text
    assert "5 min 44 s" in text


def test_a_run_resumed_the_next_day_is_drawn_end_to_end() -> None:
    report = examples.example()
    later = report.stages[-1].model_copy(update={"started_at": report.created_at.replace(month=8)})
    assert "time by the clock" in render(report)
    assert "time laid end to end" in render(report.model_copy(update={"stages": [*report.stages[:-1], later]}))


def test_a_curve_needs_as_many_values_as_positions() -> None:
    with pytest.raises(ValidationError, match="2 positions and 1 values"):
        Curve(unit="nats", tokens=[1, 2], values=[1.0])
