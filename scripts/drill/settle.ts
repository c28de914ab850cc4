/**
 * The end of a drill, with the faults off: everything converges, every acknowledged write is there, the count is exact,
 * nothing is damaged, and garbage collection leaves nothing on S3 that no version names.
 */
import { setTimeout as sleep } from "node:timers/promises";
import {
  collectionKey,
  collectionPrefix,
  manifestKey,
  nameKey,
  pointerKey,
  type SegmentFile,
  segmentKey,
} from "../../lib/core/format/keys.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { collectGarbage } from "../../lib/engine/compact/collect-garbage.ts";
import type { RunSummary } from "../../lib/engine/compact/run-summary.ts";
import { verify } from "../../lib/engine/operate/verify.ts";
import type { World } from "../../lib/engine/ports.ts";
import { readCollection, readHead } from "../../lib/engine/shard/head.ts";
import { listManifests, readManifest } from "../../lib/engine/shard/history.ts";
import type { FunctionCalls } from "./calls.ts";
import type { Ledger, SeenRecord } from "./ledger.ts";
import { type DrillMetric, nearestDistances, recallOf } from "./neighbours.ts";
import type { Tally } from "./report.ts";

const runsMax = 300;
const runPauseMs = 300;
const garbageCollectionRunsMax = 30;
const idsPerGetMax = 500;
/** Numbers of the vectors of one answer: below 5 MB of JSON. */
const numbersPerGet = 200_000;
const queries = 50;
const recallLeast = 0.95;
/** Nothing but the current version, and no patience for orphans: every writer has ended. */
const keepNothing = { versionsKept: 1, keptMs: 0, keptMsMax: 1e15, orphanMs: 0 };

export interface SettleOptions {
  readonly world: World;
  readonly calls: FunctionCalls;
  readonly tally: Tally;
  readonly releaseLeases: () => Promise<void>;
}

/** Runs the compactor until a run finds nothing to do. */
export async function compactAll({ calls, tally, releaseLeases }: SettleOptions): Promise<void> {
  let last = "no answer";
  for (let run = 0; run < runsMax; run++) {
    const result = await calls.invoke("compactor", { source: "manual" });
    if (result.kind === "answered") {
      const summary = result.value as RunSummary;
      if (summary.pending === 0 && summary.shards.every(({ outcome }) => outcome === "nothing")) return;
      last = JSON.stringify(summary.shards);
    } else last = result.message;
    await releaseLeases();
    await sleep(runPauseMs);
  }
  tally.violation(
    `after ${runsMax} runs of the compactor there is still something to do: ${last.slice(0, 500)}`,
  );
}

/** Every record of the model and no other, by get, count and query. */
export async function checkContents(
  options: SettleOptions,
  ledger: Ledger,
  metric: DrillMetric,
): Promise<number> {
  const { calls, tally } = options;
  const { collection } = ledger;
  const live = ledger.final();
  const promised = ledger.promised();
  const ask = async (event: object): Promise<unknown> => {
    const result = await calls.invoke("query", { ...event, collection });
    if (result.kind === "answered") return result.value;
    tally.violation(`${collection}: with nothing broken, a read failed: ${result.message}`);
    return null;
  };
  for (const consistency of [{ consistency: "strong" }, { consistency: "bounded", maxAgeSeconds: 0 }]) {
    const counted = (await ask({ op: "count", ...consistency })) as { count: number } | null;
    if (counted !== null && counted.count !== live.size)
      tally.violation(
        `${collection}: ${consistency.consistency} count ${counted.count}, the model has ${live.size}`,
      );
  }
  const { ids } = ledger;
  const idsPerGet = Math.min(idsPerGetMax, Math.floor(numbersPerGet / ledger.dims));
  for (let start = 0; start < ids.length; start += idsPerGet) {
    const part = ids.slice(start, start + idsPerGet);
    const include = ["document", "metadata", "vector"];
    const answer = (await ask({
      op: "get",
      ids: part,
      include,
      consistency: "bounded",
      maxAgeSeconds: 0,
    })) as {
      records: SeenRecord[];
    } | null;
    if (answer === null) continue;
    const found = new Map(answer.records.map((record) => [record.id, record]));
    for (const id of part) {
      const fault = ledger.faultOfGet(id, found.get(id) ?? null, promised);
      if (fault !== null) tally.violation(`${collection}, at the end: ${fault}`);
    }
  }
  const base = [...live.values()].map((write) => ledger.vector(write));
  let recall = 0;
  for (let i = 0; i < queries; i++) {
    const vector = ledger.vector({ id: "final", number: i, op: "upsert" });
    const answer = (await ask({ op: "query", vector, topK: 10 })) as {
      results: { distance: number }[];
    } | null;
    const answered = answer?.results.map(({ distance }) => distance) ?? [];
    if (answered.length !== Math.min(10, base.length))
      tally.violation(`${collection}: ${answered.length} results of 10`);
    recall += recallOf(nearestDistances(metric, vector, base, 10), answered) / queries;
  }
  tally.counts[`recall@10 in ${collection}`] = Math.round(recall * 10_000) / 10_000;
  if (recall < recallLeast) tally.violation(`${collection}: recall@10 is ${recall}`);
  return live.size;
}

