"""Pseudonyms: equal values get equal names, and without the key nobody can tell whose they are or even test a guess.

A pseudonym is the beginning of HMAC-SHA256 (RFC 2104) over kind and value: 32 bits, so of 10,000 values of one kind two share a
name with a chance of 1%. Spelling that means nothing (case and white space of names and addresses, separators of
numbers) does not count.

The key comes from an environment variable or a file. It enters no record, log or identity; what does is a keyed digest of
it, so that another key is another result. Whoever has key and text can undo the pseudonyms by trying: keep the key apart or
destroy it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmpipe.base.errors import RecipeError
from lmpipe.data.pii.config import Entity, PiiConfig

KEY_NAME = "pseudonym-key"
ENVIRONMENT = "env:"
LEAST_KEY_BYTES = 16
"""A shorter key can be guessed."""
DIGITS = 8
WORDS = ("email", "url", "url_credentials", "api_key", "crypto_wallet", "ip", "person", "address", "date", "date_of_birth")
"""Kinds whose punctuation counts; of all others, letters and digits alone do."""


@dataclass(frozen=True, repr=False)
class Pseudonyms:
    """Gives names, under one key."""

    key: bytes

    def name(self, kind: Entity, value: str) -> str:
        """The name of a value.

        >>> Pseudonyms(b"0123456789abcdef").name("email", "Me@example.org")
        '<EMAIL_f5616983>'
        """
        message = f"{kind}\x00{canonical(kind, value)}".encode()
        digest = hmac.new(self.key, message, hashlib.sha256).hexdigest()
        return f"<{kind.upper()}_{digest[:DIGITS]}>"


def canonical(kind: Entity, value: str) -> str:
    """What of a value counts when it is compared.

    >>> canonical("credit_card", "4111 1111-1111 1111"), canonical("person", "Ada  LOVELACE")
    ('4111111111111111', 'ada lovelace')
    """
    return " ".join(value.casefold().split()) if kind in WORDS else re.sub(r"\W|_", "", value.casefold())


@dataclass(frozen=True, repr=False)
class KeySource:
    """Where a key lies, and what identifies it."""

    name: str
    location: str
    """`env:NAME` or an absolute path."""
    digest: str


def key_source(config: PiiConfig, base_folders: Sequence[Path]) -> KeySource | None:
    """The key that a recipe names; None where it makes no pseudonyms.

    Raises:
        RecipeError: when there is none, or a short one.
    """
    if config.key_env is not None:
        location = f"{ENVIRONMENT}{config.key_env}"
    elif config.key_file is not None:
        paths = [folder / config.key_file for folder in base_folders]
        location = str(next((path for path in paths if path.is_file()), paths[0]).absolute())
    else:
        return None
    return KeySource(KEY_NAME, location, key_digest(load_key(location)))


def same_key(location: str, digest: str) -> bytes:
    """The key that was planned with.

    Raises:
        RecipeError: when another lies there now.
    """
    key = load_key(location)
    if key_digest(key) != digest:
        raise RecipeError("the key changed after the run was planned", where=location, fix="run again")
    return key


def load_key(location: str) -> bytes:
    """The key at `env:NAME` or in a file (white space around it does not count).

    Raises:
        RecipeError: when there is none, or a short one. The message holds no part of it.
    """
    if location.startswith(ENVIRONMENT):
        key = os.environ.get(location.removeprefix(ENVIRONMENT), "").encode()
        what = f"the environment variable {location.removeprefix(ENVIRONMENT)}"
    else:
        key = Path(location).read_bytes() if Path(location).is_file() else b""
        what = f"the file {location}"
    key = key.strip()
    if len(key) < LEAST_KEY_BYTES:
        raise RecipeError(
            f"{what} holds no key" if not key else f"{what} holds a key of {len(key)} bytes, which can be guessed",
            where="pii.key_env or pii.key_file",
            expected=f"a secret of at least {LEAST_KEY_BYTES} bytes",
            fix="make one with `python -c 'import secrets; print(secrets.token_hex(32))'` and keep it apart from the results",
        )
    return key


def key_digest(key: bytes) -> str:
    """What tells keys apart in identities: an HMAC under the key itself, from which the key cannot be computed."""
    return hmac.new(key, b"lmpipe pseudonym key", hashlib.sha256).hexdigest()
