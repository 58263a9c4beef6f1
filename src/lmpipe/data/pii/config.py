"""What a user may ask for about personal data and secrets. Neither numpy nor pyarrow is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lmpipe.base.config import Config

Entity = Literal["email", "ip", "phone", "credit_card", "iban", "api_key"]


class PiiConfig(Config):
    """Personal data and secrets that follow a pattern."""

    entities: tuple[Entity, ...] = Field(default=("email", "ip", "phone", "credit_card", "iban", "api_key"), min_length=1)
    """What is looked for. Card numbers must pass the Luhn check, IBANs the mod-97 check, keys must carry a known prefix."""
    action: Literal["mask", "drop", "tag"] = "mask"
    """`mask` puts `<EMAIL>` and the like in its place, `drop` takes the document out, `tag` only counts it in the metadata."""
    public_ips_only: bool = True
    """Leave alone addresses that name no machine on the internet: loopback, private, unspecified, documentation ranges."""
