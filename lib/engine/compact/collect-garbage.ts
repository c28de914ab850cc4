/**
 * Garbage collection: deletes what no kept version, pin, or possible writer needs.
 *
 *  1. Read the head, the manifests and the pins. Kept are the last published versions, everything that was superseded
 *     a short while ago (lib/engine/shard/retention.ts), and every pinned version.
 *  2. Raise the floor in the pointer, with If-Match, before anything is deleted. From then on no writer publishes an
 *     unpublished segment below floor.ulid, no rollback goes below floor.version, and no pin below it succeeds. So
 *     what is garbage now stays garbage for ever, and a collector that sleeps here and goes on next week does no harm.
 *     A collector that loses the pointer raises the floor on the new head at once, without a new survey: writers may
 *     publish faster than a shard is surveyed.
 *  3. Read manifests and pins again, below the head that carries the floor (a pin may have been made before it rose, a
 *     rollback may have brought old segments back), and compute what is live: every file that a kept version names.
 *  4. Garbage are the segments that only deleted versions name, and orphans: segments and manifests below the floor
 *     that nothing published names (a crash left them). Readers of a deleted version have had `keptMs` to move on.
 *     Deltas that appeared below the low watermark are put aside (lib/engine/compact/late-deltas.ts).
 *  5. Delete segments first, manifests last: a crash in between leaves the names to try again by.
 */

import {
  manifestKey,
  pointerKey,
  type ShardRef,
  segmentOfKey,
  segmentPrefix,
  shardName,
} from "../../core/format/keys.ts";
import type { Manifest } from "../../core/format/manifest.ts";
import type { Floor } from "../../core/format/pointer.ts";
import type { Collection } from "../../core/model/collection.ts";
import { type DeltaId, type SegmentId, type SnapshotVersion, snapshotVersion } from "../../core/model/ids.ts";
import { ulidFloor } from "../../core/model/ulid.ts";
import type { World } from "../ports.ts";
import { type Head, readHead, readHeadIfPlaced } from "../shard/head.ts";
import {
  type KnownManifests,
  listManifests,
  listPins,
  type ManifestName,
  nameOf,
  publishedChain,
  readManifest,
} from "../shard/history.ts";
import { collectLease, HeldLease } from "../shard/lease.ts";
import { raiseFloor } from "../shard/publish.ts";
import { defaultRetention, hasAge, oldestKept, type Retention } from "../shard/retention.ts";
import { ignoreStranger, type OnStranger } from "../shard/strangers.ts";
import { quarantineLateDeltas } from "./late-deltas.ts";

/** The floor is raised within one read and one write of the pointer: losing this often means something is wrong. */
const attemptsMax = 12;

/** Keys deleted by one call. */
const deleteBatch = 1_000;

export interface CollectReport {
  /** `conflict`: the pointer kept moving; the next run collects. */
  readonly outcome: "done" | "nothing" | "busy" | "conflict";
  readonly versionsKept: number;
  readonly versionsCollected: readonly SnapshotVersion[];
  readonly segments: readonly SegmentId[];
  readonly keys: readonly string[];
  readonly bytes: number;
  /** Deltas that appeared too late to be ingested, and were put aside. */
  readonly lateDeltas: readonly DeltaId[];
}

export async function collectGarbage(
  world: World,
  collection: Collection,
  shard: number,
  options: {
    dryRun?: boolean;
    retention?: Retention;
    /** Looks for late deltas from the very beginning, as other runs do once a day. */
    thorough?: boolean;
    onStranger?: OnStranger;
  } = {},
): Promise<CollectReport> {
  const ref: ShardRef = { collection: collection.name, shard };
  const { retention = defaultRetention, onStranger = ignoreStranger } = options;
  const nothing = {
    versionsKept: 0,
    versionsCollected: [],
    segments: [],
    keys: [],
    bytes: 0,
    lateDeltas: [],
  };
  const lease = options.dryRun ? null : await HeldLease.acquire(world, collectLease(shardName(ref)));
  if (lease === null && !options.dryRun) return { outcome: "busy", ...nothing };
  try {
    const startMs = world.clock.nowMs();
    const head = await readHeadIfPlaced(world.store, collection, shard);
    if (head === null) return { outcome: "nothing", ...nothing };
    const lateDeltas = options.dryRun
      ? []
      : await quarantineLateDeltas(world, collection, head.manifest, options);
    const known: KnownManifests = new Map();
    // Looked at before the floor rises, so that an idle shard costs no write.
    const history = await readHistory(world, head, known, onStranger);
    // A clock that was set in between must not make versions old (lib/core/policy/time-bounds.ts).
    const nowMs = Math.min(startMs, world.clock.nowMs());
    const kept = await keptSince(world, history.chain, retention, nowMs);
    const expected = await findGarbage(world, history, kept, known);
    if (expected.keys.length === 0) return { outcome: "nothing", ...expected, lateDeltas };
    if (options.dryRun) return { outcome: "done", ...expected, lateDeltas };

    const raised = await raiseOnNewest(world, collection, head, kept);
    if (raised === null) return { outcome: "conflict", ...nothing, lateDeltas };
    const now = await readHistory(world, raised, known, onStranger);
    // Only what was garbage before as well: a pin that was taken away in between may be what a rollback has just read.
    const garbage = await findGarbage(world, now, kept, known, new Set(expected.keys));
    await lease!.check();
    for (let start = 0; start < garbage.keys.length; start += deleteBatch) {
      await world.store.delete(garbage.keys.slice(start, start + deleteBatch));
    }
    return { outcome: "done", ...garbage, lateDeltas };
  } finally {
    await lease?.release().catch(() => {}); // It runs out by itself; the run's own outcome matters more.
  }
}

