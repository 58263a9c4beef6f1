"""The kinds of tokenizers that are trained here, each as the library's own parts.

    bpe, unigram, byte   over bytes (GPT-2's alphabet): any text comes back
    character            over characters; one that was rare in training is spelled by its bytes
    word, wordpiece      over words; what the vocabulary lacks is `<unk>`

All have our six control tokens at the ids 0 to 5, `<unk>` at 6 where there is one, and sentinels as the last ids. Words are
split by GPT-2's pattern: on the standard library's sources it gave 1% fewer tokens than Llama 3's at 4096 entries (3.42 and
3.39 bytes per token) and encoded 1.4 times as fast, and every converter knows it by name. WordPiece splits as BERT does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from lmpipe.tokens.config import (
    BpeConfig,
    ByteConfig,
    CharacterConfig,
    MadeTokenizerConfig,
    UnigramConfig,
    WordConfig,
    WordPieceConfig,
)
from lmpipe.tokens.pieces import GPT2_PATTERN
from lmpipe.tokens.special import BYTES, SPECIAL_TOKENS, UNKNOWN, sentinel
from lmpipe.tokens.spelling import byte_alphabet
from lmpipe.tokens.unigram import learn_pieces
from lmpipe.tokens.words import settled_words


def make_library(texts: Iterable[str], config: MadeTokenizerConfig) -> tokenizers.Tokenizer:
    """A tokenizer of the library, trained on `texts` as `config` says; texts are read once, twice (`wordpiece`) or not
    at all (`byte`)."""
    library = MAKERS[config.kind](texts, config)
    library.add_special_tokens([sentinel(number) for number in reversed(range(config.sentinels))])
    return library


def _bpe(texts: Iterable[str], config: BpeConfig) -> tokenizers.Tokenizer:
    library = _over_bytes(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=config.learned_size,
        min_frequency=config.min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(byte_alphabet()),  # every byte has an id, seen or not: no text is unknown
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer=trainer)
    return library


def _unigram(texts: Iterable[str], config: UnigramConfig) -> tokenizers.Tokenizer:
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    plain: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for text in texts:
        words = settled_words(text)
        if words is None:
            counts.update(word for word, _ in splitter.pre_tokenize_str(text))
        else:
            plain.update(words)
    alphabet = {byte: character for character, byte in byte_alphabet().items()}
    for word, count in plain.items():
        counts["".join(alphabet[byte] for byte in word.encode("utf-8"))] += count
    pieces = learn_pieces(
        counts, sorted(alphabet.values()), size=config.learned_size - len(SPECIAL_TOKENS), longest=config.max_piece_length
    )
    vocabulary = [*((token, 0.0) for token in SPECIAL_TOKENS), *pieces]
    return _with_controls(_over_bytes(models.Unigram(vocab=vocabulary, unk_id=None, byte_fallback=False)))


def _byte(texts: Iterable[str], config: ByteConfig) -> tokenizers.Tokenizer:
    vocabulary = {token: number for number, token in enumerate((*SPECIAL_TOKENS, *sorted(byte_alphabet())))}
    return _with_controls(_over_bytes(models.BPE(vocab=vocabulary, merges=[])))


def _character(texts: Iterable[str], config: CharacterConfig) -> tokenizers.Tokenizer:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    frequent = sorted(counts, key=lambda character: (-counts[character], character))
    spelled = [f"<0x{byte:02X}>" for byte in range(BYTES)]
    tokens = (*SPECIAL_TOKENS, *spelled, *frequent)[: config.learned_size]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    library = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    library.pre_tokenizer = _words()
    library.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return _with_controls(library)


def _word(texts: Iterable[str], config: WordConfig) -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(models.WordLevel(vocab={UNKNOWN: 0}, unk_token=UNKNOWN))
    library.pre_tokenizer = _words()
    library.decoder = decoders.Fuse()
    trainer = trainers.WordLevelTrainer(
        vocab_size=config.learned_size,
        min_frequency=config.min_frequency,
        special_tokens=[*SPECIAL_TOKENS, UNKNOWN],
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer=trainer)
    return library


def _wordpiece(texts: Iterable[str], config: WordPieceConfig) -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(models.WordPiece(vocab={UNKNOWN: 0}, unk_token=UNKNOWN))
    library.normalizer = normalizers.BertNormalizer(lowercase=config.lowercase)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece(cleanup=False)
    controls = [*SPECIAL_TOKENS, UNKNOWN]
    # Trainers number the characters within words in the order of a hash table, and merges of equal frequency follow numbers.
    # So the characters come from a training without merges, and are given in their order to the one that counts.
    library.train_from_iterator(texts, trainer=_wordpiece_trainer(config, controls, vocab_size=0))
    characters = sorted(library.get_vocab().keys() - set(controls))
    library.train_from_iterator(texts, trainer=_wordpiece_trainer(config, [*controls, *characters], config.learned_size))
    content = json.loads(library.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] in controls]
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def _wordpiece_trainer(config: WordPieceConfig, first: Sequence[str], vocab_size: int) -> trainers.WordPieceTrainer:
    return trainers.WordPieceTrainer(
        vocab_size=vocab_size, min_frequency=config.min_frequency, special_tokens=list(first), show_progress=False
    )


MAKERS: dict[str, Callable[[Iterable[str], Any], tokenizers.Tokenizer]] = {
    "bpe": _bpe,
    "unigram": _unigram,
    "byte": _byte,
    "character": _character,
    "word": _word,
    "wordpiece": _wordpiece,
}


def _over_bytes(model: models.Model) -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    library.decoder = decoders.ByteLevel()
    return library


def _words() -> pre_tokenizers.PreTokenizer:
    """Words with the space before them, nothing taken away."""
    return pre_tokenizers.Split(tokenizers.Regex(GPT2_PATTERN), behavior="isolated")


def _with_controls(library: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Trainers do this by themselves."""
    library.add_special_tokens(list(SPECIAL_TOKENS))
    return library
