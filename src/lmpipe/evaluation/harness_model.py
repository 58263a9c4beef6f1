"""A decoder of ours as a model of lm-evaluation-harness (`lm_eval.api.model.LM`); import it where the extra [eval] is there.

The conventions are those of the harness's own backend for Transformers (`lm_eval/models/huggingface.py`): no token before the
text, the tokenizer's start of text before an empty context, contexts cut on the left, greedy answers that end before the first
stop string. So its scores of the exported model and ours are the same numbers; the work is ours (`continuations.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from lmpipe.base.errors import ModelError
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.evaluation.continuations import Continuation, score_continuations
from lmpipe.models.drawing import Drawing
from lmpipe.models.generate import TextGenerator
from lmpipe.models.network import Decoder
from lmpipe.tokens.streaming import StreamDecoder
from lmpipe.tokens.tokenizer import Tokenizer

ANSWER_TOKENS = 256
"""Of an answer at most, where the task says nothing: the harness's number."""


class HarnessModel(TemplateLM):  # type: ignore[misc]  # the harness has no types
    """A decoder and its tokenizer, as the harness asks them.

    Example:
        `lm_eval.simple_evaluate(model=HarnessModel(model, tokenizer, progress=Silent()), tasks=["arc_easy"])`
    """

    def __init__(self, model: Decoder, tokenizer: Tokenizer, *, progress: Progress) -> None:
        super().__init__()
        self.model = model
        self.own_tokenizer = tokenizer
        self.progress = progress
        self.generator = TextGenerator(model, start_id=tokenizer.start_of_text_id, known_ids=tokenizer.vocab_size)

    @property
    def eot_token_id(self) -> int:
        """Closes a text."""
        return self.own_tokenizer.end_of_text_id

    @property
    def prefix_token_id(self) -> int:
        """Stands for an empty context."""
        return self.own_tokenizer.start_of_text_id

    @property
    def max_length(self) -> int:
        """Tokens that a prediction can see."""
        return self.model.context_length

    @property
    def tokenizer_name(self) -> str:
        """Keys the harness's caches, which are not used."""
        return "lmpipe"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Ids of a text, without any before or after it."""
        return self.own_tokenizer.encode(string)

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        asked = [Continuation(tuple(context), tuple(ids)) for _, context, ids in requests]
        return [
            (answer.log_probability, answer.greedy) for answer in score_continuations(self.model, asked, progress=self.progress)
        ]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """Log probability of whole texts, in windows that do not overlap."""
        windows = [
            (number, make_disjoint_window(window))
            for number, request in enumerate(requests)
            for window in get_rolling_token_windows(
                self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length, context_len=1
            )
        ]
        totals = [0.0] * len(requests)
        answers = self._loglikelihood_tokens([(None, *window) for _, window in windows])
        for (number, _), (log_probability, _) in zip(windows, answers, strict=True):
            totals[number] += log_probability
        return totals

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each prompt, up to a stop string; many side by side."""
        times: Counter[str] = Counter()
        drawings, written = [], []
        for request in requests:
            prompt, asked = request.args
            settings = dict(normalize_gen_kwargs(asked, ANSWER_TOKENS))
            text = _Written(self.own_tokenizer, settings.get("until"))
            drawings.append(self._drawing(prompt, settings, text, derive_seed(0, "answer", prompt, times[prompt])))
            written.append(text)
            times[prompt] += 1
        for done, _ in enumerate(self.generator.generate_all(drawings), start=1):
            self.progress.update(done, len(requests), "answers")
        return [text.finish() for text in written]

    def _drawing(self, prompt: str, asked: dict[str, Any], text: _Written, seed: int) -> Drawing:
        length = int(asked["max_gen_toks"])
        if length >= self.max_length:
            raise ModelError(
                f"a task asks for answers of {length} tokens, and the context has {self.max_length}",
                expected="room for a prompt",
                fix="lower max_gen_toks in the task's generation_kwargs",
            )
        return Drawing(
            prompt_ids=self.tok_encode(prompt)[-(self.max_length - length) :],
            max_new_tokens=length,
            temperature=float(asked.get("temperature", 0.0)) if asked.get("do_sample") else 0.0,
            top_k=int(asked.get("top_k", 0)),
            top_p=float(asked.get("top_p", 1.0)),
            seed=seed,
            stop_ids=(self.eot_token_id,),
            goes_on=text.push,
        )


class _Written:
    """An answer as it grows, up to a stop string."""

    def __init__(self, tokenizer: Tokenizer, until: str | Sequence[str] | None) -> None:
        self._stream, self._text = StreamDecoder(tokenizer), ""
        self._stops = [stop for stop in ([until] if isinstance(until, str) else until or ()) if stop]

    def push(self, token: int) -> bool:
        """Whether it goes on after this token."""
        self._text += self._stream.push(token)
        return not any(stop in self._text for stop in self._stops)

    def finish(self) -> str:
        """All before the first stop string."""
        text = self._text + self._stream.finish()
        for stop in self._stops:
            text = text.split(stop)[0]
        return text
