/** SNP-10: versions that are not kept any more are found in the bucket's noncurrent objects, and brought back from there. */
import { manifestKey, pointerKey, segmentPrefix } from "../../../lib/core/format/keys.ts";
import { snapshotVersion as v } from "../../../lib/core/model/ids.ts";
import { type MergeLimits, mergeLimits } from "../../../lib/core/policy/merge-plan.ts";
import { createCollection, deleteCollection } from "../../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { findVersion, type WantedVersion } from "../../../lib/engine/operate/former-versions.ts";
import { rollback } from "../../../lib/engine/operate/rollback.ts";
import { verify } from "../../../lib/engine/operate/verify.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { MemoryDeletedObjects } from "../../support/memory/deleted-objects.ts";
import { memoryWorld } from "../../support/memory/world.ts";

const name = "docs";
const ref = { collection: name, shard: 0 };
const hour = 3_600_000;
const ids = ["a", "b", "c", "d", "e"];

const limits: MergeLimits = { ...mergeLimits, flatSegmentsMax: 1, flatRowsMax: 2 };

/**
 * Versions 1 to 5, an hour apart, each with a record more; and, once they were merged and garbage was collected, versions 6 and 7 alone,
 * which have none of their segments.
 */
async function fiveVersions(world = memoryWorld(), deleted = new MemoryDeletedObjects(world.store)) {
  const { collection } = await createCollection(world, { name, dims: 2, metric: "l2" });
  const publishedMs: number[] = [];
  const commits: string[] = [];
  const publish = async (id: string) => {
    world.clock.advance(hour);
    await produce(world, { collection: name, records: [{ id, vector: [1, 2], document: `of ${id}` }] });
    await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
  };
  for (const id of ids) {
    await publish(id);
    publishedMs.push(world.clock.nowMs());
    commits.push((await readHead(world.store, collection, 0)).manifest.commit);
  }
  const collect = async () => {
    world.clock.advance(hour);
    await merge(world, collection, 0, { deadlineMs: world.clock.nowMs() + hour, limits });
    await publish("a");
    world.clock.advance(2 * hour);
    const retention = { versionsKept: 1, keptMs: hour, keptMsMax: 1e15, orphanMs: 24 * hour };
    await collectGarbage(world, collection, 0, { retention, thorough: true });
  };
  const find = async (wanted: WantedVersion) => {
    const head = await readHead(world.store, collection, 0);
    const { manifest, isKept } = await findVersion(world, deleted, head, wanted);
    return [manifest.version, manifest.commit, isKept];
  };
  const restore = (version: number) => rollback(world, collection, 0, v(version), deleted);
  const documents = async () => {
    const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
    const { records } = await reader.get({ collection: name, ids, consistency: "strong" });
    await reader.close();
    return records.map(({ id }) => id);
  };
  const isSound = async () => {
    expect((await verify(world, collection, 0)).faults).toEqual([]);
  };
  return { world, deleted, collection, publishedMs, commits, collect, find, restore, documents, isSound };
}

test("a version is found by its number and by a time, in what is kept or in what the bucket keeps", async () => {
  const { collect, find, publishedMs, commits } = await fiveVersions();
  expect(await find({ version: v(2) })).toEqual([2, commits[1], true]);
  await collect();
  expect(await find({ version: v(5) })).toEqual([5, commits[4], false]);
  expect(await find({ version: v(2) })).toEqual([2, commits[1], false]);
  expect(await find({ atMs: publishedMs[1]! })).toEqual([2, commits[1], false]);
  expect(await find({ atMs: publishedMs[2]! - 1 })).toEqual([2, commits[1], false]);
  expect(await find({ atMs: publishedMs[4]! + hour })).toEqual([6, expect.any(String), true]);
  await expect(find({ version: v(8) })).rejects.toMatchObject({ kind: "notFound" });
  await expect(find({ version: v(0) })).rejects.toMatchObject({ kind: "notFound" });
  await expect(find({ atMs: publishedMs[0]! - 1 })).rejects.toMatchObject({
    kind: "notFound",
    message: expect.stringContaining("nothing was published by then"),
  });
});

test("what is restored is the content of then, as the newest version, and is sound", async () => {
  const { collect, restore, documents, isSound, world, collection } = await fiveVersions();
  await collect();
  await expect(rollback(world, collection, 0, v(2))).rejects.toMatchObject({ kind: "notFound" });
  expect(await restore(2)).toEqual({ outcome: "done", version: 8 });
  expect(await documents()).toEqual(["a", "b"]);
  await isSound();
  // And back again, after garbage was collected once more.
  await collect();
  expect((await restore(5)).outcome).toBe("done");
  expect(await documents()).toEqual(ids);
  await isSound();
});

