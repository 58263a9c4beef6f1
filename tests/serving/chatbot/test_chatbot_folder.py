import os
import subprocess
import sys
from datetime import date

import pytest

from lmpipe.base.bundle import write_manifest
from lmpipe.base.errors import DamagedError, ModelError
from lmpipe.base.files import write_json
from lmpipe.serving.chatbot.folder import load_chatbot, open_chatbot, save_chatbot
from lmpipe.serving.chatbot.state import State
from lmpipe.serving.chatbot.stories import run_stories
from lmpipe.serving.chatbot.terminal import chat_with_bot
from lmpipe.serving.chatbot.thresholds import OperatingPoint
from lmpipe.serving.chatbot.writing import BundleWriter
from lmpipe.tokens.chat import CHAT_TEMPLATE

POINT = OperatingPoint(threshold=0.45, in_scope_accuracy=1.0, accepted=1.0, recall=0.5, precision=1.0)


def save(example, folder):
    bot = example.make_bot()
    save_chatbot(folder, bot.config, example.trained(), bot.index, POINT)
    return folder


@pytest.fixture
def bundle(example, tmp_path):
    save(example, tmp_path / "bundle" / "chatbot")
    write_json(tmp_path / "bundle" / "record.json", {"name": "trattoria"})
    write_manifest(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_saved_and_loaded_it_goes_through_its_stories_and_equal_bots_are_equal_bytes(example, tmp_path):
    for name in "ab":
        save(example, tmp_path / name)
    files = [
        sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*") if path.is_file()) for name in "ab"
    ]
    assert files[0] == files[1]
    assert all((tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() for path in files[0])
    bot = load_chatbot(tmp_path / "a")
    assert all(result.passed for result in run_stories(bot, bot.config.stories))


def test_a_bad_folder_is_one_message(example, tmp_path):
    with pytest.raises(ModelError, match="there is no chatbot"):
        load_chatbot(tmp_path)
    header = save(example, tmp_path / "bot") / "chatbot.json"
    whole = header.read_text()
    header.write_text(whole.replace('"greeting": "hello"', '"greeting": "nothing"'))
    with pytest.raises(DamagedError, match="1 problems"):
        load_chatbot(tmp_path / "bot")
    header.write_text(whole.replace('"format_version": 1', '"format_version": 9', 1))
    with pytest.raises(ModelError, match="format 9"):
        load_chatbot(tmp_path / "bot")


def test_a_changed_file_is_found_before_anything_is_loaded(bundle):
    path = bundle / "chatbot" / "snippets" / "snippets.json"
    path.write_text(path.read_text().replace("12:00", "11:00"))
    with pytest.raises(DamagedError, match=r"snippets\.json"):
        open_chatbot(bundle, {}, threads=1)


class Screen:
    def __init__(self, *lines):
        self.lines, self.texts = list(lines), []

    def read(self, prompt):
        if not self.lines:
            raise EOFError
        line = self.lines.pop(0)
        if line is KeyboardInterrupt:
            raise line
        return line

    def write(self, text):
        self.texts.append(text)


def shown(bundle, *lines):
    name, bot = open_chatbot(bundle, {}, threads=1)
    screen = Screen(*lines)
    chat_with_bot(bot, name, read=screen.read, write=screen.write)
    return "".join(screen.texts)


def test_talking_in_a_terminal(bundle):
    text = shown(
        bundle,
        "/why",
        "when are you open",
        "/why",
        "book a table in Rome",
        "/slots",
        "/reset",
        "/slots",
        "/what",
        "//x",
        "/help",
    )
    for part in (
        "trattoria: a chatbot for 7 intents; answers are quoted",
        "Hello.\n",
        "nothing was said yet",
        "We are open from 12:00 to 23:00, closed on Mondays.\n[hours] Opening hours, faq.md\n",
        "rules.3: the intent is 'question'",
        "intents: question 0.",
        "snippet hours: words 0.",
        "branch = rome   (turn 2, entity branch)",
        "nothing yet",
        "unknown command /what",
        "I did not understand that.",
    ):
        assert part in text


def test_what_has_to_be_done_is_shown(bundle):
    text = shown(bundle, "cancel my booking", "ab1234", "a person please", "hello", KeyboardInterrupt)
    assert "AB1234 is cancelled.\n[form completed: cancellation: code=AB1234]" in text
    assert "[handed over]\nWhy: rules.4" in text
    assert "[a person has taken over; /reset begins again]" in text


def test_lmpipe_chat_talks_to_it_without_torch(bundle, tmp_path):
    script = "import sys\nfrom lmpipe.cli.main import main\ntry:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", script, "chat", str(bundle)],
        input="do you have parking\nbook a table\n/slots\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Guests park free of charge behind the house." in done.stdout
    assert "Rome or Milan?" in done.stdout


def test_a_model_tuned_to_chat_writes_the_answers(example, make_tiny_bundle, tmp_path):
    folder = make_tiny_bundle(tmp_path / "bundle", chat_template=CHAT_TEMPLATE, context=512)
    save(example, folder / "chatbot")
    write_manifest(folder)
    _, bot = open_chatbot(folder, {"max_tokens": 12, "temperature": 0.0}, threads=1)
    assert isinstance(bot.writer, BundleWriter)
    assert bot.config.generation.max_tokens == 12
    reply, state = bot.reply(State(), "hello", today=date(2026, 3, 2))
    expected = bot.writer.bundle.chat(
        [{"role": "system", "content": bot.config.generation.small_talk}, {"role": "user", "content": "hello"}],
        max_tokens=12,
        temperature=0,
    )
    assert reply.text == expected != ""
    assert bot.reply(State(), "hello", today=date(2026, 3, 2)) == (reply, state)


def test_a_base_model_does_not_write_answers(example, make_tiny_bundle, tmp_path):
    folder = make_tiny_bundle(tmp_path / "bundle")
    save(example, folder / "chatbot")
    write_manifest(folder)
    assert open_chatbot(folder, {}, threads=1)[1].writer is None
