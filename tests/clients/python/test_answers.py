"""Good answers: what an application gets through each dialect with the package's own means."""

import asyncio
import json
import typing

import openai
import pydantic
import pytest
from conftest import KEY, URL, request_id
from openai import AsyncOpenAI

# One red pixel.
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Step(pydantic.BaseModel):
    explanation: str
    result: int


class Solution(pydantic.BaseModel):
    steps: list[Step]
    kind: typing.Literal["exact", "rough"]
    remark: str | None


def test_chat(client, dialect):
    answer = client.chat.completions.create(model=f"{dialect}-chat", messages=HELLO)
    assert answer.object == "chat.completion"
    assert answer.model == "mock-small"
    [choice] = answer.choices
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert "Hello there" in choice.message.content
    assert choice.message.tool_calls is None
    holds_together(answer.usage)


def test_stream(client, dialect):
    chunks = list(client.chat.completions.create(model=f"{dialect}-chat", messages=HELLO, stream=True))
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].model == "mock-small"
    assert all(chunk.usage is None for chunk in chunks), "usage was not asked for"
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert all(delta.role is None for delta in deltas[1:])
    text = "".join(delta.content or "" for delta in deltas)
    whole = client.chat.completions.create(model=f"{dialect}-chat", messages=HELLO)
    assert text == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]


def test_usage_in_the_stream(client, dialect):
    *chunks, last = client.chat.completions.create(
        model=f"{dialect}-chat", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    assert last.choices == []
    holds_together(last.usage)
    assert all(chunk.usage is None for chunk in chunks)
    whole = client.chat.completions.create(model=f"{dialect}-chat", messages=HELLO)
    assert last.usage.total_tokens == whole.usage.total_tokens


def test_the_package_can_gather_the_stream(client, dialect):
    with client.chat.completions.stream(
        model=f"{dialect}-chat", messages=HELLO, stream_options={"include_usage": True}
    ) as stream:
        kinds = [event.type for event in stream]
        gathered = stream.get_final_completion()
    assert "content.delta" in kinds and kinds[-1] != "content.delta"
    assert "Hello there" in gathered.choices[0].message.content
    holds_together(gathered.usage)


# OpenAI itself shows no reasoning text.
@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
def test_reasoning(client, dialect):
    answer = client.chat.completions.create(model=f"{dialect}-reasoning", messages=HELLO, reasoning_effort="low")
    message = answer.choices[0].message
    assert message.reasoning_content and message.reasoning_content not in message.content
    assert answer.usage.completion_tokens_details.reasoning_tokens <= answer.usage.completion_tokens
    stream = client.chat.completions.create(
        model=f"{dialect}-reasoning", messages=HELLO, reasoning_effort="low", stream=True
    )
    deltas = [chunk.choices[0].delta for chunk in stream]
    streamed = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert streamed == message.reasoning_content


@pytest.mark.parametrize("stream", [False, True])
def test_tools_round_trip(client, dialect, stream):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked = ask(client, f"{dialect}-chat", messages, stream, tools=[WEATHER])
    [call] = asked["tool_calls"]
    assert asked["finish_reason"] == "tool_calls"
    assert call["type"] == "function" and call["id"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}

    messages.append({"role": "assistant", "content": None, "tool_calls": asked["tool_calls"]})
    messages.append({"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"})
    told = ask(client, f"{dialect}-chat", messages, stream, tools=[WEATHER])
    assert told["finish_reason"] == "stop"
    assert "18 degrees" in told["content"]


@pytest.mark.parametrize("stream", [False, True])
def test_parallel_tools(client, dialect, stream):
    messages = [{"role": "user", "content": "What is the weather in Tokyo and Paris?"}]
    asked = ask(client, f"{dialect}-chat", messages, stream, tools=[WEATHER])
    cities = [json.loads(call["function"]["arguments"])["city"] for call in asked["tool_calls"]]
    assert cities == ["Tokyo", "Paris"]
    assert len({call["id"] for call in asked["tool_calls"]}) == 2

    messages.append({"role": "assistant", "content": None, "tool_calls": asked["tool_calls"]})
    # Results may come in another order than the calls.
    for call, weather in reversed(list(zip(asked["tool_calls"], ["fog", "sun"], strict=True))):
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": weather})
    told = ask(client, f"{dialect}-chat", messages, stream, tools=[WEATHER])
    assert "fog" in told["content"] and "sun" in told["content"]


def test_a_forced_tool(client, dialect):
    choice = {"type": "function", "function": {"name": "get_weather"}}
    asked = ask(client, f"{dialect}-chat", HELLO, False, tools=[WEATHER], tool_choice=choice)
    assert [call["function"]["name"] for call in asked["tool_calls"]] == ["get_weather"]


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_no_parallel_tools(client, dialect):
    messages = [{"role": "user", "content": "What is the weather in Tokyo and Paris?"}]
    asked = ask(client, f"{dialect}-chat", messages, False, tools=[WEATHER], parallel_tool_calls=False)
    assert len(asked["tool_calls"]) == 1


def test_parse(client, dialect):
    answer = client.chat.completions.parse(
        model=f"{dialect}-chat",
        messages=[{"role": "user", "content": "Solve 8x + 7 = -23"}],
        response_format=Solution,
    )
    solution = answer.choices[0].message.parsed
    assert isinstance(solution, Solution)
    assert solution.kind in ("exact", "rough")


def test_parse_streamed(client, dialect):
    with client.chat.completions.stream(
        model=f"{dialect}-chat",
        messages=[{"role": "user", "content": "Solve 8x + 7 = -23"}],
        response_format=Solution,
    ) as stream:
        for _ in stream:
            pass
        solution = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(solution, Solution)


@pytest.mark.parametrize(
    ("dialect", "url"),
    [
        ("openai", PNG),
        ("anthropic", PNG),
        ("gemini", PNG),
        ("openai", "https://example.com/cat.png"),
        ("anthropic", "https://example.com/cat.png"),
    ],
)
def test_vision(client, dialect, url):
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
    ]
    answer = client.chat.completions.create(
        model=f"{dialect}-chat", messages=[{"role": "user", "content": content}]
    )
    assert "1 image" in answer.choices[0].message.content


