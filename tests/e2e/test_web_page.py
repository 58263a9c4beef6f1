"""The server's page in a real Chromium: it completes, chats, tells errors, runs nothing a model writes."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmpipe.serving.bundle import load_bundle

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SERVING = Path(__file__).parents[1] / "serving"
PAYLOAD = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>&lt;b&gt;"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location("tiny_bundle", SERVING / "tiny_bundle.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Path = module.make_tiny_bundle(tmp_path_factory.mktemp("page") / "bundle", context=256)
    return made


class Served:
    """A server in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, str(SERVING / "serve_driver.py"), str(folder), "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        found = re.search(r"http://\S+", self.process.stdout.readline())
        assert found
        self.url = found.group()

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    served = Served(folder)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Tab:
    """A page that notes what its console says and whom it asks."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.console: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.page.get_by_role("heading", name="tiny").wait_for()

    def send(self, text: str) -> None:
        self.page.get_by_role("textbox", name=re.compile("Beginning|Next words|Message")).fill(text)
        self.page.keyboard.press("Control+Enter")

    def idle(self) -> None:
        self.page.locator("#send:enabled").wait_for()

    def answered(self) -> str:
        self.page.locator(".foot").last.wait_for()
        self.idle()
        return str(self.page.locator(".text").last.text_content())

    def answer_with(self, text: str) -> None:
        """Let the server's next answers be `text`."""
        chunk = {"choices": [{"index": 0, "text": text, "delta": {"content": text}, "finish_reason": "stop"}]}
        body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
        self.page.route("**/v1/**", lambda route: route.fulfill(content_type="text/event-stream", body=body))


@pytest.fixture
def tab(browser: Any, served: Served) -> Iterator[Tab]:
    tab = Tab(browser, served.url, reduced_motion="reduce")
    yield tab
    tab.context.close()
    assert all(url.startswith((served.url, "data:")) for url in tab.requests), tab.requests


def test_completes_what_the_bundle_completes(tab: Tab, folder: Path) -> None:
    tab.page.get_by_label("Seed").fill("3")
    tab.page.get_by_label("Max tokens").fill("40")
    tab.send("def main(")
    expected = load_bundle(folder).generate("def main(", max_tokens=40, seed=3, temperature=0.8)
    assert tab.answered() == "def main(" + expected
    assert "40 tokens" in tab.page.locator(".foot").text_content()
    assert tab.console == []


def test_goes_on_with_the_whole_text_and_the_words_in_between(tab: Tab, folder: Path) -> None:
    bundle = load_bundle(folder)
    tab.page.get_by_label("Seed").fill("3")
    tab.page.get_by_label("Max tokens").fill("9")
    text = ""
    for words in ("def main(", "", " and "):
        tab.send(words)
        text += words
        text += bundle.generate(text, max_tokens=9, seed=3, temperature=0.8)
        assert tab.answered() == text
    assert tab.page.locator("#prompt").input_value() == ""
    tab.page.get_by_role("button", name="Edit").click()
    assert tab.page.locator("#prompt").input_value() == text
    assert tab.page.locator(".empty").is_visible()


def test_what_is_typed_meanwhile_is_kept(tab: Tab) -> None:
    tab.page.get_by_label("Max tokens").fill("16384")
    tab.send("def")
    tab.page.locator(".fresh:not(:empty)").wait_for()
    tab.page.locator("#prompt").fill("next")
    tab.page.keyboard.press("Escape")
    tab.idle()
    assert tab.page.locator("#prompt").input_value() == "next"


def test_the_end_of_a_long_answer_is_in_view(tab: Tab) -> None:
    tab.answer_with("line\n" * 300)
    for mode in ("Complete", "Chat"):
        tab.page.get_by_role("radio", name=mode).check()
        tab.send("def")
        tab.page.locator(".turn").first.wait_for()
        tab.idle()
        below = tab.page.locator("#log").evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight")
        assert below < 2


def test_says_which_model_its_verdict_and_that_it_may_be_wrong(tab: Tab) -> None:
    assert tab.page.get_by_text("Gate: NO-GO").is_visible()
    assert tab.page.get_by_text("A small base model trained by lmpipe. It may say wrong").is_visible()
    assert tab.page.get_by_role("radio", name="Complete").is_checked()


def test_chats_with_the_whole_conversation(tab: Tab) -> None:
    tab.page.get_by_role("radio", name="Chat").check()
    tab.page.get_by_label("Max tokens").fill("5")
    tab.send("first")
    first = tab.answered()
    with tab.page.expect_request("**/v1/chat/completions") as asked:
        tab.send("second")
    tab.answered()
    said = [(message["role"], message["content"]) for message in asked.value.post_data_json["messages"]]
    assert said == [("user", "first"), ("assistant", first), ("user", "second")]
    assert tab.page.locator(".turn").count() == 4
    assert tab.console == []


def test_what_user_and_model_write_is_never_markup(tab: Tab) -> None:
    tab.answer_with(PAYLOAD)
    for mode in ("Complete", "Chat"):
        tab.page.get_by_role("radio", name=mode).check()
        tab.send(PAYLOAD)
        tab.page.locator(".turn").first.wait_for()
        tab.idle()
        assert PAYLOAD in tab.page.locator("#log").text_content()
        assert tab.page.locator("#log img, #log script, #log b").count() == 0
    assert tab.page.title() == "tiny · lmpipe"
    assert tab.console == []


