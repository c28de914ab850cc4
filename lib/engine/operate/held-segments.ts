/** The segments of which S3 has an object, what keeps each (versions, pins, or that it is young), and until when. */
import { type ShardRef, segmentOfKey, segmentPrefix } from "../../core/format/keys.ts";
import type { Manifest, Segment } from "../../core/format/manifest.ts";
import type { SegmentId } from "../../core/model/ids.ts";
import { ulidTimeMs } from "../../core/model/ulid.ts";
import { surveyMs } from "../../core/policy/time-bounds.ts";
import type { World } from "../ports.ts";
import {
  commitTimeMs,
  listManifests,
  listPins,
  nameOf,
  publishedChain,
  readManifest,
} from "../shard/history.ts";
import { defaultRetention, goneMs } from "../shard/retention.ts";

/** Until a collector comes round to an idle shard. */
export const surveyedMs = 2 * surveyMs;
export const versionGoneMs = goneMs(defaultRetention);

/** What readers see goes with the deletion. */
export const whenErased = Number.POSITIVE_INFINITY;

export interface Held {
  readonly segment: Segment | null;
  readonly isCurrent: boolean;
  readonly by: string[];
  goneByMs: number | null;
}

/** Every segment of which there is an object, with what keeps it. */
export async function heldSegments(
  { store }: Pick<World, "store">,
  ref: ShardRef,
  head: Manifest,
): Promise<Map<SegmentId, Held>> {
  const held = new Map<SegmentId, Held>();
  for await (const page of store.list(segmentPrefix(ref))) {
    for (const { key } of page) {
      const id = segmentOfKey(ref, key);
      if (id === null || held.has(id)) continue;
      const goneByMs = ulidTimeMs(id) + defaultRetention.orphanMs + surveyedMs;
      held.set(id, { segment: null, isCurrent: false, by: [], goneByMs });
    }
  }
  const names = await listManifests(store, ref);
  const chain = await publishedChain(store, { manifest: head }, names);
  const pins = await listPins(store, ref);
  const place = new Map(chain.map((manifest, i) => [nameOf(manifest), i]));
  for (const name of names) {
    const i = place.get(nameOf(name)) ?? null;
    const manifest = i === null ? await readManifest(store, ref, name) : chain[i]!;
    const pinned = pins.filter((pin) => nameOf(pin) === nameOf(name)).map((pin) => pin.name);
    for (const segment of manifest.segments) hold(held, segment, keeperOf(manifest, { chain, i, pinned }));
  }
  return held;
}

interface Keeper {
  readonly by: readonly string[];
  readonly isCurrent: boolean;
  readonly goneByMs: number | null;
}

/** What keeps a manifest, and with it its segments; `i` is its place in the chain of published versions. */
function keeperOf(
  manifest: Manifest,
  {
    chain,
    i,
    pinned,
  }: { readonly chain: readonly Manifest[]; readonly i: number | null; readonly pinned: readonly string[] },
): Keeper {
  const isCurrent = i === 0;
  const name = isCurrent ? "the current version" : `version ${manifest.version}`;
  const pins = pinned.map((pin) => `pin ${pin}`);
  if (isCurrent || pins.length > 0)
    return { by: [name, ...pins], isCurrent, goneByMs: pins.length > 0 ? null : whenErased };
  // One that a crash left, or that was pinned before the chain ended.
  if (i === null)
    return {
      by: [name],
      isCurrent,
      goneByMs: commitTimeMs(manifest) + defaultRetention.orphanMs + surveyedMs,
    };
  const goneByMs =
    i === 1
      ? commitTimeMs(chain[0]!) + versionGoneMs
      : commitTimeMs(chain[i - 2]!) + defaultRetention.keptMsMax;
  return { by: [name], isCurrent, goneByMs: goneByMs + surveyedMs };
}

function hold(held: Map<SegmentId, Held>, segment: Segment, keeper: Keeper): void {
  const before = held.get(segment.id);
  // A name alone holds nothing.
  if (before === undefined) return;
  const isFirst = before.segment === null;
  const goneByMs =
    keeper.goneByMs === null || before.goneByMs === null
      ? null
      : Math.max(keeper.goneByMs, isFirst ? 0 : before.goneByMs);
  held.set(segment.id, {
    segment,
    isCurrent: keeper.isCurrent || before.isCurrent,
    by: [...before.by, ...keeper.by],
    goneByMs,
  });
}
