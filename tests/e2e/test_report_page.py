"""The report in a real Chromium: silent console, no request, readable in both themes and at any width, usable by keyboard."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lmpipe.report.page import render

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
LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, for text of any size
A4_WIDTH = 672  # CSS pixels between the margins of the print style sheet
EXAMPLES = Path(__file__).parents[1] / "report" / "report_example.py"

CONTRASTS = """() => {
  const parse = (text) => {
    const numbers = text.match(/[\\d.]+/g).map(Number);
    return { rgb: numbers.slice(0, 3), alpha: numbers.length > 3 ? numbers[3] : 1 };
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.alpha === 1) return colour.rgb;
      if (colour.alpha > 0) throw new Error("a translucent background: " + at.className);
    }
    return [255, 255, 255];
  };
  document.querySelectorAll("details").forEach((details) => (details.open = true));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    if (!element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const colour = parse(element.closest("svg") ? style.fill : style.color);
    if (colour.alpha !== 1 || style.opacity !== "1") throw new Error("translucent text: " + node.textContent);
    const [a, b] = [luminance(colour.rgb), luminance(behind(element))].sort((x, y) => y - x);
    const [ratio, size] = [(a + 0.05) / (b + 0.05), parseFloat(style.fontSize)];
    found.push({ text: node.textContent.trim().slice(0, 40), ratio, size });
  }
  return found;
}"""

UNNAMED = """() => {
  const name = (e) => (e.getAttribute("aria-label") || e.textContent || "").trim()
    || (e.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id)?.textContent).join("");
  const wanted = "a[href], button, summary, [tabindex='0'], [role=region], section, nav, article";
  return [...document.querySelectorAll(wanted)].filter((e) => !name(e)).map((e) => e.outerHTML.slice(0, 120));
}"""


def examples() -> ModuleType:
    if "report_example" not in sys.modules:
        spec = importlib.util.spec_from_file_location("report_example", EXAMPLES)
        assert spec is not None
        assert spec.loader is not None
        sys.modules["report_example"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["report_example"])
    return sys.modules["report_example"]


Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    for name in ("example", "failed", "bare"):
        (folder / f"{name}.html").write_text(render(getattr(examples(), name)()), encoding="utf-8")
    return folder


@contextmanager
def opened(browser: Any, page_file: Path, *, width: int = 1280, **options: Any) -> Iterator[Any]:
    """A page opened from disk; at the end its console was silent and it asked for nothing but itself."""
    context = browser.new_context(viewport={"width": width, "height": 800}, **options)
    page = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    yield page
    context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [page_file.as_uri()]


@pytest.mark.parametrize(
    ("name", "theme"), [("example", "light"), ("example", "dark"), ("failed", "light"), ("failed", "dark"), ("bare", "dark")]
)
def test_all_text_has_contrast_in_both_themes(browser: Any, folder: Path, name: str, theme: str) -> None:
    with opened(browser, folder / f"{name}.html", color_scheme=theme) as page:
        found = page.evaluate(CONTRASTS)
        assert len(found) > 30
        assert [text for text in found if text["ratio"] < LEAST_CONTRAST] == []
        assert min(text["size"] for text in found) >= 12
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
        assert dark == (theme == "dark")


@pytest.mark.parametrize(
    ("name", "width"), [("example", 320), ("example", 768), ("example", 913), ("example", 1248), ("failed", 390)]
)
def test_no_width_makes_the_page_scroll_sideways_or_shrinks_its_letters(
    browser: Any, folder: Path, name: str, width: int
) -> None:
    with opened(browser, folder / f"{name}.html", width=width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        tick = page.locator(".plot text.tick").first
        assert tick.bounding_box()["height"] >= 11
        outside = page.evaluate(
            """() => [...document.querySelectorAll("main *, header *")].filter((e) => {
              if (e.closest("pre.code") || e.closest("thead") || e.closest("details:not([open])")) return false;
              const box = e.getBoundingClientRect();
              return box.width && (box.right > innerWidth + 1 || box.left < -1);
            }).map((e) => e.outerHTML.slice(0, 100))"""
        )
        assert outside == []


def test_the_first_screen_holds_the_verdict_the_numbers_and_the_cost(browser: Any, folder: Path) -> None:
    with opened(browser, folder / "example.html") as page:
        for selector in ("h1", ".verdict", ".headlines", ".facts.spent", ".contents"):
            box = page.locator(selector).bounding_box()
            assert box["y"] + box["height"] <= 800, selector


def test_the_page_is_whole_without_scripts(browser: Any, folder: Path) -> None:
    with opened(browser, folder / "example.html") as page:
        page.evaluate(
            "document.querySelectorAll('.error-browser label').forEach((choice) => choice.remove())"
        )  # a script's own
        with_scripts = page.locator("main").inner_text().replace(" ↕", "")
    with opened(browser, folder / "example.html", java_script_enabled=False) as page:
        assert page.locator("h2:visible").count() == 12
        assert page.locator("svg.plot:visible").count() == 5
        page.locator("summary").last.click()
        assert page.locator("details[open] pre").first.is_visible()
        page.locator("summary").last.click()
        assert page.locator("main").inner_text() == with_scripts


def test_everything_that_takes_focus_or_is_a_landmark_has_a_name(browser: Any, folder: Path) -> None:
    with opened(browser, folder / "example.html") as page:
        assert page.evaluate(UNNAMED) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_tables_and_charts_keep_their_meaning_at_any_width(browser: Any, folder: Path, width: int) -> None:
    with opened(browser, folder / "example.html", width=width) as page:
        tables = page.locator("table:visible").count()
        nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        roles = [node["role"]["value"] for node in nodes if not node["ignored"] and "role" in node]
        assert roles.count("table") == tables
        assert roles.count("rowheader") > 50
        graphics = [n for n in nodes if not n["ignored"] and n["role"]["value"] in ("image", "img", "graphics-document")]
        assert [n["name"]["value"][:4] for n in graphics] == ["Conf", "Loss", "Lear", "Grad", "Spee", "Char"]


def test_the_keyboard_reaches_the_result_sorts_and_reads_a_curve(browser: Any, folder: Path) -> None:
    with opened(browser, folder / "example.html") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the result"
        assert page.locator(".skip").bounding_box()["x"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "result"

        header = page.get_by_role("button", name="Value")
        header.focus()
        page.keyboard.press("Enter")
        values = page.locator("#result table[data-sortable] tbody tr td:nth-child(2)").all_inner_texts()
        assert values[0] == "41.7%"
        assert values[-1] == "46.8\u00a0per token"
        page.keyboard.press("Enter")
        assert page.locator("#result table[data-sortable] tbody tr td:nth-child(2)").first.inner_text() == "46.8\u00a0per token"
        assert page.locator("[aria-sort=descending]").inner_text().startswith("Value")

        page.locator("svg.plot").first.focus()
        page.keyboard.press("Home")
        assert page.locator(".readout").first.inner_text().startswith("16.4 k tokens seen: training 9.")
        page.keyboard.press("End")
        assert page.locator(".readout").first.inner_text().startswith("10.2 M tokens seen: training 1.")


def test_errors_can_be_narrowed_to_one_class(browser: Any, folder: Path) -> None:
    with opened(browser, folder / "example.html") as page:
        errors = page.locator(".errors > li:visible")
        assert errors.count() == 2
        page.get_by_label("Only of class").select_option("so so")
        assert [text.split("\n")[0] for text in errors.all_inner_texts()] == ["well"]


def test_the_pointer_reads_a_curve_and_leaves_no_trace(browser: Any, folder: Path) -> None:
    with opened(browser, folder / "example.html") as page:
        plot = page.locator("svg.plot").first
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert "validation" in page.locator(".readout").first.inner_text()
        page.mouse.move(1, 1)
        assert page.locator(".readout").first.inner_text() == ""


def test_an_injected_script_does_not_run(browser: Any, folder: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto((folder / "example.html").as_uri())
    page.evaluate("""() => {
      const script = document.createElement("script");
      script.textContent = "window.reached = true";
      document.body.append(script);
    }""")
    assert page.evaluate("window.reached") is None
    context.close()


def test_text_of_others_is_inert(browser: Any, tmp_path: Path) -> None:
    attack = "</script></style><script>window.reached = 1</script><img src=x onerror='window.reached = 2'>"
    report = examples().example()
    sample = report.samples[0].model_copy(update={"prompt": attack, "continuation": attack})
    file = tmp_path / "attack.html"
    update = {"run_name": attack, "samples": [sample], "description": attack}
    file.write_text(render(report.model_copy(update=update)), encoding="utf-8")
    with opened(browser, file) as page:
        assert page.locator("h1").inner_text() == attack
        assert page.evaluate("window.reached") is None
        assert page.locator("img").count() == 0


def test_paper_is_light_unfolded_and_unclipped(browser: Any, folder: Path) -> None:
    with opened(browser, folder / "example.html", color_scheme="dark", width=A4_WIDTH) as page:
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not(.numbers):not([open])").count() == 0
        assert page.evaluate("[...document.querySelectorAll('pre.code')].every((e) => e.scrollHeight <= e.clientHeight + 2)")
        assert page.evaluate("document.documentElement.scrollWidth") <= A4_WIDTH
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details[open]").count() == 0
        assert page.pdf(format="A4").startswith(b"%PDF")