/** Every hash, every checksum, the history; and its rows are the model's. */
export async function verifyAll({ world, tally }: SettleOptions, name: string): Promise<void> {
  const collection = await readCollection(world.store, name);
  for (let shard = 0; shard < collection.shards; shard++) {
    const { faults, versionsChecked } = await verify(world, collection, shard);
    for (const fault of faults) tally.violation(`verify ${name}/${shard}: ${fault}`);
    tally.count("versions verified", versionsChecked);
    const { manifest } = await readHead(world.store, collection, shard);
    for (const { kind, rows } of manifest.segments) tally.count(`rows in ${kind} segments`, rows);
  }
}

/** Collects everything but the current versions, then looks for objects that nothing names. */
export async function collectAll(
  { world, tally, releaseLeases }: SettleOptions,
  name: string,
): Promise<void> {
  const collection = await readCollection(world.store, name);
  const named = new Set([collectionKey(name), nameKey(name)]);
  for (let shard = 0; shard < collection.shards; shard++) {
    await collectShard(world, tally, collection, shard, releaseLeases);
    for (const key of await keysNamed(world, collection, shard)) named.add(key);
  }
  for await (const page of world.store.list(collectionPrefix(name))) {
    for (const { key } of page) {
      tally.count("objects left on S3");
      // The reasons of deltas that were put back stay: tokens follow them.
      if (/\/quarantine\/[^/]+\.json$/.test(key)) continue;
      if (!named.has(key)) tally.violation(`nothing names ${key} after garbage collection`);
      named.delete(key);
    }
  }
  for (const key of named) tally.violation(`${key} is named and not there`);
}

async function collectShard(
  world: World,
  tally: Tally,
  collection: Collection,
  shard: number,
  releaseLeases: () => Promise<void>,
): Promise<void> {
  let last = "";
  for (let i = 0; i < garbageCollectionRunsMax; i++) {
    const { outcome, keys } = await collectGarbage(world, collection, shard, {
      retention: keepNothing,
      thorough: true,
    });
    if (outcome === "nothing") return;
    if (outcome === "done") tally.count("objects collected at the end", keys.length);
    if (outcome === "busy") await releaseLeases();
    last = `${outcome}, ${keys.length} objects`;
    await sleep(50);
  }
  tally.violation(
    `${collection.name}/${shard}: after ${garbageCollectionRunsMax} garbage collection runs there is still garbage (${last})`,
  );
}

/** The pointer, the manifests, and every file that one of them names. */
async function keysNamed(world: World, collection: Collection, shard: number): Promise<string[]> {
  const ref = { collection: collection.name, shard };
  const keys = [pointerKey(ref)];
  for (const name of await listManifests(world.store, ref)) {
    keys.push(manifestKey(ref, name.version, name.commit));
    const manifest = await readManifest(world.store, ref, name);
    for (const { id, files } of manifest.segments)
      for (const file of Object.keys(files) as SegmentFile[]) keys.push(segmentKey(ref, id, file));
  }
  return keys;
}
