// Errors: the package's own exception for each status, and how often it asked again. It retries twice where it sees
// fit and obeys `x-should-retry`, so only a wait that the gateway itself proposes is worth another request.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  APIError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitError,
  UnprocessableEntityError,
} from "openai";
import { DIALECTS, HELLO, NARROW_KEY, client, requestId, requestsOf } from "./support.mjs";

// Chain, exception, status, code (null: whatever it is), requests that reach the gateway.
const CHAINS = [
  ["status-400", BadRequestError, 400, null, 1],
  ["context-length", BadRequestError, 400, "context_length_exceeded", 1],
  ["money", APIError, 402, "cost_ceiling", 1],
  ["not-found", NotFoundError, 404, null, 1],
  ["status-429", RateLimitError, 429, "rate_limit_exceeded", 1],
  ["status-429-soon", RateLimitError, 429, "rate_limit_exceeded", 3],
  ["status-429-late", RateLimitError, 429, "rate_limit_exceeded", 1],
  ["status-500", InternalServerError, 500, null, 1],
  ["auth", InternalServerError, 502, null, 1],
  ["reset", InternalServerError, 502, null, 1],
  ["status-503", InternalServerError, 503, null, 1],
  ["deadline", InternalServerError, 504, null, 1],
];

for (const dialect of DIALECTS) {
  describe(`through ${dialect}`, { concurrency: true }, () => {
    for (const [name, exception, status, code, requests] of CHAINS) {
      for (const stream of [false, true]) {
        test(`${name}, ${stream ? "streamed" : "whole"}`, async () => {
          const error = await raised(client, exception, requests, { model: `${dialect}-${name}`, stream });
          assert.equal(error.status, status);
          if (code) {
            assert.equal(error.code, code);
          }
          assert.equal(error.headers.get("x-should-retry"), String(requests > 1));
          assert.ok(error.headers.get("x-piton-trail").startsWith(`sim-${dialect}/`));
        });
      }
    }
  });
}

test("a request that the upstream cannot process", async () => {
  const error = await raised(client, UnprocessableEntityError, 1, { model: "openai-status-422" });
  assert.equal(error.status, 422);
});

test("a wrong key", async () => {
  const stranger = client.withOptions({ apiKey: "sk-nobody" });
  const error = await raised(stranger, AuthenticationError, 1, { model: "openai-chat" });
  assert.equal(error.status, 401);
  assert.ok(!error.message.includes("sk-nobody"));
});

test("a key that does not reach", async () => {
  const narrow = client.withOptions({ apiKey: NARROW_KEY });
  const error = await raised(narrow, PermissionDeniedError, 1, { model: "gemini-chat" });
  assert.equal(error.status, 403);
});

test("an unknown model", async () => {
  const error = await raised(client, NotFoundError, 1, { model: "openai-chatt" });
  assert.equal(error.code, "model_not_found");
  assert.match(error.message, /openai-chat/);
});

test("a body that is too large", async () => {
  const messages = [{ role: "user", content: "x".repeat(2 << 20) }];
  const error = await raised(client, APIError, 1, { model: "openai-chat", messages });
  assert.equal(error.status, 413);
});

async function raised(from, exception, requests, request) {
  const id = requestId();
  const error = await from.chat.completions
    .create({ messages: HELLO, ...request }, { headers: { "x-request-id": id } })
    .then(() => assert.fail("an answer"), (error) => error);
  assert.equal(error.constructor, exception, `${error}`);
  assert.equal(error.requestID, id);
  assert.deepEqual(Object.keys(error.error).toSorted(), ["code", "message", "param", "type"]);
  assert.ok(error.error.message && typeof error.type === "string");
  assert.ok(error.code === null || typeof error.code === "string");
  assert.equal(await requestsOf(id), requests);
  return error;
}
