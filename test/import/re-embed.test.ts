/** MIG-7: into a collection of another model documents are embedded again, by its provider: what that takes is said first. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FakeProvider, startFakeProvider } from "../../lib/clients/fake-provider.ts";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { worldOf } from "../embedding/fake-world.ts";
import { expectedRows } from "./source-contract.ts";

const home = process.cwd();
const environment = { ...process.env };
let folder: string;
let cli: MemoryCli;
let provider: FakeProvider;
const model = "text-embedding-3-small";
const rows = 1_200;
const importing = ["import", "docs", "--from", "records:a.jsonl"];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-re-embed-"));
  process.chdir(folder);
  cli = new MemoryCli();
  provider = await startFakeProvider({ dims: 16, key: "sk-secret" });
  cli.embedding = worldOf("openai", provider.url, {
    key: "sk-secret",
    inputsPerRequest: 100,
    tokensPerMinute: 100_000,
  });
  const created = await cli.run([
    "collection",
    "create",
    "docs",
    "--dims",
    "16",
    "--embedder",
    `openai/${model}`,
  ]);
  expect(created).toMatchObject({ code: 0 });
  writeFileSync(
    "a.jsonl",
    expectedRows(rows)
      .map((row) => JSON.stringify(row))
      .join("\n"),
  );
});
afterEach(async () => {
  process.chdir(home);
  process.env = { ...environment };
  await provider.close();
  await cli.close();
  rmSync(folder, { recursive: true });
});

test("a plan says how many texts and tokens that is, and how long at the stage's limits; nothing is sent", async () => {
  const plan = (await cli.run([...importing, "--re-embed", "--plan", "--json"])).json<{
    embedding: { tokens: number; milliseconds: number; dollars: number };
  }>();
  expect(plan).toMatchObject({ rejected: 0, embedding: { provider: "openai", model, texts: rows } });
  expect(plan.embedding.tokens).toBeGreaterThan(rows * 10);
  expect(plan.embedding.dollars).toBeCloseTo((plan.embedding.tokens / 1e6) * 0.02, 10);
  // A fifth of the limits is kept for queries.
  expect(plan.embedding.milliseconds).toBeCloseTo((plan.embedding.tokens / 100_000 / 0.8) * 60_000, -1);
  const said = await cli.run([...importing, "--re-embed", "--plan"]);
  expect(said.out).toMatch(
    /embedding +about 1200 texts by openai\/text-embedding-3-small, \d+ tokens, about \$0\.00, at least .* at the stage's limits/,
  );
  expect(provider.requests).toBe(0);
});

test("the cost is said first; texts go in batches, each once, and --verify pays for none again", async () => {
  const said = await cli.run([...importing, "--re-embed", "--verify"]);
  expect(said).toMatchObject({
    code: 0,
    err: expect.stringMatching(/^embeds about 1\d{3} texts by openai\/text-embedding-3-small, \d+ tokens/),
  });
  expect(said.out).toMatch(/wrote 1200 rows in .* 1200 texts embedded, \d+ tokens/);
  expect(said.out).toContain("verified: 1200 rows");
  expect(provider.embedded).toHaveLength(rows);
  expect(new Set(provider.embedded)).toEqual(new Set(expectedRows(rows).map(({ document }) => document)));
  expect(provider.requests).toBeLessThan(rows / 50);
  expect(said.out + said.err).not.toContain("sk-secret");
  const found = await cli.run(["query", "docs", "--id", "notes/7", "--consistency", "strong", "--json"]);
  expect(found).toMatchObject({ code: 0 });
});

test("a text that the model does not take rejects its row alone", async () => {
  const [first, second, third] = expectedRows(3);
  writeFileSync(
    "a.jsonl",
    [first, { ...second, document: "x".repeat(4_000) }, third].map((row) => JSON.stringify(row)).join("\n"),
  );
  const said = await cli.run([...importing, "--re-embed", "--json"]);
  expect(said.json()).toMatchObject({ written: 2, rejected: 1, embedded: { texts: 3 } });
  expect((await cli.run([...importing, "--re-embed"])).out).toMatch(
    /line 2 \(notes\/1\): document text: has 4000 bytes/,
  );
});

test("a provider that is down rejects no row: the import ends, and the same command goes on where it was", async () => {
  cli = new MemoryCli(cli.world);
  cli.embedding = worldOf("openai", provider.url, { key: "sk-secret" });
  writeFileSync(
    "a.jsonl",
    expectedRows(5_000)
      .map((row) => JSON.stringify(row))
      .join("\n"),
  );
  provider.fail({ kind: "outage", times: 1_000_000, input: "漢字 🪨 4500," });
  const ended = await cli.run([...importing, "--re-embed"]);
  expect(ended).toMatchObject({ code: 5, err: expect.stringContaining("repeat the call") });
  provider.heal();
  const embedded = provider.embedded.length;
  const said = await cli.run([...importing, "--re-embed", "--json"]);
  expect(said).toMatchObject({ code: 0 });
  expect(said.json()).toMatchObject({
    lines: 5_000,
    written: 5_000,
    rejected: 0,
    resumedAt: expect.any(Number),
  });
  // What was durable is not embedded again.
  expect(said.json<{ resumedAt: number }>().resumedAt).toBeGreaterThan(1_000);
  expect(provider.embedded.length - embedded).toBeLessThan(4_000);
});

test("a stage without access to the collection's provider says so before anything is written", async () => {
  cli.embedding = worldOf("ollama", provider.url);
  const said = await cli.run([...importing, "--re-embed"]);
  expect(said).toMatchObject({ code: 2, err: expect.stringContaining("which this stage has no access to") });
  expect(provider.requests).toBe(0);
});
