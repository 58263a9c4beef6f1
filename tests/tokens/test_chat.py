import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.errors import ModelError, ServingError
from lmpipe.tokens.chat import CHAT_TEMPLATE, PLAIN_TEMPLATE, render, render_text
from lmpipe.tokens.special import SPECIAL_TOKENS
from lmpipe.tokens.tokenizer import load_tokenizer

DIALOG = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Why?"},
]


@pytest.fixture
def chatty(tokenizer_folder):
    tokenizer = load_tokenizer(tokenizer_folder)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def test_the_chat_template_puts_messages_between_control_tokens(chatty):
    assert render_text(DIALOG, CHAT_TEMPLATE) == (
        "<|endoftext|><|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>Hello.<|end|><|user|>Why?<|end|><|assistant|>"
    )
    s = chatty.special_ids
    expected = [s["<|endoftext|>"], s["<|user|>"], *chatty.encode("Hi"), s["<|end|>"], s["<|assistant|>"]]
    assert render(DIALOG[1:2], chatty) == expected


def test_without_a_generation_prompt_the_answer_is_not_opened(chatty):
    assert render(DIALOG[1:2], chatty, add_generation_prompt=False)[-1] == chatty.special_ids["<|end|>"]


def test_a_base_model_goes_on_with_plain_text(tokenizer):
    assert tokenizer.chat_template == PLAIN_TEMPLATE
    assert render(DIALOG, tokenizer) == tokenizer.encode_prompt("Be brief.\n\nHiHello.\n\nWhy?")
    assert render([{"role": "user", "content": "def f("}], tokenizer) == tokenizer.encode_prompt("def f(")


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from([*SPECIAL_TOKENS, "{{ 1 }}", "{% if %}", "\ue0000\ue001", "\ue0001\ue001", "a"]), max_size=4))
@pytest.mark.parametrize("template", [CHAT_TEMPLATE, PLAIN_TEMPLATE])
def test_what_a_message_says_never_becomes_control(tokenizer_folder, template, words):
    tokenizer = load_tokenizer(tokenizer_folder)
    tokenizer.chat_template = template
    hostile = "".join(words)

    def controls(content):
        special = set(tokenizer.special_ids.values())
        return [i for i in render([{"role": "user", "content": content}, DIALOG[2]], tokenizer) if i in special]

    assert controls(hostile) == controls("harmless")
    assert hostile in tokenizer.decode(render([{"role": "user", "content": hostile}], tokenizer))


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([], "empty"),
        ([{"role": "robot", "content": "x"}], "unknown role 'robot'"),
        ([{"content": "x"}], "unknown role None"),
        ([{"role": "user", "content": None}], "not text"),
        ([{"role": "user"}], "not text"),
        ([DIALOG[1], DIALOG[0]], "system message in the middle"),
    ],
)
def test_what_is_no_conversation_is_refused(tokenizer, messages, complaint):
    with pytest.raises(ServingError, match=complaint):
        render(messages, tokenizer)


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{% for %}",
        "{{ messages[0].content.__class__.__mro__ }}",  # the sandbox
        "{{ raise_exception('no') }}",
        "{{ messages.append(1) }}",
    ],
)
def test_a_bad_template_is_one_clear_error(tokenizer_folder, template):
    tokenizer = load_tokenizer(tokenizer_folder)
    tokenizer.chat_template = template
    with pytest.raises(ModelError, match="chat template"):
        render(DIALOG, tokenizer)
