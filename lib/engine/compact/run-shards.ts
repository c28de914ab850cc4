/**
 * The shards that a run is about, each with its collection as it is now: collections come, go, and are made again under
 * their names while a run is at work.
 */

import { type ShardRef, shardName } from "../../core/format/keys.ts";
import type { Notification } from "../../core/format/notification.ts";
import type { Collection } from "../../core/model/collection.ts";
import { isKind, SiltstoneError } from "../../core/model/errors.ts";
import type { Turns } from "../../core/policy/turns.ts";
import type { Faults } from "../faults.ts";
import type { World } from "../ports.ts";
import { readCollection } from "../shard/head.ts";
import type { OnStranger } from "../shard/strangers.ts";
import type { ShardPart, ShardReports } from "./shard-reports.ts";
import type { Sweep } from "./sweep.ts";

const listing = "collections";
const collectionPart = (name: string): string => `collection ${name}`;

export class RunShards {
  readonly #world: World;
  readonly #sweep: Sweep;
  readonly #faults: Faults;
  readonly #reports: ShardReports;
  readonly #collections = new Map<string, Collection>();
  readonly #refs = new Map<string, ShardRef>();
  /** Collections that a message named, and that were not listed. */
  readonly #lookedUp = new Set<string>();
  /** Ids of collections that were deleted while the run was at work. */
  readonly #gone = new Set<string>();

  constructor(world: World, of: { sweep: Sweep; faults: Faults; reports: ShardReports }) {
    this.#world = world;
    this.#sweep = of.sweep;
    this.#faults = of.faults;
    this.#reports = of.reports;
  }

  get count(): number {
    return this.#refs.size;
  }
  get all(): ShardRef[] {
    return [...this.#refs.values()];
  }

  /** Those of every collection; one that cannot be read is a fault of its own. */
  async readAll(purpose: "ingest" | "upkeep", onStranger: OnStranger): Promise<void> {
    const found = await this.#faults.attempt(listing, () => this.#sweep.collections(this.#world, purpose));
    for (const { name, error } of found?.unreadable ?? []) this.#faults.note(collectionPart(name), error);
    for (const collection of found?.collections ?? []) this.#add(collection);
    for (const key of found?.strangers ?? []) onStranger(key);
  }

  /** Those of one collection, or one of them. Throws `notFound` when there is no such collection. */
  async readOne(name: string, shard: number | undefined): Promise<void> {
    this.#add(await readCollection(this.#world.store, name), shard);
    if (this.count === 0) throw new SiltstoneError("notFound", `collection ${name} has no shard ${shard}`);
  }

  #add(collection: Collection, only?: number): void {
    this.#collections.set(collection.name, collection);
    for (let shard = 0; shard < collection.shards; shard++) {
      const ref = { collection: collection.name, shard };
      if (only === undefined || shard === only) this.#refs.set(shardName(ref), ref);
    }
  }

  /** Those whose turn it is. */
  inTurn(turns: Turns): ShardRef[] {
    const names = turns.take([...this.#refs.keys()], this.#world.clock.nowMs());
    return names.map((name) => this.#refs.get(name)!);
  }

  /** Those that messages name, such included that came since the collections were listed. */
  async named(notices: readonly Notification[]): Promise<Set<ShardRef>> {
    const named = new Set<ShardRef>();
    for (const notice of notices) {
      if (!this.#refs.has(shardName(notice))) await this.#lookUp(notice.collection);
      const ref = this.#refs.get(shardName(notice));
      if (ref) named.add(ref);
    }
    return named;
  }

  async #lookUp(name: string): Promise<void> {
    if (this.#faults.has(listing) || this.#lookedUp.has(name)) return;
    this.#lookedUp.add(name);
    const part = collectionPart(name);
    const collection = await this.#faults.attempt(part, () => this.#sweep.readAnew(this.#world, name));
    if (collection !== null) this.#add(collection);
  }

  /** False only when it is known. */
  mayExist(ref: ShardRef): boolean {
    const isUnknown = this.#faults.has(listing) || this.#faults.has(collectionPart(ref.collection));
    return isUnknown || this.#refs.has(shardName(ref));
  }

  /** Whether a shard that does not exist was of a collection that is no more, or is another one by now. */
  isGone({ collection, collectionId }: Notification): boolean {
    if (collectionId === null) return false;
    return this.#gone.has(collectionId) || this.#collections.get(collection)?.id !== collectionId;
  }

  /**
   * Does a part of a shard's work; false when it failed. A collection that was deleted, or made again, since its
   * configuration was read is not damage: its shard is gone, or another one.
   */
  attempt(ref: ShardRef, work: (collection: Collection) => Promise<ShardPart>): Promise<boolean> {
    return this.#reports.attempt(ref, async () => {
      const collection = this.#collections.get(ref.collection)!;
      try {
        return await work(collection);
      } catch (error) {
        if (!isKind(error, "corrupt") && !isKind(error, "notFound")) throw error;
        const now = await this.#sweep.readAnew(this.#world, ref.collection);
        if (now?.id === collection.id) throw error;
        this.#gone.add(collection.id);
        if (now !== null && ref.shard < now.shards) {
          this.#collections.set(now.name, now);
          return work(now);
        }
        this.#refs.delete(shardName(ref));
        return null;
      }
    });
  }
}
