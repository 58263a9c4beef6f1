"""Ids to text as they come, without ever showing half a character or taking back what was shown."""

from __future__ import annotations

import codecs

from lmpipe.tokens.tokenizer import Tokenizer


class StreamDecoder:
    """Decodes a stream of ids, holding back the bytes of a character until it is whole.

    Where tokens are words, one looks different at the beginning of a text and after another, so each is decoded together with
    the one before it.

    >>> stream = StreamDecoder(tokenizer)                                                          # doctest: +SKIP
    >>> [stream.push(token) for token in tokenizer.encode("é")] + [stream.finish()]                # doctest: +SKIP
    ['', 'é', '']
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._last: list[int] = []
        """The id before, once there is one."""

    def push(self, token: int) -> str:
        """The text that is complete with this id; often empty in the middle of a character."""
        tokenizer = self.tokenizer
        if token in tokenizer.control_ids:
            return ""
        last, self._last = self._last, [token]
        if tokenizer.spelling.kind in ("bytes", "pieces"):
            spelled = tokenizer.token_bytes(token)
            if not last and tokenizer.spelling.drops_space:
                spelled = spelled.removeprefix(b" ")
            return self._decoder.decode(spelled)
        return tokenizer.decode([*last, token])[len(tokenizer.decode(last)) :]

    def finish(self) -> str:
        """What is left: U+FFFD for a character that never became whole."""
        return self._decoder.decode(b"", final=True)
