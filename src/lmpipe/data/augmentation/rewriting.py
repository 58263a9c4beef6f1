"""Copies that a generator writes: paraphrases, and translations there and back.

For a table of documents, all questions of a round are asked together, so that the generator has as many under way as it takes;
the second round of a back-translation asks for what the first one gave. What is asked depends on (seed, kind, parent, copy)
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from lmpipe.base.randomness import derive_seed
from lmpipe.base.templates import fill, slots_of
from lmpipe.data.augmentation.chance import stream_of
from lmpipe.data.augmentation.config import BackTranslationConfig, ParaphraseConfig
from lmpipe.data.augmentation.facts import NO_VALUE, Facts, NotMade
from lmpipe.data.augmentation.templates import slot_values
from lmpipe.data.documents import Document
from lmpipe.data.generation.asking import Answer, Asker, Question, Refusal

TOO_LONG = NotMade("the document is longer than max_characters")
REFUSED = NotMade("the generator refused the question")
CUT_OFF = NotMade("the answer was cut off at max_tokens")
EMPTY = NotMade("the answer was empty")
OTHER_LENGTH = NotMade("the answer's length is out of proportion")
Job = tuple[Document, int]
"""(parent, number of the copy)"""


@dataclass
class Rewriter:
    """Writes the copies of one kind."""

    part: BackTranslationConfig | ParaphraseConfig
    seed: int
    asker: Asker
    written: dict[tuple[str, int], str | NotMade] = field(default_factory=dict)
    """By parent's id and number of the copy; of the documents prepared last."""

    def prepare(self, documents: Sequence[Document], facts: Facts) -> None:
        """Have the copies of these documents written."""
        jobs = [(document, copy) for document in documents for copy in range(self.part.copies)]
        texts: list[str | NotMade] = [self._start(document) for document, _ in jobs]
        for number in range(2 if isinstance(self.part, BackTranslationConfig) else 1):
            texts = self._round(jobs, texts, number, facts)
        self.written = {
            (document.id, copy): self._fitting(document, text) for (document, copy), text in zip(jobs, texts, strict=True)
        }

    def __call__(self, document: Document, copy: int, stream: Random) -> str | NotMade:
        """The copy that was prepared."""
        return self.written[document.id, copy]

    def _start(self, document: Document) -> str | NotMade:
        return TOO_LONG if len(document.text) > self.part.max_characters else document.text

    def _round(self, jobs: Sequence[Job], texts: Sequence[str | NotMade], number: int, facts: Facts) -> list[str | NotMade]:
        """Ask about every text that there still is."""
        prompts = [self._prompt(job, text, number) for job, text in zip(jobs, texts, strict=True)]
        usage = facts.usage_of(self.part.kind)
        answers = self.asker.answers(self._questions(jobs, prompts, number))
        found: list[str | NotMade] = []
        for prompt in prompts:
            if isinstance(prompt, NotMade):
                found.append(prompt)
                continue
            answer = next(answers)
            usage.book(answer)
            found.append(usable(answer))
        return found

    def _questions(self, jobs: Sequence[Job], prompts: Sequence[str | NotMade], number: int) -> Iterator[Question]:
        for (document, copy), prompt in zip(jobs, prompts, strict=True):
            if isinstance(prompt, str):
                seed = derive_seed(self.seed, "ask", self.part.kind, document.id, copy, number) % 2**31
                yield Question((("user", prompt),), self.part.sampling, seed)

    def _prompt(self, job: Job, text: str | NotMade, number: int) -> str | NotMade:
        if isinstance(text, NotMade):
            return text
        document, copy = job
        stream = stream_of(self.seed, self.part.kind, document.id, copy)
        if isinstance(self.part, BackTranslationConfig):
            through = stream.choice(self.part.through)
            return fill(self.part.prompt, {"text": text, "language": (through, self.part.language)[number]})
        prompt = stream.choice(self.part.prompts)
        values = slot_values(document, slots_of(prompt))
        return fill(prompt, values) if values.keys() >= set(slots_of(prompt)) else NO_VALUE

    def _fitting(self, document: Document, text: str | NotMade) -> str | NotMade:
        if isinstance(text, NotMade):
            return text
        low, high = (bound * len(document.text) for bound in self.part.length_ratio)
        return text if low <= len(text) <= high else OTHER_LENGTH


def usable(answer: Answer | Refusal) -> str | NotMade:
    """The text of a whole answer."""
    if isinstance(answer, Refusal):
        return REFUSED
    if answer.finish == "length":
        return CUT_OFF
    return answer.text.strip() or EMPTY
