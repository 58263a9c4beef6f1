"""For every test: one compute thread, no network, no questions asked by libraries.

On two shared cores two spinning threads wait for each other longer than they compute; tests that want more threads say so.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
