/** How many of a shard's oldest deltas one batch takes: as many as its bounds and the resource budget have space for. */

import { deltaBytesMax } from "../../core/format/delta-header.ts";
import { deltaKey, type ShardRef } from "../../core/format/keys.ts";
import type { Collection } from "../../core/model/collection.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import { batchBytesMax } from "../../core/policy/merge-plan.ts";
import { ingestEstimate, type ResourceBudget, shortageOf } from "../../core/policy/resource-estimate.ts";
import type { ListedDelta } from "../shard/deltas.ts";

export interface Choice {
  readonly taken: readonly ListedDelta[];
  /** Null when not even one fits; `shortage` says why. */
  readonly need: ResourceBudget | null;
  readonly shortage: string | null;
}

/** The oldest deltas within a batch's bounds and what there is space for. */
export function chooseBatch(
  collection: Collection,
  pending: readonly ListedDelta[],
  budget: ResourceBudget | undefined,
): Choice {
  const taken: ListedDelta[] = [];
  let bytes = 0;
  let need: ResourceBudget | null = null;
  for (const delta of pending) {
    // What is too large is not read.
    if (delta.bytes <= deltaBytesMax) bytes += delta.bytes;
    const wanted = ingestEstimate(taken.length + 1, bytes, collection);
    const shortage = budget ? shortageOf(wanted, budget) : null;
    if (taken.length === 0 && shortage !== null) return { taken, need, shortage };
    if (taken.length > 0 && (bytes > batchBytesMax || shortage !== null)) break;
    taken.push(delta);
    need = wanted;
  }
  return { taken, need, shortage: null };
}

/** For people: a delta that does not fit. */
export class Shortage extends SiltstoneError {
  constructor(shard: ShardRef, { delta, bytes }: ListedDelta, shortage: string) {
    super(
      "unavailable",
      `${deltaKey(shard, delta)} has ${bytes} bytes; to ingest it would need about ${shortage}; ` +
        "raise compaction.memoryMiB or compaction.diskMiB",
    );
  }
}
