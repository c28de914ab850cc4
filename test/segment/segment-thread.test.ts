/**
 * The thread that opens large segments does what the thread that answers would do: the same answers of the same files, the same
 * refusal of damaged ones, and errors that name their kind. Small segments never start it.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { corrupt, SiltstoneError } from "../../lib/core/model/errors.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { errorOf, failureOf, largeBytes, SegmentThread } from "../../lib/segment/segment-thread.ts";
import { workHere } from "../../lib/segment/segment-work.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";

const threadScript = join(import.meta.dirname, "../../lambdas/query/segment-thread.ts");
const dims = 256;
/** 1.2 MB of vectors. */
const rows = 1_200;
const far = { ingest: true, upkeep: false, deadlineMs: 9e15 };
const vectorOf = (row: number): Float32Array =>
  Float32Array.from({ length: dims }, (_, i) => Math.sin(row * 31 + i * 7) + (i === row % dims ? 3 : 0));
const recordsFrom = (start: number, limit: number) =>
  Array.from({ length: limit - start }, (_, i) => ({ id: `r${start + i}`, vector: vectorOf(start + i) }));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "segment-thread-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function worldOf(records: readonly { id: string; vector: Float32Array }[]): Promise<MemoryWorld> {
  const world = memoryWorld();
  await createCollection(world, { name: "c", dims, metric: "cosine" });
  await produce(world, { collection: "c", records });
  await compact(world, far);
  return world;
}
const readerOf = (world: MemoryWorld, script?: string): Reader =>
  new Reader(world, {
    refreshSeconds: 0,
    cacheBytesMax: 1e9,
    traffic: world.traffic,
    ...(script === undefined ? {} : { threadScript: script }),
  });

test("answers of a view that the thread opened, and compared with what was open, are those of one that was opened here", async () => {
  const world = await worldOf(recordsFrom(0, rows));
  const [there, here] = [readerOf(world, threadScript), readerOf(world)];
  const answersOf = async (reader: Reader) => {
    const { results } = await reader.query({
      collection: "c",
      vector: vectorOf(5),
      topK: 50,
      consistency: "bounded",
      maxAgeSeconds: 0,
    });
    const { count } = await reader.count({ collection: "c", consistency: "bounded", maxAgeSeconds: 0 });
    return { count, results };
  };
  expect(await answersOf(there)).toEqual(await answersOf(here));
  // Rows that are superseded, deleted, and new.
  await produce(world, {
    collection: "c",
    records: [...recordsFrom(rows, rows + 20), { id: "r5", vector: vectorOf(77) }],
    deletes: ["r6"],
  });
  await compact(world, far);
  const answers = await answersOf(there);
  expect(answers).toEqual(await answersOf(here));
  expect(answers.count).toBe(rows + 19);
  const nearest = async (row: number) =>
    (await there.query({ collection: "c", vector: vectorOf(row), topK: 2 })).results.map(({ id }) => id);
  expect(await nearest(77)).toEqual(["r5", "r77"]);
  // Neither what was replaced nor what was deleted is found where it was.
  for (const gone of [5, 6]) expect(await nearest(gone)).not.toContain(`r${gone}`);
  await Promise.all([there.close(), here.close()]);
});

test("a bit that flipped in a large file is found by the thread's hash", async () => {
  const world = await worldOf(recordsFrom(0, rows));
  const key = world.store.keys().find((name) => name.endsWith("vectors.f32"))!;
  const bytes = Buffer.from(world.store.bytes(key)!);
  bytes[bytes.length >> 1]! ^= 1;
  await world.store.delete([key]);
  await world.store.put(key, bytes);
  const reader = readerOf(world, threadScript);
  await expect(reader.count({ collection: "c" })).rejects.toThrow(`${key} is corrupt: its sha256`);
  await reader.close();
});

test("the hash of a file that grows is that of its bytes, whoever made it", async () => {
  const thread = new SegmentThread(threadScript);
  const path = join(folder, "grown");
  const bytes = randomBytes(largeBytes * 2 + 17);
  writeFileSync(path, bytes);
  const [there, here] = [thread, workHere].map((work) => work.hash(path, bytes.length));
  for (const part of [bytes.subarray(0, 5), bytes.subarray(5, largeBytes), bytes.subarray(largeBytes)])
    for (const hash of [there!, here!]) hash.add(part);
  expect(await there!.digest()).toBe(await here!.digest());
  // Of a file that is not there, the digest says so.
  const gone = thread.hash(join(folder, "gone"), largeBytes);
  gone.add(bytes);
  await expect(gone.digest()).rejects.toMatchObject({ code: "ENOENT" });
  await thread.close();
});

test("a thread that fails is an outage for what it was asked, and the next work starts another", async () => {
  const script = join(folder, "broken.mjs");
  writeFileSync(script, "throw new Error('as if out of memory')");
  const broken = new SegmentThread(script);
  const digest = () => broken.hash(join(folder, "any"), largeBytes).digest();
  await expect(digest()).rejects.toMatchObject({
    kind: "unavailable",
    message: expect.stringContaining("as if out of memory"),
  });
  await expect(digest()).rejects.toMatchObject({ kind: "unavailable" });
  const closed = new SegmentThread(threadScript);
  const waiting = closed.hash(join(folder, "any"), largeBytes).digest();
  await Promise.all([expect(waiting).rejects.toMatchObject({ kind: "unavailable" }), closed.close()]);
});

test("small segments never start the thread", async () => {
  const world = await worldOf(recordsFrom(0, 20));
  const reader = readerOf(world, join(folder, "there-is-no-such-script.mjs"));
  expect((await reader.count({ collection: "c" })).count).toBe(20);
  await reader.close();
});

test("errors keep their kind, and what the machine said, from one thread to the other", () => {
  const newer = new SiltstoneError("unavailable", "newer", { isOfNewerFormat: true });
  const full = Object.assign(new Error("full"), { code: "ERR_SQLITE_ERROR", errcode: 13 });
  for (const error of [corrupt("a/b", "wrong"), newer, full]) {
    const carried = errorOf(structuredClone(failureOf(error)));
    expect(carried).toEqual(error);
    expect({ ...carried }).toMatchObject({ ...error });
  }
});
