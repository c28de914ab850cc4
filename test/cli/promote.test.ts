/** `silt promote` and `silt sync` between two stores in memory. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startFakeProvider } from "../../lib/clients/fake-provider.ts";
import { worldOf } from "../embedding/fake-world.ts";
import { documentedCommands } from "../import/documented-commands.ts";
import { expectedRow, expectedRows } from "../import/source-contract.ts";
import { memoryWorld } from "../support/memory/world.ts";
import { MemoryCli } from "./memory-deployment.ts";

const home = process.cwd();
let folder: string;
let staging: MemoryCli;
let prod: MemoryCli;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-promote-"));
  process.chdir(folder);
  // Deltas of two stores never have one name.
  [staging, prod] = [new MemoryCli(memoryWorld({ seed: 1 })), new MemoryCli(memoryWorld({ seed: 2 }))];
  staging.others.set("prod", prod);
});
afterEach(async () => {
  process.chdir(home);
  await staging.close();
  await prod.close();
  rmSync(folder, { recursive: true, force: true });
});

async function ok(cli: MemoryCli, ...args: string[]): Promise<string> {
  const said = await cli.run(args);
  expect({ args, ...said }).toMatchObject({ args, code: 0 });
  return said.out;
}
const sides = ["--from", "staging", "--to", "prod"];
const promote = (...args: string[]) => staging.run(["promote", "docs", ...sides, ...args]);
const sync = (...args: string[]) => staging.run(["sync", "docs", ...sides, ...args]);

async function write(cli: MemoryCli, records: readonly object[], name = "docs"): Promise<void> {
  writeFileSync("rows.jsonl", records.map((record) => JSON.stringify(record)).join("\n"));
  await ok(cli, "import", name, "--from", "records:rows.jsonl");
  await ok(cli, "compact", name);
}
async function remove(cli: MemoryCli, ...ids: string[]): Promise<void> {
  await ok(cli, "delete", "docs", ...ids);
  await ok(cli, "compact", "docs");
}
/** Everything of a collection, with versions and the bytes of vectors. */
async function contentOf(cli: MemoryCli, name = "docs"): Promise<string[]> {
  await ok(cli, "export", name, "--to", "content.jsonl");
  return readFileSync("content.jsonl", "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .sort();
}
const create = (cli: MemoryCli, ...more: string[]) =>
  ok(cli, "collection", "create", "docs", "--dims", "4", "--field", "kind:string", ...more);
const keys = (cli: MemoryCli) => cli.world.store.keys();

test("a promotion into a store that has nothing makes the collection, and copies the files as they are", async () => {
  await create(staging, "--shards", "2");
  await write(staging, expectedRows());
  await write(
    staging,
    expectedRows(50).map((row) => ({ ...row, document: "newer" })),
  );
  await remove(staging, "notes/1", "notes/2");
  const said = await promote("--dry-run");
  expect(said).toMatchObject({ code: 0, err: expect.stringContaining("docs of staging → docs of prod") });
  expect(said.out).toContain("it is empty there");
  expect(keys(prod)).toEqual([]);

  const done = await promote("--json");
  expect(done.json()).toMatchObject({ way: "files", from: "staging", to: "prod", exists: false });
  expect(await contentOf(prod)).toEqual(await contentOf(staging));
  // It is a store like any other.
  await ok(prod, "verify", "docs");
  await write(prod, [{ ...expectedRow(2_000) }]);
  await ok(prod, "optimize", "docs");
  expect(await contentOf(prod)).toHaveLength(1_199);
});

test("the bytes go through this machine where the stores have no common S3", async () => {
  await create(staging);
  await write(staging, expectedRows(30));
  prod.copiesInStore = false;
  expect((await promote("--json")).json()).toMatchObject({ way: "files", rows: 30 });
  expect(await contentOf(prod)).toEqual(await contentOf(staging));
  await ok(prod, "verify", "docs");
});

test("later writes win whichever side they were made on; nothing is carried twice", async () => {
  await create(staging);
  await create(prod, "--shards", "3");
  await write(staging, expectedRows(100));
  const { out } = await promote();
  expect(out).toContain("added               100");
  await write(prod, [{ ...expectedRow(1), document: "prod's own, newer" }, { ...expectedRow(900) }]);
  staging.world.clock.advance(60_000);
  prod.world.clock.advance(60_000);
  await write(staging, [{ ...expectedRow(2), document: "staging's, newer" }, { ...expectedRow(200) }]);
  const said = (await promote("--json")).json();
  expect(said).toMatchObject({
    way: "rows",
    plan: { counts: { added: 1, replaced: 1, same: 98, older: 1 }, onlyThere: 1 },
    rows: 2,
  });
  const documents = (await ok(prod, "get", "docs", "notes/1", "notes/2", "notes/900", "--json")).toString();
  expect(documents).toContain("prod's own, newer");
  expect(documents).toContain("staging's, newer");
  expect((await promote("--json")).json()).toMatchObject({ rows: 0, segments: 0 });
  await ok(prod, "verify", "docs");
});

test("vectors come byte for byte, versions as they were", async () => {
  await create(staging);
  await create(prod, "--shards", "2");
  const odd = [1e-40, -0, 1e15, 0.1].map(Math.fround);
  await write(staging, [{ id: "odd", vector: odd }, ...expectedRows(20)]);
  await promote();
  expect(await contentOf(prod)).toEqual(await contentOf(staging));
});

test("deletes are listed, and confirmed by their number; a delete never comes back", async () => {
  await create(staging);
  await write(staging, expectedRows(10));
  await promote();
  await remove(staging, "notes/3", "notes/4");
  const refused = await promote();
  expect(refused).toMatchObject({ code: 2, err: expect.stringContaining("2 rows of prod would be deleted") });
  expect(refused.err).toContain("--confirm-deletions 2");
  expect(await contentOf(prod)).toHaveLength(10);
  const dry = await promote("--dry-run");
  expect(dry.out).toContain('"notes/3"');
  expect(dry.out).toContain("--confirm-deletions 2");
  expect((await promote("--confirm-deletions", "1")).code).toBe(2);
  expect(await promote("--confirm-deletions", "2")).toMatchObject({ code: 0 });
  expect(await contentOf(prod)).toHaveLength(8);
  // From a side that still has the row, it does not come back.
  prod.others.set("staging", staging);
  const back = await prod.run(["promote", "docs", "--from", "prod", "--to", "staging", "--json"]);
  expect(back.json()).toMatchObject({ rows: 0, plan: { counts: { added: 0, replaced: 0 } } });
  expect(await contentOf(staging)).toHaveLength(8);
  const third = new MemoryCli(memoryWorld({ seed: 3 }));
  await create(third);
  await write(
    third,
    expectedRows(10).map((row) => ({ ...row, document: "older" })),
  );
  await third.close();
});

test("a delete in prod beats the row that staging still has", async () => {
  await create(staging);
  await write(staging, expectedRows(5));
  await promote();
  prod.world.clock.advance(1_000);
  await remove(prod, "notes/0");
  expect((await promote("--json")).json()).toMatchObject({
    rows: 0,
    plan: { counts: { older: 1, same: 4 } },
  });
  expect(await contentOf(prod)).toHaveLength(4);
});

test("a row that may have been deleted and forgotten there is carried only when that is confirmed", async () => {
  await create(staging);
  await create(prod);
  await write(staging, expectedRows(3));
  await promote();
  await remove(prod, "notes/1");
  for (const { world } of [staging, prod]) world.clock.advance(40 * 24 * 3_600_000);
  await write(prod, [expectedRow(50)]);
  await ok(prod, "optimize", "docs");
  const dry = (await promote("--dry-run", "--json")).json<{ plan: { counts: { returning: number } } }>();
  expect(dry.plan.counts.returning).toBe(1);
  expect(await promote()).toMatchObject({ code: 2, err: expect.stringContaining("--confirm-returning 1") });
  expect(await promote("--confirm-returning", "1", "--json")).toMatchObject({ code: 0 });
  expect(await contentOf(prod)).toHaveLength(4);
});

test("sync deletes what only the other side has, as far as it was seen", async () => {
  await create(staging);
  await write(staging, expectedRows(5));
  await promote();
  await write(prod, [expectedRow(100), expectedRow(101)]);
  expect((await promote("--json")).json()).toMatchObject({ plan: { onlyThere: 2 }, deletes: 0 });
  const refused = await sync();
  expect(refused).toMatchObject({ code: 2, err: expect.stringContaining("--confirm-deletions 2") });
  // Written to prod in the meantime, and not ingested yet: it stands.
  const again = { ...expectedRow(101), document: "again" };
  expect(await prod.run(["put", "docs"], { stdin: JSON.stringify(again) })).toMatchObject({ code: 0 });
  expect(await sync("--confirm-deletions", "2")).toMatchObject({ code: 0 });
  await ok(prod, "compact", "docs");
  const left = await contentOf(prod);
  expect(left).toHaveLength(6);
  expect(left.join()).toContain('"again"');
});

test("another format, space, metric or order is refused before anything is written", async () => {
  await create(staging);
  await write(staging, expectedRows(5));
  for (const [more, said] of [
    [["--tombstone-retention", "7"], "the format is 1 in docs of the source and 2"],
    [["--embedding-version", "other"], "the embedding space is"],
    [["--metric", "l2"], "the metric is"],
    [["--ordering", "source"], "the ordering is"],
  ] as const) {
    const other = new MemoryCli(memoryWorld({ seed: 9 }));
    await create(other, ...more);
    staging.others.set("prod", other);
    const before = keys(other);
    for (const args of [[], ["--dry-run"]])
      expect(await promote(...args)).toMatchObject({ code: 2, err: expect.stringContaining(said) });
    expect(keys(other)).toEqual(before);
    await other.close();
  }
  // A row that the other's rules refuse stops all of it.
  const strict = new MemoryCli(memoryWorld({ seed: 9 }));
  await ok(strict, "collection", "create", "docs", "--dims", "4", "--field", "n:string");
  staging.others.set("prod", strict);
  expect(await promote()).toMatchObject({ code: 2, err: expect.stringContaining("5 rows break a rule") });
  expect(keys(strict).filter((key) => key.includes("/segments/"))).toEqual([]);
  await strict.close();
});

test("a promotion without vectors makes them of the documents there", async () => {
  await create(staging);
  await write(staging, [...expectedRows(5), { ...expectedRow(9), document: null }]);
  await ok(prod, "collection", "create", "docs", "--embedder", "lexical");
  expect((await promote()).code).toBe(2);
  expect(await promote("--without-vectors")).toMatchObject({
    code: 2,
    err: expect.stringContaining("1 row break a rule"),
  });
  await remove(staging, "notes/9");
  expect((await promote("--without-vectors", "--json")).json()).toMatchObject({ rows: 5 });
  const found = await ok(prod, "query", "docs", "--text", expectedRow(3).document!, "--top-k", "1", "--json");
  expect(found).toContain('"notes/3"');
});

test("without vectors, by the target's provider: a batch at a time; what it refuses is named, and nothing of its batch is carried", async () => {
  const environment = { ...process.env };
  const provider = await startFakeProvider({ dims: 16 });
  try {
    prod.embedding = worldOf("openai", provider.url);
    await create(staging);
    await write(staging, expectedRows(250));
    await ok(
      prod,
      "collection",
      "create",
      "docs",
      "--dims",
      "16",
      "--embedder",
      "openai/text-embedding-3-small",
    );
    provider.fail({ kind: "refused", input: " 77," });
    const refused = await promote("--without-vectors");
    expect(refused).toMatchObject({ code: 2, err: expect.stringContaining(" 77,") });
    const there = await prod.run(["count", "docs", "--consistency", "strong", "--json"]);
    expect(there.json()).toMatchObject({ count: 0 });
    provider.heal();
    const requests = provider.requests;
    expect((await promote("--without-vectors", "--json")).json()).toMatchObject({ rows: 250 });
    expect(provider.requests - requests).toBeLessThan(25);
    const found = await ok(prod, "get", "docs", "notes/3", "--include", "vector,document", "--json");
    expect(JSON.parse(found).records[0]).toMatchObject({ document: expectedRow(3).document });
    expect(JSON.parse(found).records[0].vector).toHaveLength(16);
  } finally {
    process.env = environment;
    await provider.close();
  }
});

test("a promotion goes in batches, and goes on after an interruption", async () => {
  await create(staging);
  await create(prod, "--shards", "2");
  await write(staging, expectedRows(100));
  const pressed = new AbortController();
  const { store } = prod.world;
  const put = store.put.bind(store);
  jest.spyOn(store, "put").mockImplementation(async (key, ...rest) => {
    if (key.endsWith("pointer.json")) pressed.abort();
    return put(key, ...rest);
  });
  const args = ["promote", "docs", ...sides, "--batch-size", "10", "--json"];
  const first = await staging.run(args, { interrupted: pressed.signal });
  jest.restoreAllMocks();
  expect(first.code).toBe(130);
  const { rows } = first.json<{ rows: number }>();
  expect(rows).toBeGreaterThan(0);
  expect((await staging.run(args)).json()).toMatchObject({
    rows: 100 - rows,
    plan: { counts: { same: rows } },
  });
  expect(await contentOf(prod)).toEqual(await contentOf(staging));
});

test("the commands of docs/promotion.md do what they say", async () => {
  staging.others.set("local:/srv/other", prod);
  await create(staging);
  await write(staging, expectedRows(5));
  const commands = documentedCommands("promotion.md");
  expect(commands.length).toBeGreaterThan(5);
  for (const args of commands)
    expect({ args, ...(await staging.run(args)) }).toMatchObject({ args, code: 0 });
  expect(await contentOf(prod)).toEqual(await contentOf(staging));
});

test("a promotion says what is wrong with its own call", async () => {
  await create(staging);
  expect(await staging.run(["promote", "docs", "--from", "prod", "--to", "prod"])).toMatchObject({ code: 2 });
  expect(await staging.run(["promote", "docs", "--from", "local:", "--to", "prod"])).toMatchObject({
    code: 2,
  });
  expect(await staging.run(["promote", "none", ...sides])).toMatchObject({ code: 3 });
  // Another name, in the same store.
  await write(staging, expectedRows(5));
  const copy = ["promote", "docs", "--from", "staging", "--to", "staging", "--as", "copy", "--json"];
  expect((await staging.run(copy)).json()).toMatchObject({ way: "files", rows: 5 });
  expect(await contentOf(staging, "copy")).toEqual(await contentOf(staging));
  expect(existsSync("docs")).toBe(false);
});
