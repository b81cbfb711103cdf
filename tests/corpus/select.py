#!/usr/bin/env python3
"""Chooses the recordings of this directory from a larger corpus of the same shape.

    tests/corpus/select.py CORPUS [target/corpus-report.md]

Every pair of provider and feature that the corpus has is covered, streamed and not, by the smallest file that has
it; files are taken smallest first, and one that adds nothing new is left. With a report of a run over the corpus,
files that failed there are left out: a test that is known to fail says nothing. The outcome depends on the corpus
and the report alone. Licence texts of the sources that were chosen are copied along.
"""

import json
import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
LARGEST = 150_000
SERVED = {"chat", "anthropic", "gemini", "converse", "cohere2", "embeddings"}


def facts(path):
    exchange = json.loads(path.read_text())
    stream = any(exchange["response"].get(name) for name in ("sse", "eventstream_base64"))
    features = exchange["features"] or ["nothing in particular"]
    if exchange["api"] in SERVED:
        return exchange, {(exchange["provider"], exchange["api"], feature, stream) for feature in features}
    # Of the other APIs a witness of each provider and of each feature is enough.
    return exchange, {exchange["provider"], *features}


def failed(report):
    return set(re.findall(r"^- (\S+\.json) \((?:Request|Response)\)", report.read_text(), re.M))


def main(corpus, report=None):
    left_out = failed(Path(report)) if report else set()
    files = sorted(corpus.glob("*/*.json"), key=lambda path: (path.stat().st_size, path.name))
    covered, chosen, sources = set(), [], set()
    for path in files:
        if str(path.relative_to(corpus)) in left_out or path.stat().st_size > LARGEST:
            continue
        exchange, pairs = facts(path)
        if pairs - covered:
            covered |= pairs | {exchange["provider"], *exchange["features"]}
            chosen.append(path)
            sources.add(exchange["source"].split("@")[0].replace("/", "__"))
    for old in [*HERE.glob("*/*.json"), *HERE.glob("LICENCES/*")]:
        old.unlink()
    for path in chosen:
        # Stored on one line: half the size, the same values.
        target = HERE / path.relative_to(corpus)
        target.parent.mkdir(exist_ok=True)
        text = json.dumps(json.loads(path.read_text()), ensure_ascii=False, separators=(",", ":"))
        target.write_text(text + "\n")
    (HERE / "LICENCES").mkdir(exist_ok=True)
    for licence in (corpus / "LICENCES").iterdir():
        if licence.name.split("--")[0] in sources:
            shutil.copy(licence, HERE / "LICENCES" / licence.name)
    for folder in HERE.iterdir():
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    size = sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file())
    print(f"{len(chosen)} files, {size / 2**20:.1f} MiB, {len(covered)} pairs covered")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
