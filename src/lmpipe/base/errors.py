"""The one error tree. Every message says what happened, what was expected, how to fix it, and where.

    LmpipeError                 exit code 1: a stage failed
    ├── RecipeError        (2)  the recipe or the command line is wrong
    ├── MissingExtraError  (2)  an optional part is not installed; names the extra
    ├── SourceError        (1)  input text cannot be read, is empty, or too much of it failed
    ├── StoreError         (1)  the store cannot be written, is full, or holds damaged bytes
    │   └── DamagedError   (1)  bytes differ from the digest recorded for them
    ├── TrainingError      (1)  training cannot start or go on (non-finite loss, too little data, ...)
    ├── ModelError         (1)  weights, tokenizer or model configuration do not fit together
    ├── EndpointError      (1)  a server that was asked for text does not answer as it should
    ├── ServingError       (1)  the server or the chat cannot start or answer
    └── StageError         (1)  a stage's process died (killed, out of memory) or failed unexpectedly

A user never sees a traceback for one of these; anything else that escapes is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

from typing import ClassVar


class LmpipeError(Exception):
    """Base of all errors with a message meant for the user.

    >>> print(SourceError("no file matches 'books/*.txt'", expected="at least one file", fix="check the path"))
    no file matches 'books/*.txt'
      expected: at least one file
      fix: check the path
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", expected: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  {label}: {text}" for label, text in self._details() if text]
        return "\n".join(lines)

    def _details(self) -> tuple[tuple[str, str], ...]:
        return (("where", self.where), ("expected", self.expected), ("fix", self.fix))

    def to_json(self) -> dict[str, str]:
        """The parts as plain data: what `--json` prints, and how a stage's process hands its error to the runner."""
        return {"error": type(self).__name__, "what": self.what, **{k: v for k, v in self._details() if v}}


class RecipeError(LmpipeError):
    """The recipe or the command line is wrong."""

    exit_code = 2


class MissingExtraError(LmpipeError):
    """An optional part is not installed."""

    exit_code = 2


class SourceError(LmpipeError):
    """Input text cannot be read, is empty, or too much of it failed."""


class StoreError(LmpipeError):
    """The store cannot be read or written."""


class DamagedError(StoreError):
    """Bytes differ from the digest that was recorded for them."""


class TrainingError(LmpipeError):
    """Training cannot start or cannot go on."""


class ModelError(LmpipeError):
    """Weights, tokenizer or model configuration do not fit together."""


class EndpointError(LmpipeError):
    """A server that was asked for text does not answer as it should."""


class ServingError(LmpipeError):
    """The server or the chat cannot start or answer."""


class StageError(LmpipeError):
    """A stage's process died or failed in a way that no other error describes."""


def error_from_json(payload: dict[str, str]) -> LmpipeError:
    """The inverse of `LmpipeError.to_json`; an unknown name becomes a `StageError`."""
    tree = {cls.__name__: cls for cls in _subclasses(LmpipeError)}
    cls = tree.get(payload.get("error", ""), StageError)
    details = {k: payload.get(k, "") for k in ("where", "expected", "fix")}
    return cls(payload.get("what", "unknown error"), **details)


def _subclasses(cls: type[LmpipeError]) -> list[type[LmpipeError]]:
    return [cls, *(deep for sub in cls.__subclasses__() for deep in _subclasses(sub))]
