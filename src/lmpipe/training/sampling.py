"""What a model writes after some prompts while it is trained. No random state but its own is touched."""

from __future__ import annotations

from lmpipe.base.randomness import derive_seed
from lmpipe.models.drawing import Drawing
from lmpipe.models.generate import TextGenerator
from lmpipe.models.network import Decoder
from lmpipe.tokens.chat import CHAT_TEMPLATE, render
from lmpipe.tokens.special import END
from lmpipe.tokens.tokenizer import Tokenizer
from lmpipe.training.samples_config import SamplesConfig


class Sampling:
    """Prompts, ready to be gone on with."""

    def __init__(self, config: SamplesConfig, tokenizer: Tokenizer, *, chats: bool, seed: int) -> None:
        """Store the arguments.

        Args:
            config: prompts, and how text is drawn.
            tokenizer: of the model.
            chats: whether prompts are questions, answered in a conversation's form.
            seed: each prompt has a seed of its own, the same at all times.
        """
        self.config, self.tokenizer, self.seed = config, tokenizer, seed
        self._prompts = [self._ids(prompt, chats) for prompt in config.prompts]
        self._stops = [tokenizer.end_of_text_id, *([tokenizer.special_ids[END]] if chats else [])]

    def _ids(self, prompt: str, chats: bool) -> list[int]:
        if chats:
            return render([{"role": "user", "content": prompt}], self.tokenizer, chat_template=CHAT_TEMPLATE)
        return self.tokenizer.encode_prompt(prompt)

    def draw(self, network: Decoder) -> list[str]:
        """What `network` writes after each prompt, dropout off."""
        was_training = network.training
        generator = TextGenerator(network.eval(), known_ids=self.tokenizer.vocab_size)
        asked = [
            Drawing(
                prompt_ids=prompt,
                max_new_tokens=self.config.new_tokens,
                temperature=self.config.temperature,
                seed=derive_seed(self.seed, "sample", number),
                stop_ids=self._stops,
            )
            for number, prompt in enumerate(self._prompts)
        ]
        drawn = dict(generator.generate_all(asked))
        network.train(was_training)
        return [
            self.tokenizer.decode([token for token in drawn[number] if token not in self._stops])
            for number in range(len(asked))
        ]
