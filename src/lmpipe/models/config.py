"""Every neural family's config, as one union by `kind`: what `model:` in a recipe may be. Knows no tensor library."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lmpipe.models.auto.config import AutoConfig
from lmpipe.models.bert.config import BertConfig
from lmpipe.models.gpt2.config import Gpt2Config
from lmpipe.models.llama.config import LlamaConfig
from lmpipe.models.lstm.config import LstmConfig
from lmpipe.models.mixtral.config import MixtralConfig
from lmpipe.models.modernbert.config import ModernBertConfig
from lmpipe.models.t5.config import T5Config

ModelConfig = Annotated[
    LlamaConfig | Gpt2Config | MixtralConfig | BertConfig | ModernBertConfig | T5Config | LstmConfig | AutoConfig,
    Field(discriminator="kind"),
]
