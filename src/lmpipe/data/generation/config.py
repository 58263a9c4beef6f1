"""Who writes generated text, and how it is asked: an OpenAI-compatible endpoint, or a bundle of ours. Data only.

A key is named by its environment variable and never written down: recipes, records and messages hold no secret.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from lmpipe.base.config import Config


class SamplingConfig(Config):
    """How an answer is drawn."""

    max_tokens: int = Field(default=512, ge=1)
    """Most tokens of one answer; one that ends there is cut off, counted and, unless the recipe says so, not used."""
    temperature: float = Field(default=0.7, ge=0, le=2)
    """0: always the most probable token."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Only among the most probable tokens that together have this probability."""


class PriceConfig(Config):
    """What the endpoint's tokens cost, as its operator says."""

    input_per_million: float = Field(ge=0)
    """For a million tokens of prompts."""
    output_per_million: float = Field(ge=0)
    """For a million tokens of answers."""
    currency: str = Field(default="USD", min_length=1, max_length=8)
    """Only for display."""


class EndpointConfig(Config):
    """An OpenAI-compatible server: `POST base_url/chat/completions`."""

    kind: Literal["endpoint"] = "endpoint"
    base_url: str
    """Such as `https://api.openai.com/v1` or `http://127.0.0.1:8000/v1`. It alone is contacted, private or not; redirects are
    not followed."""
    model: str = Field(min_length=1)
    """The model's name there."""
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of the environment variable with the key; without it, none is sent."""
    send_seed: bool = True
    """Send a seed with each question. Servers that know it draw the same answer again; switch it off where it is refused."""
    concurrency: int = Field(default=4, ge=1, le=256)
    """Questions under way at a time."""
    timeout_seconds: float = Field(default=120.0, gt=0)
    """For one answer."""
    retries: int = Field(default=5, ge=0, le=20)
    """Further attempts after no answer, 429 or 5xx. Then the stage stops; what was answered stays, the same command goes on."""
    backoff_seconds: float = Field(default=1.0, gt=0)
    """Before the first further attempt; doubled each time up to a minute, or as long as the server says."""
    price: PriceConfig | None = None
    """For the account of what was spent."""

    @field_validator("base_url")
    @classmethod
    def _url_is_plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an http or https URL such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("a URL without credentials, `?` and `#`; a key is named in `api_key_env`")
        return url.rstrip("/")


class BundleConfig(Config):
    """A bundle that this pipeline made, run in the stage's own process. Equal bundles give equal answers."""

    kind: Literal["bundle"] = "bundle"
    path: str = Field(min_length=1)
    """Its folder, from the recipe's folder or the working folder."""


GeneratorConfig = Annotated[EndpointConfig | BundleConfig, Field(discriminator="kind")]
