"""The lines at the end of a run."""

from __future__ import annotations

import report_example as examples

from lmpipe.report.model import Command, Sample
from lmpipe.report.summary import Line, summary

NEXT = [Command(command="lmpipe chat", purpose="talk to it"), Command(command="lmpipe serve", purpose="offer an API")]


def plain(lines: list[Line]) -> list[tuple[str, str, str]]:
    return [(line.label, line.text.replace("\u00a0", " "), line.tone) for line in lines]


def test_a_finished_run_in_order() -> None:
    lines = plain(summary(examples.example(), page="out/report.html", next_commands=NEXT))
    assert lines[:3] == [
        ("Bits per byte of the test split", "1.651 [1.602, 1.703]  this model", "plain"),
        ("", "1.903 [1.852, 1.954]  5-gram Kneser-Ney, model 13% below", "plain"),
        ("", "2.107  xz -9, model 22% below", "plain"),
    ]
    assert [line[0] for line in lines[3:]] == ["sample", "verdict", "spent", "report", "next", ""]
    assert lines[4][1].startswith("GO. 2 of 2 requirements met")
    assert lines[4][2] == "good"
    assert lines[5][1] == (
        "5 min 44 s, 1.26 GiB peak memory, ≈ 1.4 Wh (estimate) by processor seconds x 15 W per core (no meter was readable)"
    )
    assert lines[6][1] == "out/report.html"
    assert lines[7] == ("next", "lmpipe chat    talk to it", "command")


def test_a_failed_run_says_why_and_how_to_go_on() -> None:
    lines = plain(summary(examples.failed(), page="report.html"))
    assert [line[0] for line in lines] == ["verdict", "fix", "spent", "report"]
    assert lines[0][1].startswith("FAILED. The run stopped in stage train")
    assert lines[0][2] == "bad"


def test_a_bare_run_has_a_verdict_line_and_a_page() -> None:
    assert [line.label for line in summary(examples.bare(), page="r.html")] == ["verdict", "report"]


def test_without_a_comparison_the_first_metric_stands_alone() -> None:
    report = examples.example().model_copy(update={"comparison": None, "headline": []})
    assert plain(summary(report, page="r.html"))[0] == (
        "corpus.test.bits_per_byte",
        "1.651 bits per byte [1.602, 1.703]",
        "plain",
    )


def test_a_sample_cannot_move_the_cursor_and_is_short() -> None:
    sample = Sample(prompt="\x1b[2J\x1b]0;title\x07", continuation="a\r" + "line\n" * 500)
    report = examples.example().model_copy(update={"samples": [sample]})
    text = next(line.text for line in summary(report, page="r.html") if line.label == "sample")
    assert not any(ord(c) < 32 and c not in "\n\t" for c in text)
    assert text.startswith("␛[2J␛]0;title␇a")
    assert len(text) < 420
    assert text.endswith(" ...")
