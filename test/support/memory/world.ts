/** A whole world in memory: S3, SQS, DynamoDB and time, deterministic from its seed. */
import type { World } from "../../../lib/engine/ports.ts";
import { Traffic } from "../../../lib/engine/traffic.ts";
import { MemoryClock } from "./clock.ts";
import { MemoryLeases } from "./leases.ts";
import { MemoryObjectStore } from "./object-store.ts";
import { MemoryQueue } from "./queue.ts";

export interface MemoryWorld extends World {
  readonly store: MemoryObjectStore;
  readonly queue: MemoryQueue;
  readonly leases: MemoryLeases;
  readonly clock: MemoryClock;
  readonly traffic: Traffic;
}

export interface MemoryWorldOptions {
  /** @default 2026-01-01T00:00:00Z */
  readonly startMs?: number;
  /** @default 1 */
  readonly seed?: number;
  /** Keys on one page of a list. @default 1000, as S3 */
  readonly pageKeys?: number;
  /** @default 15 minutes and a bit, as the deployed queue's is longer than a run */
  readonly visibilityMs?: number;
}

export function memoryWorld(options: MemoryWorldOptions = {}): MemoryWorld {
  const clock = new MemoryClock({
    startMs: options.startMs ?? Date.UTC(2026, 0, 1),
    seed: options.seed ?? 1,
  });
  const traffic = new Traffic();
  return {
    store: new MemoryObjectStore(traffic, clock, { pageKeys: options.pageKeys ?? 1000 }),
    queue: new MemoryQueue(clock, { visibilityMs: options.visibilityMs ?? 960_000 }),
    leases: new MemoryLeases(),
    clock,
    traffic,
  };
}
