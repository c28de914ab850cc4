/**
 * The layout of the bucket (docs/format.md). Every key of the product is made here.
 *
 *   <name>/name.json
 *   <alias>/alias.json
 *   <collection>/collection.json
 *   <collection>/deleted.json
 *   <collection>/texts/<ulid>.txt
 *   <collection>/<shard>/deltas/<ulid>.arrow
 *   <collection>/<shard>/segments/<ulid>/{index.hnsw,vectors.f32,records.db,clusters.bin}
 *   <collection>/<shard>/manifests/<version>-<commit ulid>.json
 *   <collection>/<shard>/pins/<name>.json
 *   <collection>/<shard>/pointer.json
 *   <collection>/<shard>/quarantine/<ulid>.{arrow,json}
 */
import { invalid } from "../model/errors.ts";
import {
  type CommitId,
  commitId,
  type DeltaId,
  deltaId,
  type SegmentId,
  type SnapshotVersion,
  segmentId,
  snapshotVersion,
} from "../model/ids.ts";
import { isUlid } from "../model/ulid.ts";

export interface ShardRef {
  readonly collection: string;
  readonly shard: number;
}

export const segmentFiles = ["index.hnsw", "vectors.f32", "records.db", "clusters.bin"] as const;
export type SegmentFile = (typeof segmentFiles)[number];

const versionDigits = 12;

export const collectionKey = (collection: string): string => `${collection}/collection.json`;
/** What a collection that is being deleted was, until all else of it is gone (lib/engine/catalog/collections.ts). */
export const deletedKey = (collection: string): string => `${collection}/deleted.json`;
/** Whose a name is: an alias's or a collection's (name-json.ts). */
export const nameKey = (name: string): string => `${name}/name.json`;
export const aliasKey = (alias: string): string => `${alias}/alias.json`;
export const collectionPrefix = (collection: string): string => `${collection}/`;

/** Texts of items that are too large for the table, by the ULID of their save (lib/jobs/spilled-texts.ts). */
export const textsFolder = "texts";
export const textPrefix = (collection: string): string => `${collection}/${textsFolder}/`;
export const textKey = (collection: string, job: string): string => `${textPrefix(collection)}${job}.txt`;
/** The ULID of a text's key, or null. */
export function jobOfTextKey(collection: string, key: string): string | null {
  const name = tail(key, textPrefix(collection), ".txt");
  return name !== null && isUlid(name) ? name : null;
}

export const shardPrefix = ({ collection, shard }: ShardRef): string => `${collection}/${shard}/`;
export const shardName = ({ collection, shard }: ShardRef): string => `${collection}/${shard}`;

export const pointerKey = (shard: ShardRef): string => `${shardPrefix(shard)}pointer.json`;

export const deltaPrefix = (shard: ShardRef): string => `${shardPrefix(shard)}deltas/`;
export const deltaKey = (shard: ShardRef, delta: DeltaId): string => `${deltaPrefix(shard)}${delta}.arrow`;
/** Where a LIST of the deltas above `delta` starts; null is below them all. */
export const afterDelta = (shard: ShardRef, delta: DeltaId | null): string =>
  delta === null ? deltaPrefix(shard) : deltaKey(shard, delta);

export const segmentPrefix = (shard: ShardRef): string => `${shardPrefix(shard)}segments/`;
export const segmentKey = (shard: ShardRef, segment: SegmentId, file: SegmentFile): string =>
  `${segmentPrefix(shard)}${segment}/${file}`;

export const manifestPrefix = (shard: ShardRef): string => `${shardPrefix(shard)}manifests/`;
export const manifestKey = (shard: ShardRef, version: SnapshotVersion, commit: CommitId): string =>
  `${manifestPrefix(shard)}${String(version).padStart(versionDigits, "0")}-${commit}.json`;

export const pinPrefix = (shard: ShardRef): string => `${shardPrefix(shard)}pins/`;
export const pinKey = (shard: ShardRef, pin: string): string =>
  `${pinPrefix(shard)}${checkPinName(pin)}.json`;

export const quarantinePrefix = (shard: ShardRef): string => `${shardPrefix(shard)}quarantine/`;
export const quarantinedDeltaKey = (shard: ShardRef, delta: DeltaId): string =>
  `${quarantinePrefix(shard)}${delta}.arrow`;
export const quarantineReasonKey = (shard: ShardRef, delta: DeltaId): string =>
  `${quarantinePrefix(shard)}${delta}.json`;

/** The ULID of a delta's key, or null when the key is not a delta's (an object of other code below the prefix). */
export function deltaOfKey(shard: ShardRef, key: string): DeltaId | null {
  const name = tail(key, deltaPrefix(shard), ".arrow");
  return name !== null && isUlid(name) ? deltaId(name) : null;
}

/** Version and commit of a manifest's key, or null when the key is not a manifest's. */
export function manifestOfKey(
  shard: ShardRef,
  key: string,
): { version: SnapshotVersion; commit: CommitId } | null {
  const match = /^(\d{12})-([0-9A-Z]{26})$/.exec(tail(key, manifestPrefix(shard), ".json") ?? "");
  return match && isUlid(match[2]!)
    ? { version: snapshotVersion(Number(match[1])), commit: commitId(match[2]!) }
    : null;
}

/** The segment in the key of one of its files, or null. */
export function segmentOfKey(shard: ShardRef, key: string): SegmentId | null {
  for (const file of segmentFiles) {
    const segment = tail(key, segmentPrefix(shard), `/${file}`);
    if (segment !== null && isUlid(segment)) return segmentId(segment);
  }
  return null;
}

export function pinOfKey(shard: ShardRef, key: string): string | null {
  const name = tail(key, pinPrefix(shard), ".json");
  return name !== null && pinPattern.test(name) ? name : null;
}

/** The ULID of a delta that was put aside, in its own key or its reason's, or null. */
export function quarantinedOfKey(shard: ShardRef, key: string): DeltaId | null {
  const prefix = quarantinePrefix(shard);
  const name = tail(key, prefix, ".arrow") ?? tail(key, prefix, ".json");
  return name !== null && isUlid(name) ? deltaId(name) : null;
}

/** The folders of a shard. */
export const shardFolders = ["deltas", "manifests", "pins", "quarantine", "segments"] as const;

/** Whether the product makes such a key below a shard. What it does not make is a stranger: reported, never deleted. */
export const isOurs = (shard: ShardRef, key: string): boolean =>
  key === pointerKey(shard) ||
  [deltaOfKey, segmentOfKey, manifestOfKey, pinOfKey, quarantinedOfKey].some((of) => of(shard, key) !== null);

const pinPattern = /^[a-z0-9][a-z0-9-]{0,62}$/;

export function checkPinName(name: string): string {
  if (pinPattern.test(name)) return name;
  throw invalid(`pin: ${JSON.stringify(name.slice(0, 80))} is not a pin name; use 1 to 63 of a-z 0-9 -`);
}

function tail(key: string, prefix: string, suffix: string): string | null {
  return key.startsWith(prefix) && key.endsWith(suffix) && key.length > prefix.length + suffix.length
    ? key.slice(prefix.length, -suffix.length)
    : null;
}
