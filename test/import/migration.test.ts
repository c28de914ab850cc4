/** CMP-1, MIG-9: `silt export-chroma` writes an exported snapshot, and the compactor takes it over: whole, or the rest of it next time. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { migrate } from "../../lambdas/compactor/migration.ts";
import {
  descriptorKey,
  encodeExported,
  exportedPart,
  partKey,
} from "../../lib/core/format/exported-snapshot.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { createCollection, deleteCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import type { World } from "../../lib/engine/ports.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { exportSnapshot } from "../../lib/import/export-snapshot.ts";
import { ownFields } from "../../lib/import/source.ts";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { makeIoSynchronous } from "../sim/synchronous-io.ts";
import { Crash, crashAt, effects } from "../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";
import { chromaDirectory } from "./chroma-directory.ts";

const path = "snapshot/migration/";
const bucket = "local";

describe("by the command line", () => {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-migration-"));
  const cli = new MemoryCli();
  const home = process.cwd();
  let expected: { id: string; document: string | null }[];
  const exporting = [
    "export-chroma",
    "--source-path",
    `${folder}#notes`,
    "--bucket",
    bucket,
    "--prefix",
    path,
  ];
  beforeAll(() => {
    expected = chromaDirectory("1.0.5-cosine", folder);
    process.chdir(folder);
  });
  afterAll(async () => {
    process.chdir(home);
    await cli.close();
    rmSync(folder, { recursive: true });
  });
  test("it is exported once, and again the same", async () => {
    const said = await cli.run(exporting);
    expect(said).toMatchObject({ code: 0, err: "" });
    expect(said.out).toMatch(
      /^exported 639 rows in 1 part \(.*\) to s3:\/\/local\/snapshot\/migration\/ in /,
    );
    expect(said.out).toContain("silt collection create notes --dims 4 --metric cosine");
    expect(said.out).toContain("silt compact --snapshot-path snapshot/migration/");
    const objects = new Map(cli.bucketFiles.objects);
    expect((await cli.run([...exporting, "--json"])).json()).toMatchObject({
      rows: 639,
      parts: 1,
      collection: "notes",
    });
    expect(cli.bucketFiles.objects).toEqual(objects);
    const other = await cli.run([...exporting, "--collection", "other"]);
    expect(other).toMatchObject({
      code: 4,
      err: expect.stringContaining("of another export: choose another prefix"),
    });
  });

  test("the compactor says what is missing before it takes anything over", async () => {
    const missing = await cli.run(["compact", "--snapshot-path", "snapshot/other/"]);
    expect(missing).toMatchObject({
      code: 3,
      err: expect.stringContaining("there is no snapshot/other/snapshot.json"),
    });
    const none = await cli.run(["compact", "--snapshot-path", path]);
    expect(none).toMatchObject({ code: 3, err: expect.stringContaining("silt collection create notes") });
    await cli.run(["collection", "create", "notes", "--dims", "4", "--metric", "cosine"]);
    const said = await cli.run(["compact", "--snapshot-path", path]);
    expect(said).toMatchObject({ code: 0, err: "" });
    expect(said.out).toContain("took over 639 of 639 rows of snapshot/migration/ into notes");
  });

  test("every record is there as Chroma had it, and doing it again changes nothing", async () => {
    const exported = async () => {
      await cli.run(["export", "notes", "--to", join(folder, "notes.jsonl")]);
      return readFileSync(join(folder, "notes.jsonl"), "utf8").trim().split("\n").sort();
    };
    const rows = await exported();
    const found = rows
      .map((line) => JSON.parse(line))
      .map(({ id, document }) => ({ id, document: document ?? null }));
    const byId = (a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1);
    expect(found.sort(byId)).toEqual(
      expected.map(({ id, document }) => ({ id, document: document ?? null })).sort(byId),
    );
    expect((await cli.run(["compact", "--snapshot-path", path])).out).toContain("took over 639 of 639");
    expect(await exported()).toEqual(rows);
    // As an import of the directory itself proves them.
    const verified = await cli.run(["import", "notes", "--from", `chroma:${folder}#notes`, "--verify"]);
    expect(verified.out).toContain("verified: 639 rows");
  });

  test("the folder of snapshots is no stranger", async () => {
    expect((await cli.run(["status", "--json"])).json()).toMatchObject({ strangers: { count: 0 } });
    expect((await cli.run(["compact", "--json"])).json()).toMatchObject({ strangers: { count: 0 } });
  });

  test("it is refused where it would be deleted with a collection, and outside its folder", async () => {
    const outside = await cli.run([...exporting.slice(0, -1), "notes/0/deltas/"]);
    expect(outside).toMatchObject({
      code: 2,
      err: expect.stringContaining("must be a folder below snapshot/"),
    });
    cli.bucketFiles.objects.set(`${bucket}/snapshot/collection.json`, Buffer.from("{}"));
    const inside = await cli.run(exporting);
    expect(inside).toMatchObject({ code: 2, err: expect.stringContaining("has a collection snapshot") });
  });
});

/** A snapshot of parts of three records. */
async function exported(
  world: MemoryWorld,
  lines: readonly object[],
  options: { dims?: number; rowsOfPart?: number } = {},
): Promise<void> {
  const { dims = 2, rowsOfPart = 3 } = options;
  const parts = [];
  for (let at = 0; at < lines.length; at += rowsOfPart) {
    const rows = lines.slice(at, at + rowsOfPart);
    const body = Buffer.from(rows.map((line) => `${JSON.stringify(line)}\n`).join(""));
    const part = exportedPart(parts.length, body, rows.length);
    await world.store.put(partKey(path, part), body);
    parts.push(part);
  }
  const snapshot = { collection: "docs", dims, metric: null, parts };
  await world.store.put(descriptorKey(path), encodeExported(snapshot));
}
const rows = Array.from({ length: 10 }, (_, n) => ({ id: `r${n}`, vector: [n, 1], document: `text ${n}` }));

