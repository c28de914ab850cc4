/**
 * What a compactor's process remembers from run to run, so that idle shards cost little. Every run looks at the shards
 * that messages name; at the others in turns (lib/core/policy/turns.ts), so that a delta whose message was lost is found within
 * `sweepMs` and the time between two runs. Forgetting it costs one run that looks at everything, and nothing else: what is
 * remembered is either immutable, or a bound that holds for ever, or checked by the request that is made with it.
 *
 * - Which collections there are is listed anew within `sweepMs`. One that has come since is found by the messages that name it, or then.
 * - A configuration never changes, but a collection may be deleted and made again: it is read anew in its turn, and when a
 *   shard of it is not as it should be.
 * - The watermark only rises, so a LIST from one that is remembered misses nothing. It is read anew when it is old, since a
 *   LIST walks over the delete markers of what was ingested after it.
 * - Upkeep that found nothing to do finds nothing until the pointer changes or time has passed: a shard whose pointer has
 *   the same etag is surveyed again after `surveyMs`.
 */

import type { ShardRef } from "../../core/format/keys.ts";
import type { Collection } from "../../core/model/collection.ts";
import { isKind, isNewerFormat, SiltstoneError } from "../../core/model/errors.ts";
import type { DeltaId } from "../../core/model/ids.ts";
import { surveyMs, sweepMs, watermarkReadMs } from "../../core/policy/time-bounds.ts";
import { Turns } from "../../core/policy/turns.ts";
import { liftOverdue, readAliases } from "../catalog/aliases.ts";
import { type Listing, readCollections, strangersAmong } from "../catalog/collections.ts";
import { listNames } from "../catalog/names.ts";
import type { World } from "../ports.ts";
import { walkDeltas } from "../shard/deltas.ts";
import { type Head, readCollection, readHeadIfPlaced, readPointer } from "../shard/head.ts";
import type { OnStranger } from "../shard/strangers.ts";

/** What a look found below deltas/, and the head that was read on the way. */
export interface Look {
  readonly isIdle: boolean;
  readonly head: Head | null;
}

/** What is remembered of one collection, by shard. */
interface Known {
  readonly collection: Collection;
  readonly watermarks: Map<number, { readonly watermark: DeltaId; readonly atMs: number }>;
  /** Upkeep that found nothing to do. */
  readonly surveys: Map<number, { readonly etag: string; readonly atMs: number }>;
}

export class Sweep {
  readonly deltas = new Turns(sweepMs);
  readonly upkeep = new Turns(sweepMs);
  /** When a run last asked the queue. */
  askedAtMs = Number.NEGATIVE_INFINITY;
  /** Upkeep needs no shard that was not there an hour ago. */
  readonly #configurations = { ingest: new Turns(sweepMs), upkeep: new Turns(surveyMs) };
  readonly #known = new Map<string, Known>();
  #names: { readonly all: readonly string[]; readonly atMs: number } | null = null;

