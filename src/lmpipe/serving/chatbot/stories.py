"""Stories, told to the bot: which step went as written, and why one did not. A gate can require that all did.

A story ends at its first step that fails: what follows would be about another conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lmpipe.base.files import write_json
from lmpipe.base.measures import Finding, Metric
from lmpipe.serving.chatbot.session import Chatbot, Reply
from lmpipe.serving.chatbot.state import State
from lmpipe.serving.chatbot.stories_config import STEPS_PASSED, STORIES_PASSED, StepConfig, StoryConfig

SHOWN = 20
"""Failed steps among the samples of the finding."""


@dataclass(frozen=True)
class StepResult:
    """How one step went."""

    user: str
    passed: bool
    problems: tuple[str, ...]
    """What was expected and what came."""
    said: str
    why: str
    """The reason of the bot's decision."""


@dataclass(frozen=True)
class StoryResult:
    """How one story went."""

    name: str
    steps: tuple[StepResult, ...]
    """Up to the first that failed."""
    expected_steps: int

    @property
    def passed(self) -> bool:
        """Whether every step went as written."""
        return len(self.steps) == self.expected_steps and all(step.passed for step in self.steps)


def run_stories(bot: Chatbot, stories: Sequence[StoryConfig]) -> list[StoryResult]:
    """Tell each story to the bot, from a fresh state."""
    return [_run(bot, story) for story in stories]


def _run(bot: Chatbot, story: StoryConfig) -> StoryResult:
    _, state = bot.start()
    results: list[StepResult] = []
    for step in story.steps:
        reply, state = bot.reply(state, step.user, today=story.today)
        problems = tuple(_problems(step, reply, state))
        results.append(StepResult(step.user, not problems, problems, reply.text, str(reply.reason)))
        if problems:
            break
    return StoryResult(story.name, tuple(results), len(story.steps))


def _problems(step: StepConfig, reply: Reply, state: State) -> list[str]:
    """What did not come as expected."""
    found = reply.understanding
    checks: list[tuple[str, object, object, bool]] = []
    if step.intent is not None:
        intent = found.intent if found else ""
        checks.append(("intent", step.intent, intent, intent == step.intent))
    if step.in_scope is not None:
        in_scope = found.in_scope if found else False
        checks.append(("in_scope", step.in_scope, in_scope, in_scope == step.in_scope))
    if step.entities is not None:
        entities = {entity.name: entity.value for entity in found.entities} if found else {}
        checks.append(("entities", step.entities, entities, entities == step.entities))
    if step.action is not None:
        action = f"{reply.action}:{reply.about}" if ":" in step.action else reply.action
        checks.append(("action", step.action, action, action == step.action))
    if step.response is not None:
        said = ", ".join(reply.responses)
        checks.append(("response", step.response, said, step.response in reply.responses))
    if step.says is not None:
        checks.append(("says", step.says, reply.text, step.says.casefold() in reply.text.casefold()))
    for name, value in (step.slots or {}).items():
        slot = state.slot(name)
        held = slot.value if slot else None
        checks.append((f"slots.{name}", value, held, held == value))
    if step.cites is not None:
        cited = tuple(snippet.id for snippet in reply.citations)
        checks.append(("cites", step.cites, cited, cited == step.cites))
    return [f"{what}: expected {expected!r}, got {got!r}" for what, expected, got, passed in checks if not passed]


def story_metrics(results: Sequence[StoryResult]) -> list[Metric]:
    """The share of stories and of steps that went as written. Without an interval: the stories are all there are, not a sample.

    Steps behind one that failed count as failed.
    """
    if not results:
        return []
    steps = sum(result.expected_steps for result in results)
    passed = sum(step.passed for result in results for step in result.steps)
    return [
        _share(STORIES_PASSED, sum(result.passed for result in results), len(results), "stories"),
        _share(STEPS_PASSED, passed, steps, "steps"),
    ]


def story_finding(results: Sequence[StoryResult]) -> Finding:
    """The share of stories that went as written, with the steps that did not."""
    failed = [(result, step) for result in results for step in result.steps if not step.passed]
    samples = [
        {"story": result.name, "step": len(result.steps), "user": step.user, "problems": list(step.problems), "why": step.why}
        for result, step in failed[:SHOWN]
    ]
    return Finding(
        name=STORIES_PASSED,
        value=sum(result.passed for result in results) / len(results) if results else 0.0,
        unit="fraction",
        direction="higher",
        threshold=1.0,
        samples=samples,
        method=f"{len(results)} stories told to the bot, each from a fresh state; a story ends at its first step that fails",
        limits="Stories show what their author thought of. How often real users are understood is what held-out messages show.",
    )


def write_stories(folder: Path, results: Sequence[StoryResult]) -> None:
    """Write `stories.json`: every step with what was said and why."""
    write_json(folder / "stories.json", [{**asdict(result), "passed": result.passed} for result in results])


def _share(name: str, passed: int, count: int, unit: str) -> Metric:
    return Metric(name=name, value=passed / count, unit="fraction", direction="higher", count=count, count_unit=unit)
