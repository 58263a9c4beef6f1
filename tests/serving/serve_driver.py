"""A server as its own process: `python serve_driver.py BUNDLE PORT`. Prints what it announces, or the error's one message."""

import sys
from pathlib import Path

from lmpipe.base.errors import LmpipeError
from lmpipe.serving.server import serve

try:
    serve(Path(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), threads=1, announce=lambda text: print(text, flush=True))
except LmpipeError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
