/**
 * A manifest: the immutable list of segments that make up one version of a shard, and the ledger that proves that no
 * row was lost on the way. What must hold of a manifest, and between a manifest and its parent, are plain functions
 * here: they are checked before every commit, and again by every reader and by `silt verify`.
 */
import { bounds } from "../model/bounds.ts";
import type { Collection } from "../model/collection.ts";
import { corrupt } from "../model/errors.ts";
import {
  type CommitId,
  commitId,
  type DeltaId,
  deltaId,
  type Epoch,
  epoch,
  isVersion,
  type SegmentId,
  type SnapshotVersion,
  snapshotVersion,
  versionMax,
} from "../model/ids.ts";
import { isUlid } from "../model/ulid.ts";
import { type SegmentFile, type ShardRef, shardName } from "./keys.ts";
import { addSums, equalSums, noRows, type RowSum } from "./row-checksum.ts";
import { decodeSealed, encodeSealed } from "./sealed-json.ts";

export const manifestFormat = 1;
/** 1,000 segments, each with what it has written again of every other one, have 21 MB. */
export const manifestBytesMax = 32 * 1024 * 1024;

export interface FileEntry {
  readonly bytes: number;
  /** Lower-case hex. */
  readonly sha256: string;
  /** clusters.bin: its first part, which is read by itself and vouches for the other parts. */
  readonly head?: Pick<FileEntry, "bytes" | "sha256">;
}

export interface Segment {
  readonly id: SegmentId;
  /** `flat`: vectors.f32 + records.db, searched exactly. `hnsw`: index.hnsw as well, and clusters.bin when it is large. */
  readonly kind: "flat" | "hnsw";
  /** Rows with a vector. */
  readonly rows: number;
  /** Rows that say that an id was deleted. */
  readonly tombstones: number;
  /** Vectors in vectors.f32 and nodes in the graph: rows, plus those that a merge left dead in the graph. */
  readonly slots: number;
  /** Smallest and largest version among rows and tombstones. */
  readonly minVersion: number;
  readonly maxVersion: number;
  /** Checksum over rows and tombstones. */
  readonly sum: RowSum;
  readonly files: Readonly<Partial<Record<SegmentFile, FileEntry>>>;
  /** What merging knows of rows here that are superseded; absent until something is. Nothing but reclaiming depends on it. */
  readonly stale?: Staleness;
}

/** Rows of a segment that others supersede, and dead slots: what is stored and no answer can hold. */
export interface Staleness {
  /** When the first of them was superseded, at the latest: ms since 1970; null when none is known. */
  readonly sinceMs: number | null;
  /** How many ids of this segment another one of the version wrote again when it was made, by segment. 0 was counted, too. */
  readonly by: Readonly<Record<string, number>>;
}

export interface Manifest {
  readonly format: typeof manifestFormat;
  readonly collection: string;
  readonly collectionId: string;
  readonly shard: number;
  readonly version: SnapshotVersion;
  readonly commit: CommitId;
  readonly parent: { readonly version: SnapshotVersion; readonly commit: CommitId } | null;
  readonly epoch: Epoch;
  /** What made this version. */
  readonly cause: "create" | "ingest" | "merge" | "rollback";
  readonly createdAt: string;
  readonly dims: number;
  readonly metric: string;
  readonly embeddingVersion: string;
  readonly index: { readonly M: number; readonly efConstruction: number };
  readonly segments: readonly Segment[];
  /** ULIDs of deltas that are part of this version and whose objects may still exist, ascending. */
  readonly applied: readonly DeltaId[];
  /** No delta of the backlog is older than this ULID (docs/protocol.md, "Low watermark"): LISTs start here. */
  readonly watermark: DeltaId;
  /**
   * Conservation: every row that ever came in is in a segment or was retired (superseded, or an expired tombstone):
   * ingested = Σ segments + retired.
   */
  readonly ledger: { readonly ingested: RowSum; readonly retired: RowSum };
  /** What roll backs may have taken back; absent before the first. A read with a token of one of these deltas says so. */
  readonly takenBack?: TakenBack;
}

/** Deltas named from `from` to `to` may have been ingested after `version`, and not be part of its content. */
export interface TakenBack {
  readonly from: DeltaId;
  readonly to: DeltaId;
  readonly version: SnapshotVersion;
}