def test_headers(client, dialect):
    identity = request_id()
    raw = client.chat.completions.with_raw_response.create(
        model=f"{dialect}-chat", messages=HELLO, extra_headers={"x-request-id": identity}
    )
    headers = raw.headers
    assert headers["x-request-id"] == identity
    assert headers["x-piton-chain"] == f"{dialect}-chat"
    assert headers["x-piton-target"] == f"sim-{dialect}/mock-small"
    assert headers["x-piton-target-index"] == "0"
    assert headers["x-piton-attempts"] == "1"
    assert headers["x-piton-trail"].startswith(f"sim-{dialect}/mock-small=ok;")
    assert headers["x-piton-config"]
    assert "x-piton-fallback-reason" not in headers
    usage = raw.parse().usage
    cost = (usage.prompt_tokens + 2 * usage.completion_tokens) / 1_000_000
    assert headers["x-piton-cost-usd"] == f"{cost:.9f}"


@pytest.mark.parametrize("stream", [False, True])
def test_a_fallback_shows(client, dialect, stream):
    raw = client.chat.completions.with_raw_response.create(
        model=f"{dialect}-fallback", messages=HELLO, stream=stream
    )
    headers = raw.headers
    assert headers["x-piton-target-index"] == "1"
    assert headers["x-piton-target"].endswith("/mock-small")
    assert headers["x-piton-attempts"] == "2"
    assert headers["x-piton-fallback-reason"] == "overloaded"
    assert headers["x-piton-trail"].startswith(f"sim-{dialect}/mock-status-503=overloaded;")
    answer = raw.parse()
    if stream:
        assert "Hello there" in "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        assert "Hello there" in answer.choices[0].message.content


def test_a_stream_that_breaks_before_its_first_token_is_not_seen(client, dialect):
    raw = client.chat.completions.with_raw_response.create(model=f"{dialect}-unseen", messages=HELLO, stream=True)
    assert raw.headers["x-piton-target-index"] == "1"
    assert raw.headers["x-piton-fallback-reason"] in ("truncated", "connection_lost")
    chunks = list(raw.parse())
    assert "Hello there" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert [chunk.choices[0].delta.role for chunk in chunks].count("assistant") == 1


def test_a_stream_that_breaks_later_is_an_error(client, dialect):
    received = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(model=f"{dialect}-cut", messages=HELLO, stream=True):
            received.append(chunk)
    assert not isinstance(caught.value, openai.APIConnectionError), "told by an event, not by a lost connection"
    assert caught.value.message and caught.value.body["type"]
    assert any(chunk.choices and chunk.choices[0].delta.content for chunk in received)
    assert not any(chunk.choices and chunk.choices[0].finish_reason for chunk in received)


def test_models(client):
    names = [model.id for model in client.models.list()]
    assert "openai-chat" in names and "gemini-cut" in names
    assert client.models.retrieve("anthropic-chat").id == "anthropic-chat"


def test_async(dialect):
    async def talk():
        async with AsyncOpenAI(base_url=URL, api_key=KEY) as client:
            whole, stream = await asyncio.gather(
                client.chat.completions.create(model=f"{dialect}-chat", messages=HELLO),
                client.chat.completions.create(model=f"{dialect}-chat", messages=HELLO, stream=True),
            )
            streamed = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return whole.choices[0].message.content, "".join(streamed)

    whole, streamed = asyncio.run(talk())
    assert whole == streamed


def test_a_stream_may_be_left(client, dialect):
    stream = client.chat.completions.create(model=f"{dialect}-chat", messages=HELLO, stream=True)
    next(iter(stream))
    stream.close()
    answer = client.chat.completions.create(model=f"{dialect}-chat", messages=HELLO)
    assert answer.choices[0].finish_reason == "stop"


def holds_together(usage):
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def ask(client, chain, messages, stream, **options):
    """One turn as plain data, streamed or not: the same to whoever reads it."""
    answer = client.chat.completions.create(model=chain, messages=messages, stream=stream, **options)
    if not stream:
        message = answer.choices[0].message
        calls = [call.model_dump() for call in message.tool_calls or []]
        return {
            "content": message.content,
            "tool_calls": calls,
            "finish_reason": answer.choices[0].finish_reason,
        }
    content, calls, reasons = "", [], []
    for chunk in answer:
        [choice] = chunk.choices
        content += choice.delta.content or ""
        if choice.finish_reason:
            reasons.append(choice.finish_reason)
        assert len(choice.delta.tool_calls or []) <= 1, "one piece of one call in a chunk"
        for piece in choice.delta.tool_calls or []:
            if piece.index == len(calls):
                calls.append(
                    {
                        "id": piece.id,
                        "type": piece.type,
                        "function": {"name": piece.function.name, "arguments": ""},
                    }
                )
            else:
                assert piece.index == len(calls) - 1, "the index rises, call after call"
                assert piece.id is None and piece.type is None and piece.function.name is None
            calls[piece.index]["function"]["arguments"] += piece.function.arguments or ""
    [reason] = reasons
    return {"content": content, "tool_calls": calls, "finish_reason": reason}
