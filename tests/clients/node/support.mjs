// What the tests share: a client, the dialects, and the gateway's own count of requests.

import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI from "openai";

export const DIALECTS = ["openai", "anthropic", "gemini"];
export const URL = process.env.PITON_URL;
export const KEY = process.env.PITON_KEY;
export const NARROW_KEY = process.env.PITON_NARROW_KEY;
export const HELLO = [{ role: "user", content: "Hello there" }];

// Retries as the package has them by default.
export const client = new OpenAI({ baseURL: URL, apiKey: KEY });

let ids = 0;

// A fresh id: the package repeats a call's headers on each retry, so the log tells them all by it.
export function requestId() {
  ids += 1;
  return `node-${process.pid}-${ids}`;
}

// How many requests with this id the gateway finished, once the log has had time to say so.
export async function requestsOf(id) {
  const deadline = Date.now() + 5000;
  while ((await logged(id)) === 0 && Date.now() < deadline) {
    await sleep(50);
  }
  await sleep(100);
  return logged(id);
}

async function logged(id) {
  const log = await readFile(process.env.PITON_REQUEST_LOG, "utf8");
  return log
    .split("\n")
    .filter((line) => line.includes(id))
    .map((line) => JSON.parse(line))
    .map((record) => ({ ...record, ...record.fields }))
    .filter((record) => record.event === "request" || record.message === "request")
    .filter((record) => record.request_id === id).length;
}
