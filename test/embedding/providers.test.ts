/** One contract for every adapter, over real HTTP: what a provider may do to a request, and what becomes of the texts. */
import { systemClock } from "../../lib/aws/system-clock.ts";
import { type FakeProvider, type Fault, startFakeProvider } from "../../lib/clients/fake-provider.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { newCollection } from "../../lib/core/model/collection.ts";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { httpProvider } from "../../lib/embedding/http-provider.ts";
import { lexicalVector } from "../../lib/embedding/lexical-embedder.ts";
import { batchedEmbedders, queryEmbedders } from "../../lib/embedding/profile-embedders.ts";
import type { ProviderRefusal } from "../../lib/embedding/provider.ts";
import { type Kind, kinds, MemoryLimitTable, profileOf, virtualClock, worldOf } from "./fake-world.ts";

const dims = 32;
let fake: FakeProvider;
beforeEach(async () => {
  fake = await startFakeProvider({ dims });
});
afterEach(() => fake.close());

const collectionOf = (kind: Kind): Collection =>
  newCollection(
    { name: "notes", dims, metric: "cosine", embedder: profileOf(kind) },
    "01JZ0000000000000000000000",
    0,
  );

async function embedderOf(kind: Kind, options: Parameters<typeof worldOf>[2] = {}) {
  const collection = collectionOf(kind);
  return batchedEmbedders(worldOf(kind, fake.url, options))(collection, profileOf(kind));
}

const texts = ["basalt", "granite", "sandstone", "slate", "gneiss"];
const kindOf = (outcome: Float32Array | SiltstoneError) =>
  outcome instanceof SiltstoneError ? outcome.kind : "vector";
const near = (vector: Float32Array, text: string) =>
  lexicalVector(text, dims).reduce((sum, value, i) => sum + value * vector[i]!, 0);

describe.each(kinds)("%s", (kind) => {
  const isAlone = kind === "titan";

  test("gives a vector of length 1 for each text, in order, and counts tokens", async () => {
    const embedder = await embedderOf(kind);
    const { vectors, tokens } = await embedder.embed(texts, "document");
    expect(vectors.map((vector, i) => near(vector, texts[i]!).toFixed(4))).toEqual(texts.map(() => "1.0000"));
    expect(tokens).toBe(texts.reduce((sum, text) => sum + Math.ceil(text.length / 4), 0));
    const [query] = (await embedder.embed(["slate"], "query")).vectors;
    expect(near(query!, "slate")).toBeCloseTo(1, 4);
  });

  test.each<[string, Fault]>([
    ["too many requests", { kind: "throttled", times: 3, retryAfterSeconds: 7 }],
    ["an outage", { kind: "outage", times: 3 }],
    ["half an answer", { kind: "cut", times: 2 }],
  ])("%s: the request is repeated, and no text is lost or embedded twice", async (_, fault) => {
    const clock = virtualClock();
    fake.fail(fault);
    const embedder = await embedderOf(kind, { clock, requestsAtOnce: 1 });
    const { vectors } = await embedder.embed(texts, "document", { waitMs: 600_000 });
    expect(vectors).toHaveLength(texts.length);
    expect([...fake.embedded].sort()).toEqual([...texts].sort());
    expect(clock.sleptMs).toBeGreaterThan(
      fault.retryAfterSeconds !== undefined && !isBedrock(kind) ? 20_000 : 250,
    );
  });

  test("an answer that never comes is given up, and unavailable", async () => {
    fake.fail({ kind: "hanging" });
    const embedder = await embedderOf(kind);
    const { outcomes } = await embedder.embedEach(["basalt"], "document", { waitMs: 300 });
    expect(outcomes.map(kindOf)).toEqual(["unavailable"]);
  });

  test("an input that is refused is found, and its neighbours have their vectors", async () => {
    fake.fail({ kind: "refused", input: "slate" });
    const embedder = await embedderOf(kind);
    const { outcomes } = await embedder.embedEach(texts, "document");
    expect(outcomes.map(kindOf)).toEqual(["vector", "vector", "vector", "invalid", "vector"]);
    expect((outcomes[3] as SiltstoneError).message).toMatch(/an input is not acceptable/);
    expect([...fake.embedded].sort()).toEqual(["basalt", "gneiss", "granite", "sandstone"]);
  });

  test.each<Fault["kind"]>(["fewer", "empty", "wrongDims", "notFinite"])(
    "an answer that is none (%s) gives no vector, and is not repeated",
    async (fault) => {
      fake.fail({ kind: fault });
      const embedder = await embedderOf(kind);
      const { outcomes } = await embedder.embedEach(["basalt"], "document");
      expect(outcomes.map(kindOf)).toEqual(["unavailable"]);
      expect((outcomes[0] as SiltstoneError).message).toMatch(/configuration of the provider/);
      expect(fake.requests).toBe(1);
    },
  );

  test("a refused key is not tried again, and says what the provider said", async () => {
    fake.fail({ kind: "denied" });
    const embedder = await embedderOf(kind);
    await expect(embedder.embed(["basalt"], "document")).rejects.toMatchObject({
      kind: "unavailable",
      message: expect.stringMatching(/Incorrect API key provided.*configuration/),
    });
    expect(fake.requests).toBe(1);
  });

  if (!isAlone)
    test("a request that is too large is halved", async () => {
      fake.fail({ kind: "tooLarge", times: 1 });
      const embedder = await embedderOf(kind);
      const { vectors } = await embedder.embed(texts, "document");
      expect(vectors).toHaveLength(texts.length);
      expect(fake.requests).toBe(3);
    });
});

