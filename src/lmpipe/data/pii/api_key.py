"""Keys and tokens that carry the prefix of who issued them, private keys, and JSON web tokens."""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Iterator

PATTERNS = {
    "AKIA": r"AKIA[A-Z0-9]{16}",  # Amazon Web Services, long-lived
    "ASIA": r"ASIA[A-Z0-9]{16}",  # Amazon Web Services, temporary
    "AIza": r"AIza[A-Za-z0-9_-]{35}",  # Google
    "ghp_": r"ghp_[A-Za-z0-9]{36,255}",  # GitHub: personal, OAuth, user, server, refresh, fine-grained
    "gho_": r"gho_[A-Za-z0-9]{36,255}",
    "ghu_": r"ghu_[A-Za-z0-9]{36,255}",
    "ghs_": r"ghs_[A-Za-z0-9]{36,255}",
    "ghr_": r"ghr_[A-Za-z0-9]{36,255}",
    "github_pat_": r"github_pat_[A-Za-z0-9_]{22,255}",
    "glpat-": r"glpat-[A-Za-z0-9_-]{20,64}",  # GitLab
    "xox": r"xox[abeoprs]-[A-Za-z0-9-]{10,250}",  # Slack
    "sk_live_": r"sk_live_[A-Za-z0-9]{16,250}",  # Stripe
    "rk_live_": r"rk_live_[A-Za-z0-9]{16,250}",
    "sk-": r"sk-[A-Za-z0-9_-]{20,250}",  # OpenAI and others
    "ya29.": r"ya29\.[A-Za-z0-9_-]{20,400}",  # Google, OAuth access token
    "GOCSPX-": r"GOCSPX-[A-Za-z0-9_-]{28}",  # Google, OAuth client secret
    "dop_v1_": r"dop_v1_[a-f0-9]{64}",  # DigitalOcean
    "shp": r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",  # Shopify
    "dapi": r"dapi[a-f0-9]{32}",  # Databricks
    "sq0": r"sq0(?:atp|csp)-[A-Za-z0-9_-]{22,43}",  # Square
    "hf_": r"hf_[A-Za-z0-9]{30,64}",  # Hugging Face
    "npm_": r"npm_[A-Za-z0-9]{36}",
    "pypi-": r"pypi-[A-Za-z0-9_-]{50,250}",
    "SG.": r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}",  # SendGrid
    "eyJ": r"eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,1000}",  # JSON web token (RFC 7519)
}
COMPILED = {prefix: re.compile(pattern) for prefix, pattern in PATTERNS.items()}
LEAST_ENTROPY = 3.0
"""Bits per character of what follows the prefix. Random keys of 16 characters and more have above 3.2; fillers have less."""
PRIVATE_KEY_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
PRIVATE_KEY_END = re.compile(r"-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
PRIVATE_KEY_CHARACTERS = 20_000
"""A private key is not longer; one without an end is masked as far as its lines look like base64."""
BASE64_LINES = re.compile(r"(?:\\n|\s|[A-Za-z0-9+/=:,-])*")
LEAST_KEY_CHARACTERS = 64
"""Fewer characters between the lines are an example or a format string, not a key."""


def find_api_keys(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every key."""
    for prefix, pattern in COMPILED.items():
        if prefix in text:
            yield from (match.span() for match in pattern.finditer(text) if _is_key(text, match, prefix))
    if "PRIVATE KEY" in text:
        yield from _private_keys(text)


def _is_key(text: str, match: re.Match[str], prefix: str) -> bool:
    before, after = text[max(0, match.start() - 1) : match.start()], text[match.end() : match.end() + 1]
    if before.isalnum() or before in ("_", "-") or after.isalnum():
        return False
    if prefix == "eyJ":
        return _is_web_token(match[0])
    rest = match[0][len(prefix) :]
    if prefix == "sk-" and not (re.search(r"\d", rest) and re.search("[A-Z]", rest) and re.search("[a-z]", rest)):
        return False  # class names of style sheets begin like this, too
    return entropy(rest) >= LEAST_ENTROPY


def entropy(text: str) -> float:
    """Shannon entropy of the characters, in bits per character."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)


def _is_web_token(token: str) -> bool:
    """Whether the first part decodes to a JSON object that names an algorithm."""
    head = token.partition(".")[0]
    try:
        value = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except ValueError:
        return False
    return isinstance(value, dict) and "alg" in value


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    for begin in PRIVATE_KEY_BEGIN.finditer(text):
        limit = begin.end() + PRIVATE_KEY_CHARACTERS
        body = BASE64_LINES.match(text, begin.end(), limit)
        end = PRIVATE_KEY_END.search(text, begin.end(), limit)
        stop = end.end() if end else body.end() if body else begin.end()
        if stop - begin.end() >= LEAST_KEY_CHARACTERS:
            yield begin.start(), stop
