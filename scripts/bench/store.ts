/**
 * Collections to measure: made as users make them (`imported`), or with segments laid out as wanted, built directly
 * and published (`withSegments`), which skips nothing that a reader could notice.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Segment } from "../../lib/core/format/manifest.ts";
import { addSums } from "../../lib/core/format/row-checksum.ts";
import type { Collection, CollectionOptions } from "../../lib/core/model/collection.ts";
import { deltaId, segmentId } from "../../lib/core/model/ids.ts";
import type { Row } from "../../lib/core/model/row.ts";
import { mergeLimits } from "../../lib/core/policy/merge-plan.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { publish } from "../../lib/engine/shard/publish.ts";
import { uploadSegment } from "../../lib/engine/shard/segment-transfer.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { withFolder } from "../../lib/segment/files.ts";
import { mergeSegments } from "../../lib/segment/merge-segments.ts";
import { writeFlatSegment } from "../../lib/segment/write-flat.ts";
import { type MemoryWorld, memoryWorld } from "../../test/support/memory/world.ts";
import { rowOf, type Vectors } from "./data.ts";

export const far = 9e15;
export const cacheBytes = 64e9;
const documentText =
  "A passage of some three hundred characters, as long as what people put beside a vector. ".repeat(4);

export interface BenchRecord {
  readonly id: string;
  readonly vector: Float32Array;
  readonly document: string;
  readonly metadata: { readonly bucket: number; readonly kind: string; readonly title: string };
}

/** Fields that select any share of the rows: `bucket` is row modulo 10,000, shuffled. */
export const fields = { bucket: "number", kind: "string" } as const;

export const bucketOf = (row: number): number => (row * 7919) % 10_000;

export function recordOf(vectors: Vectors, row: number): BenchRecord {
  return {
    id: `record-${row}`,
    vector: rowOf(vectors, row),
    document: `${row} ${documentText}`,
    metadata: { bucket: bucketOf(row), kind: `kind-${row % 7}`, title: `Title of record ${row}` },
  };
}
export const rowOfId = (id: string): number => Number(id.slice("record-".length));

export interface Store {
  readonly world: MemoryWorld;
  readonly collection: Collection;
}

export async function emptyStore(vectors: Vectors, options: Partial<CollectionOptions> = {}): Promise<Store> {
  const world = memoryWorld();
  const { collection } = await createCollection(world, {
    name: "bench",
    dims: vectors.dims,
    metric: "cosine",
    fields,
    ...options,
  });
  return { world, collection };
}

/** Produces rows `start` to `limit - 1` in calls of `callRows`. */
export async function produceRows(
  { world, collection }: Store,
  vectors: Vectors,
  { start, limit, callRows = 1000 }: { start: number; limit: number; callRows?: number },
): Promise<void> {
  for (let at = start; at < limit; at += callRows) {
    const records = Array.from({ length: Math.min(callRows, limit - at) }, (_, i) =>
      recordOf(vectors, at + i),
    );
    await produce(world, { collection: collection.name, records });
  }
}

export const compactAll = (store: Store, parts: { ingest?: boolean; upkeep?: boolean } = {}) =>
  compact(store.world, { ingest: true, upkeep: true, ...parts, deadlineMs: far });

/** A collection whose rows lie in the given segments, in turn. */
export async function withSegments(
  vectors: Vectors,
  segments: readonly { rows: number; kind: Segment["kind"]; clustered?: boolean }[],
  options: Partial<CollectionOptions> = {},
): Promise<Store> {
  const store = await emptyStore(vectors, options);
  let start = 0;
  for (const { rows, ...how } of segments) {
    await addSegment(store, vectors, { start, limit: start + rows, ...how });
    start += rows;
  }
  return store;
}

export async function addSegment(
  { world, collection }: Store,
  vectors: Vectors,
  how: { start: number; limit: number; kind: Segment["kind"]; clustered?: boolean },
): Promise<void> {
  const { start, limit, kind, clustered = false } = how;
  const ref = { collection: collection.name, shard: 0 };
  const delta = deltaId(world.clock.ulid());
  const rows = Array.from({ length: limit - start }, (_, i): Row => {
    const { id, vector, document, metadata } = recordOf(vectors, start + i);
    return {
      id,
      vector,
      document,
      metadata: JSON.stringify(metadata),
      version: 1,
      delta,
      row: i,
    };
  });
  await withFolder(async (folder) => {
    const [flatFolder, graphFolder] = [join(folder, "flat"), join(folder, "graph")];
    mkdirSync(flatFolder);
    mkdirSync(graphFolder);
    const flat = await writeFlatSegment(flatFolder, collection, segmentId(world.clock.ulid()), rows);
    const { segment } =
      kind === "flat"
        ? { segment: flat }
        : await mergeSegments(graphFolder, collection, [{ segment: flat, folder: flatFolder }], {
            id: segmentId(world.clock.ulid()),
            dropTombstonesBeforeMs: 0,
            limits: { ...mergeLimits, flatRowsMax: 0, clusteredComponentsMin: clustered ? 0 : far },
            checkpoint: async () => {},
          });
    await uploadSegment(world, ref, segment, kind === "flat" ? flatFolder : graphFolder);
    await publish(world, collection, await readHead(world.store, collection, 0), ({ manifest }) => ({
      cause: "ingest",
      epoch: manifest.epoch,
      segments: [...manifest.segments, segment],
      applied: manifest.applied,
      watermark: manifest.watermark,
      ledger: { ...manifest.ledger, ingested: addSums(manifest.ledger.ingested, segment.sum) },
    }));
  });
}

export const readerOf = ({ world }: Pick<Store, "world">, refreshSeconds = 300): Reader =>
  new Reader(world, { refreshSeconds, cacheBytesMax: cacheBytes, traffic: world.traffic });