const isBedrock = (kind: Kind) => kind === "titan" || kind === "cohere";

describe.each<Kind>(["openai", "jina", "vllm"])("%s, by index", (kind) => {
  test("vectors in another order are put in order", async () => {
    fake.fail({ kind: "reordered", times: 1 });
    const { vectors } = await (await embedderOf(kind)).embed(texts, "document");
    expect(vectors.map((vector, i) => near(vector, texts[i]!).toFixed(4))).toEqual(texts.map(() => "1.0000"));
  });

  test("an index twice is no answer", async () => {
    fake.fail({ kind: "unordered", times: 1 });
    await expect((await embedderOf(kind)).embed(texts, "document")).rejects.toThrow(
      /index of 0 that does not fit/,
    );
  });

  test.each(["error", "detail", "message"] as const)("an error under %s is said", async (under) => {
    fake.fail({ kind: "refused", under });
    await expect((await embedderOf(kind)).embed(["basalt"], "document")).rejects.toThrow(
      /400: an input is not acceptable/,
    );
  });

  test("an error inside a 200 is an outage, and repeated", async () => {
    fake.fail({ kind: "errorInside", times: 2 });
    const { vectors } = await (await embedderOf(kind)).embed(texts, "document");
    expect(vectors).toHaveLength(texts.length);
    expect(fake.requests).toBe(3);
  });
});

test("ten minutes of too many requests lose nothing and embed nothing twice", async () => {
  const clock = virtualClock();
  const healedMs = clock.nowMs() + 600_000;
  clock.onSleep = (nowMs) => {
    if (nowMs >= healedMs) fake.heal();
  };
  fake.fail({ kind: "throttled" });
  const many = Array.from({ length: 200 }, (_, i) => `stone ${i}`);
  const embedder = await embedderOf("openai", { clock, inputsPerRequest: 10 });
  const { vectors } = await embedder.embed(many, "document", { waitMs: 1_200_000 });
  expect(vectors).toHaveLength(many.length);
  expect([...fake.embedded].sort()).toEqual([...many].sort());
  expect(clock.sleptMs).toBeGreaterThan(600_000);
});

test("after five outages in a row nothing is sent for a while, then one request", async () => {
  const clock = virtualClock();
  fake.fail({ kind: "outage" });
  const embedder = await embedderOf("openai", { clock, requestsAtOnce: 1 });
  await expect(embedder.embed(["basalt"], "document", { waitMs: 4_000 })).rejects.toThrow(/500|in a row/);
  const sent = fake.requests;
  expect(sent).toBeLessThanOrEqual(6);
  await expect(embedder.embed(["granite"], "document", { waitMs: 1_000 })).rejects.toThrow(
    /several times in a row/,
  );
  expect(fake.requests).toBe(sent);
  fake.heal();
  await clock.sleep(60_000);
  await expect(embedder.embed(["granite"], "document")).resolves.toMatchObject({
    vectors: [expect.anything()],
  });
  expect(fake.requests).toBe(sent + 1);
});

test("profiles of one model share no breaker", async () => {
  const clock = virtualClock();
  const embedders = batchedEmbedders(worldOf("openai", fake.url, { clock, requestsAtOnce: 1 }));
  const collection = collectionOf("openai");
  const one = await embedders(collection, profileOf("openai"));
  const other = await embedders(collection, { ...profileOf("openai"), documentPrefix: "passage: " });
  fake.fail({ kind: "outage" });
  await expect(one.embed(["basalt"], "document", { waitMs: 4_000 })).rejects.toThrow(/500|in a row/);
  fake.heal();
  await expect(one.embed(["basalt"], "document", { waitMs: 1_000 })).rejects.toThrow(
    /several times in a row/,
  );
  const [vector] = (await other.embed(["granite"], "document", { waitMs: 1_000 })).vectors;
  expect(vector).toHaveLength(dims);
  // The same profile, asked for again, has the same breaker.
  const again = await embedders(collection, profileOf("openai"));
  await expect(again.embed(["basalt"], "document", { waitMs: 100 })).rejects.toThrow(
    /several times in a row/,
  );
});

