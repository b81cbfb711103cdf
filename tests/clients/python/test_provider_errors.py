"""Every provider's errors, in both modes: the package's exception, the status and the code that each class comes with.

The fault's word is in the model's name; the simulated provider says it in its own envelope, with its own status.
"""

import openai
import pytest
from conftest import FACES

HELLO = [{"role": "user", "content": "Hello there"}]
SERVER = openai.InternalServerError

# The fault, the class that the trail names, the exception, its status and its code (None: the upstream's own, if any).
FAULTS = [
    ("status-400", "invalid_request", openai.BadRequestError, 400, None),
    ("status-401", "auth_failed", SERVER, 502, "auth_failed"),
    ("status-402", "quota_exhausted", SERVER, 502, "insufficient_quota"),
    ("status-403", "auth_failed", SERVER, 502, "auth_failed"),
    ("status-404", "model_not_found", openai.NotFoundError, 404, "model_not_found"),
    ("status-408", "server_error", openai.APIStatusError, 408, "server_error"),
    ("status-409", "server_error", SERVER, 502, "server_error"),
    ("status-413", "too_large", openai.APIStatusError, 413, None),
    ("status-422", "invalid_request", openai.UnprocessableEntityError, 422, None),
    ("status-424", "server_error", SERVER, 502, "server_error"),
    ("status-429", "rate_limited", openai.RateLimitError, 429, "rate_limit_exceeded"),
    ("status-500", "server_error", SERVER, 500, "server_error"),
    ("status-502", "server_error", SERVER, 502, "server_error"),
    ("status-503", "overloaded", SERVER, 503, "overloaded"),
    ("status-504", "server_error", SERVER, 504, "server_error"),
    ("overloaded", "overloaded", SERVER, 503, "overloaded"),
    ("auth", "auth_failed", SERVER, 502, "auth_failed"),
    ("quota", "quota_exhausted", SERVER, 502, "insufficient_quota"),
    ("not-found", "model_not_found", openai.NotFoundError, 404, "model_not_found"),
    ("context-length", "context_length", openai.BadRequestError, 400, "context_length_exceeded"),
    ("empty", "empty", SERVER, 502, "empty"),
    ("garbage", "malformed", SERVER, 502, "malformed"),
    ("error-in-stream", "overloaded", SERVER, 502, "overloaded"),
    ("cut-0", "truncated", SERVER, 502, "truncated"),
    ("end-early-0", "truncated", SERVER, 502, "truncated"),
    ("reset", "connection_lost", SERVER, 502, "connection_lost"),
]
RATE_LIMITED = ("rate_limited", openai.RateLimitError, 429, "rate_limit_exceeded")
INVALID = ("invalid_request", openai.BadRequestError, 400, None)
# What a provider of this kind does in a way of its own.
OTHERWISE = {
    # Its status for too much work.
    ("anthropic", "overloaded"): ("overloaded", SERVER, 529, "overloaded"),
    ("claude-on-vertex", "overloaded"): ("overloaded", SERVER, 529, "overloaded"),
    # A day's quota that ends and a rate are the same to it.
    ("gemini", "quota"): RATE_LIMITED,
    ("gemini-on-vertex", "quota"): RATE_LIMITED,
    ("bedrock", "quota"): RATE_LIMITED,
    # It knows no bills, and says of a model that it does not know that the request is wrong.
    ("bedrock", "status-402"): INVALID,
    ("bedrock", "not-found"): ("model_not_found", SERVER, 502, "model_not_found"),
}
# An error within 200 is a stream's matter where an error has a status of its own in JSON.
ONLY_STREAMED = {("bedrock", "error-in-stream"), ("cohere", "error-in-stream")}


@pytest.fixture(params=FACES, ids=[face["name"] for face in FACES])
def face(request):
    return request.param


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize(("fault", "reason", "exception", "status", "code"), FAULTS, ids=[row[0] for row in FAULTS])
def test_an_error(client, face, classed, fault, reason, exception, status, code, stream):
    ways = [(face["name"], fault), (face["kind"], fault)]
    if not stream and any(way in ONLY_STREAMED for way in ways):
        pytest.skip("it has no such answer")
    told = next((OTHERWISE[way] for way in ways if way in OTHERWISE), (reason, exception, status, code))
    reason, exception, status, code = told
    model = f"{face['name']}/{face['chat']}-mock-{fault}"
    with pytest.raises(exception) as caught:
        client.with_options(max_retries=0).chat.completions.create(model=model, messages=HELLO, stream=stream)
    error = caught.value
    assert (type(error), error.status_code) == (exception, status)
    assert f"={reason};" in error.response.headers["x-piton-trail"]
    assert set(error.body) == {"message", "type", "param", "code"} and error.message and error.type
    assert error.code == code if code else error.code is None or isinstance(error.code, str)
    classed(reason)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_safety_system(client, face, classed, stream):
    """It answers with an error or with a 200, as the provider does; either way the client is told by OpenAI's word."""
    model = f"{face['name']}/{face['chat']}-mock-content-filter"
    try:
        answer = client.chat.completions.create(model=model, messages=HELLO, stream=stream)
        choices = [choice for chunk in answer for choice in chunk.choices] if stream else answer.choices
        assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["content_filter"]
    except openai.BadRequestError as error:
        assert error.code == "content_filter"
    classed("content_filter")
