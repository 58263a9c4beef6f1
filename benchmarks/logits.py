"""The bundle's logits in our code and in transformers, in fp32, at every position of real test documents.

    python benchmarks/logits.py RECIPE --store STORE [--documents 5]      (the recipe must have been run into that store)

Bar: they differ by at most 1e-5. A document longer than the context is looked at window by window.
"""

from __future__ import annotations

import argparse
import platform
from datetime import UTC, datetime

import torch
import transformers
from transformers import AutoModelForCausalLM

from lmpipe.data.documents import read_documents
from lmpipe.models.loading import load_model
from lmpipe.recipes.results import open_run
from lmpipe.tokens.tokenizer import load_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--store", default="store")
    parser.add_argument("--documents", type=int, default=5)
    arguments = parser.parse_args()
    run = open_run(arguments.recipe, arguments.store)
    (split, *_) = run.stages_of("split")
    documents, bundle = run.folder(split), run.bundle
    assert documents is not None
    assert bundle is not None
    ours = load_model(bundle).eval()
    theirs = AutoModelForCausalLM.from_pretrained(bundle, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(bundle)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{versions}, {platform.platform()}, {datetime.now(UTC):%Y-%m-%d}")
    print("| test document | positions | largest difference | largest logit |\n|---|---|---|---|")
    largest = 0.0
    for number, document in enumerate(read_documents(documents / "test")):
        if number == arguments.documents:
            break
        ids = torch.tensor(tokenizer.encode(document.text))
        difference = scale = 0.0
        with torch.inference_mode():
            for window in ids.split(ours.context_length):
                mine, other = ours(window[None]), theirs(window[None]).logits
                difference = max(difference, float((mine - other).abs().max()))
                scale = max(scale, float(other.abs().max()))
        print(f"| {document.source} | {len(ids):,} | {difference:.1e} | {scale:.1f} |")
        largest = max(largest, difference)
    print(f"\nlargest difference {largest:.1e}; bar 1e-5: {'held' if largest <= 1e-5 else 'NOT held'}")


if __name__ == "__main__":
    main()
