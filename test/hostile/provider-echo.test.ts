/** A provider that quotes the request that it refuses, key and all: its words are shown to callers and logged, the key is not. */
import { httpProvider } from "../../lib/embedding/http-provider.ts";

test("the key that a provider quotes is in no error", async () => {
  const key = "sk-planted-4711";
  const provider = httpProvider("openai", {
    endpoint: "https://embeddings.example/v1",
    key: async () => key,
    post: async (_, __, { headers }) => ({
      status: 401,
      header: () => null,
      text: JSON.stringify({ error: { message: `bad request: ${JSON.stringify(headers)}` } }),
    }),
  });
  const profile = { provider: "openai", model: "m", dims: 2 };
  const request = { profile, inputs: ["a"], purpose: "query", waitMs: 1_000 } as never;
  const error: Error = await provider.request(request).then(
    () => new Error("nothing was refused"),
    (refused: Error) => refused,
  );
  expect(error.message).toMatch(/^401: bad request: .*Bearer …/);
  expect(error.message).not.toContain(key);
});
