"""Addresses of crypto wallets, proved by checksums: Bitcoin in base58 (BIP 13) and bech32 (BIP 173, 350); Ethereum by form.

Ethereum's own checksum (EIP-55) needs a hash that Python has not, so forty hexadecimal digits behind `0x` must do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
BECH32_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
BECH32_CONSTANTS = (1, 0x2BC830A3)
"""Of bech32 and bech32m."""
LEGACY = re.compile(r"[13][1-9A-HJ-NP-Za-km-z]{25,34}(?!\w)", re.ASCII)
SEGWIT = re.compile(r"bc1[02-9ac-hj-np-z]{11,71}(?!\w)", re.ASCII)
ETHEREUM = re.compile(r"0x[0-9a-fA-F]{40}(?!\w)", re.ASCII)


def find_crypto_wallets(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every address."""
    yield from (match.span() for match in LEGACY.finditer(text) if _begins(text, match) and is_base58_address(match[0]))
    if "bc1" in text:
        yield from (match.span() for match in SEGWIT.finditer(text) if _begins(text, match) and is_bech32_address(match[0]))
    if "0x" in text:
        yield from (match.span() for match in ETHEREUM.finditer(text) if _begins(text, match) and len(set(match[0][2:])) > 4)


def is_base58_address(address: str) -> bool:
    """Whether the last four bytes are the beginning of the others' double sha256.

    >>> is_base58_address("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"), is_base58_address("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb")
    (True, False)
    """
    number = 0
    for character in address:
        number = number * 58 + BASE58.index(character)
    if number >> 200:
        return False
    payload = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(payload[:21]).digest()).digest()[:4] == payload[21:]


def is_bech32_address(address: str) -> bool:
    """Whether the polynomial modulo the generator is the constant of bech32 or bech32m.

    >>> is_bech32_address("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")
    True
    """
    prefix, _, data = address.partition("1")
    values = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + [BECH32.index(c) for c in data]
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(BECH32_GENERATOR):
            check ^= generator if top >> bit & 1 else 0
    return check in BECH32_CONSTANTS


def _begins(text: str, match: re.Match[str]) -> bool:
    return not text[max(0, match.start() - 1) : match.start()].isalnum()
