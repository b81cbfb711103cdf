"""Every provider, in both modes: what an application gets through the package, and what the provider got of it.

The simulated providers refuse what the real ones refuse, a signature that is missing or altered among it. The table
at the end of the run says what was seen of whom.
"""

import json
import typing
import urllib.parse
import urllib.request

import openai
import pydantic
import pytest
from conftest import FACES, MOCK

# One red pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


class Step(pydantic.BaseModel):
    explanation: str
    result: int


class Solution(pydantic.BaseModel):
    steps: list[Step]
    kind: typing.Literal["exact", "rough"]
    remark: str | None


@pytest.fixture(params=FACES, ids=[face["name"] for face in FACES])
def face(request):
    return request.param


@BOTH
def test_text(client, face, stream, seen):
    answer = ask(client, face, face["chat"], HELLO, stream)
    assert "Hello there" in answer.message.content
    assert answer.finish_reason == "stop"
    assert not answer.message.tool_calls
    if stream:
        roles = [chunk.choices[0].delta.role for chunk in answer.chunks if chunk.choices]
        assert roles.count("assistant") == 1 and roles[0] == "assistant"
        assert len({(chunk.id, chunk.created, chunk.model) for chunk in answer.chunks}) == 1
        assert len(pieces(answer, "content")) > 3, "the text comes as it is made"
    seen("text")


@BOTH
def test_parallel_tools(client, face, stream, seen):
    asking = [{"role": "user", "content": "What is the weather in Tokyo and Paris?"}]
    if not face["tools"]:
        refused(client, face, seen, "tools", messages=asking, tools=[WEATHER], tool_choice="required")
        return
    answer = ask(client, face, face["chat"], asking, stream, tools=[WEATHER])
    calls = answer.message.tool_calls
    assert answer.finish_reason == "tool_calls"
    assert [call.function.name for call in calls] == ["get_weather"] * 2
    assert [json.loads(call.function.arguments) for call in calls] == [
        {"city": "Tokyo", "days": 1},
        {"city": "Paris", "days": 1},
    ]
    assert len({call.id for call in calls}) == 2 and all(call.type == "function" for call in calls)
    if stream:
        calls_begin_once(answer.chunks)

    # Results in another order than the calls.
    results = [result(call, said) for call, said in zip(calls, ["fog", "sun"], strict=True)]
    told = ask(client, face, face["chat"], [*asking, answer.message, *reversed(results)], stream, tools=[WEATHER])
    assert told.finish_reason == "stop"
    assert "fog" in told.message.content and "sun" in told.message.content
    seen("tools")


@BOTH
def test_vision(client, face, stream, seen):
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    looking = [{"role": "user", "content": content}]
    if face["vision"] is None:
        refused(client, face, seen, "vision", messages=looking)
        return
    answer = ask(client, face, face["vision"], looking, stream)
    assert "1 image" in answer.message.content
    assert PIXEL in json.dumps(received(face["vision"])["body"]), "the same bytes"
    seen("vision")


@BOTH
def test_structured_output(client, face, stream, seen):
    solving = {
        "messages": [{"role": "user", "content": "Solve 8x + 7 = -23"}],
        "response_format": Solution,
    }
    if not face["schema"]:
        response_format = {"type": "json_schema", "json_schema": {"name": "solution", "schema": Solution.model_json_schema()}}
        refused(client, face, seen, "schema", **(solving | {"response_format": response_format}))
        return
    solving["model"] = f"{face['name']}/{face['chat']}"
    if stream:
        with client.chat.completions.stream(**solving) as gathering:
            for _ in gathering:
                pass
            answer = gathering.get_final_completion()
    else:
        answer = client.chat.completions.parse(**solving)
    [choice] = answer.choices
    assert isinstance(choice.message.parsed, Solution)
    assert choice.finish_reason == "stop" and not choice.message.tool_calls
    seen("schema")


@pytest.mark.parametrize("mode", ["json", "stream", "helper"])
def test_reasoning_lives_on(client, face, mode, seen):
    """A question, its tools' results, and one more question: what was thought goes home with each of them."""
    if face["reasoning"] is None:
        seen("reasoning", "not offered")
        return
    options = {"reasoning_effort": face["effort"], "tools": [WEATHER], "max_completion_tokens": 8192}
    messages = [{"role": "user", "content": "What is the weather in Tokyo and Paris?"}]
    thought, proofs = [], []
    for turn in range(4):
        if mode == "helper":
            message, usage = helped(client, face, face["reasoning"], messages, **options)
        else:
            answer = ask(client, face, face["reasoning"], messages, mode == "stream", **options)
            message, usage = answer.message, answer.usage
        body = json.dumps(received(face["reasoning"])["body"], ensure_ascii=False)
        for proof in proofs:
            assert proof in body, f"turn {turn} lost {proof}"
        if face["carries"] == "text":
            assert all(text in body for text in thought), f"turn {turn} lost {thought}"
        if face["counts"]:
            assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
        said = getattr(message, "reasoning_content", None)
        if face["carries"] == "counted":
            assert said is None
        else:
            assert said and said not in (message.content or "")
            thought.append(said)
        given = opaque(message)
        assert given or face["carries"] != "signed"
        proofs += given
        messages.append(message)
        if message.tool_calls:
            assert turn in (0, 2)
            messages += [result(call, f"mild in turn {turn}") for call in message.tool_calls]
        else:
            assert turn in (1, 3) and f"mild in turn {turn - 1}" in message.content
            messages.append({"role": "user", "content": "And the weather in Oslo?"})
    seen("reasoning")


