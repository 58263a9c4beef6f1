"""Text to ids and back. Promises: lossless on any Unicode text, the same ids as Transformers gives for the same folder, and no
control id from the text of a user, whatever that text spells.

The folder is the Hugging Face layout (`tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja`). Encoding is the
`tokenizers` library's; decoding is a table from ids to bytes, so that a stream can be decoded token by token. Knows byte-level
vocabularies only; knows nothing of models.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from lmpipe.base.errors import ModelError
from lmpipe.base.files import read_json
from lmpipe.tokens.special import END_OF_TEXT, PAD, SPECIAL_TOKENS
from lmpipe.tokens.words import WordEncoder, splits_like_gpt2

PIECE_CHARACTERS = 1 << 18
"""A longer text is encoded in pieces of about this size: the library needs some 200 bytes of memory per byte of one text."""

_BORDER = re.compile(r"(?<=[!-~\w]) ")
"""Where a text may be cut without changing its ids: no alternative of the GPT-2 splitting pattern runs from a character that is
no white space into a space. (`[!-~]` and word characters are never white space in any library's opinion.)"""


class Tokenizer:
    """A trained byte-level tokenizer.

    Example:
        `tokenizer.decode(tokenizer.encode("naïve <|endoftext|>")) == "naïve <|endoftext|>"`, and `tokenizer.end_of_text_id` is
        not among those ids.
    """

    def __init__(self, library: tokenizers.Tokenizer, chat_template: str = "") -> None:
        self.library = library
        """The library's tokenizer, with strings of control tokens taken as text."""
        self.library.encode_special_tokens = True
        self.chat_template = chat_template
        self.special_ids = _special_ids(library)
        """The ids of the control tokens by their strings."""
        self._bytes = _bytes_of_ids(library, set(self.special_ids.values()))
        self._words = WordEncoder(library) if splits_like_gpt2(library) else None

    @property
    def vocab_size(self) -> int:
        """Ids lie in [0, vocab_size)."""
        return len(self._bytes)

    @property
    def end_of_text_id(self) -> int:
        """The id that closes every document, and opens it as the token before the first."""
        return self.special_ids[END_OF_TEXT]

    @property
    def pad_id(self) -> int:
        """The id that fills rows."""
        return self.special_ids[PAD]

    start_ids: tuple[int, ...] = ()
    unknown_id: int | None = None

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without anything added.

        Raises:
            ModelError: when `text` holds half of a surrogate pair, which is not Unicode text.
        """
        return [number for ids in self.encode_pieces(pieces_of(text)) for number in ids]

    def encode_prompt(self, text: str) -> list[int]:
        """The ids of a text that a model shall go on with: every document opens with end-of-text, so a prompt does."""
        return [self.end_of_text_id, *self.encode(text)]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text. The result does not depend on the library's threads."""
        pieces = [pieces_of(text) for text in texts]
        encoded = iter(self.encode_pieces([piece for of_text in pieces for piece in of_text]))
        return [[number for _ in of_text for number in next(encoded)] for of_text in pieces]

    def encode_pieces(self, pieces: Sequence[str]) -> list[list[int]]:
        """The ids of each piece (see `pieces_of`), all at once: a few megabytes are a good amount.

        Raises:
            ModelError: as `encode`.
        """
        found = [self._words.encode(piece) if self._words else None for piece in pieces]
        others = [piece for piece, ids in zip(pieces, found, strict=True) if ids is None]
        try:
            encoded = iter(self.library.encode_batch_fast(others, add_special_tokens=False) if others else ())
        except (UnicodeEncodeError, TypeError) as error:
            raise _not_unicode(others) from error
        return [next(encoded).ids if ids is None else ids for ids in found]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`. Control tokens have no text; bytes that are not UTF-8 become U+FFFD.

        Raises:
            ModelError: for an id outside the vocabulary.
        """
        return b"".join(self.token_bytes(token) for token in ids).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """The bytes that one id stands for; none for a control token. A token may hold a part of a character.

        Raises:
            ModelError: for an id outside the vocabulary.
        """
        if not 0 <= token < len(self._bytes):
            raise ModelError(f"the id {token} is not in the tokenizer", expected=f"an id below {len(self._bytes)}")
        return self._bytes[token]


class StreamDecoder:
    """Decodes a stream of ids, holding back the bytes of a character until it is whole.

    >>> stream = StreamDecoder(tokenizer)                                                          # doctest: +SKIP
    >>> [stream.push(token) for token in tokenizer.encode("é")] + [stream.finish()]                # doctest: +SKIP
    ['', 'é', '']
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that is complete with this id; often empty in the middle of a character."""
        return self._decoder.decode(self.tokenizer.token_bytes(token))

    def finish(self) -> str:
        """What is left: U+FFFD for a character that never became whole."""
        return self._decoder.decode(b"", final=True)


def pieces_of(text: str, limit: int = PIECE_CHARACTERS) -> list[str]:
    """`text` cut into pieces of about `limit` characters whose ids, joined, are the ids of `text`.

    A stretch of more than twice `limit` characters without a space is cut anyway: there the ids may differ from those that the
    library would give for the whole (it is still lossless), and memory stays bounded.

    >>> pieces_of("one two three", limit=5)
    ['one two', ' three']
    """
    if len(text) <= limit:
        return [text]
    pieces = []
    start = 0
    while len(text) - start > limit:
        border = _BORDER.search(text, start + limit, min(start + 2 * limit, len(text)))
        stop = border.start() if border else start + 2 * limit
        pieces.append(text[start:stop])
        start = stop
    if start < len(text):
        pieces.append(text[start:])
    return pieces


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in a folder of the Hugging Face layout.

    Raises:
        ModelError: when a file is missing or damaged, when control tokens are missing, or when it is not byte-level.
    """
    path = folder / "tokenizer.json"
    try:
        library = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError("there is no tokenizer", where=str(path), expected="the folder of a trained tokenizer") from None
    except Exception as error:  # the library raises bare exceptions for whatever it cannot read
        raise ModelError(
            f"the tokenizer cannot be read: {error}",
            where=str(path),
            expected="a tokenizer.json as the `tokenizers` library writes it",
            fix="take the file from its origin again, or train the tokenizer again",
        ) from error
    template = folder / "chat_template.jinja"
    return Tokenizer(library, template.read_text(encoding="utf-8") if template.exists() else "")


def vocabulary_size(folder: Path) -> int:
    """The number of ids of the tokenizer in `folder`, without loading it into the library."""
    vocabulary: dict[str, Any] = read_json(folder / "tokenizer.json")["model"]["vocab"]
    return len(vocabulary)


def byte_alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in a byte-level vocabulary (Radford et al. 2019, GPT-2).

    Bytes that print keep their character; the others take the characters from U+0100 on, in order.

    >>> byte_alphabet()["a"], byte_alphabet()["Ġ"]
    (97, 32)
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    alphabet = {chr(byte): byte for byte in printable}
    alphabet |= {chr(256 + position): byte for position, byte in enumerate(others)}
    return alphabet


def _special_ids(library: tokenizers.Tokenizer) -> dict[str, int]:
    found = {token: library.token_to_id(token) for token in SPECIAL_TOKENS}
    missing = [token for token, number in found.items() if number is None]
    if missing:
        raise ModelError(f"the tokenizer lacks {', '.join(missing)}", expected="a tokenizer that lmpipe trained")
    return {token: number for token, number in found.items() if number is not None}


def _bytes_of_ids(library: tokenizers.Tokenizer, special: set[int]) -> list[bytes]:
    alphabet = byte_alphabet()
    table = [b""] * library.get_vocab_size(with_added_tokens=True)
    for token, number in library.get_vocab(with_added_tokens=True).items():
        if number in special:
            continue
        try:
            table[number] = bytes(alphabet[character] for character in token)
        except KeyError as error:
            raise ModelError(
                f"the token {token!r} holds {error}, which stands for no byte", expected="a byte-level vocabulary"
            ) from error
    return table


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
