/**
 * The state of a shard at a glance, for people: what is published, what waits, who holds which lease, how the last run
 * ended. Reads only; what is damaged or cannot be read is part of the answer (`faults`), since that is when people look.
 *
 * Checked are the pointer, the newest manifest by its sha256, and that every file which it names is there in its size. What
 * is in the files is proved by `silt verify` alone.
 */

import {
  isOurs,
  manifestPrefix,
  pinPrefix,
  quarantinePrefix,
  type SegmentFile,
  type ShardRef,
  segmentKey,
  segmentPrefix,
  shardName,
} from "../../core/format/keys.ts";
import { liveRowsUpperBound, snapshotBytes } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import type { DeltaId } from "../../core/model/ids.ts";
import { ulidTimeMs } from "../../core/model/ulid.ts";
import { type Fault, Faults } from "../faults.ts";
import type { Lease, ObjectStore, World } from "../ports.ts";
import { backlogOf, isCut, listDeltas } from "../shard/deltas.ts";
import { type Head, readHead } from "../shard/head.ts";
import { collectLease, ingestLease, mergeLease, shardRunNote } from "../shard/lease.ts";
import { type OnStranger, Strangers, type StrangersFound, seeBesideFolders } from "../shard/strangers.ts";

export const leaseKinds = ["ingest", "merge", "collect"] as const;
export type LeaseKind = (typeof leaseKinds)[number];

export interface ShardStatus extends ShardRef {
  /** Null when the shard's head cannot be read. */
  readonly snapshot: {
    readonly version: number;
    readonly publishedAt: string;
    readonly segments: number;
    readonly flatSegments: number;
    /** Rows stored; a row that a newer one supersedes counts until it is merged away. */
    readonly rows: number;
    readonly tombstones: number;
    readonly bytes: number;
  } | null;
  readonly backlog: {
    /** Deltas of the backlog; `more` when there are too many to list in one go. */
    readonly deltas: number;
    readonly more: boolean;
    readonly bytes: number;
    /** Age of the oldest one. */
    readonly oldestMs: number | null;
  } | null;
  readonly quarantined: number | null;
  /** Leases that are held now. */
  readonly held: readonly (Lease & { readonly kind: LeaseKind })[];
  /** What the compactor noted at the end of its last run. */
  readonly lastRun: Readonly<Record<string, unknown>> | null;
  /** What is damaged or could not be read, by part; the others are as they were found. */
  readonly faults: readonly Fault<StatusPart>[];
  /** Objects below the shard that are not ours; of those below deltas/ the ones after the watermark. */
  readonly strangers: StrangersFound;
}
/** A part of a shard's status. `files`: those of the newest version. */
export type StatusPart = "snapshot" | "files" | "backlog" | "objects" | "leases" | "last run";

export async function shardStatus(world: World, collection: Collection, shard: number): Promise<ShardStatus> {
  const ref: ShardRef = { collection: collection.name, shard };
  const faults = new Faults<StatusPart>();
  const part = <T>(name: StatusPart, work: () => Promise<T>) => faults.attempt(name, work);
  const strangers = new Strangers();
  const [published, leases, lastRun] = await Promise.all([
    // The head first: a file that garbage collection deleted before the LIST is not missing from a version that came after.
    part("snapshot", () => readHead(world.store, collection, shard)).then(async (head) => {
      const objects = await part("objects", () => listObjects(world.store, ref, strangers.see));
      const fault = head && objects && fileFault(head, objects.files);
      if (fault) faults.note("files", fault);
      const backlog = head && (await part("backlog", () => readBacklog(world, head, strangers.see)));
      return { snapshot: head && snapshotOf(head), backlog, quarantined: objects?.quarantined ?? null };
    }),
    part("leases", () => shardLeases(world, ref)),
    part("last run", () => world.leases.readNote(shardRunNote(ref))),
  ]);
  faults.throwUnexpected();
  const nowMs = world.clock.nowMs();
  const held = (leases ?? []).filter((lease) => lease.expiresAtMs > nowMs);
  return { ...ref, ...published, held, lastRun, faults: faults.list, strangers: strangers.found };
}

