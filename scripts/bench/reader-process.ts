/**
 * A query process of its own, as a Lambda is one: over HTTP to an S3, with nothing cached. It is asked by JSON lines on
 * stdin and answers each with one on stdout; reader-client.ts is the other side.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import pLimit from "p-limit";
import hnswlib from "#hnswlib";
import { segmentKey } from "../../lib/core/format/keys.ts";
import { segmentBytes } from "../../lib/core/format/manifest.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { readCollection, readHead } from "../../lib/engine/shard/head.ts";
import { fetchSegment, searchedFiles } from "../../lib/engine/shard/segment-transfer.ts";
import { withFolder } from "../../lib/segment/files.ts";
import { servedWorld } from "./served-world.ts";
import { cacheBytes } from "./store.ts";

export type Question =
  | { readonly op: "memory" }
  /** A query of a reader that stays; checks the pointer every time. */
  | { readonly op: "query"; readonly vector: readonly number[] }
  /** A reader made for it, with an empty cache: everything to the first answer. */
  | { readonly op: "cold"; readonly vector: readonly number[] }
  /** Likewise, by a read that waits for the graphs. */
  | { readonly op: "coldGraphs"; readonly vector: readonly number[] }
  /** The bytes alone, by parallel ranged GETs, kept nowhere. */
  | { readonly op: "transfer" }
  /** hnswlib-node's own reading of the graphs. */
  | { readonly op: "read" };

export interface Answer {
  readonly ms: number;
  readonly rss: number;
  /** Bytes of the open version's files that a reader fetches. */
  readonly bytes: number;
  readonly requests: number;
  readonly ids: readonly string[];
  /** Whether it came from clusters.bin, before the graphs. */
  readonly cold?: boolean;
}

const partBytes = 8 * 1024 * 1024;
const partsAtOnce = 16;
const collectionName = "bench";

const world = servedWorld();
const newReader = (refreshSeconds: number) =>
  new Reader(world, { refreshSeconds, cacheBytesMax: cacheBytes, traffic: world.traffic });
const staying = newReader(0);

async function work(
  question: Question,
): Promise<{ ids: string[]; bytes: number; ms?: number; cold?: boolean }> {
  switch (question.op) {
    case "memory":
      return { ids: [], bytes: await openBytes() };
    case "query":
      return ask(staying, question.vector);
    case "cold":
    case "coldGraphs": {
      const reader = newReader(300);
      const startedMs = performance.now();
      const answer = await ask(reader, question.vector, question.op === "coldGraphs");
      const ms = performance.now() - startedMs;
      void reader.close();
      return { ...answer, ms };
    }
    case "transfer":
      return { ids: [], bytes: await transfer() };
    case "read":
      return readGraphs();
  }
}

async function ask(reader: Reader, vector: readonly number[], waits = false) {
  const { results, bytesRead, cold } = await reader.query({
    collection: collectionName,
    vector,
    ...(waits ? { consistency: "bounded", maxAgeSeconds: 300 } : {}),
  });
  return { ids: results.map(({ id }) => id), bytes: bytesRead, cold: cold === true };
}

async function manifest() {
  const collection = await readCollection(world.store, collectionName);
  return { collection, manifest: (await readHead(world.store, collection, 0)).manifest };
}

async function openBytes(): Promise<number> {
  const { manifest: current } = await manifest();
  return current.segments.reduce((sum, segment) => sum + segmentBytes(segment), 0);
}

async function transfer(): Promise<number> {
  const { manifest: current } = await manifest();
  const parts = current.segments.flatMap((segment) =>
    searchedFiles(segment).flatMap((file) => {
      const { bytes } = segment.files[file]!;
      const key = segmentKey(current, segment.id, file);
      return Array.from({ length: Math.ceil(bytes / partBytes) }, (_, i) => ({
        key,
        range: { start: i * partBytes, limit: Math.min(bytes, (i + 1) * partBytes) },
      }));
    }),
  );
  const limit = pLimit(partsAtOnce);
  await Promise.all(parts.map(({ key, range }) => limit(() => world.store.get(key, { range }))));
  return parts.reduce((sum, { range }) => sum + range.limit - range.start, 0);
}

async function readGraphs() {
  const { collection, manifest: current } = await manifest();
  let [bytes, ms] = [0, 0];
  for (const segment of current.segments.filter(({ kind }) => kind === "hnsw")) {
    await withFolder(async (folder) => {
      await fetchSegment(world.store, current, segment, ["index.hnsw"], folder);
      const path = join(folder, "index.hnsw");
      const startedMs = performance.now();
      await new hnswlib.HierarchicalNSW(collection.metric, collection.dims).readIndex(path);
      ms += performance.now() - startedMs;
      bytes += statSync(path).size;
    });
  }
  return { ids: [], bytes, ms };
}

for await (const line of createInterface({ input: process.stdin })) {
  const before = world.traffic.snapshot();
  const startedMs = performance.now();
  const done = await work(JSON.parse(line) as Question);
  const answer: Answer = {
    ms: performance.now() - startedMs,
    requests: world.traffic.since(before).requests,
    rss: process.memoryUsage.rss(),
    ...done,
  };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await staying.close();