/** Of a version that has the content of `target` and follows `head`: what `target` itself lacks stays taken back. */
export function takenBackBy(head: Manifest, target: Manifest): TakenBack {
  const lacking = target.takenBack;
  const from = lacking !== undefined && lacking.from < target.watermark ? lacking.from : target.watermark;
  // The target may be the newer one: a repair took an older version for the head.
  // What the head has applied and forgotten since was named before its commit, but for a clock that was ahead.
  const ends = [from, String(head.commit), ...head.applied.slice(-1), ...(lacking ? [lacking.to] : [])];
  return { from, to: deltaId(ends.sort().at(-1)!), version: target.version };
}

/** Version 0, which every shard of a new collection starts from. It is never written: the pointer stands for it. */
export const emptyManifest = (collection: Collection, shard: number): Manifest => ({
  format: manifestFormat,
  collection: collection.name,
  collectionId: collection.id,
  shard,
  version: snapshotVersion(0),
  commit: commitId(collection.id),
  parent: null,
  epoch: epoch(0),
  cause: "create",
  createdAt: collection.createdAt,
  dims: collection.dims,
  metric: collection.metric,
  embeddingVersion: collection.embeddingVersion,
  index: { M: collection.index.M, efConstruction: collection.index.efConstruction },
  segments: [],
  applied: [],
  watermark: deltaId("0".repeat(26)),
  ledger: { ingested: noRows, retired: noRows },
});

export const encodeManifest = (manifest: Manifest): Buffer => encodeSealed(manifest);

/** Reads a stored manifest and checks it whole. Throws `corrupt`, naming `key`. */
export function decodeManifest(bytes: Uint8Array, key: string, shard: ShardRef): Manifest {
  const value = decodeSealed(bytes, key, manifestFormat) as Manifest;
  if (value.collection !== shard.collection || value.shard !== shard.shard) {
    throw corrupt(key, `it belongs to ${value.collection}/${value.shard}, not to ${shardName(shard)}`);
  }
  let fault: string | null;
  try {
    fault = faultOf(value);
  } catch (error) {
    throw corrupt(key, "a field is missing or of another type", error);
  }
  if (fault !== null) throw corrupt(key, fault);
  return value;
}

/** What is wrong with a manifest by itself; null when nothing is. */
export function faultOf(manifest: Manifest): string | null {
  const { segments, ledger, applied, version, parent } = manifest;
  if (!isVersion(version)) return `its version is ${version}, not an integer from 0 to ${versionMax}`;
  if (!isVersion(manifest.epoch))
    return `its epoch is ${manifest.epoch}, not an integer from 0 to ${versionMax}`;
  if (!isUlid(manifest.commit)) return `commit ${JSON.stringify(manifest.commit)} is not a ULID`;
  // Versions fall from child to parent, so that a walk along them comes to an end.
  if (parent !== null && (parent.version !== version - 1 || !isUlid(parent.commit)))
    return `its parent is not a commit of version ${version - 1}`;
  if (typeof manifest.createdAt !== "string" || Number.isNaN(Date.parse(manifest.createdAt)))
    return "it does not say when it was made";
  if (!isUlid(manifest.watermark)) return "its watermark is not a ULID";
  if (!Array.isArray(segments) || !Array.isArray(applied))
    return "its segments or applied deltas are not a list";
  if (segments.length > bounds.segments)
    return `it names ${segments.length} segments, more than ${bounds.segments}`;
  if (applied.length > bounds.appliedDeltas)
    return `it names ${applied.length} deltas, more than ${bounds.appliedDeltas}`;
  if (new Set(segments.map((segment) => segment.id)).size !== segments.length)
    return "a segment is named twice";
  for (const segment of segments) {
    const fault = segmentFault(segment, manifest);
    if (fault !== null) return `segment ${segment.id}: ${fault}`;
  }
  for (let i = 0; i < applied.length; i++) {
    if (!isUlid(applied[i]!)) return `applied delta ${JSON.stringify(applied[i])} is not a ULID`;
    if (i > 0 && applied[i - 1]! >= applied[i]!) return "its applied deltas are not ascending";
  }
  if (manifest.takenBack !== undefined && !isTakenBack(manifest.takenBack))
    return "what it says of deltas that were taken back is malformed";
  const kept = addSums(ledger.retired, ...segments.map((segment) => segment.sum));
  if (!equalSums(kept, ledger.ingested)) {
    return (
      `its ledger does not balance: ${ledger.ingested.rows} rows came in (${ledger.ingested.checksum}), ` +
      `${kept.rows} are kept or retired (${kept.checksum})`
    );
  }
  return null;
}

