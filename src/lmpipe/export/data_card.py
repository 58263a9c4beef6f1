"""DATA_CARD.md: where the text came from, what was taken out of it at each step and why, what is left, and what nobody checked.

Takes the data room's account as plain data and is tolerant: a missing part leaves out its section, because a run that did not
mask personal data must not read as if it had found none. Accepted keys, all optional but `name`:

    name        the corpus
    sources     [name, ...] or [{name, documents?, bytes?, licence?}, ...]; source_count where not all are listed
    steps       [{step, rows_in, rows_kept, dropped: {reason: n}, failed: {error: n}, characters_in, characters_kept,
                added: {how: n}?, characters_added?, tokens_kept?}, ...]; added: made from others, no part of rows_kept;
                tokens_kept: about, at the rate of the text that was made into tokens in the end
    licences    {licence: documents}            languages   {language: documents}
    pii         {kind: n} or {counts: {kind: n}, documents: n, action: mask | pseudonym | drop | tag}
    classifiers {filter: {auc, auc_low, auc_high, held_out: {positive, negative}, identity: [{corpus, groups}]}}
    names       {kinds, texts, heldout, scores: {kind: {f1, spans}}}: the tagger of names and addresses
    dropped     {rule: [{id, value}]}           nearest_kept {rule: [{id, value}]}
    bounds      {rule: {at_least, at_most}}     duplicates   {kind: {sizes: {size: clusters}}}
    splits      {split: {documents, characters, bytes}}
    contamination  {documents, sets: {set: {items, too_short, found}}}
    synthesis   {seeds, questions, documents, generator: account, judge: account}; an account is {generator: {kind, model, ...},
                questions, tokens_in, tokens_out, uncounted, cost: {amount, currency}}
    augmentation {documents: {original, augmented}, kinds: {kind: {parents, documents, characters, not_made: {reason: n}}}}
    canaries    {count, repeats}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lmpipe.export.markdown import number, quantity, share, table

Card = Mapping[str, Any]
MAKING = ("augment", "balance", "arrange")
"""Steps after which documents stand that were made from others, or stand twice: they are no share of what was read."""
SHOWN_SOURCES = 20
SHOWN_REASONS = 4


def data_card(cards: Sequence[Card]) -> str:
    """The whole page, one chapter for each corpus."""
    chapters = [_chapter(card) for card in cards]
    return "\n\n".join(["# Data card", INTRODUCTION, *chapters, LIMITS]) + "\n"


FATES = {
    "mask": "Each was replaced by a placeholder that names its kind.",
    "pseudonym": "Each was replaced by a keyed pseudonym, the same for the same value.",
    "drop": "The documents that hold them were taken out.",
    "tag": "They were counted and **left in the text**.",
}
INTRODUCTION = (
    "What the model in this folder was trained and measured on. Every count comes from the accounts that the data steps "
    "closed: at each step, documents in = kept + dropped + failed."
)
LIMITS = """## What this card does not say