def test_an_altered_signature_is_refused(client, face, seen):
    if face["carries"] != "signed" or face["reasoning"] is None:
        seen("altered", "unsigned")
        return
    options = {"reasoning_effort": face["effort"], "tools": [WEATHER], "max_completion_tokens": 8192}
    messages = [{"role": "user", "content": "What is the weather in Tokyo?"}]
    message = ask(client, face, face["reasoning"], messages, False, **options).message
    [proof, *_] = opaque(message)
    forged = json.loads(message.model_dump_json(exclude_none=True).replace(proof, proof.swapcase()))
    messages += [forged, result(message.tool_calls[0], "mild")]
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, face, face["reasoning"], messages, False, **options)
    assert caught.value.code is None or isinstance(caught.value.code, str)
    seen("altered", "refused")


def refused(client, face, seen, feature, **request):
    """What a provider does not offer is told to the client by name, and nothing reaches the provider."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=f"{face['name']}/{face['chat']}", **request)
    assert caught.value.code == "capability"
    seen(feature, "not offered")


class Answer(typing.NamedTuple):
    message: typing.Any
    finish_reason: str
    usage: typing.Any
    chunks: list


def ask(client, face, model, messages, stream, **options):
    """One turn, gathered by hand as applications do it: the message is what they send back."""
    request = {"model": f"{face['name']}/{model}", "messages": messages, **options}
    if not stream:
        answer = client.chat.completions.create(**request)
        [choice] = answer.choices
        assert choice.message.role == "assistant" and answer.object == "chat.completion"
        holds_together(answer.usage)
        return Answer(choice.message, choice.finish_reason, answer.usage, [])
    chunks = list(client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(usages) == 1 and not any(chunk.choices for chunk in chunks[-1:] if chunk.choices and not chunk.usage)
    holds_together(usages[0])
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    [reason] = reasons
    return Answer(joined(chunks), reason, usages[0], chunks)


def joined(chunks):
    """The message of a stream: text joined, calls by their index, other lists in the order in which they came."""
    message, calls = {"role": "assistant", "content": None}, {}
    for delta in (choice.delta for chunk in chunks for choice in chunk.choices):
        for key in ("content", "reasoning_content"):
            if piece := getattr(delta, key, None):
                message[key] = (message.get(key) or "") + piece
        if details := getattr(delta, "reasoning_details", None):
            message.setdefault("reasoning_details", []).extend(details)
        for piece in delta.tool_calls or []:
            piece = piece.model_dump(exclude_none=True)
            index, function = piece.pop("index"), piece.pop("function", {})
            call = calls.setdefault(index, {"function": {"name": "", "arguments": ""}})
            call.update(piece)
            for key, value in function.items():
                call["function"][key] += value
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return openai.types.chat.ChatCompletionMessage.model_validate(message)


def helped(client, face, model, messages, **options):
    """The same by the package's own helper."""
    with client.chat.completions.stream(
        model=f"{face['name']}/{model}", messages=messages, stream_options={"include_usage": True}, **options
    ) as gathering:
        for _ in gathering:
            pass
        answer = gathering.get_final_completion()
    holds_together(answer.usage)
    # What the helper adds for its caller is no part of the API.
    message = answer.choices[0].message.model_dump(exclude_none=True)
    message.pop("parsed", None)
    for call in message.get("tool_calls", []):
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    return openai.types.chat.ChatCompletionMessage.model_validate(message), answer.usage


def calls_begin_once(chunks):
    """Id, type and name come in a call's first piece only; one call's piece a chunk, with a rising index."""
    begun = []
    for piece in (piece for chunk in chunks for choice in chunk.choices for piece in choice.delta.tool_calls or []):
        if piece.index not in begun:
            begun.append(piece.index)
            assert piece.id and piece.type == "function" and piece.function.name
        else:
            assert piece.index == begun[-1] and not piece.id and not piece.function.name
    assert begun == [0, 1]


def pieces(answer, key):
    return [piece for chunk in answer.chunks for choice in chunk.choices if (piece := getattr(choice.delta, key, None))]


def opaque(message):
    """What of a message only its provider understands."""
    details = getattr(message, "reasoning_details", None) or []
    found = [entry.get("signature") or entry.get("data") for entry in details]
    for call in message.tool_calls or []:
        extra = getattr(call, "extra_content", None) or {}
        found.append(extra.get("google", {}).get("thought_signature"))
    return [proof for proof in found if proof]


def result(call, said):
    return {"role": "tool", "tool_call_id": call.id, "content": said}


def holds_together(usage):
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens <= usage.prompt_tokens


def received(model):
    """The latest request for a model, as the simulated provider got it."""
    query = urllib.parse.urlencode({"model": model})
    with urllib.request.urlopen(f"{MOCK}/mock/requests?{query}", timeout=5) as response:
        return json.load(response)["last"]