/** What lies beside and behind a shard's deltas. */
async function listObjects(
  store: ObjectStore,
  ref: ShardRef,
  see: OnStranger,
): Promise<{ files: ReadonlyMap<string, number>; quarantined: number }> {
  const files = new Map<string, number>();
  let quarantined = 0;
  await seeBesideFolders(store, ref, see);
  for (const prefix of [manifestPrefix, pinPrefix, quarantinePrefix, segmentPrefix]) {
    for await (const page of store.list(prefix(ref))) {
      for (const { key, bytes } of page) {
        if (!isOurs(ref, key)) see(key);
        else if (prefix === segmentPrefix) files.set(key, bytes);
        else if (prefix === quarantinePrefix && key.endsWith(".arrow")) quarantined += 1;
      }
    }
  }
  return { files, quarantined };
}

/** What is wrong with the files of the newest version, as far as their LIST tells; null when nothing is. */
function fileFault({ manifest }: Head, there: ReadonlyMap<string, number>): SiltstoneError | null {
  const wrong: string[] = [];
  for (const { id, files } of manifest.segments) {
    for (const [name, { bytes }] of Object.entries(files)) {
      const key = segmentKey(manifest, id, name as SegmentFile);
      const found = there.get(key);
      if (found === undefined) wrong.push(`${key} is missing`);
      else if (found !== bytes) wrong.push(`${key} has ${found} bytes, its manifest says ${bytes}`);
    }
  }
  const [first] = wrong;
  if (first === undefined) return null;
  const others = wrong.length > 1 ? ` (and ${wrong.length - 1} more files)` : "";
  return new SiltstoneError("corrupt", `${first}${others}`);
}

/** The shard's leases as they are stored, those that have run out included. */
export async function shardLeases(world: World, ref: ShardRef): Promise<(Lease & { kind: LeaseKind })[]> {
  const leases = await Promise.all(leaseKinds.map((kind) => world.leases.read(leaseName(ref, kind))));
  return leases.flatMap((lease, i) => (lease === null ? [] : [{ ...lease, kind: leaseKinds[i]! }]));
}

export function leaseName(ref: ShardRef, kind: LeaseKind): string {
  const name = { ingest: ingestLease, merge: mergeLease, collect: collectLease }[kind];
  return name(shardName(ref));
}

function snapshotOf({ manifest }: Head): NonNullable<ShardStatus["snapshot"]> {
  return {
    version: manifest.version,
    publishedAt: manifest.createdAt,
    segments: manifest.segments.length,
    flatSegments: manifest.segments.filter(({ kind }) => kind === "flat").length,
    rows: liveRowsUpperBound(manifest),
    tombstones: manifest.segments.reduce((sum, segment) => sum + segment.tombstones, 0),
    bytes: snapshotBytes(manifest),
  };
}

async function readBacklog(
  world: World,
  { manifest }: Head,
  see: OnStranger,
): Promise<NonNullable<ShardStatus["backlog"]>> {
  const listed = await listDeltas(world.store, manifest, manifest.watermark, see);
  const waiting = backlogOf(listed, manifest);
  const oldest = waiting[0]?.delta;
  return {
    deltas: waiting.length,
    more: isCut(listed),
    bytes: waiting.reduce((sum, { bytes }) => sum + bytes, 0),
    oldestMs: oldest === undefined ? null : Math.max(0, world.clock.nowMs() - ulidTimeMs(oldest)),
  };
}

/** Which of these deltas of one shard are neither ingested nor put aside yet. */
export async function stillWaiting(
  world: World,
  collection: Collection,
  shard: number,
  deltas: ReadonlySet<DeltaId>,
): Promise<DeltaId[]> {
  const { manifest } = await readHead(world.store, collection, shard);
  const listed = await listDeltas(world.store, manifest, manifest.watermark);
  return backlogOf(listed, manifest)
    .map(({ delta }) => delta)
    .filter((delta) => deltas.has(delta));
}
