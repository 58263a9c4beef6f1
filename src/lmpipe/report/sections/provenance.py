"""Where it came from and how to check it: commands, recipe, fingerprints, machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import Command, Machine, RecipeText, Report, Stage
from lmpipe.report.numbers import NOT_RECORDED, count, size
from lmpipe.report.parts import Section, code_block, facts
from lmpipe.report.tables import Cell, Column, table

SHORT_DIGEST = 12
"""Hexadecimal digits of a digest in a table: 48 bits tell a store's entries apart; the full ones are listed below it."""


def section(report: Report) -> Section:
    """Each part if there."""
    body = join(
        [
            _verify(report.verify) if report.verify else None,
            _recipe(report.recipe) if report.recipe else None,
            _stages(report.stages) if report.stages else None,
            _machine(report.machine) if report.machine else None,
        ]
    )
    fact = f"{len(report.stages)} stages" if report.stages else ""
    return Section("provenance", "Provenance", fact, body or None, "No record of the stages was found.")


def _verify(commands: Sequence[Command]) -> Markup:
    items = [
        element("div", element("dt", one.purpose), element("dd", element("code", one.command, translate="no")))
        for one in commands
    ]
    return join([element("h3", "How to check this page"), element("dl", items, class_="commands")])


def _recipe(given: RecipeText) -> Markup:
    head = element("h3", "Recipe", " ", element("code", given.path) if given.path else None)
    overrides = None
    if given.overrides:
        overrides = element("p", "Overridden with ", [[element("code", f"--set {one}"), " "] for one in given.overrides])
    resolved = None
    if given.resolved:
        text = json.dumps(given.resolved, indent=2, ensure_ascii=False)
        summary = element("summary", "As it was resolved: every default filled in, every auto decided")
        resolved = element("details", summary, code_block(text, "Resolved recipe, JSON"))
    return join([head, overrides, code_block(given.text, "Recipe, YAML"), resolved])


def _stages(stages: Sequence[Stage]) -> Markup:
    columns = [
        Column("Stage"),
        Column("Version", "short"),
        Column("Status", "short"),
        Column("Fingerprint", "short"),
        Column("Content", "short"),
        Column("Inputs"),
    ]
    rows: list[list[Content | Cell]] = [
        [
            stage.name,
            stage.version or NOT_RECORDED,
            stage.status,
            _short(stage.fingerprint),
            _short(stage.content_digest),
            ", ".join(stage.inputs) or NOT_RECORDED,
        ]
        for stage in stages
    ]
    explanation = (
        "A stage's fingerprint is the sha256 of its name, version, configuration and the digests of its inputs; "
        "its content digest is that of the files it wrote. Equal fingerprints promise equal content."
    )
    summary = element("summary", "All digests in full, and the library versions of each stage")
    full = element("details", summary, code_block("\n".join(_full(stage) for stage in stages), "Digests in full"))
    title = element("h3", "Stages and digests")
    return join(
        [title, element("p", explanation, class_="note"), table("Stages and what identifies them", columns, rows), full]
    )


def _short(digest: str) -> Content:
    return element("code", digest[:SHORT_DIGEST]) if digest else NOT_RECORDED


def _full(stage: Stage) -> str:
    lines = [
        f"{stage.name}  version {stage.version or NOT_RECORDED}  {stage.status}",
        f"  fingerprint  {stage.fingerprint or NOT_RECORDED}",
        f"  content      {stage.content_digest or NOT_RECORDED}",
    ]
    lines += [f"  input        {digest}  {name}" for name, digest in stage.inputs.items()]
    lines += [f"  computed by  {_versions(stage.versions)}"] if stage.versions else []
    return "\n".join(lines)


def _machine(given: Machine) -> Markup:
    pairs = [
        ("Processor", given.processor),
        ("Cores", count(given.cores)),
        ("Memory", size(given.memory_bytes)),
        ("Device", given.device),
        ("System", given.system),
        ("Python", given.python),
        ("Libraries", _versions(given.versions)),
    ]
    return join([element("h3", "Machine"), facts(pairs)])


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
