/**
 * The state of a shard at a glance, for people: what is published, what waits, who holds which lease, how the last run
 * ended. Reads only; what cannot be read is part of the answer (`faults`), since that is when somebody looks.
 */
import type { Collection } from "../core/collection.ts";
import { quarantinePrefix, type ShardRef, shardName, ulidTimeMs } from "../core/keys.ts";
import { liveRowsUpperBound, snapshotBytes } from "../core/manifest.ts";
import { isCut, listDeltas, unmerged } from "./deltas.ts";
import { type Fault, Faults } from "./faults.ts";
import { type Head, readHead } from "./head.ts";
import { collectLease, ingestLease, mergeLease } from "./lease.ts";
import type { Lease, ObjectStore, World } from "./ports.ts";

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
    /** Unmerged deltas; `more` when there are too many to list in one go. */
    readonly deltas: number;
    readonly more: boolean;
    readonly bytes: number;
    /** Age of the oldest one. */
    readonly oldestMs: number | null;
  } | null;
  readonly quarantined: number | null;
  /** Leases that somebody holds now. */
  readonly held: readonly (Lease & { readonly kind: LeaseKind })[];
  /** What the compactor noted at the end of its last run. */
  readonly lastRun: Readonly<Record<string, unknown>> | null;
  /** What is damaged or could not be read, by part; the others are as they were found. */
  readonly faults: readonly Fault<StatusPart>[];
}
/** Of a shard's status. */
export type StatusPart = "snapshot" | "backlog" | "quarantine" | "locks" | "last run";

export async function shardStatus(world: World, collection: Collection, shard: number): Promise<ShardStatus> {
  const ref: ShardRef = { collection: collection.name, shard };
  const faults = new Faults<StatusPart>();
  const part = <T>(name: StatusPart, work: () => Promise<T>) => faults.attempt(name, work);
  const [published, quarantined, leases, lastRun] = await Promise.all([
    part("snapshot", () => readHead(world.store, collection, shard)).then(async (head) => ({
      snapshot: head && snapshotOf(head),
      backlog: head && (await part("backlog", () => readBacklog(world, head))),
    })),
    part("quarantine", () => countQuarantined(world.store, ref)),
    part("locks", () => shardLeases(world, ref)),
    part("last run", () => world.leases.readNote(`run/${shardName(ref)}`)),
  ]);
  faults.throwUnexpected();
  const nowMs = world.clock.nowMs();
  const held = (leases ?? []).filter((lease) => lease.expiresAtMs > nowMs);
  return { ...ref, ...published, quarantined, held, lastRun, faults: faults.list };
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

async function readBacklog(world: World, { manifest }: Head): Promise<NonNullable<ShardStatus["backlog"]>> {
  const listed = await listDeltas(world.store, manifest, manifest.watermark);
  const waiting = unmerged(listed, manifest);
  const oldest = waiting[0]?.delta;
  return {
    deltas: waiting.length,
    more: isCut(listed),
    bytes: waiting.reduce((sum, { bytes }) => sum + bytes, 0),
    oldestMs: oldest === undefined ? null : Math.max(0, world.clock.nowMs() - ulidTimeMs(oldest)),
  };
}

async function countQuarantined(store: ObjectStore, ref: ShardRef): Promise<number> {
  let count = 0;
  for await (const page of store.list(quarantinePrefix(ref))) {
    count += page.filter(({ key }) => key.endsWith(".arrow")).length;
  }
  return count;
}

/** Which of these deltas of one shard are neither merged nor put aside yet. */
export async function stillWaiting(
  world: World,
  collection: Collection,
  shard: number,
  deltas: ReadonlySet<string>,
): Promise<string[]> {
  const { manifest } = await readHead(world.store, collection, shard);
  const listed = await listDeltas(world.store, manifest, manifest.watermark);
  return unmerged(listed, manifest)
    .map(({ delta }) => delta)
    .filter((delta) => deltas.has(delta));
}