test("a manifest that was never published is not taken for the version of its number", async () => {
  const { world, deleted, collect, find, commits, restore, documents } = await fiveVersions();
  // A loser of version 2's race, made later than the winner; garbage collection deletes both.
  const winner = world.store.bytes(manifestKey(ref, v(2), commits[1]! as never))!;
  const text = winner.toString("utf8");
  expect(text).toContain(commits[1]!);
  const loser = world.clock.ulid();
  await world.store.put(
    manifestKey(ref, v(2), loser as never),
    Buffer.from(text.replaceAll(commits[1]!, loser)),
  );
  world.clock.advance(48 * hour);
  await collect();
  const kept = [];
  for await (const page of deleted.list(`${name}/0/manifests/`, { startAfter: "" })) kept.push(...page);
  expect(kept.map(({ key }) => key)).toContain(manifestKey(ref, v(2), loser as never));
  expect(await find({ version: v(2) })).toEqual([2, commits[1], false]);
  await restore(2);
  expect(await documents()).toEqual(["a", "b"]);
});

test("what the bucket no longer keeps is notFound, and nothing changes", async () => {
  const { world, deleted, collect, restore, find, documents, commits, isSound } = await fiveVersions();
  await collect();
  const files = [];
  for await (const page of deleted.list(segmentPrefix(ref), { startAfter: "" })) files.push(...page);
  expect(files.length).toBeGreaterThan(0);
  deleted.forget(files[0]!.key);
  const head = world.store.bytes(pointerKey(ref));
  await expect(restore(2)).rejects.toMatchObject({
    kind: "notFound",
    message: expect.stringContaining("garbage collection took it"),
  });
  expect(world.store.bytes(pointerKey(ref))).toEqual(head);
  deleted.forget(manifestKey(ref, v(2), commits[1]! as never));
  await expect(find({ version: v(2) })).rejects.toMatchObject({ kind: "notFound" });
  const before = world.store.bytes(pointerKey(ref));
  await expect(restore(2)).rejects.toMatchObject({ kind: "notFound" });
  expect(world.store.bytes(pointerKey(ref))).toEqual(before);
  expect(await documents()).toEqual(ids);
  await isSound();
});

test("files of a kept version that were deleted by hand are brought back from the bucket", async () => {
  const { world, restore, documents, collection } = await fiveVersions();
  const lost = world.store.keys().filter((key) => key.startsWith(segmentPrefix(ref)));
  await world.store.delete([lost[0]!, lost.at(-1)!]);
  expect((await verify(world, collection, 0)).faults).not.toEqual([]);
  expect(await restore(5)).toEqual({ outcome: "done", version: 6 });
  expect(await documents()).toEqual(ids);
  expect((await verify(world, collection, 0)).faults.filter((fault) => fault.includes("version 6"))).toEqual(
    [],
  );
  // Whole again, there is nothing to do.
  expect(await restore(6)).toEqual({ outcome: "current", version: 6 });
});

test("manifests of a former collection of the name are no versions of this one", async () => {
  const world = memoryWorld();
  const { deleted } = await fiveVersions(world);
  await deleteCollection(world.store, name);
  const { collect, find, publishedMs, commits } = await fiveVersions(world, deleted);
  const former: string[] = [];
  for await (const page of deleted.list(`${name}/0/manifests/`, { startAfter: "" }))
    former.push(...page.map(({ key }) => key));
  expect(former.length).toBeGreaterThanOrEqual(5);
  await collect();
  expect(await find({ version: v(2) })).toEqual([2, commits[1], false]);
  await expect(find({ atMs: publishedMs[0]! - hour })).rejects.toMatchObject({ kind: "notFound" });
});

test("a garbage collection run beside it takes nothing that it publishes", async () => {
  const { world, collection, deleted, collect, documents, isSound } = await fiveVersions();
  await collect();
  let runs = 0;
  const beside = effects(world, async ({ operation }, moment) => {
    if (moment === "before" && operation === "putFile" && runs++ === 0) await collect();
    return undefined;
  });
  await rollback(beside, collection, 0, v(2), deleted).catch((error: { kind: string }) => {
    expect(["conflict", "fenced"]).toContain(error.kind);
  });
  expect(runs).toBeGreaterThan(0);
  await rollback(world, collection, 0, v(2), deleted);
  expect(await documents()).toEqual(["a", "b"]);
  await isSound();
});