let undo = (): void => undefined;
beforeAll(() => {
  undo = makeIoSynchronous();
});
afterAll(() => undo());

async function store(shards = 1): Promise<{ world: MemoryWorld; collection: Collection }> {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2", shards });
  return { world, collection };
}
const run = (world: World, untilMs = 600_000) => {
  const startMs = world.clock.nowMs();
  return migrate(world, path, { startMs, deadlineMs: startMs + untilMs });
};
async function contentOf(world: MemoryWorld): Promise<string[]> {
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 600_000 });
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  const ids = rows.map(({ id }) => id);
  const { records } = await reader.get({ collection: "docs", ids, consistency: "strong" });
  await reader.close();
  return records.map(({ id, document }) => `${id} ${document}`).sort();
}
const whole = rows.map(({ id, document }) => `${id} ${document}`).sort();

test("what JSON has no number for is refused, and not taken for another value", async () => {
  const { world } = await store();
  const objects = new Map<string, Uint8Array>();
  const row = (id: string, metadata: Record<string, unknown>) => ({
    at: id,
    row: { id, vector: Float32Array.of(1, 2), metadata },
  });
  const items = [
    row("large", { n: 9_007_199_254_740_993n }),
    row("small", { n: 7n, f: 0.5 }),
    row("none", { n: Number.NaN }),
    { at: "infinite", row: { id: "infinite", vector: Float32Array.of(1, Infinity), metadata: {} } },
  ];
  const page = { items, cursor: {}, progress: null };
  const source = {
    ...{ fields: ownFields, repeatsReplace: false, givesVersions: false, close: async () => {} },
    describe: async () => ({ rows: 4, dims: 2, metric: "l2" as const, notes: [], identity: null }),
    async *pages() {
      yield page;
    },
  };
  await exportSnapshot(source, {
    ...{
      path,
      collection: "docs",
      read: async () => null,
      onProgress: () => {},
      interrupted: new AbortController().signal,
    },
    create: async (key, body) => objects.size !== objects.set(key, body).size,
  });
  for (const [key, body] of objects) await world.store.put(key, body);
  const taken = await run(world);
  expect(taken).toMatchObject({ rows: 4, written: 1, rejected: 3, done: true });
  const [key] = world.store.keys(taken.rejects!).filter((one) => one.endsWith(".rejects.jsonl"));
  const reasons = world.store
    .bytes(key!)!
    .toString()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).problems[0].field);
  expect(reasons).toEqual(["metadata.n", "metadata.n", "vector"]);
});

test("a run whose time is over goes on in the next one, at the part behind the last one that is done", async () => {
  const { world } = await store(2);
  await exported(world, rows);
  const counts: unknown[] = [];
  for (let runs = 0; runs < 5; runs++) {
    let puts = 0;
    // Time runs out with the first mark of a run.
    const slow = effects(world, ({ operation, key }, moment) => {
      if (moment === "after" && operation === "put" && key.includes("/run/") && ++puts === 1)
        world.clock.advance(600_000);
      return undefined;
    });
    const { partsDone, written, done } = await run(slow);
    counts.push([partsDone, written, done]);
  }
  expect(counts).toEqual([
    [1, 3, false],
    [2, 3, false],
    [3, 3, false],
    [4, 1, true],
    [4, 0, true],
  ]);
  expect(await contentOf(world)).toEqual(whole);
});