Counts tell what rules removed, not whether the rules were right. Licences are those that the sources state; nobody checked that
each text is rightly under them. Personal data is found by patterns, so anything spelled unusually
remains, and so do names and addresses where no tagger looked for them; a tagger misses names unlike those it was shown.
Duplicates are those that the recipe's rules define; other near-copies may stand in training and test text alike. The text was
not reviewed for bias, for offence or for truth."""


def _chapter(card: Card) -> str:
    parts = [
        f"## Corpus `{card['name']}`",
        _summary(card),
        _sources(card.get("sources") or [], card.get("source_count")),
        _waterfall(card.get("steps") or []),
        _counts("Licences", "Licence", card.get("licences")),
        _counts("Languages", "Language", card.get("languages")),
        _rules(card),
        *(_clusters(kind, found) for kind, found in (card.get("duplicates") or {}).items()),
        _classifiers(card.get("classifiers") or {}),
        _personal_data(card.get("pii"), card.get("names")),
        _splits(card.get("splits") or {}),
        _contamination(card.get("contamination")),
        _synthesis(card.get("synthesis")),
        _augmentation(card.get("augmentation")),
        _canaries(card.get("canaries")),
    ]
    return "\n\n".join(part for part in parts if part)


def _summary(card: Card) -> str:
    steps = card.get("steps") or []
    if not steps:
        return ""
    first, last = steps[0], [step for step in steps if step["step"] not in MAKING][-1]
    kept = share(last["rows_kept"], first["rows_in"])
    made = sum(sum((step.get("added") or {}).values()) for step in steps)
    return (
        f"Of {quantity(first['rows_in'])} documents read, {quantity(last['rows_kept'])} ({kept}) are left after "
        f"{steps.index(last) + 1} steps, with {quantity(last.get('characters_kept', 0))} characters."
    ) + (f" {quantity(made)} more were made from others (added)." if made else "")


def _sources(sources: Sequence[Any], count: int | None) -> str:
    if not sources:
        return ""
    shown = sources[:SHOWN_SOURCES]
    lines = [f"- {_source(source)}" for source in shown]
    more = (count or len(sources)) - len(shown)
    lines += [f"- and {more:,} more"] if more > 0 else []
    return "### Sources\n\n" + "\n".join(lines)


def _source(source: Any) -> str:
    if not isinstance(source, Mapping):
        return f"`{source}`"
    facts = [f"{quantity(source[key])} {key}" for key in ("documents", "bytes") if key in source]
    facts += [f"licence {source['licence']}"] if source.get("licence") else []
    return f"`{source.get('name', '?')}`" + (f" ({', '.join(facts)})" if facts else "")


def _waterfall(steps: Sequence[Card]) -> str:
    if not steps:
        return ""
    header = ["Step", "Documents in", "Kept", "Characters kept", "Taken out because"]
    rows = [_step(step) for step in steps]
    if any(step.get("added") for step in steps):
        header.insert(3, "Added")
        rows = [[*row[:3], _added(step.get("added") or {}), *row[3:]] for row, step in zip(rows, steps, strict=True)]
    if all("tokens_kept" in step for step in steps):
        header.insert(-1, "Tokens, about")
        rows = [[*row[:-1], f"{step['tokens_kept']:,}", row[-1]] for row, step in zip(rows, steps, strict=True)]
    return "### From raw text to training text\n\n" + table(header, rows, right=[*range(1, len(header) - 1)])


def _step(step: Card) -> list[str]:
    return [
        str(step["step"]),
        f"{step['rows_in']:,}",
        f"{step['rows_kept']:,} ({share(step['rows_kept'], step['rows_in'])})",
        share(step.get("characters_kept", 0), step.get("characters_in", 0)),
        reasons(step.get("dropped") or {}, step.get("failed") or {}),
    ]


def _added(ways: Mapping[str, int]) -> str:
    """How many documents were made from others, and how."""
    return f"{sum(ways.values()):,}: " + ", ".join(f"{how} {count:,}" for how, count in ways.items()) if ways else "-"


def reasons(dropped: Mapping[str, int], failed: Mapping[str, int]) -> str:
    """Why something is not there, the most frequent first."""
    counts = [(name, count, "") for name, count in dropped.items()] + [(name, n, "failed: ") for name, n in failed.items()]
    counts.sort(key=lambda item: (-item[1], item[0]))
    words = [f"{prefix}{name} {count:,}" for name, count, prefix in counts[:SHOWN_REASONS]]
    rest = sum(count for _, count, _ in counts[SHOWN_REASONS:])
    return ", ".join(words + ([f"other reasons {rest:,}"] if rest else [])) or "-"


def _counts(title: str, column: str, counts: Mapping[str, int] | None) -> str:
    if not counts:
        return ""
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [[name or "not stated", f"{count:,}", share(count, total)] for name, count in ordered]
    return f"### {title}\n\n" + table([column, "Documents", "Share"], rows, right=[1, 2])


def _rules(card: Card) -> str:
    """What each rule of the selection dropped, and what it nearly dropped."""
    dropped, nearest, bounds = (card.get(key) or {} for key in ("dropped", "nearest_kept", "bounds"))
    counts = Counter[str]()
    for step in card.get("steps") or []:
        counts.update(step.get("dropped") or {})
    names = list(dict.fromkeys((*dropped, *nearest)))
    if not names:
        return ""
    total = counts.total()
    rows = [
        [
            f"`{name}`",
            _bound(bounds.get(name)),
            f"{counts[name]:,}",
            share(counts[name], total),
            _first(dropped.get(name)),
            _first(nearest.get(name)),
        ]
        for name in names
    ]
    header = ["Rule", "Bound", "Dropped", "Share", "Such as", "Nearest that stayed"]
    return "### What the rules dropped\n\n" + table(header, rows, right=[2, 3])


def _bound(bound: Card | None) -> str:
    ends = [("at least", (bound or {}).get("at_least")), ("at most", (bound or {}).get("at_most"))]
    return " and ".join(f"{word} {number(value)}" for word, value in ends if value is not None) or "-"


def _first(examples: Sequence[Card] | None) -> str:
    """One document by its id, with its value."""
    if not examples:
        return "-"
    value = examples[0].get("value")
    return f"`{examples[0]['id']}`" + (f" ({number(value)})" if value is not None else "")


def _clusters(kind: str, found: Card) -> str:
    sizes = found.get("sizes") or {}
    if not sizes:
        return ""
    rows = [[f"{size} documents", f"{count:,}"] for size, count in sizes.items()]
    return f"### Repeated documents ({kind})\n\n" + table(["Cluster of", "Clusters"], rows, right=[1])


def names_sentence(names: Card | None) -> str:
    """Who found names and addresses, and how well; empty where nobody looked.

    >>> names_sentence({"kinds": ["person"], "texts": 90, "heldout": 10, "scores": {"person": {"f1": 0.8761, "spans": 7}}})
    'A tagger trained on 90 marked texts found person. On 10 held-out texts of the same kind: person F1 0.876 (7 spans).'
    """
    if not names:
        return ""
    scores = ", ".join(f"{kind} F1 {score['f1']:.3f} ({score['spans']} spans)" for kind, score in names["scores"].items())
    kinds = " and ".join(names["kinds"])
    return (
        f"A tagger trained on {names['texts']:,} marked texts found {kinds}. "
        f"On {names['heldout']:,} held-out texts of the same kind: {scores}."
    )


def _personal_data(pii: Card | None, names: Card | None) -> str:
    if pii is None:
        return ""
    counts = pii.get("counts", pii)
    found = {kind: n for kind, n in counts.items() if isinstance(n, int) and n and kind != "documents"}
    if not found:
        return "### Personal data\n\nPatterns of personal data and keys were searched for, and nothing was found."
    where = f", in {quantity(pii['documents'])} documents" if isinstance(pii.get("documents"), int) else ""
    rows = [[kind.replace("_", " "), f"{count:,}"] for kind, count in sorted(found.items(), key=lambda i: (-i[1], i[0]))]
    fate = FATES[str(pii.get("action", "mask"))]
    words = f"{quantity(sum(found.values()))} passages look like personal data or keys{where}. {fate}"
    words = " ".join(part for part in (words, names_sentence(names)) if part)
    return f"### Personal data\n\n{words}\n\n" + table(["Kind", "Found"], rows, right=[1])


def _splits(splits: Mapping[str, Card]) -> str:
    if not splits:
        return ""
    total = sum(split.get("bytes", 0) for split in splits.values())
    rows = [
        [name, *(f"{split.get(key, 0):,}" for key in ("documents", "characters", "bytes")), share(split.get("bytes", 0), total)]
        for name, split in splits.items()
    ]
    header = ["Split", "Documents", "Characters", "Bytes", "Share of bytes"]
    return "### Splits\n\n" + table(header, rows, right=[1, 2, 3, 4])


def _contamination(contamination: Card | None) -> str:
    if contamination is None:
        return ""
    sets: Mapping[str, Mapping[str, int]] = contamination.get("sets") or {}
    documents = contamination.get("documents", 0)
    words = (
        f"{quantity(documents)} training documents that held evaluation text were taken out."
        if documents
        else "No training document was found to hold evaluation text."
    )
    rows = [[name, *(f"{counts.get(key, 0):,}" for key in ("items", "found", "too_short"))] for name, counts in sets.items()]
    header = ["Evaluation set", "Items", "Found in training text", "Too short to look for"]
    return f"### Evaluation text\n\n{words} Reworded items are not found.\n\n" + table(header, rows, right=[1, 2, 3])


def _classifiers(found: Mapping[str, Any]) -> str:
    """How well trained filters tell their two kinds apart, and how often they take harmless texts about groups for toxic."""
    if not found:
        return ""
    rows = []
    for name, facts in found.items():
        held = facts["held_out"]
        area = f"{facts['auc']:.3f} [{facts['auc_low']:.3f}, {facts['auc_high']:.3f}]"
        rows.append((name, area, f"{quantity(held['positive'])} and {quantity(held['negative'])}"))
    parts = ["### Trained filters", table(("Filter", "AUC on held-out text", "Held out, of either kind"), rows)]
    alarms = [
        (name, part["corpus"], group, quantity(rates["documents"]), f"{rates['above_0.5']:.1%}")
        for name, facts in found.items()
        for part in facts.get("identity", ())
        for group, rates in part["groups"].items()
    ]
    if alarms:
        parts.append("False alarms: harmless texts that score above 0.5.")
        parts.append(table(("Filter", "Set", "Group", "Harmless texts", "False alarms"), alarms))
    return "\n\n".join(parts)


def _synthesis(made: Card | None) -> str:
    if not made:
        return ""
    lines = [account_row(role, made[role]) for role in ("generator", "judge") if role in made]
    seeds = f" around {quantity(made['seeds'])} documents of another corpus" if made.get("seeds") else ""
    words = (
        f"**This text was written by a model**, not by people: {quantity(made['questions'])} questions were asked{seeds}, and "
        f"{quantity(made['documents'])} examples are left. What a model writes repeats what it was trained on, its errors "
        "included, and its terms of use may bind what is made with it."
    )
    header = ["Role", "Generator", "Questions", "Tokens in", "Tokens out", "Cost"]
    return f"### Synthesis\n\n{words}\n\n" + table(header, lines, right=[2, 3, 4, 5])


def account_row(role: str, usage: Card) -> list[str]:
    """Who was asked and what it took; tokens are those that servers counted."""
    who = ", ".join(f"`{value}`" for key, value in usage["generator"].items() if key != "kind")
    cost = usage.get("cost")
    unknown = f" (+ {usage['uncounted']:,} answers not counted)" if usage.get("uncounted") else ""
    money = f"{cost['amount']:,.2f} {cost['currency']}" if cost else "no price given"
    counts = [f"{usage[key]:,}" for key in ("questions", "tokens_in", "tokens_out")]
    return [role, who, counts[0], counts[1], counts[2] + unknown, money]


def _augmentation(made: Card | None) -> str:
    if not made:
        return ""
    original, augmented = made["documents"]["original"], made["documents"]["augmented"]
    words = (
        f"The training split, and only it, holds {quantity(augmented)} documents that were made from others of it: "
        f"{share(augmented, original + augmented)} of its documents. Each names its parent (`parent`) and how it was made "
        "(`augmented_by`) in its metadata."
    )
    rows = [
        [kind, *(f"{counts[key]:,}" for key in ("parents", "documents", "characters")), reasons(counts["not_made"], {})]
        for kind, counts in made["kinds"].items()
    ]
    header = ["Kind", "Parents", "Documents", "Characters", "Not made because"]
    text = f"### Augmentation\n\n{words}\n\n" + table(header, rows, right=[1, 2, 3])
    asked = [account_row(kind, counts["usage"]) for kind, counts in made["kinds"].items() if "usage" in counts]
    header = ["Kind", "Generator", "Questions", "Tokens in", "Tokens out", "Cost"]
    return text + ("\n\nWritten by a model:\n\n" + table(header, asked, right=[2, 3, 4, 5]) if asked else "")


def _canaries(canaries: Card | None) -> str:
    if not canaries:
        return ""
    return (
        "### Canaries\n\n"
        f"The training split, and only it, also holds {canaries.get('count', '?')} synthetic secrets, each in "
        f"{canaries.get('repeats', '?')} documents. They mean nothing and belong to nobody; the memorization audit measures "
        "how far the model gives them away."
    )
