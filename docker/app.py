"""An application as it was before Piton: it knows the OpenAI API, and the environment tells it where that is."""

from openai import OpenAI

client = OpenAI()  # OPENAI_BASE_URL and OPENAI_API_KEY
answer = client.chat.completions.with_raw_response.create(
    model="assistant",
    messages=[{"role": "user", "content": "What is a piton, in one sentence?"}],
)
print(answer.parse().choices[0].message.content)
print("served by", answer.headers["x-piton-target"], "after", answer.headers["x-piton-trail"])
