"""A server as its own process: `python serve_driver.py BUNDLE PORT [NAME=SECONDS ...]`.

Prints what it announces, or the error's one message. Names are those of `serve`'s time limits.
"""

import sys
from pathlib import Path

from lmpipe.base.errors import LmpipeError
from lmpipe.serving.server import serve

limits = {name: float(value) for name, value in (argument.split("=") for argument in sys.argv[3:])}
try:
    serve(Path(sys.argv[1]), port=int(sys.argv[2]), threads=1, announce=lambda text: print(text, flush=True), **limits)
except LmpipeError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
