"""The command line: words on a terminal. One file per command; what a command needs is imported when it runs.

Exit codes: 0 done, 1 a stage failed, 2 the recipe or the command line is wrong, 3 the gate says NO-GO, 4 the gate says
INCONCLUSIVE, 130 and 143 interrupted (SIGINT, SIGTERM): the same command goes on.
"""

from __future__ import annotations

import sys

import typer

from lmpipe.base.errors import LmpipeError
from lmpipe.cli import chat, check, compare, data, doctor, gc, init, lineage, plan, report, run, schema, serve, show, verify
from lmpipe.cli.terminal import print_error, wants_json

app = typer.Typer(
    name="lmpipe",
    help="Raw text to a language model that you can vouch for, from one declarative file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# In the order in which a user meets them.
for command in (
    init.init,
    check.check,
    plan.plan,
    run.run,
    show.show,
    compare.compare,
    lineage.lineage,
    verify.verify,
    report.report,
    chat.chat,
    serve.serve,
    schema.schema,
    doctor.doctor,
    gc.gc,
):
    app.command()(command)

app.add_typer(data.app, name="data", help="A run's text: why a document was dropped, take sources out, the data card.")


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
