/**
 * One read of a collection, whatever it asks: the views of its shards are made as fresh as it wants them, kept open while its
 * work runs over them, and named in its answer.
 */
import type { Collection } from "../../core/model/collection.ts";
import { isKind, type SiltstoneError } from "../../core/model/errors.ts";
import type { DeltaId } from "../../core/model/ids.ts";
import { asShortage } from "../../segment/files.ts";
import type { World } from "../ports.ts";
import type { Traffic } from "../traffic.ts";
import {
  checkConsistency,
  type Freshness,
  nothingPublished,
  type Provenance,
  shardsToRead,
  type TakenBackWrite,
  tokensByShard,
} from "./read-request.ts";
import type { ShardCache } from "./shard-cache.ts";
import type { ShardReader } from "./shard-reader.ts";
import type { SnapshotView } from "./snapshot-view.ts";

export interface ReadingOptions {
  readonly traffic: Traffic;
  /** Told when a damaged version is passed over; the handler makes a metric of it. */
  readonly onFault?: (fault: SiltstoneError) => void;
}

/** Makes the view of a shard; `token`: the deltas that it must hold. */
export type ViewOf<V, R> = (
  reader: ShardReader,
  request: R,
  token: readonly DeltaId[] | undefined,
) => Promise<V>;
export type Work<V, T> = (
  collection: Collection,
  views: V[],
  readers: ReadonlyMap<V, ShardReader>,
) => Promise<T> | T;

export class Reading {
  readonly #world: World;
  readonly #cache: ShardCache;
  readonly #options: ReadingOptions;

  constructor(world: World, cache: ShardCache, options: ReadingOptions) {
    this.#world = world;
    this.#cache = cache;
    this.#options = options;
  }

  /** A call that is refused by the configuration that is known may be right by that of a collection made again. */
  async read<V extends SnapshotView, R extends Freshness & { collection: string }, T extends object>(
    request: R,
    viewOf: ViewOf<V, R>,
    work: Work<V, T>,
  ): Promise<T & Provenance> {
    try {
      return await this.#readOnce(request, viewOf, work);
    } catch (error) {
      const mayBeRight = isKind(error, "invalid") || isKind(error, "conflict");
      if (!mayBeRight || !(await this.#cache.isMadeAgain(request.collection))) throw error;
      return this.#readOnce(request, viewOf, work);
    }
  }

  async #readOnce<V extends SnapshotView, R extends Freshness & { collection: string }, T extends object>(
    request: R,
    viewOf: ViewOf<V, R>,
    work: Work<V, T>,
  ): Promise<T & Provenance> {
    const started = performance.now();
    const before = this.#options.traffic.snapshot();
    const consistency = checkConsistency(request);
    const collection = await this.#cache.collection(request.collection, request);
    const tokens = tokensByShard(collection, request.atLeast ?? []);
    const shards = shardsToRead(collection, request.part);
    const readers = shards.map((shard) => this.#cache.shard(collection, shard));
    const readViews = async () => {
      const taken = await Promise.all(
        readers.map(async (reader, i) => {
          const view = await viewOf(reader, request, tokens.get(shards[i]!));
          // Now: while this call waits for other shards, another may refresh this one.
          return { view, state: { fault: reader.fault, asOfMs: reader.asOfMsOf(view) } };
        }),
      );
      const views = taken.map(({ view }) => view);
      const states = taken.map(({ state }) => state);
      const promised = consistency === "strong" || tokens.size > 0;
      // Of a part only who has asked all parts can tell.
      if (!promised && !request.part && views.every((view) => view.manifest.version === 0)) {
        // Where the newest version could not be looked at, that is what is wrong: there may be one by now.
        throw states.find(({ fault }) => fault !== null)?.fault ?? nothingPublished(collection.name);
      }
      const readerOf = new Map(views.map((view, i) => [view, readers[i]!]));
      return { views, states, answer: await work(collection, views, readerOf) };
    };
    const { answer, views, states } = await holdAll(readers, () =>
      this.#cache.forgettingDeleted(collection, readViews),
    ).catch((error: unknown) => {
      throw asShortage(error, this.#cache.folder);
    });
    const { requests, bytesRead } = this.#options.traffic.since(before);
    const faults = states.map(({ fault }) => fault).filter((fault) => fault !== null);
    for (const fault of faults) this.#options.onFault?.(fault);
    const takenBack = views.flatMap((view, i) => takenBackOf(view, tokens.get(shards[i]!) ?? []));
    return {
      ...answer,
      snapshotVersion: views.reduce((sum, view) => sum + view.manifest.version, 0),
      shards: views.map(({ manifest: { shard, version } }, i) => ({
        shard,
        version,
        ageSeconds: Math.max(0, (this.#world.clock.nowMs() - states[i]!.asOfMs) / 1000),
      })),
      consistency,
      segments: views.reduce((sum, view) => sum + view.segmentCount, 0),
      deltasOverlaid: views.reduce((sum, view) => sum + view.overlaid.length, 0),
      milliseconds: Math.round((performance.now() - started) * 1000) / 1000,
      requests,
      bytesRead,
      ...(views.some(({ warm }) => warm === null) ? { cold: true } : {}),
      ...(faults.length > 0 ? { warning: faults[0]!.message } : {}),
      ...(takenBack.length > 0 ? { takenBack } : {}),
    };
  }
}

/** Deltas that the view was to hold, and that a roll back may have taken out of its version. */
function takenBackOf({ manifest, overlaid }: SnapshotView, deltas: readonly DeltaId[]): TakenBackWrite[] {
  const { takenBack, shard } = manifest;
  if (takenBack === undefined) return [];
  return deltas
    .filter((delta) => delta >= takenBack.from && delta <= takenBack.to && !overlaid.includes(delta))
    .map((delta) => ({ shard, delta, version: takenBack.version }));
}

/** Held from before the views are made: between the making and the searching, another read may retire their segments. */
function holdAll<T>(readers: readonly ShardReader[], work: () => Promise<T>): Promise<T> {
  const [first, ...rest] = readers;
  return first === undefined ? work() : first.holding(() => holdAll(rest, work));
}
