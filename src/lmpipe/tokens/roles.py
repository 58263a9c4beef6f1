"""What the control tokens of a tokenizer are for.

    ours       the tokens of `special.py` by their names; what hides a token is the padding
    foreign    what tokenizer_config.json and special_tokens_map.json say, then the names that are usual, then what the
               library's post-processor puts around a text

Knows no text and no vocabulary beyond these tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from lmpipe.base.errors import ModelError
from lmpipe.base.files import read_json
from lmpipe.tokens.controls import Controls
from lmpipe.tokens.special import END_OF_TEXT, MASK, PAD, SPECIAL_TOKENS, sentinel

FILES = ("tokenizer_config.json", "special_tokens_map.json")
"""Where foreign folders say which token has which role; the first that speaks of a role counts."""
KEYS = ("bos_token", "cls_token", "eos_token", "sep_token", "pad_token", "mask_token")
ENDS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "[SEP]")
"""Names that are usual, for a tokenizer.json without the files beside it."""
STARTS = ("<s>", "<|begin_of_text|>", "<bos>", "[CLS]")
PADS = ("<pad>", "[PAD]", "<|pad|>")
MASKS = ("[MASK]", "<mask>")


@dataclass(frozen=True)
class Roles:
    """Ids by what they are for."""

    special_ids: Mapping[str, int]
    """Every control token: none of them is text, and none is ever hidden from a masked model or made up for it."""
    end_of_text_id: int
    """Closes a document."""
    start_of_text_id: int
    """Stands before the first token of a document: the same as `end_of_text_id` where the tokenizer has no other."""
    pad_id: int
    """Fills rows."""
    mask_id: int | None
    """Stands for a hidden token; None: the tokenizer was not made for masked models."""
    unknown_id: int | None
    """Stands for what the vocabulary cannot spell; None: nothing does."""
    start_ids: tuple[int, ...]
    """Before one text, as the library's post-processor puts it: [CLS] in a BERT, <s> in a Llama, often nothing."""
    end_ids: tuple[int, ...]
    """After one text: [SEP] in a BERT, </s> in a T5, often nothing."""
    sentinel_ids: tuple[int, ...]
    """Of `<extra_id_0>`, `<extra_id_1>`, ... as in T5: they stand for hidden spans. Often none."""
    has_ours: bool
    """Whether our six control tokens are there: conversations need them."""

    def controls(self) -> Controls:
        """What shards tell of them."""
        return Controls(
            start_of_text_id=self.start_of_text_id,
            mask_id=self.mask_id,
            special_ids=tuple(sorted(self.special_ids.values())),
            sentinel_ids=self.sentinel_ids,
        )


def names_in(folder: Path) -> dict[str, str]:
    """Which token the files of a folder give each role (`eos_token` and so on).

    Raises:
        ModelError: when one of the files is no JSON object.
    """
    found: dict[str, str] = {}
    for name in FILES:
        content = _object_in(folder / name)
        for key in KEYS:
            value = content.get(key)
            token = value.get("content") if isinstance(value, Mapping) else value
            if isinstance(token, str):
                found.setdefault(key, token)
    return found


def find_roles(library: tokenizers.Tokenizer, names: Mapping[str, str]) -> Roles:
    """The roles in a tokenizer of the library.

    Args:
        library: the tokenizer.
        names: from `names_in`.

    Raises:
        ModelError: when nothing closes a text.
    """
    start_ids, end_ids = _around(library)
    has_ours = all(library.token_to_id(token) is not None for token in SPECIAL_TOKENS)
    unknown = _unknown(library)
    if has_ours:
        end = start = _first(library, (END_OF_TEXT,))
        pad, mask = _first(library, (PAD,)), _first(library, (MASK,))
    else:
        given = _first(library, [names.get("eos_token"), names.get("sep_token")])
        usual = end_ids[-1] if end_ids else _first(library, ENDS)
        end = usual if given is None else given
        start = start_ids[0] if start_ids else _first(library, [names.get("bos_token"), names.get("cls_token"), *STARTS])
        pad = _first(library, [names.get("pad_token"), *PADS])
        mask = _first(library, [names.get("mask_token"), *MASKS])
    if end is None:
        raise ModelError(
            "the tokenizer has no token that closes a text",
            expected=f"eos_token or sep_token in {FILES[0]}, or one of the usual names: {', '.join(ENDS)}",
            fix="give the tokenizer's whole folder, not its tokenizer.json alone",
        )
    start = end if start is None else start
    special = {token.content: number for number, token in library.get_added_tokens_decoder().items() if token.special}
    sentinels = _sentinels(library)
    named = {one for one in (end, start, pad, mask, unknown, *start_ids, *end_ids, *sentinels) if one is not None}
    special |= {str(library.id_to_token(number)): number for number in named}
    return Roles(
        special_ids=dict(sorted(special.items(), key=lambda item: item[1])),
        end_of_text_id=end,
        start_of_text_id=start,
        pad_id=end if pad is None else pad,
        mask_id=mask,
        unknown_id=unknown,
        start_ids=start_ids,
        end_ids=end_ids,
        sentinel_ids=tuple(sentinels),
        has_ours=has_ours,
    )


def _first(library: tokenizers.Tokenizer, tokens: Sequence[str | None]) -> int | None:
    """The id of the first of `tokens` that is in the vocabulary."""
    found = (library.token_to_id(token) for token in tokens if token)
    return next((number for number in found if number is not None), None)


def _sentinels(library: tokenizers.Tokenizer) -> list[int]:
    found: list[int] = []
    while (number := library.token_to_id(sentinel(len(found)))) is not None:
        found.append(number)
    return found


def _around(library: tokenizers.Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the post-processor puts before and after one text, found by asking it."""
    plain: list[int] = library.encode("a", add_special_tokens=False).ids
    whole: list[int] = library.encode("a", add_special_tokens=True).ids
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return tuple(whole[:start]), tuple(whole[start + len(plain) :])
    raise ModelError(
        "the tokenizer's post-processor changes a text's own ids",
        expected="one that puts ids before and after a text",
    )


def _unknown(library: tokenizers.Tokenizer) -> int | None:
    """What the model gives for what it cannot spell; a name in the files alone is not proof that it does."""
    model = json.loads(library.to_str())["model"]
    if model["type"] == "Unigram":
        number = model.get("unk_id")
        return number if isinstance(number, int) else None
    return _first(library, [model.get("unk_token")])


def _object_in(path: Path) -> Mapping[str, object]:
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
    except ValueError as error:
        raise ModelError(f"{path.name} cannot be read: {error}", where=str(path), expected="JSON") from None
    if not isinstance(content, Mapping):
        raise ModelError(f"{path.name} holds no object", where=str(path), expected="a JSON object")
    return content
