"""What the tests share: a client, the dialects, and the gateway's own count of requests."""

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
DIALECTS = ["openai", "anthropic", "gemini"]
LOG = Path(os.environ["PITON_REQUEST_LOG"])

_ids = itertools.count()


@pytest.fixture
def client():
    # Retries as the package has them by default.
    with OpenAI(base_url=URL, api_key=KEY) as client:
        yield client


@pytest.fixture(params=DIALECTS)
def dialect(request):
    return request.param


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
