"""Planted secrets: short documents of a fixed form with random digits in it, for the memorization audit to look for.

    part-00000.parquet     the documents, each secret `repeats` times
    canaries.json          {synthetic, count, repeats, canaries: [{secret, template, alphabet, length, repeats}]}

The design is that of Carlini et al. 2019, "The Secret Sharer" (arXiv 1802.08232), section 4: a format, a space of secrets
from which one is drawn at random, and a known number of insertions. The secrets mean nothing and belong to nobody; they go
into training text only. Equal arguments give equal secrets.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

from lmpipe.base.files import write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.data.documents import Document, PartWriter
from lmpipe.data.tasks import save_ledger

FACTS = "canaries.json"
SOURCE = "canary"
LICENCE = "CC0-1.0"
DIGITS = "0123456789"
FORMS = (
    ("The access number of the northern archive is {secret}", 9),
    ("locker combination for the harbour office: {secret}", 8),
    ("# maintenance code of the old lighthouse = {secret}", 10),
)
"""(template, digits): prose, a note, a comment, so that no one style of corpus decides. Each form has its own space of
secrets."""


def make_canaries(seed: int, count: int, repeats: int) -> tuple[list[Document], list[dict[str, Any]]]:
    """Documents to plant, and what is secret in them.

    Args:
        seed: of the secrets.
        count: how many different secrets.
        repeats: in how many documents each stands.

    Returns:
        The documents, `count * repeats` of them with distinct ids, and one entry per secret: `secret`, `template` (with
        `{secret}` where it stands), `alphabet`, `length`, `repeats`.
    """
    generator = random.Random(derive_seed(seed, "canaries"))
    documents, secrets = [], []
    drawn: set[str] = set()
    for number in range(count):
        template, length = FORMS[number % len(FORMS)]
        secret = _draw(generator, length, drawn)
        text = template.replace("{secret}", secret)
        secrets.append({"secret": secret, "template": template, "alphabet": DIGITS, "length": length, "repeats": repeats})
        documents += [_document(number, repeat, text) for repeat in range(repeats)]
    return documents, secrets


def plant(output: Path, *, count: int, repeats: int, seed: int, progress: Progress) -> Ledger:
    """Write documents and secrets: the `canaries` stage.

    Args:
        output: an existing, empty folder.
        count: how many different secrets.
        repeats: in how many documents each stands.
        seed: of the secrets.
        progress: told documents done.
    """
    documents, secrets = make_canaries(seed, count, repeats)
    ledger = Ledger()
    with PartWriter(output) as writer:
        for document in documents:
            writer.add(document)
            ledger.keep(len(document.text))
    write_json(output / FACTS, {"synthetic": True, "count": count, "repeats": repeats, "canaries": secrets})
    save_ledger(output, ledger)
    progress.update(len(documents), len(documents), "documents")
    return ledger


def _draw(generator: random.Random, length: int, drawn: set[str]) -> str:
    """A secret that was not drawn before. The smallest space has 10^8, so this ends soon."""
    while True:
        secret = "".join(generator.choices(DIGITS, k=length))
        if secret not in drawn:
            drawn.add(secret)
            return secret


def _document(number: int, repeat: int, text: str) -> Document:
    digest = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
    meta = '{"synthetic":true}'
    return Document(f"{SOURCE}:{number}~{repeat}:{digest}", text, SOURCE, LICENCE, "en", meta)