test("a crash at any effect loses no record: the next run ends it", async () => {
  let crashed = 0;
  for (const moment of ["before", "after"] as const) {
    for (let index = 1; ; index++) {
      const { world } = await store();
      await exported(world, rows);
      const outcome = await run(effects(world, crashAt(index, moment))).catch((error: unknown) => error);
      if (!(outcome instanceof Crash)) break;
      crashed += 1;
      expect(await run(world)).toMatchObject({ rows: 10, rowsDone: 10, done: true });
      expect(await contentOf(world)).toEqual(whole);
    }
  }
  expect(crashed).toBeGreaterThan(20);
});

test("two runs at once end as one does", async () => {
  const { world } = await store();
  await exported(world, rows);
  const both = await Promise.all([run(world), run(world)]);
  for (const one of both) expect(one).toMatchObject({ rowsDone: 10, done: true });
  expect(await contentOf(world)).toEqual(whole);
});

test("a collection that was deleted and made again gets all of it again", async () => {
  const { world } = await store();
  await exported(world, rows);
  await run(world);
  await deleteCollection(world.store, "docs");
  await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  expect(await run(world)).toMatchObject({ written: 10, done: true });
  expect(await contentOf(world)).toEqual(whole);
});

test("records that the collection does not take are kept with the reason; the others are written", async () => {
  const { world, collection } = await store();
  const bad = [
    { id: "short", vector: [1] },
    {
      at: "embedding 7",
      problems: [{ field: "vector", reason: "is not in the directory" }],
      record: { id: "lost" },
    },
  ];
  await exported(world, [...bad, ...rows]);
  const prefix = `${path}run/${collection.id}/`;
  expect(await run(world)).toMatchObject({ written: 10, rejected: 2, done: true, rejects: prefix });
  const [key] = world.store.keys(prefix).filter((one) => one.endsWith(".rejects.jsonl"));
  const lines = world.store.bytes(key!)!.toString().trim().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    {
      id: "short",
      problems: [{ field: "vector", reason: "has 1 values instead of 2" }],
      record: { id: "short" },
    },
    { id: "lost", problems: [{ field: "vector" }], record: { id: "lost" } },
  ]);
  expect(await run(world)).toMatchObject({ written: 0, rejected: 0, rejects: prefix });
  expect(await contentOf(world)).toEqual(whole);
});

describe("nothing of it is written that is not what was exported", () => {
  test.each([
    [
      "a flipped byte in a part",
      /records-00001/,
      (body: Buffer) => body.fill(0x20, 3, 4),
      "it is not what was exported",
    ],
    [
      "a part that was cut",
      /records-00001/,
      (body: Buffer) => body.subarray(0, -5),
      "it is not what was exported",
    ],
    ["a part that is gone", /records-00001/, () => null, "it is not there"],
    [
      "a flipped byte in the descriptor",
      /snapshot\.json/,
      (body: Buffer) => body.fill(0x31, 20, 21),
      "its seal does not fit",
    ],
  ])("%s", async (_, name, damage, said) => {
    const { world } = await store();
    await exported(world, rows);
    const key = world.store.keys(path).find((one) => name.test(one))!;
    const damaged = damage(Buffer.from(world.store.bytes(key)!));
    if (damaged === null) await world.store.delete([key]);
    else await world.store.put(key, damaged);
    await expect(run(world)).rejects.toMatchObject({
      kind: "corrupt",
      message: expect.stringContaining(said),
    });
    // What came before it is whole.
    const found = await contentOf(world);
    expect(whole).toEqual(expect.arrayContaining(found));
  });

  test("vectors of another size", async () => {
    const { world } = await store();
    await exported(world, rows, { dims: 3 });
    await expect(run(world)).rejects.toMatchObject({
      kind: "invalid",
      message: expect.stringContaining("of 3 dimensions"),
    });
  });

  test("a descriptor that another wrote, with a name that is none of a part", async () => {
    const { world } = await store();
    const part = { name: "../../docs/collection.json", rows: 1, bytes: 1, sha256: "0".repeat(64) };
    const snapshot = { collection: "docs", dims: 2, metric: null, parts: [part] };
    await world.store.put(descriptorKey(path), encodeExported(snapshot));
    await expect(run(world)).rejects.toMatchObject({
      kind: "corrupt",
      message: expect.stringContaining("its part 0 is none"),
    });
  });
});
