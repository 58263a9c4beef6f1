"""Text to ids and back, by any tokenizer.json: ours, and those of BERT, T5, Llama, Mistral, GPT-2, RoBERTa and their kin.

Promises: the same ids as the `tokenizers` library and Transformers give for the same folder, and no control id from the text of
a user, whatever that text spells. Ours is lossless on any Unicode text; of others `lossless` says whether they are.

The folder is the Hugging Face layout (`tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`,
`chat_template.jinja`). Encoding is the library's. Where tokens are bytes, decoding is a table from ids to bytes; for other
tokens it is the library's. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from lmpipe.base.errors import ModelError
from lmpipe.base.files import read_json
from lmpipe.tokens.pieces import may_be_cut, pieces_of
from lmpipe.tokens.roles import find_roles, names_in
from lmpipe.tokens.spelling import spelling_of
from lmpipe.tokens.words import WordEncoder, splits_like_gpt2

FILE = "tokenizer.json"


class Tokenizer:
    """A tokenizer of any kind.

    Example:
        `tokenizer.decode(tokenizer.encode("naïve <|endoftext|>")) == "naïve <|endoftext|>"`, and `tokenizer.end_of_text_id` is
        not among those ids.
    """

    def __init__(self, library: tokenizers.Tokenizer, chat_template: str = "", names: Mapping[str, str] | None = None) -> None:
        """Take over a tokenizer of the library.

        Args:
            library: the tokenizer; what its file says of padding, truncation and merge dropout is switched off.
            chat_template: how conversations are rendered; empty where there is none.
            names: which token has which role, as the files beside it say (`roles.names_in`).

        Raises:
            ModelError: when nothing in it closes a text.
        """
        self.library = library
        """The library's tokenizer, with strings of control tokens taken as text."""
        self.library.encode_special_tokens = True
        self.library.no_padding()
        self.library.no_truncation()
        if getattr(self.library.model, "dropout", None):
            self.library.model.dropout = None
        self.chat_template = chat_template
        self.roles = find_roles(library, names or {})
        """What its control tokens are for."""
        self.control_ids = frozenset(self.roles.special_ids.values())
        self.spelling = spelling_of(library, self.control_ids)
        """How ids spell text."""
        self._size = max(library.get_vocab(with_added_tokens=True).values()) + 1
        self._cut = may_be_cut(library)
        self._words = WordEncoder(library) if splits_like_gpt2(library) else None
        self._respelled = self._reachable_controls()

    @property
    def vocab_size(self) -> int:
        """Ids lie in [0, vocab_size). A model may know more: vocabularies are often rounded up."""
        return self._size

    @property
    def special_ids(self) -> Mapping[str, int]:
        """The ids of the control tokens by their strings."""
        return self.roles.special_ids

    @property
    def end_of_text_id(self) -> int:
        """The id that closes every document."""
        return self.roles.end_of_text_id

    @property
    def start_of_text_id(self) -> int:
        """The id before the first token of every document: end-of-text, unless the tokenizer has another."""
        return self.roles.start_of_text_id

    @property
    def start_ids(self) -> tuple[int, ...]:
        """What stands before one whole text ([CLS] in a BERT); often nothing."""
        return self.roles.start_ids

    @property
    def end_ids(self) -> tuple[int, ...]:
        """What stands after one whole text ([SEP] in a BERT, </s> in a T5); often nothing."""
        return self.roles.end_ids

    @property
    def pad_id(self) -> int:
        """The id that fills rows."""
        return self.roles.pad_id

    @property
    def mask_id(self) -> int | None:
        """The id of a hidden token, where there is one."""
        return self.roles.mask_id

    @property
    def unknown_id(self) -> int | None:
        """The id of what the vocabulary cannot spell, where there is one."""
        return self.roles.unknown_id

    @property
    def lossless(self) -> bool:
        """Whether any text comes back exactly. Where not, some may: `encode` and `decode` tell for each."""
        return self.spelling.lossless

    @property
    def template_names(self) -> dict[str, str]:
        """What chat templates call the tokens that open, close and fill."""
        roles = {"bos_token": self.start_of_text_id, "eos_token": self.end_of_text_id, "pad_token": self.pad_id}
        return {name: str(self.library.id_to_token(number)) for name, number in roles.items()}

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end an answer: control tokens, but not the one for unknown text."""
        return self.control_ids - {self.unknown_id}

    def pieces(self, text: str) -> list[str]:
        """`text` in pieces whose ids, joined, are its ids: itself where this tokenizer cannot be fed in pieces."""
        return pieces_of(text) if self._cut else [text]

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without anything added.

        Raises:
            ModelError: when `text` holds half of a surrogate pair, which is not Unicode text.
        """
        return [number for ids in self.encode_pieces(self.pieces(text)) for number in ids]

    def encode_whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts as an encoder reads them: what opens one (end-of-text where the tokenizer has nothing for it), its ids, and
        end-of-text."""
        start = self.start_ids or (self.end_of_text_id,)
        return [[*start, *ids, self.end_of_text_id] for ids in self.encode_batch(list(texts))]

    def encode_prompt(self, text: str) -> list[int]:
        """The ids of a text that a model shall go on with, after what every document opens with."""
        return [self.start_of_text_id, *self.encode(text)]

    def encode_example(self, text: str) -> list[int]:
        """The ids of one whole text with what stands before and after it, as Transformers gives them."""
        return [*self.start_ids, *self.encode(text), *self.end_ids]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text. The result does not depend on the library's threads."""
        pieces = [self.pieces(text) for text in texts]
        encoded = iter(self.encode_pieces([piece for of_text in pieces for piece in of_text]))
        return [[number for _ in of_text for number in next(encoded)] for of_text in pieces]

    def encode_pieces(self, pieces: Sequence[str]) -> list[list[int]]:
        """The ids of each piece (see `pieces`), all at once: a few megabytes are a good amount.

        Raises:
            ModelError: as `encode`.
        """
        found = [self._words.encode(piece) if self._words else None for piece in pieces]
        others = [piece for piece, ids in zip(pieces, found, strict=True) if ids is None]
        try:
            encoded = iter(self.library.encode_batch_fast(others, add_special_tokens=False) if others else ())
        except (UnicodeEncodeError, TypeError) as error:
            raise _not_unicode(others) from error
        result = [next(encoded).ids if ids is None else ids for ids in found]
        return [self._as_text(ids) for ids in result] if self._respelled else result

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`. Control tokens have no text; bytes that are not UTF-8 become U+FFFD.

        Raises:
            ModelError: for an id outside the vocabulary.
        """
        if self.spelling.kind == "bytes":
            return b"".join(self.token_bytes(token) for token in ids).decode("utf-8", "replace")
        shown = [self._checked(token) for token in ids if token not in self.control_ids]
        return str(self.library.decode(shown, skip_special_tokens=False))

    def token_bytes(self, token: int) -> bytes:
        """The bytes that one id stands for after another token; none for a control token. May be a part of a character.

        Raises:
            ModelError: for an id outside the vocabulary, or where only the library knows what tokens spell together.
        """
        if self.spelling.table is None:
            raise ModelError(
                "the tokenizer's decoder does not say what a token spells by itself",
                expected="a byte-level, SentencePiece-like or WordPiece decoder",
            )
        return self.spelling.table[self._checked(token)]

    def comes_back(self, text: str, ids: Iterable[int]) -> bool:
        """Whether `ids`, which are those of `text`, spell exactly it: only then does the probability of the ids say how
        probable the text is. Never where tokens are words: white space is not in them."""
        if self.lossless:
            return True
        table = self.spelling.table
        if table is None or self.spelling.kind == "words":
            return False
        spelled = b"".join(table[token] for token in ids)
        return (spelled.removeprefix(b" ") if self.spelling.drops_space else spelled) == text.encode("utf-8")

    def _reachable_controls(self) -> dict[int, list[int]]:
        """Control tokens that the library finds in plain text, as a Unigram model does, by the ids of their characters."""
        found = {}
        for token, number in self.special_ids.items():
            if number != self.unknown_id and number in self.library.encode(token, add_special_tokens=False).ids:
                spelled = (self.library.token_to_id(character) for character in token)
                ids = [self.unknown_id if one is None else one for one in spelled]
                found[number] = [one for one in ids if one is not None]
        return found

    def _as_text(self, ids: list[int]) -> list[int]:
        if self._respelled.keys().isdisjoint(ids):
            return ids
        return [one for number in ids for one in self._respelled.get(number, (number,))]

    def _checked(self, token: int) -> int:
        if not 0 <= token < self._size:
            raise ModelError(f"the id {token} is not in the tokenizer", expected=f"an id below {self._size}")
        return token


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a folder of the Hugging Face layout, or in a tokenizer.json with what lies beside it.

    Raises:
        ModelError: when a file is missing or damaged, or nothing in the tokenizer closes a text.
    """
    path = path if path.suffix == ".json" and not path.is_dir() else path / FILE
    names = names_in(path.parent)
    try:
        library = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError("there is no tokenizer", where=str(path), expected="the folder of a trained tokenizer") from None
    except Exception as error:  # the library raises bare exceptions for whatever it cannot read
        raise ModelError(
            f"the tokenizer cannot be read: {error}",
            where=str(path),
            expected=f"a {FILE} as the `tokenizers` library writes it",
            fix="take the file from its origin again, or train the tokenizer again",
        ) from error
    return Tokenizer(library, _template_in(path.parent), names)


def vocabulary_size(folder: Path) -> int:
    """The number of ids of the tokenizer in `folder`, without loading it into the library."""
    content = read_json(folder / FILE)
    vocabulary: Any = content["model"]["vocab"]
    ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    return int(max((*ids, *(token["id"] for token in content.get("added_tokens", ())))) + 1)


def _template_in(folder: Path) -> str:
    template = folder / "chat_template.jinja"
    if template.exists():
        return template.read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    written = read_json(config).get("chat_template") if config.is_file() else None
    return written if isinstance(written, str) else ""


def _not_unicode(texts: Sequence[str]) -> ModelError:
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            return ModelError(
                f"a text is not Unicode: {error.reason} (U+{ord(text[error.start]):04X})",
                where=f"character {error.start:,} of {text[max(0, error.start - 20) : error.start + 20]!r}",
                expected="text without halves of surrogate pairs",
                fix="repair the text (the `unicode` cleaner does) or replace that character",
            )
    return ModelError("a text cannot be encoded", expected="text")
