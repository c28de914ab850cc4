/** What the oracle knows of one collection, from its configuration's PUT on; another of the same name is another one. */
import type { Pointer } from "../../lib/core/format/pointer.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import type { ManifestPut, Published } from "./published.ts";
import type { Write } from "./writes.ts";

export interface KnownDelta {
  readonly delta: string;
  readonly shard: string;
  readonly body: Buffer;
  /** Null when it cannot be read, or is another collection's. */
  readonly writes: readonly Write[] | null;
  readonly createdAtMs: number;
  readonly writtenAt: number;
  /** When the producer was told that it is durable; null while it was not told. */
  ackedAt: number | null;
  /** When it was put aside, so that no read has to see it any more; null when it was not. */
  quarantinedAt: number | null;
  /** Batches with it that some compactor has begun. */
  attempts: number;
  /** The name under which it was put back from quarantine; null when that was not written down. */
  retriedAs: string | null;
  /** When its object was last deleted from the backlog. */
  goneAt: number | null;
}

export interface ShardTruth {
  /** By version; a version that a repair gave up is overwritten. */
  readonly versions: Map<number, Published>;
  readonly byCommit: Map<string, Published>;
  current: Published | null;
  pointer: Pointer | null;
  /** The pointer was there, and was deleted. */
  isLost: boolean;
  lostAt: number;
  /**
   * The floor that the lost pointer carried. What it gave up, its garbage collector may go on deleting while the pointer is
   * away; the floor that a repair infers is no lower.
   */
  lostFloor: number;
  /** When it was last there again. */
  restoredAt: number;
  /** Every manifest that was put, published or not. */
  readonly manifests: ManifestPut[];
}
export const noTruth = (): ShardTruth => ({
  versions: new Map(),
  byCommit: new Map(),
  current: null,
  pointer: null,
  isLost: false,
  lostAt: 0,
  lostFloor: 0,
  restoredAt: 0,
  manifests: [],
});

export class Generation {
  /** Null where the collection was made before the oracle watched. */
  readonly collection: Collection | null;
  readonly deltas = new Map<string, KnownDelta>();
  readonly shards = new Map<string, ShardTruth>();
  /** Pins whose making was answered: pin name to its shard and version. */
  readonly pins = new Map<string, { shard: string; version: number }>();
  /** When its last pointer was placed, where it was made after another; until then readers may meet the other. */
  madeAt = 0;
  /** When its configuration was deleted: from then on it owes nothing. */
  endedAt: number | null = null;
  /** By shard, when its pointer was deleted after that, in the oracle's time and in true time. */
  readonly pointersGone = new Map<string, { readonly at: number; readonly atMs: number }>();

  constructor(collection: Collection | null) {
    this.collection = collection;
  }

  /** Whether a pointer of it was there after that, or may have been. */
  isSeenSince(at: number): boolean {
    // Of the shards that it has, and of no other that was asked about.
    const names = this.collection
      ? Array.from({ length: this.collection.shards }, (_, i) => `${this.collection!.name}/${i}`)
      : [...this.shards.keys()];
    const pointers = names.map((shard) => this.pointersGone.get(shard)?.at ?? Number.POSITIVE_INFINITY);
    return (this.endedAt ?? Number.POSITIVE_INFINITY) > at || pointers.some((goneAt) => goneAt > at);
  }

  copy(): Generation {
    const copy = new Generation(this.collection);
    for (const [delta, known] of this.deltas) copy.deltas.set(delta, { ...known });
    for (const [name, pin] of this.pins) copy.pins.set(name, pin);
    for (const [name, truth] of this.shards) {
      const { versions, byCommit, manifests, ...rest } = truth;
      copy.shards.set(name, {
        ...rest,
        versions: new Map(versions),
        byCommit: new Map(byCommit),
        manifests: manifests.map((one) => ({ ...one })),
      });
    }
    return copy;
  }
}