/** What this collector keeps. Not all that the floor gives up: after a repair, or another collector's run, that is higher. */
type Kept = Pick<Floor, "version" | "ulid">;

async function keptSince(
  world: World,
  chain: readonly Manifest[],
  retention: Retention,
  nowMs: number,
): Promise<Kept> {
  const isIdle = chain.length > 1 && hasAge(chain[0]!, retention, nowMs);
  const pointerMs = isIdle ? await pointerWrittenMs(world, chain[0]!) : nowMs;
  return {
    version: snapshotVersion(oldestKept(chain, retention, { nowMs, pointerMs })),
    ulid: ulidFloor(nowMs - retention.orphanMs),
  };
}

/** When the pointer was last written, by S3's clock: whatever it names was current then at the latest. */
async function pointerWrittenMs({ store, clock }: World, shard: ShardRef): Promise<number> {
  const key = pointerKey(shard);
  for await (const page of store.list(key))
    for (const entry of page) if (entry.key === key) return entry.modifiedMs;
  return clock.nowMs();
}

/**
 * Raises the floor on whatever the head is by now; null when that was lost too often. A shard that publishes many times
 * a second leaves no time to survey it and then win, and need not: the floor of an older survey keeps more, never less,
 * and what is garbage is found anew below the head that carries the floor.
 */
async function raiseOnNewest(
  world: World,
  collection: Collection,
  surveyed: Head,
  kept: Kept,
): Promise<Head | null> {
  let head = surveyed;
  for (let attempt = 1; ; attempt++) {
    const raised = await raiseFloor(world, head, higherFloor(head.pointer.floor, kept));
    if (raised !== null || attempt === attemptsMax) return raised;
    head = await readHead(world.store, collection, surveyed.manifest.shard);
  }
}

const higherFloor = (now: Floor, wanted: Kept): Floor => ({
  version: snapshotVersion(Math.max(now.version, wanted.version)),
  // biome-ignore lint/complexity/useMathMinMax: ULIDs are text
  ulid: wanted.ulid > now.ulid ? wanted.ulid : now.ulid,
  generation: now.generation + 1,
});

interface History {
  readonly ref: ShardRef;
  readonly names: readonly ManifestName[];
  readonly chain: readonly Manifest[];
  readonly onStranger: OnStranger;
}

async function readHistory(
  world: World,
  head: Head,
  known: KnownManifests,
  onStranger: OnStranger,
): Promise<History> {
  const ref = head.manifest;
  const names = await listManifests(world.store, ref, onStranger);
  return { ref, names, chain: await publishedChain(world.store, head, names, known), onStranger };
}

/** `among`: no other key is. */
async function findGarbage(
  world: World,
  { ref, names, chain, onStranger }: History,
  oldest: Kept,
  known: KnownManifests,
  among: ReadonlySet<string> | null = null,
) {
  const pins = await listPins(world.store, ref, onStranger);
  const pinned = new Set(pins.map(nameOf));
  const published = new Set(chain.map(nameOf));
  const isKept = (name: ManifestName): boolean =>
    pinned.has(nameOf(name)) ||
    (published.has(nameOf(name)) ? name.version >= oldest.version : name.commit >= oldest.ulid);

  const keptNames = names.filter(isKept);
  const inChain = new Map(chain.map((manifest) => [nameOf(manifest), manifest]));
  const kept: Manifest[] = [];
  for (const name of keptNames) {
    const seen = inChain.get(nameOf(name)) ?? known.get(nameOf(name));
    const manifest = seen ?? (await readManifest(world.store, ref, name));
    known.set(nameOf(name), manifest);
    kept.push(manifest);
  }
  const isAmong = (key: string): boolean => among === null || among.has(key);
  const keyOf = ({ version, commit }: ManifestName): string => manifestKey(ref, version, commit);
  const collected = chain.filter((manifest) => manifest.version > 0 && !isKept(manifest));

  const live = new Set(kept.flatMap((manifest) => manifest.segments.map((segment) => segment.id)));
  const wasPublished = new Set(
    collected.flatMap((manifest) => manifest.segments.map((segment) => segment.id)),
  );
  const isGarbage = (segment: SegmentId): boolean =>
    !live.has(segment) && (wasPublished.has(segment) || segment < oldest.ulid);

  const keys: string[] = [];
  const segments = new Set<SegmentId>();
  let bytes = 0;
  for await (const page of world.store.list(segmentPrefix(ref))) {
    for (const entry of page) {
      const segment = segmentOfKey(ref, entry.key);
      if (segment === null) onStranger(entry.key);
      if (segment === null || !isGarbage(segment) || !isAmong(entry.key)) continue;
      keys.push(entry.key);
      segments.add(segment);
      bytes += entry.bytes;
    }
  }
  for (const name of names) if (!isKept(name) && isAmong(keyOf(name))) keys.push(keyOf(name));
  return {
    versionsKept: kept.filter((manifest) => published.has(nameOf(manifest))).length,
    versionsCollected: collected.filter((manifest) => isAmong(keyOf(manifest))).map(({ version }) => version),
    segments: [...segments],
    keys,
    bytes,
  };
}
