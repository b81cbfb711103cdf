"""Errors: the package's own exception for each status, and how often it asked again.

The package retries twice where it sees fit, and obeys `x-should-retry`: a chain has already done its own retries and
fallbacks, so only a wait that the gateway itself proposes is worth another request.
"""

import openai
import pytest
from conftest import NARROW_KEY, request_id, requests_of
from openai import OpenAI

HELLO = [{"role": "user", "content": "Hello there"}]

# Chain, exception, status, code (None: whatever it is), requests that reach the gateway.
CHAINS = [
    ("status-400", openai.BadRequestError, 400, None, 1),
    ("context-length", openai.BadRequestError, 400, "context_length_exceeded", 1),
    ("money", openai.APIStatusError, 402, "cost_ceiling", 1),
    ("not-found", openai.NotFoundError, 404, None, 1),
    ("status-429", openai.RateLimitError, 429, "rate_limit_exceeded", 1),
    ("status-429-soon", openai.RateLimitError, 429, "rate_limit_exceeded", 3),
    ("status-429-late", openai.RateLimitError, 429, "rate_limit_exceeded", 1),
    ("status-500", openai.InternalServerError, 500, None, 1),
    ("auth", openai.InternalServerError, 502, None, 1),
    ("reset", openai.InternalServerError, 502, None, 1),
    ("status-503", openai.InternalServerError, 503, None, 1),
    ("deadline", openai.InternalServerError, 504, None, 1),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("case", "exception", "status", "code", "requests"), CHAINS, ids=[row[0] for row in CHAINS]
)
def test_a_chain_that_fails(client, counted, dialect, case, exception, status, code, requests, stream):
    chain = f"{dialect}-{case}"
    error = raised(client, exception, counted(requests), model=chain, messages=HELLO, stream=stream)
    assert type(error) is exception and error.status_code == status
    if code:
        assert error.code == code
    headers = error.response.headers
    assert headers["x-piton-chain"] == chain
    assert headers["x-piton-trail"].startswith(f"sim-{dialect}/")
    assert "x-piton-target" not in headers
    assert headers["x-piton-attempts"] == ("0" if case == "money" else "1")
    assert headers["x-should-retry"] == ("true" if requests > 1 else "false")


@pytest.mark.parametrize(("case", "retry_after"), [("status-429-soon", "1"), ("status-429-late", "120")])
def test_how_long_to_wait_is_told(client, counted, dialect, case, retry_after):
    patient = client.with_options(max_retries=0)
    error = raised(patient, openai.RateLimitError, counted(1), model=f"{dialect}-{case}", messages=HELLO)
    assert error.response.headers["retry-after"] == retry_after


def test_a_request_that_the_upstream_cannot_process(client, counted):
    error = raised(client, openai.UnprocessableEntityError, counted(1), model="openai-status-422", messages=HELLO)
    assert error.status_code == 422


def test_a_wrong_key(client, counted):
    stranger = client.with_options(api_key="sk-nobody")
    error = raised(stranger, openai.AuthenticationError, counted(1), model="openai-chat", messages=HELLO)
    assert error.status_code == 401
    assert "sk-nobody" not in error.message


def test_a_key_that_does_not_reach(client, counted):
    narrow = client.with_options(api_key=NARROW_KEY)
    error = raised(narrow, openai.PermissionDeniedError, counted(1), model="gemini-chat", messages=HELLO)
    assert error.status_code == 403
    assert narrow.chat.completions.create(model="openai-chat", messages=HELLO).choices


def test_an_unknown_model(client, counted):
    error = raised(client, openai.NotFoundError, counted(1), model="openai-chatt", messages=HELLO)
    assert error.code == "model_not_found"
    assert "openai-chat" in error.message, "near names are offered"


def test_a_body_that_is_too_large(client, counted):
    long = [{"role": "user", "content": "x" * (2 << 20)}]
    error = raised(client, openai.APIStatusError, counted(1), model="openai-chat", messages=long)
    assert error.status_code == 413
    assert client.chat.completions.create(model="openai-chat", messages=HELLO).choices, "the connection lives on"


@pytest.mark.parametrize(
    "messages",
    [[], [{"role": "nobody", "content": "x"}], [{"role": "tool", "tool_call_id": "call_1", "content": "x"}]],
    ids=["none", "unknown-role", "result-without-call"],
)
def test_messages_that_make_no_sense(client, counted, dialect, messages):
    error = raised(client, openai.BadRequestError, counted(1), model=f"{dialect}-chat", messages=messages)
    assert error.type == "invalid_request_error"


def test_nobody_is_there():
    with OpenAI(base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(model="openai-chat", messages=HELLO)


@pytest.fixture
def counted():
    """An id for one call, and the promise to have seen so many requests with it."""
    promises = []

    def promise(requests):
        promises.append((request_id(), requests))
        return promises[-1][0]

    yield promise
    for identity, requests in promises:
        assert requests_of(identity) == requests


def raised(client, exception, identity, **request):
    with pytest.raises(exception) as caught:
        client.chat.completions.create(**request, extra_headers={"x-request-id": identity})
    error = caught.value
    assert error.request_id == identity
    assert isinstance(error.body, dict) and {"message", "type", "param", "code"} == set(error.body)
    assert error.message and isinstance(error.type, str)
    assert error.code is None or isinstance(error.code, str)
    return error