def test_the_policy_stops_code_that_the_page_did_not_bring(tab: Tab) -> None:
    tab.page.locator("#log").evaluate(
        "e => { const s = document.createElement('script'); s.text = 'document.title = 1'; e.append(s); }"
    )
    assert tab.page.title() == "tiny · lmpipe"
    assert any("Content Security Policy" in line for line in tab.console)


def test_works_by_keyboard_alone(tab: Tab) -> None:
    keyboard = tab.page.keyboard
    tab.page.get_by_label("Max tokens").fill("16384")
    focus = tab.page.locator(":focus")
    tab.page.locator("#prompt").focus()
    keyboard.type("def ")
    keyboard.press("Tab")
    assert focus.text_content() == "Continue"
    keyboard.press("Enter")
    tab.page.locator("#stop").wait_for()
    assert focus.text_content() == "Stop"
    tab.page.locator(".fresh:not(:empty)").wait_for()
    keyboard.press("Enter")
    tab.page.get_by_text("Stopped", exact=True).first.wait_for()
    tab.idle()
    assert focus.get_attribute("id") == "prompt"
    assert len(tab.page.locator(".text").text_content()) > len("def ")
    keyboard.press("Control+Enter")
    tab.page.locator("#stop").wait_for()
    keyboard.press("Escape")
    tab.idle()
    for _ in range(3):  # back over the output to Clear
        keyboard.press("Shift+Tab")
        if focus.text_content() == "Clear":
            break
    keyboard.press("Enter")
    assert tab.page.locator(".empty").is_visible()
    for _ in range(3):
        keyboard.press("Shift+Tab")
        if focus.get_attribute("name") == "mode":
            break
    keyboard.press("ArrowRight")
    assert tab.page.get_by_role("radio", name="Chat").is_checked()
    assert tab.console == []


def test_a_busy_server_is_said_and_the_text_kept(tab: Tab) -> None:
    tab.page.route("**/v1/**", lambda route: route.fulfill(status=429, headers={"retry-after": "2"}, body="{}"))
    tab.send("def main(")
    assert "busy" in tab.page.get_by_role("alert").text_content()
    assert "2 seconds" in tab.page.get_by_role("alert").text_content()
    tab.idle()
    assert tab.page.locator("#prompt").input_value() == "def main("
    tab.page.unroute("**/v1/**")
    tab.send("def main(")
    tab.answered()
    assert not tab.page.get_by_role("alert").is_visible()


def test_the_servers_own_words_are_shown(tab: Tab) -> None:
    tab.send("x" * 1_100_000)
    alert = tab.page.get_by_role("alert")
    alert.wait_for()
    assert "1,048,576 bytes" in alert.text_content()


def test_a_server_that_is_gone_is_said(browser: Any, folder: Path) -> None:
    served = Served(folder)
    tab = Tab(browser, served.url)
    served.stop()
    tab.send("def main(")
    alert = tab.page.get_by_role("alert")
    alert.wait_for()
    assert "cannot be reached" in alert.text_content()
    assert tab.page.locator("#prompt").input_value() == "def main("
    tab.context.close()


def test_settings_out_of_range_ask_nothing(tab: Tab) -> None:
    before = len(tab.requests)
    tab.page.get_by_label("Temperature").fill("9")
    tab.send("def")
    assert tab.page.locator("#temperature:invalid").count() == 1
    assert len(tab.requests) == before


CONTRASTS = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = colour => {
    const [r, g, b] = colour.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!own || element.disabled || !element.checkVisibility() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const [a, b] = [luminance(rgb(getComputedStyle(element).color)), luminance(behind(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.push(`${element.tagName}.${element.className} ${contrast.toFixed(2)}`);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_follows_the_systems_colours_and_the_toggle_and_stays_readable(browser: Any, served: Served, scheme: str) -> None:
    tab = Tab(browser, served.url, color_scheme=scheme, reduced_motion="reduce", bypass_csp=True)
    tab.page.get_by_label("Max tokens").fill("10")
    tab.send("def main(")
    tab.answered()
    root = tab.page.locator("html")
    other = {"light": "dark", "dark": "light"}[scheme]
    for expected in (scheme, other):
        assert root.get_attribute("data-theme") == expected
        assert tab.page.evaluate(CONTRASTS) == []
        tab.page.get_by_role("button", name=re.compile("Use .* colours")).click()
    tab.context.close()


def test_fits_a_narrow_screen(browser: Any, served: Served) -> None:
    tab = Tab(browser, served.url, viewport={"width": 320, "height": 640})
    tab.page.get_by_label("Max tokens").fill("60")
    tab.send("a" * 300)
    tab.answered()
    assert tab.page.locator("html").evaluate("e => e.scrollWidth") <= 320
    tab.context.close()


def test_everything_has_a_name(tab: Tab) -> None:
    for kind in ("input", "textarea", "button"):
        for control in tab.page.locator(kind).all():
            named = control.evaluate("e => (e.labels && e.labels.length) || e.ariaLabel || e.textContent.trim()")
            assert named, control.get_attribute("id")
    assert tab.page.locator("[aria-live=polite]").count() == 1
