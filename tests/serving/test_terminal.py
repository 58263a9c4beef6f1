import pytest

from lmpipe.serving.bundle import load_bundle
from lmpipe.serving.terminal import chat
from lmpipe.serving.visible import visible
from lmpipe.tokens.chat import CHAT_TEMPLATE


class Screen:
    """A user who types the given lines; Ctrl-C where a line is KeyboardInterrupt, and in an answer after `patience` pieces."""

    def __init__(self, lines, patience=None):
        self.lines, self.patience = list(lines), patience
        self.texts = []

    def read(self, prompt):
        if not self.lines:
            raise EOFError
        line = self.lines.pop(0)
        if line is KeyboardInterrupt:
            raise KeyboardInterrupt
        self.texts.append(f"\n{prompt}{line}\n")
        return line

    def write(self, text):
        self.texts.append(text)
        if self.patience is not None and not text.startswith(("\n", " [stopped]")):
            self.patience -= 1
            if self.patience == 0:
                raise KeyboardInterrupt

    @property
    def shown(self):
        return "".join(self.texts)


def talk(bundle, *lines, patience=None, **settings):
    screen = Screen(lines, patience)
    chat(bundle, read=screen.read, write=screen.write, **{"temperature": 0.8, "max_tokens": 20, "seed": 3, **settings})
    return screen


def test_a_base_model_goes_on_with_each_line(bundle):
    shown = talk(bundle, "def main(", "class A").shown
    assert visible(bundle.generate("def main(", max_tokens=20, seed=3)) in shown
    assert visible(bundle.generate("class A", max_tokens=20, seed=4)) in shown
    assert "NO-GO" in shown
    assert "base model" in shown


def test_equal_input_gives_an_equal_conversation(bundle):
    assert talk(bundle, "a", "b").shown == talk(bundle, "a", "b").shown


@pytest.mark.parametrize("leave", ["/quit", KeyboardInterrupt])
def test_leaving(bundle, leave):
    screen = talk(bundle, leave, "never read")
    assert screen.lines == ["never read"]


def test_commands_are_no_prompts(bundle):
    shown = talk(bundle, "/help", "/reset", "/what", "", "   ").shown
    assert "/quit" in shown
    assert "unknown command /what" in shown


def test_settings_are_changed_and_shown(bundle):
    shown = talk(bundle, "/temperature 0", "/max-tokens 7", "/top-p", "def", "/seed 9", "/temperature 0.8", "def").shown
    assert "temperature: 0.0" in shown
    assert "top-p: 1.0" in shown
    assert visible(bundle.generate("def", temperature=0, max_tokens=7)) in shown
    assert visible(bundle.generate("def", temperature=0.8, max_tokens=7, seed=9)) in shown


@pytest.mark.parametrize(
    "command", ["/temperature 3", "/temperature nan", "/top-p 0", "/top-k 1.5", "/max-tokens many", "/seed -1"]
)
def test_a_setting_out_of_range_says_its_range_and_changes_nothing(bundle, command):
    shown = talk(bundle, command, "def").shown
    assert f"{command.split()[0]} takes" in shown
    assert visible(bundle.generate("def", max_tokens=20, seed=3)) in shown


def test_a_random_seed_is_another_each_time(bundle):
    assert "seed: random" in talk(bundle, "/seed random").shown
    assert talk(bundle, "/seed random", "def").shown != talk(bundle, "/seed random", "def").shown


def test_ctrl_c_stops_the_answer_and_not_the_program(bundle):
    screen = talk(bundle, "def", "/help", max_tokens=10**9, patience=5)
    assert "[stopped]" in screen.shown
    assert "/reset" in screen.shown


def test_a_tuned_model_sees_the_conversation(make_tiny_bundle, tmp_path):
    bundle = load_bundle(make_tiny_bundle(tmp_path / "chat", chat_template=CHAT_TEMPLATE, context=512))
    first = bundle.chat([{"role": "user", "content": "a"}], max_tokens=20, seed=3)
    history = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "b"},
    ]
    second = visible(bundle.chat(history, max_tokens=20, seed=4))
    assert second in talk(bundle, "a", "b").shown
    assert second not in talk(bundle, "a", "/reset", "b").shown


def test_an_error_is_shown_and_the_talk_goes_on(bundle):
    shown = talk(bundle, "\ud800", "/help").shown
    assert "not Unicode" in shown
    assert "/quit" in shown


def test_a_model_cannot_write_to_the_terminal_but_text():
    assert "\x1b" not in visible("\x1b]0;title\x07\x9b2J\x7f\r")
    assert visible("naïve 東京\t\n") == "naïve 東京\t\n"
