"""The control tokens that every tokenizer of ours has, at the same ids. Knows no library.

They are there from the start, chat tokens too, so that a base model can be tuned to chat later without growing its vocabulary.
Their strings inside a text are only text: control ids come from our own code and templates, never from what a user typed.
"""

from __future__ import annotations

END_OF_TEXT = "<|endoftext|>"
"""Closes every document and, as the token before the first one, opens the next: the only token that a base model ever sees."""
PAD = "<|pad|>"
"""Fills rows; never predicted, never attended to."""
MASK = PAD
"""Stands in for a token that a masked language model must guess. Padding is a segment of its own that no text sees, so the two
never meet, and vocabularies need no token more."""
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
"""Open a message of that role."""
END = "<|end|>"
"""Closes a message."""

UNKNOWN = "<unk>"
"""Stands for what a vocabulary of words cannot spell."""

SPECIAL_TOKENS = (END_OF_TEXT, PAD, SYSTEM, USER, ASSISTANT, END)
"""In the order of their ids, from 0."""
BYTES = 256
"""A byte-level vocabulary holds every byte, so that no text is unknown to it."""
SMALLEST_VOCABULARY = BYTES + len(SPECIAL_TOKENS)


def sentinel(number: int) -> str:
    """The token that stands for the hidden span `number`, as T5 calls it.

    >>> sentinel(0)
    '<extra_id_0>'
    """
    return f"<extra_id_{number}>"
