// Every provider through the package for Node: text, a stream, parallel tools and structured output, and reasoning that
// lives on in a conversation of which the package's own helper gathered the turns.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { HELLO, client } from "./support.mjs";

const FACES = JSON.parse(await readFile(process.env.PITON_FACES, "utf8"));
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};
const ASKING = { role: "user", content: "What is the weather in Tokyo and Paris?" };
const Solution = z.object({ steps: z.array(z.string()), kind: z.enum(["exact", "rough"]) });
// Its reasoning goes by as it comes, in pieces of which this helper keeps the last.
const PIECES = ["openrouter"];

for (const face of FACES) {
  describe(`through ${face.name}`, () => {
    const chat = `${face.name}/${face.chat}`;

    test("text, whole and streamed", async () => {
      const whole = await client.chat.completions.create({ model: chat, messages: HELLO });
      assert.match(whole.choices[0].message.content, /Hello there/);
      const runner = client.chat.completions.stream({ model: chat, messages: HELLO });
      assert.equal(await runner.finalContent(), whole.choices[0].message.content);
    });

    if (face.tools) {
      test("parallel tools, gathered from a stream", async () => {
        const message = await gathered({ model: chat, messages: [ASKING], tools: [WEATHER] });
        const cities = message.tool_calls.map((call) => JSON.parse(call.function.arguments).city);
        assert.deepEqual(cities, ["Tokyo", "Paris"]);
        const messages = [ASKING, message, ...results(message)];
        const told = await client.chat.completions.create({ model: chat, messages, tools: [WEATHER] });
        assert.match(told.choices[0].message.content, /mild/);
      });
    }

    if (face.schema) {
      test("a schema is held to", async () => {
        const answer = await client.chat.completions.parse({
          model: chat,
          messages: [{ role: "user", content: "Solve 8x + 7 = -23" }],
          response_format: zodResponseFormat(Solution, "solution"),
        });
        assert.ok(Solution.safeParse(answer.choices[0].message.parsed).success);
      });
    }

    if (face.reasoning && face.tools && !PIECES.includes(face.name)) {
      test("reasoning lives on", async () => {
        const messages = [ASKING];
        for (let turn = 0; turn < 4; turn += 1) {
          const message = await gathered({
            model: `${face.name}/${face.reasoning}`,
            messages,
            tools: [WEATHER],
            reasoning_effort: face.effort,
            max_completion_tokens: 8192,
          });
          assert.equal(Boolean(message.tool_calls?.length), turn % 2 === 0);
          if (face.carries === "signed") {
            assert.ok(opaque(message).length > 0, JSON.stringify(message));
          }
          messages.push(message, ...(turn % 2 === 0 ? results(message) : [ASKING]));
        }
      });
    }
  });
}

async function gathered(request) {
  const { parsed, ...message } = await client.chat.completions.stream(request).finalMessage();
  return message;
}

function results(message) {
  return message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "mild" }));
}

function opaque(message) {
  const details = (message.reasoning_details ?? []).map((entry) => entry.signature ?? entry.data);
  const calls = (message.tool_calls ?? []).map((call) => call.extra_content?.google?.thought_signature);
  return [...details, ...calls].filter(Boolean);
}
