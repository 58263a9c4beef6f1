"""The command line: words on a terminal. One file per command; what a command needs is imported when it runs.

Exit codes: 0 done, 1 a stage failed, 2 the recipe or the command line is wrong, 3 the gate says NO-GO, 4 the gate says
INCONCLUSIVE, 130 and 143 interrupted (SIGINT, SIGTERM): the same command goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from lmpipe.base.errors import LmpipeError
from lmpipe.cli import (
    chat,
    check,
    compare,
    data,
    doctor,
    gc,
    init,
    lineage,
    plan,
    report,
    run,
    schema,
    serve,
    show,
    tokenizer,
    verify,
)
from lmpipe.cli.terminal import print_error, wants_json

app = typer.Typer(
    name="lmpipe",
    help="Raw text to a language model that you can vouch for, from one declarative file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: 0.16 instead of 0.28 processor seconds, most of it for rich's Markdown and syntax
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: dict[Callable[..., None], str] = {
    init.init: "Write a recipe to start from.",
    check.check: "Check a recipe and all that it needs; computes nothing.",
    plan.plan: "Show what a run would compute, why, and what it costs.",
    run.run: "Compute what is missing; killed at any moment, it goes on.",
    show.show: "Show a run's metrics, findings and verdict.",
    compare.compare: "Compare two runs, with intervals and a paired test.",
    lineage.lineage: "Show where a file came from, down to the raw text.",
    verify.verify: "Recompute and compare digests.",
    report.report: "Write one self-contained HTML page on a run.",
    chat.chat: "Talk to a model in the terminal.",
    serve.serve: "Serve a bundle: OpenAI-compatible API and a web page.",
    schema.schema: "Print the JSON Schema of recipes, for editors.",
    doctor.doctor: "Show what is installed and what brings the rest.",
    gc.gc: "Show or remove what no kept run needs.",
}
"""In the order in which a user meets them, each with its line in `lmpipe --help`."""

for command, line in COMMANDS.items():
    app.command(short_help=line)(command)

app.add_typer(data.app, name="data", help="A run's text: why a document was dropped, take sources out, the data card.")


app.add_typer(tokenizer.app, name="tokenizer", help="Tokenizers side by side on the same text.")


def main() -> None:
    """Entry point of the `lmpipe` command: a user's mistake ends in one message, never in a traceback."""
    try:
        app()
    except LmpipeError as error:
        print_error(error, as_json=wants_json(sys.argv))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away (`lmpipe show | head`)
        sys.stderr.close()
        sys.exit(0)
