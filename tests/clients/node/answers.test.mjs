// Good answers: what an application gets through each dialect with the package's own means.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { APIConnectionError, APIError } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { DIALECTS, HELLO, client, requestId } from "./support.mjs";

// One red pixel.
const PNG =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather in a city",
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};
const Solution = z.object({
  steps: z.array(z.object({ explanation: z.string(), result: z.number().int() })),
  kind: z.enum(["exact", "rough"]),
  remark: z.string().nullable(),
});

for (const dialect of DIALECTS) {
  describe(`through ${dialect}`, () => {
    const chat = `${dialect}-chat`;

    test("chat", async () => {
      const answer = await client.chat.completions.create({ model: chat, messages: HELLO });
      const [choice] = answer.choices;
      assert.equal(answer.model, "mock-small");
      assert.equal(choice.finish_reason, "stop");
      assert.equal(choice.message.role, "assistant");
      assert.match(choice.message.content, /Hello there/);
      holdsTogether(answer.usage);
    });

    test("stream, with usage", async () => {
      const stream = await client.chat.completions.create({
        model: chat,
        messages: HELLO,
        stream: true,
        stream_options: { include_usage: true },
      });
      const chunks = await gather(stream);
      const last = chunks.pop();
      assert.deepEqual(last.choices, []);
      holdsTogether(last.usage);
      assert.equal(new Set([...chunks, last].map((chunk) => `${chunk.id} ${chunk.created} ${chunk.model}`)).size, 1);
      assert.equal(chunks.filter((chunk) => "role" in chunk.choices[0].delta).length, 1);
      const reasons = chunks.map((chunk) => chunk.choices[0].finish_reason).filter(Boolean);
      assert.deepEqual(reasons, ["stop"]);
      const whole = await client.chat.completions.create({ model: chat, messages: HELLO });
      assert.equal(textOf(chunks), whole.choices[0].message.content);
      assert.equal(last.usage.total_tokens, whole.usage.total_tokens);
    });

    test("the package can gather the stream", async () => {
      const runner = client.chat.completions.stream({ model: chat, messages: HELLO });
      let deltas = "";
      runner.on("content", (delta) => (deltas += delta));
      assert.equal(await runner.finalContent(), deltas);
      assert.match(deltas, /Hello there/);
    });

    test("tools, there and back", async () => {
      const messages = [{ role: "user", content: "What is the weather in Paris?" }];
      const asked = await client.chat.completions.create({ model: chat, messages, tools: [WEATHER] });
      assert.equal(asked.choices[0].finish_reason, "tool_calls");
      const [call, ...more] = asked.choices[0].message.tool_calls;
      assert.deepEqual(more, []);
      assert.equal(call.function.name, "get_weather");
      assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
      messages.push(asked.choices[0].message, { role: "tool", tool_call_id: call.id, content: "18 degrees" });
      const told = await client.chat.completions.create({ model: chat, messages, tools: [WEATHER] });
      assert.match(told.choices[0].message.content, /18 degrees/);
    });

    test("the package runs parallel tools by itself, streamed", async () => {
      const asked = [];
      const runner = client.chat.completions.runTools({
        model: chat,
        stream: true,
        messages: [{ role: "user", content: "What is the weather in Tokyo and Paris?" }],
        tools: [
          {
            type: "function",
            function: {
              ...WEATHER.function,
              parse: JSON.parse,
              function: ({ city }) => {
                asked.push(city);
                return `mild in ${city}`;
              },
            },
          },
        ],
      });
      const content = await runner.finalContent();
      assert.deepEqual(asked.toSorted(), ["Paris", "Tokyo"]);
      assert.match(content, /mild in Tokyo/);
      assert.match(content, /mild in Paris/);
    });

    test("a schema is held to", async () => {
      const answer = await client.chat.completions.parse({
        model: chat,
        messages: [{ role: "user", content: "Solve 8x + 7 = -23" }],
        response_format: zodResponseFormat(Solution, "solution"),
      });
      const { parsed } = answer.choices[0].message;
      assert.ok(Solution.safeParse(parsed).success, JSON.stringify(parsed));
    });

    test("a schema is held to in a stream", async () => {
      const runner = client.chat.completions.stream({
        model: chat,
        messages: [{ role: "user", content: "Solve 8x + 7 = -23" }],
        response_format: zodResponseFormat(Solution, "solution"),
      });
      const { parsed } = (await runner.finalChatCompletion()).choices[0].message;
      assert.ok(Solution.safeParse(parsed).success, JSON.stringify(parsed));
    });

    // Gemini's API takes no image URLs of any other host.
    for (const url of dialect === "gemini" ? [PNG] : [PNG, "https://example.com/cat.png"]) {
      test(`vision by ${url.split(":")[0]} URL`, async () => {
        const content = [
          { type: "text", text: "What is this?" },
          { type: "image_url", image_url: { url } },
        ];
        const answer = await client.chat.completions.create({ model: chat, messages: [{ role: "user", content }] });
        assert.match(answer.choices[0].message.content, /1 image/);
      });
    }

    test("headers", async () => {
      const id = requestId();
      const { data, response } = await client.chat.completions
        .create({ model: chat, messages: HELLO }, { headers: { "x-request-id": id } })
        .withResponse();
      assert.equal(data._request_id, id);
      assert.equal(response.headers.get("x-piton-chain"), chat);
      assert.equal(response.headers.get("x-piton-target"), `sim-${dialect}/mock-small`);
      assert.equal(response.headers.get("x-piton-target-index"), "0");
      assert.equal(response.headers.get("x-piton-attempts"), "1");
      assert.equal(response.headers.get("x-piton-fallback-reason"), null);
    });

    for (const stream of [false, true]) {
      test(`a fallback shows, ${stream ? "streamed" : "whole"}`, async () => {
        const { data, response } = await client.chat.completions
          .create({ model: `${dialect}-fallback`, messages: HELLO, stream })
          .withResponse();
        assert.equal(response.headers.get("x-piton-target-index"), "1");
        assert.equal(response.headers.get("x-piton-attempts"), "2");
        assert.equal(response.headers.get("x-piton-fallback-reason"), "overloaded");
        const text = stream ? textOf(await gather(data)) : data.choices[0].message.content;
        assert.match(text, /Hello there/);
      });
    }

    test("a stream that breaks is an error", async () => {
      const chunks = [];
      const stream = await client.chat.completions.create({ model: `${dialect}-cut`, messages: HELLO, stream: true });
      await assert.rejects(
        async () => {
          for await (const chunk of stream) {
            chunks.push(chunk);
          }
        },
        (error) => error instanceof APIError && !(error instanceof APIConnectionError) && Boolean(error.type),
      );
      assert.ok(textOf(chunks).length > 0);
      assert.ok(chunks.every((chunk) => !chunk.choices[0]?.finish_reason));
    });

    test("a stream may be left", async () => {
      const stream = await client.chat.completions.create({ model: chat, messages: HELLO, stream: true });
      for await (const chunk of stream) {
        assert.ok(chunk.id);
        break;
      }
      const answer = await client.chat.completions.create({ model: chat, messages: HELLO });
      assert.equal(answer.choices[0].finish_reason, "stop");
    });
  });
}

test("models", async () => {
  const names = [];
  for await (const model of client.models.list()) {
    names.push(model.id);
  }
  assert.ok(names.includes("openai-chat") && names.includes("gemini-cut"));
  assert.equal((await client.models.retrieve("anthropic-chat")).id, "anthropic-chat");
});

function holdsTogether(usage) {
  assert.ok(usage.prompt_tokens > 0 && usage.completion_tokens > 0);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
}

function textOf(chunks) {
  return chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
}

async function gather(stream) {
  const chunks = [];
  for await (const chunk of stream) {
    chunks.push(chunk);
  }
  return chunks;
}
