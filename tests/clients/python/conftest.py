"""What the tests share: a client, the dialects and the providers, the gateway's own count of requests, and the table of
what was seen of each provider."""

import itertools
import json
import os
import time
from pathlib import Path

import pytest
from openai import OpenAI

URL = os.environ["PITON_URL"]
KEY = os.environ["PITON_KEY"]
NARROW_KEY = os.environ["PITON_NARROW_KEY"]
MOCK = os.environ["PITON_MOCK"]
DIALECTS = ["openai", "anthropic", "gemini"]
FACES = json.loads(Path(os.environ["PITON_FACES"]).read_text())
LOG = Path(os.environ["PITON_REQUEST_LOG"])

_ids = itertools.count()
# What was seen: by provider and feature, the outcome of each test.
_seen = {}
# The error classes that were told, and in how many tests: by provider.
_classed = {}


@pytest.fixture
def client():
    # Retries as the package has them by default.
    with OpenAI(base_url=URL, api_key=KEY) as client:
        yield client


@pytest.fixture(params=DIALECTS)
def dialect(request):
    return request.param


@pytest.fixture
def seen(request, face):
    """Says what a test has seen of its provider; until it does, the test counts as failed."""
    outcomes = _seen.setdefault(face["name"], {})
    said = []

    def say(feature, outcome="passed"):
        said.append(feature)
        outcomes.setdefault(feature, []).append(outcome)

    yield say
    if not said:
        outcomes.setdefault(request.function.__name__.removeprefix("test_"), []).append("FAILED")


@pytest.fixture
def classed(face):
    """Counts an error of this class for the provider."""

    def count(reason):
        outcomes = _classed.setdefault(face["name"], {})
        outcomes.setdefault(reason, []).append("passed")

    return count


def pytest_terminal_summary(terminalreporter):
    _table(terminalreporter, "what was seen of each provider", _seen)
    _table(terminalreporter, "which errors of each provider were told as OpenAI's", _classed)


def _table(terminalreporter, title, found):
    if not found:
        return
    columns = list(dict.fromkeys(column for outcomes in found.values() for column in outcomes))
    rows = [["provider", *columns]]
    for name, outcomes in found.items():
        rows.append([name, *(_told(outcomes.get(column, [])) for column in columns)])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    terminalreporter.section(title)
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        terminalreporter.write_line(line.rstrip())


def _told(outcomes):
    """Each outcome once, with its count where it is more than one."""
    counts = {outcome: outcomes.count(outcome) for outcome in dict.fromkeys(outcomes)}
    told = [f"{outcome} {count}" if outcome != "unsigned" else outcome for outcome, count in counts.items()]
    return ", ".join(told) or "-"


def request_id():
    """A fresh id: the package repeats a call's headers on each retry, so the log tells them all by it."""
    return f"python-{os.getpid()}-{next(_ids)}"


def requests_of(identity):
    """How many requests with this id the gateway finished, once the log has had time to say so."""
    deadline = time.monotonic() + 5
    while not (count := _logged(identity)) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.1)
    return max(count, _logged(identity))


def _logged(identity):
    count = 0
    for line in LOG.read_text().splitlines():
        if identity not in line:
            continue
        record = json.loads(line)
        record |= record.get("fields", {})
        if "request" in (record.get("event"), record.get("message")) and record.get("request_id") == identity:
            count += 1
    return count
