/**
 * Segments join the newest version of a shard: rows of another store, with the places that they have in the order of writes there.
 * It is a version as ingestion makes one, under its lease, and the fold decides what of them shows: a row that joins beats nothing that
 * was written after it. A tombstone that a merge is about to drop meets them as it meets what is ingested (merge-step.ts).
 *
 * The segments' files are there already, under names that are new. A crash before the commit leaves files that no version names.
 */
import { type ShardRef, shardName } from "../../core/format/keys.ts";
import type { Manifest, Segment } from "../../core/format/manifest.ts";
import { addSums } from "../../core/format/row-checksum.ts";
import type { Collection } from "../../core/model/collection.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import { leaseWaitMs } from "../../core/policy/time-bounds.ts";
import type { World } from "../ports.ts";
import { readHead } from "../shard/head.ts";
import { HeldLease, ingestLease } from "../shard/lease.ts";
import { publish } from "../shard/publish.ts";

const leasePollMs = 1_000;

/** The version that has them. Throws `conflict` when the shard stays busy or garbage was collected meanwhile. */
export async function joinSegments(
  world: World,
  collection: Collection,
  shard: number,
  segments: readonly Segment[],
): Promise<Manifest> {
  const ref: ShardRef = { collection: collection.name, shard };
  const lease = await leaseOf(world, collection, ref);
  try {
    const head = await readHead(world.store, collection, shard);
    await lease.check();
    const { own } = await publish(world, collection, head, ({ manifest }) => {
      if (manifest.epoch > lease.epoch)
        throw new SiltstoneError("fenced", `${shardName(ref)}: another writer took over`);
      return {
        cause: "ingest",
        epoch: lease.epoch,
        segments: [...manifest.segments, ...segments],
        applied: manifest.applied,
        watermark: manifest.watermark,
        ledger: {
          ingested: addSums(manifest.ledger.ingested, ...segments.map(({ sum }) => sum)),
          retired: manifest.ledger.retired,
        },
      };
    });
    return own!;
  } finally {
    await lease.release().catch(() => {}); // It runs out by itself.
  }
}

async function leaseOf(world: World, collection: Collection, ref: ShardRef): Promise<HeldLease> {
  const startMs = world.clock.nowMs();
  for (;;) {
    const { pointer } = await readHead(world.store, collection, ref.shard);
    const lease = await HeldLease.acquire(world, ingestLease(shardName(ref)), pointer.epoch);
    if (lease !== null) return lease;
    if (world.clock.nowMs() - startMs > leaseWaitMs)
      throw new SiltstoneError("conflict", `${shardName(ref)} is being compacted all the time; run it again`);
    await world.clock.sleep(leasePollMs);
  }
}
