/**
 * A compactor of one shard, or the reader of a query group, in a process of its own as a Lambda is one: asked by JSON
 * lines, for scale.ts. S3 is the local one; leases and queue are this process's own, since no two work on one shard.
 */
import { createInterface } from "node:readline";
import { systemClock } from "../../lib/aws/system-clock.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import type { QueryRequest } from "../../lib/engine/read/read-request.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { MemoryLeases } from "../../test/support/memory/leases.ts";
import { MemoryQueue } from "../../test/support/memory/queue.ts";
import { peakBytes } from "./peak-memory.ts";
import { servedWorld } from "./served-world.ts";
import { cacheBytes, far } from "./store.ts";

export type ScaleQuestion =
  | { readonly op: "compact"; readonly collection: string; readonly shard: number }
  | ({ readonly op: "query" } & QueryRequest)
  | { readonly op: "memory" };

export interface CompactAnswer {
  readonly ingestMs: number;
  readonly mergeMs: number;
  /** Processor time of both, by all threads: what others do on the machine distorts it less. */
  readonly processorMs: number;
  readonly peakBytes: number;
}
export interface MemoryAnswer {
  readonly residentBytes: number;
  /** Size of the open segments' files. */
  readonly indexBytes: number;
}

const clock = systemClock();
const world = {
  ...servedWorld(),
  leases: new MemoryLeases(),
  queue: new MemoryQueue(clock, { visibilityMs: 1_000 }),
};
const reader = new Reader(world, { refreshSeconds: 300, cacheBytesMax: cacheBytes, traffic: world.traffic });

async function compactShard(collection: string, shard: number): Promise<CompactAnswer> {
  const times = [];
  const before = process.cpuUsage();
  for (const [ingest, upkeep] of [
    [true, false],
    [false, true],
  ] as const) {
    const startedMs = performance.now();
    const report = await compact(world, { collection, shard, ingest, upkeep, deadlineMs: far });
    const [error] = report.shards.flatMap((one) => one.error ?? []);
    if (error) throw new Error(error.message);
    if (ingest && report.pending > 0) throw new Error(`${report.pending} deltas are left`);
    times.push(performance.now() - startedMs);
  }
  const { user, system } = process.cpuUsage(before);
  return {
    ingestMs: times[0]!,
    mergeMs: times[1]!,
    processorMs: (user + system) / 1000,
    peakBytes: peakBytes(),
  };
}

async function answer(question: ScaleQuestion): Promise<object> {
  switch (question.op) {
    case "compact":
      return compactShard(question.collection, question.shard);
    case "query": {
      const { op: _, ...call } = question;
      return reader.query(call);
    }
    case "memory": {
      const indexBytes = reader.shards.reduce((sum, { bytes }) => sum + bytes, 0);
      return { residentBytes: process.memoryUsage.rss(), indexBytes };
    }
  }
}

for await (const line of createInterface({ input: process.stdin }))
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line) as ScaleQuestion))}\n`);
await reader.close();
