/**
 * What an operator does beside the drill: runs that are killed again and again may have a delta put aside without a look at it
 * (docs/protocol.md, "A delta that kills runs"). It is put back, and whatever else is in quarantine is a fault. While a delta of
 * a collection is there, reads that promise every write may lack it.
 */
import type { ShardRef } from "../../lib/core/format/keys.ts";
import { isKind } from "../../lib/core/model/errors.ts";
import type { World } from "../../lib/engine/ports.ts";
import { listQuarantine, retryQuarantined } from "../../lib/engine/shard/quarantine.ts";
import type { Tally } from "./report.ts";

/** What a store that is killed and throttled answers. */
const passing = ["unavailable", "uncertain", "conflict"] as const;
/** A read is excused that was asked so long before its collection's delta was put back, or as long after. */
const excusedMs = 60_000;

export class PutAside {
  readonly #shards: readonly ShardRef[];
  readonly #tally: Tally;
  /** By collection, when deltas were put back. */
  readonly #backMs = new Map<string, number[]>();
  /** Deltas whose being put aside was reported. */
  readonly #told = new Set<string>();
  readonly #doubtful: { readonly collection: string; readonly atMs: number; readonly fault: string }[] = [];

  constructor(shards: readonly ShardRef[], tally: Tally) {
    this.#shards = shards;
    this.#tally = tally;
  }

  /** How many were put back. A store that does not answer is asked again later. */
  async putBack(world: World): Promise<number> {
    let count = 0;
    try {
      for (const shard of this.#shards) {
        for (const { delta, reason } of await listQuarantine(world.store, shard)) {
          if (!reason.includes("two runs of the compactor died")) {
            if (!this.#told.has(delta))
              this.#tally.violation(
                `${delta} of ${shard.collection}/${shard.shard} was put aside: ${reason}`,
              );
            this.#told.add(delta);
            continue;
          }
          await retryQuarantined(world, shard, delta);
          const known = this.#backMs.get(shard.collection) ?? [];
          this.#backMs.set(shard.collection, [...known, performance.now()]);
          this.#tally.count("deltas put back after their runs were killed");
          count += 1;
        }
      }
    } catch (error) {
      if (!passing.some((kind) => isKind(error, kind))) throw error;
    }
    return count;
  }

  /** A read lacked a write that was promised: judged at the end, when all is known. */
  doubt(collection: string, fault: string): void {
    this.#doubtful.push({ collection, fault, atMs: performance.now() });
  }

  judge(): void {
    for (const { collection, atMs, fault } of this.#doubtful.splice(0)) {
      const isExcused = this.#backMs.get(collection)?.some((backMs) => Math.abs(backMs - atMs) < excusedMs);
      if (isExcused) this.#tally.count("answers without a delta that was put aside");
      else this.#tally.violation(fault);
    }
  }
}
