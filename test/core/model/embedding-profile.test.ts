import { decodeCollection, encodeCollection } from "../../../lib/core/format/collection-json.ts";
import { newCollection, sameConfiguration } from "../../../lib/core/model/collection.ts";
import { completeProfile, type ProfileOptions } from "../../../lib/core/model/embedding-profile.ts";

const made = (embedder: ProfileOptions | "lexical" | null, dims = 512) =>
  newCollection({ name: "notes", dims, metric: "cosine", embedder }, "01JZ0000000000000000000000", 0);
const openai = { provider: "openai", model: "text-embedding-3-small" } as const;

test("a profile makes the collection format 2, names the space, and comes back as it was", () => {
  const collection = made({ ...openai, shortened: true, documentPrefix: "passage: " });
  expect(collection).toMatchObject({
    format: 2,
    embeddingVersion: "openai/text-embedding-3-small@512",
    tombstoneRetention: 30,
  });
  expect(decodeCollection(encodeCollection(collection), "key")).toEqual(collection);
  expect(made("lexical", 384)).toMatchObject({ format: 1, embeddingVersion: "lexical-1" });
  expect(made(null)).toMatchObject({ format: 1, embeddingVersion: "1" });
});

test("another profile is another configuration", () => {
  expect(sameConfiguration(made(openai), made({ ...openai, bytesPerToken: 1 }))).toBe(true);
  expect(sameConfiguration(made(openai), made({ ...openai, bytesPerToken: 2 }))).toBe(false);
  expect(sameConfiguration(made(openai), made({ ...openai, model: "text-embedding-3-large" }))).toBe(false);
});

test("models that demand a task have one, and none where none is wanted", () => {
  expect(
    completeProfile({ provider: "jina", model: "jina-embeddings-v3", queryTask: null }).queryTask,
  ).toBeNull();
  expect(completeProfile({ provider: "jina", model: "jina-embeddings-v3" })).toMatchObject({
    documentTask: "retrieval.passage",
    queryTask: "retrieval.query",
  });
  expect(completeProfile({ provider: "bedrock", model: "eu.cohere.embed-v4:0" })).toMatchObject({
    documentTask: "search_document",
    queryTask: "search_query",
  });
  expect(
    completeProfile({ provider: "bedrock", model: "amazon.titan-embed-text-v2:0" }).queryTask,
  ).toBeNull();
});

test.each<[string, object, string]>([
  [
    "an unknown provider",
    { provider: "acme" },
    'embedder.provider must be one of bedrock, openai, ollama, jina, tei, vllm, got "acme"',
  ],
  [
    "a model with a space",
    { model: "a b" },
    'embedder.model must be 1 to 256 printable ASCII characters without spaces, got "a b"',
  ],
  [
    "too few tokens",
    { inputTokensMax: 15 },
    "embedder.inputTokensMax must be an integer from 16 to 1000000, got 15",
  ],
  [
    "too many bytes a token",
    { bytesPerToken: 8.5 },
    "embedder.bytesPerToken must be a number from 1 to 8, got 8.5",
  ],
  [
    "a prefix that fills the input",
    { documentPrefix: "x".repeat(20), inputTokensMax: 32 },
    "embedder.documentPrefix takes more than half of the 32 bytes of an input",
  ],
  [
    "a long prefix",
    { queryPrefix: "x".repeat(1_001) },
    "embedder.queryPrefix must be text of at most 1000 bytes",
  ],
  [
    "a field that is none",
    { documentPrefx: "passage: " },
    "embedder.documentPrefx is not a field of a profile",
  ],
  ["a task that is none", { queryTask: "" }, "embedder.queryTask must be a task's name or null"],
])("%s is refused by name", (_, wrong, message) => {
  expect(() => made({ ...openai, ...wrong } as ProfileOptions)).toThrow(message);
});