const isTakenBack = ({ from, to, version }: TakenBack): boolean =>
  isUlid(from) && isUlid(to) && from <= to && isVersion(version);

const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;

function segmentFault(segment: Segment, { dims, index }: Pick<Manifest, "dims" | "index">): string | null {
  if (!isUlid(segment.id)) return "its id is not a ULID";
  if (segment.kind !== "flat" && segment.kind !== "hnsw") return "its kind is neither flat nor hnsw";
  if (![segment.rows, segment.tombstones, segment.slots].every(isCount))
    return "its rows, tombstones or slots are not counts";
  if (segment.rows + segment.tombstones !== segment.sum.rows)
    return "its counts and its checksum's count differ";
  if (segment.stale !== undefined && !isStaleness(segment.stale)) return "its staleness is malformed";
  if (segment.slots < segment.rows) return `it has ${segment.rows} rows in ${segment.slots} slots`;
  if (segment.kind === "flat" && segment.slots !== segment.rows) return "a flat segment has no dead slots";
  const names: SegmentFile[] = [
    "vectors.f32",
    "records.db",
    ...(segment.kind === "hnsw" ? (["index.hnsw"] as const) : []),
    ...(segment.kind === "hnsw" && isClustered(segment) ? (["clusters.bin"] as const) : []),
  ];
  if (Object.keys(segment.files).sort().join() !== names.sort().join())
    return `its files are not ${names.join(", ")}`;
  for (const name of names) {
    const file = segment.files[name]!;
    const parts = name === "clusters.bin" ? [file, file.head!] : [file];
    if (parts.some(({ bytes, sha256 }) => !isCount(bytes) || !/^[0-9a-f]{64}$/.test(sha256)))
      return `${name} has no size and sha256`;
  }
  const vectorBytes = segment.files["vectors.f32"]!.bytes;
  if (vectorBytes !== segment.slots * dims * 4)
    return `vectors.f32 is ${vectorBytes} bytes for ${segment.slots} × ${dims}`;
  // Memory is made ready by these numbers before a byte has arrived. A node: links and their number, vector, label.
  const graphBytes = segment.files["index.hnsw"]?.bytes;
  if (graphBytes !== undefined && graphBytes < segment.slots * (8 * index.M + 4 + dims * 4 + 8))
    return `index.hnsw is ${graphBytes} bytes for ${segment.slots} nodes`;
  return null;
}

function isStaleness({ sinceMs, by }: Staleness): boolean {
  return (sinceMs === null || isCount(sinceMs)) && Object.values(by).every(isCount);
}

/** What is wrong with publishing `next` on top of `head`; null when nothing is. Equality of epochs is a merge, a rollback or the same holder. */
export function successionFault(head: Manifest, next: Manifest): string | null {
  if (next.version !== head.version + 1) return `version ${next.version} does not follow ${head.version}`;
  if (next.parent?.version !== head.version || next.parent.commit !== head.commit)
    return "its parent is not the head";
  if (next.epoch < head.epoch) return `epoch ${next.epoch} is below ${head.epoch}`;
  if (next.collectionId !== head.collectionId) return "it belongs to another collection of the same name";
  if (next.watermark < head.watermark) return "its watermark goes back";
  if (next.cause === "merge" && !equalSums(next.ledger.ingested, head.ledger.ingested))
    return "a merge ingests nothing";
  return faultOf(next);
}

export const liveRowsUpperBound = (manifest: Manifest): number =>
  manifest.segments.reduce((total, segment) => total + segment.rows, 0);

export const snapshotBytes = (manifest: Manifest): number =>
  manifest.segments.reduce((total, segment) => total + segmentBytes(segment), 0);

/** Whether a query can be answered from it before its graph has arrived. */
export const isClustered = (segment: Segment): boolean => segment.files["clusters.bin"] !== undefined;

export const segmentBytes = (segment: Segment): number =>
  Object.values(segment.files).reduce((total, file) => total + file.bytes, 0);
