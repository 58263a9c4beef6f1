"""What a user may ask for about personal data and secrets. Neither numpy nor pyarrow is imported here."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from lmpipe.base.config import Config

Entity = Literal[
    "email", "phone", "credit_card", "iban", "crypto_wallet",
    "ip", "mac", "url", "url_credentials", "api_key",
    "date_of_birth", "date", "driver_licence",
    "us_ssn", "gb_nhs", "gb_nino", "de_tax_id", "fr_nir", "es_dni", "es_nie", "it_fiscal_code", "nl_bsn", "br_cpf", "pl_pesel",
    "se_personnummer", "in_aadhaar", "person", "address",
]  # fmt: skip
NameKind = Literal["person", "address"]
"""Kinds that follow no pattern: whoever finds them is named under `names`."""
NOT_BY_DEFAULT = ("url", "date", *get_args(NameKind))
"""Found in most texts and personal in few, or not to be found by patterns."""
LABELS: dict[str, NameKind] = {
    "PERSON": "person",
    "PER": "person",
    "NAME": "person",
    "STREET_ADDRESS": "address",
    "ADDRESS": "address",
}
"""What the usual annotation schemes call them."""


class TaggerConfig(Config):
    """A tagger trained in the pipeline from texts with marks; its held-out figures stand in the data card."""

    kind: Literal["tagger"] = "tagger"
    train_on: tuple[str, ...] = Field(min_length=1)
    """JSON lines `{"text": ..., "spans": [{"start": 0, "end": 3, "label": "PERSON"}]}`: files, globs or URLs as in `read`."""
    labels: dict[str, NameKind] = Field(default=LABELS, min_length=1)
    """Which label of the marks stands for which kind; other labels count as other text."""
    epochs: int = Field(default=8, ge=1, le=100)
    """Rounds over the marked texts."""
    heldout: float = Field(default=0.1, gt=0, lt=0.9)
    """Share of the marked texts that is measured on and not trained on."""


DEFAULT_ENTITIES: tuple[Entity, ...] = tuple(entity for entity in get_args(Entity) if entity not in NOT_BY_DEFAULT)


class PresidioConfig(Config):
    """Microsoft Presidio over a spaCy model: for who has a good one. Needs the extra [presidio]; nothing is downloaded."""

    kind: Literal["presidio"] = "presidio"
    model: str = Field(min_length=1)
    """Folder of a spaCy model with named entities, in the recipe's folder or the working folder where the path is relative."""
    language: str = Field(default="en", min_length=2)
    """Of the model, as spaCy calls it."""
    min_score: float = Field(default=0.5, ge=0, le=1)
    """Less certain names stay in the text."""
    labels: dict[str, NameKind] = Field(default={"PERSON": "person", "LOCATION": "address"}, min_length=1)
    """Which of Presidio's entities stands for which kind. Its LOCATION are places of all sorts, countries too."""


NamesConfig = Annotated[TaggerConfig | PresidioConfig, Field(discriminator="kind")]


class MaskConfig(Config):
    """What is looked for and what is done about it: all that the result depends on, beside the text and a key."""

    entities: tuple[Entity, ...] = Field(default=DEFAULT_ENTITIES, min_length=1)
    """What is looked for. What has a check digit (cards, IBANs, wallets, most national ids) must pass it; keys must carry a
    known prefix; what has neither needs a telling form or a word beside it. `url` and `date` are all web addresses and all
    dates, looked for only where asked; `url_credentials` and `date_of_birth` are the personal ones of them."""
    action: Literal["mask", "pseudonym", "drop", "tag"] = "mask"
    """`mask` puts `<EMAIL>` and the like in its place, `pseudonym` puts `<EMAIL_4f2a09c1>`, the same for the same value
    wherever it stands, `drop` takes the document out, `tag` only counts it in the metadata."""
    public_ips_only: bool = True
    """Leave alone addresses that name no machine on the internet: loopback, private, unspecified, documentation ranges."""

    def name_kinds(self) -> tuple[NameKind, ...]:
        """Those of the entities that follow no pattern, in a fixed order."""
        return tuple(kind for kind in get_args(NameKind) if kind in self.entities)


class PiiConfig(MaskConfig):
    """Personal data and secrets in the text and in the metadata."""

    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """For `pseudonym`: the environment variable that holds the key, 16 bytes or more. The key has no place in a recipe."""
    key_file: str | None = Field(default=None, min_length=1)
    """For `pseudonym`: the file that holds the key, in the recipe's folder or the working folder where the path is relative."""

    names: NamesConfig | None = None
    """Who finds `person` and `address`, which follow no pattern."""

    @model_validator(mode="after")
    def _names_have_a_finder(self) -> Self:
        if self.name_kinds() and self.names is None:
            raise ValueError(f"entities has '{self.name_kinds()[0]}', which no pattern finds; expected `names`, who finds it")
        if self.names is not None and not self.name_kinds():
            raise ValueError("names is dead: entities has neither 'person' nor 'address'")
        return self

    @model_validator(mode="after")
    def _pseudonyms_have_one_key(self) -> Self:
        keys = [name for name in ("key_env", "key_file") if getattr(self, name) is not None]
        if self.action == "pseudonym" and len(keys) != 1:
            raise ValueError("action 'pseudonym' needs a key; expected one of key_env and key_file")
        if self.action != "pseudonym" and keys:
            raise ValueError(f"{keys[0]} is dead: action '{self.action}' uses no key; remove it, or use action 'pseudonym'")
        return self

    def masking(self) -> MaskConfig:
        """What the stage is identified by: where the key lies is no part of it."""
        return MaskConfig(entities=self.entities, action=self.action, public_ips_only=self.public_ips_only)