test("rates hold over processes, a fifth is kept for queries, and tokens are learned from the provider's counts", async () => {
  const [clock, limits] = [virtualClock(), new MemoryLimitTable()];
  const rates = { requestsPerMinute: 60, tokensPerMinute: 1_000_000, inputsPerRequest: 1, clock, limits };
  const [one, other] = [await embedderOf("openai", rates), await embedderOf("openai", rates)];
  const many = Array.from({ length: 40 }, (_, i) => `stone ${i}`);
  await Promise.all([
    one.embed(many, "document", { waitMs: 600_000 }),
    other.embed(many, "document", { waitMs: 600_000 }),
  ]);
  for (const { requests } of limits.windows.values()) expect(requests).toBeLessThanOrEqual(8);
  // 80 requests, 8 in ten seconds.
  expect(clock.sleptMs).toBeGreaterThanOrEqual(90_000);
  const [last] = [...limits.windows.keys()].slice(-1);
  expect(limits.windows.get(last!)!.tokens).toBeLessThan(8 * 8);
  const before = clock.sleptMs;
  await one.embed(["which stone"], "query");
  expect(clock.sleptMs).toBe(before);
});

test("what a window was charged is put right by what was taken of it, also where a text is estimated above a window", async () => {
  const [clock, limits] = [virtualClock(), new MemoryLimitTable()];
  const embedder = await embedderOf("openai", { tokensPerMinute: 1_000, clock, limits });
  const text = "granite ".repeat(60); // 480 bytes, as many tokens by the first estimate; a window has 133.
  await embedder.embed([text], "document");
  expect([...limits.windows.values()]).toEqual([{ requests: 1, tokens: 120 }]);
});

test("a quota of requests a minute is throttling, an account without credit is not", async () => {
  const said = (message: string, code: string | null = null) =>
    httpProvider("openai", {
      endpoint: "http://127.0.0.1/v1",
      key: async () => null,
      post: async () => ({
        status: 429,
        header: () => null,
        text: JSON.stringify({ error: { message, code } }),
      }),
    })
      .request({ inputs: ["a"], profile: profileOf("openai"), dims, purpose: "query", waitMs: 100 })
      .catch(({ kind }: ProviderRefusal) => kind);
  expect(await said("Rate limit reached; see https://aka.ms/oai/quotaincrease")).toBe("throttled");
  expect(await said("Quota exceeded for requests per minute")).toBe("throttled");
  expect(await said("You exceeded your current quota, please check your plan and billing")).toBe("denied");
  expect(await said("Too many", "insufficient_quota")).toBe("denied");
});

test("a request that its call had no time for is no outage of the provider", async () => {
  fake.fail({ kind: "hanging" });
  const embedder = await embedderOf("openai", { clock: { ...systemClock(), random: Math.random } });
  for (let i = 0; i < 6; i++) await embedder.embedEach([`stone ${i}`], "document", { waitMs: 40 });
  fake.heal();
  const { outcomes } = await embedder.embedEach(["slate"], "document", { waitMs: 1_000 });
  expect(outcomes.map(kindOf)).toEqual(["vector"]);
});

test("a query that was asked before has its vector, and waits for no other call", async () => {
  const embedders = queryEmbedders(worldOf("openai", fake.url));
  const ask = async (text: string) =>
    (await embedders(collectionOf("openai"), profileOf("openai"))).embed([text], "query");
  expect((await ask("slate")).tokens).toBe(2);
  const again = await ask("slate");
  expect([again.tokens, fake.requests]).toEqual([0, 1]);
  expect(near(again.vectors[0]!, "slate")).toBeCloseTo(1, 4);
});

test("bad texts are refused before anything is sent, each with its reason", async () => {
  const embedder = await embedderOf("openai");
  const { outcomes } = await embedder.embedEach(
    ["", "  \n", "a\ud800b", "x".repeat(513), "good"],
    "document",
  );
  expect(outcomes.map(kindOf)).toEqual(["invalid", "invalid", "invalid", "invalid", "vector"]);
  expect((outcomes[3] as SiltstoneError).message).toMatch(
    /has 513 bytes .* at most 512 \(512 tokens\): cut it into chunks/,
  );
  expect(fake.embedded).toEqual(["good"]);
});

test("a batch keeps within what one request may have", async () => {
  const embedder = await embedderOf("tei");
  await embedder.embed(
    Array.from({ length: 70 }, (_, i) => `stone ${i}`),
    "document",
  );
  expect(fake.largestRequest).toBe(32);
  expect(fake.requests).toBe(3);
});