  /** Every collection of the bucket, as it was listed within `sweepMs`; strangers, of a run that lists. */
  async collections(world: World, purpose: "ingest" | "upkeep"): Promise<Listing> {
    const nowMs = world.clock.nowMs();
    const listed = await this.#listAnew(world);
    // Those that messages named since then as well.
    const names = [...new Set([...this.#names!.all, ...this.#known.keys()])];
    const due = this.#configurations[purpose].take(names, nowMs);
    const read = await readCollections(world.store, due);
    const unread = new Map(read.unreadable.map(({ name, error }) => [name, error]));
    const found = new Map(read.collections.map((collection) => [collection.name, collection]));
    for (const name of due) {
      const [error, collection] = [unread.get(name), found.get(name)];
      for (const turns of Object.values(this.#configurations))
        turns.saw(name, nowMs, { isRestless: error !== undefined });
      if (collection) this.#knownOf(collection);
      // What did not answer is what it was.
      else if (error?.kind !== "unavailable" || isNewerFormat(error)) this.#known.delete(name);
    }
    const collections = names.flatMap((name) => this.#known.get(name)?.collection ?? []);
    if (listed === null) return { collections, unreadable: read.unreadable, strangers: [] };
    const unconfigured = names.filter((name) => !this.#known.has(name) && !unread.has(name));
    const aliases = await this.#aliases(world, unconfigured);
    const strangers = strangersAmong(unconfigured.filter((name) => !aliases.has(name)));
    return { collections, unreadable: read.unreadable, strangers: [...listed.strangers, ...strangers] };
  }

  /** Those names that are aliases'. A barrier whose driver died is lifted here, where nobody else does it. */
  async #aliases(world: World, names: readonly string[]): Promise<Set<string>> {
    const { aliases, unreadable } = await readAliases(world.store, names);
    for (const known of aliases)
      await liftOverdue(world, known, "compactor").catch((error: unknown) => {
        // Somebody did meanwhile, or the next look does.
        if (!(error instanceof SiltstoneError)) throw error;
      });
    return new Set([...aliases.map(({ alias }) => alias.name), ...unreadable.map(({ name }) => name)]);
  }

  /** Null where that is not due. */
  async #listAnew(world: World): Promise<{ readonly strangers: readonly string[] } | null> {
    if (this.#names !== null && isRecent(world, this.#names.atMs, sweepMs)) return null;
    // Of before the LIST: what comes after it is not in it.
    const atMs = world.clock.nowMs();
    const { names, strangers } = await listNames(world.store);
    this.#names = { all: names, atMs };
    const there = new Set(names);
    for (const name of this.#known.keys()) if (!there.has(name)) this.#known.delete(name);
    return { strangers };
  }

  /** The collection as it is now; null when there is none. */
  async readAnew(world: World, name: string): Promise<Collection | null> {
    try {
      return this.#knownOf(await readCollection(world.store, name)).collection;
    } catch (error) {
      if (!isKind(error, "notFound")) throw error;
      this.#known.delete(name);
      return null;
    }
  }

  /** Whether anything waits in a shard: one LIST, where its watermark is remembered. */
  async look(world: World, collection: Collection, shard: number, onStranger: OnStranger): Promise<Look> {
    const { watermarks } = this.#knownOf(collection);
    const known = watermarks.get(shard);
    const isKnown = known !== undefined && isRecent(world, known.atMs, watermarkReadMs);
    const head = isKnown ? null : await readHeadIfPlaced(world.store, collection, shard);
    // Below the first pointer, which may be yet to come, lies everything.
    const watermark = isKnown ? known.watermark : (head?.manifest.watermark ?? null);
    const isIdle = !(await hasDeltas(world, { collection: collection.name, shard }, watermark, onStranger));
    // What waits is about to be ingested, and the watermark to rise.
    if (!isIdle) watermarks.delete(shard);
    else if (head !== null)
      watermarks.set(shard, { watermark: head.manifest.watermark, atMs: world.clock.nowMs() });
    return { isIdle, head };
  }

  /** The pointer's etag when there may be segments to merge or garbage to collect; null when there is nothing. */
  async changed(world: World, collection: Collection, shard: number): Promise<string | null> {
    const known = this.#knownOf(collection).surveys.get(shard);
    try {
      const read = await readPointer(world.store, collection, shard, known?.etag);
      if (read !== null) return read.etag;
      return isRecent(world, known!.atMs, surveyMs) ? null : known!.etag;
    } catch (error) {
      // The collection is being created: its shards' pointers are still to come.
      const isToCome =
        isKind(error, "unavailable") && (await readHeadIfPlaced(world.store, collection, shard)) === null;
      if (isToCome) return null;
      throw error;
    }
  }

  /** Upkeep of a version with this pointer found nothing to do. */
  surveyed(world: World, collection: Collection, shard: number, etag: string): void {
    this.#knownOf(collection).surveys.set(shard, { etag, atMs: world.clock.nowMs() });
  }

  #knownOf(collection: Collection): Known {
    const known = this.#known.get(collection.name);
    if (known?.collection.id === collection.id) return known;
    const made: Known = { collection, watermarks: new Map(), surveys: new Map() };
    this.#known.set(collection.name, made);
    return made;
  }
}

/** A clock that was set back has seen nothing. */
function isRecent({ clock }: World, atMs: number, ageMs: number): boolean {
  const passedMs = clock.nowMs() - atMs;
  return passedMs >= 0 && passedMs < ageMs;
}

async function hasDeltas(
  { store }: World,
  ref: ShardRef,
  watermark: DeltaId | null,
  onStranger: OnStranger,
): Promise<boolean> {
  for await (const _ of walkDeltas(store, ref, watermark, onStranger)) return true;
  return false;
}
