/** The query groups of a collection: which of them has which shards, and asking each for its part. */
import type { Collection } from "../../core/model/collection.ts";
import { httpStatus, SiltstoneError } from "../../core/model/errors.ts";
import { shardOf } from "../../core/model/shard-of.ts";
import type { GroupFailure } from "./group-failures.ts";
import { shardsToRead } from "./read-request.ts";

/** Asks the function of a query group. Throws what it throws, and `unavailable` when it is silent for `waitMs`. */
export type AskGroup = (group: number, event: object, waitMs: number) => Promise<unknown>;

export type Outcome<A> =
  | { readonly kind: "answered"; readonly answer: A }
  | ({ readonly kind: "failed" } & GroupFailure);

/** Asks groups, each for its part of the collection; `eventOf` gives what a group is asked. */
export type Asking = <A>(
  groups: readonly number[],
  eventOf: (group: number) => object,
) => Promise<readonly Outcome<A>[]>;

export class QueryGroups {
  readonly ask: AskGroup;
  readonly #count: number;

  constructor(count: number, ask: AskGroup) {
    this.#count = count;
    this.ask = ask;
  }

  get all(): number[] {
    return Array.from({ length: this.#count }, (_, group) => group);
  }
  /** That has a record. */
  ofId({ shards }: Collection, id: string): number {
    return shardOf(id, shards) % this.#count;
  }
  /** Those that have a shard. */
  of({ shards }: Collection): number[] {
    return Array.from({ length: Math.min(shards, this.#count) }, (_, group) => group);
  }
  shardsOf(collection: Collection, group: number): number[] {
    return shardsToRead(collection, undefined).filter((shard) => shard % this.#count === group);
  }

  /** Each for its part, all at once. What is wrong with the call is thrown. */
  askAll<A>(
    collection: Collection,
    groups: readonly number[],
    eventOf: (group: number) => object,
    limitMs: number,
  ): Promise<Outcome<A>[]> {
    return Promise.all(
      groups.map(async (group): Promise<Outcome<A>> => {
        const shards = this.shardsOf(collection, group);
        const event = { ...eventOf(group), part: { collectionId: collection.id, shards } };
        const waitMs = Math.max(0, Math.floor(limitMs - performance.now()));
        try {
          return { kind: "answered", answer: (await this.ask(group, event, waitMs)) as A };
        } catch (error) {
          if (!(error instanceof Error)) throw error;
          if (error instanceof SiltstoneError && httpStatus(error.kind) < 500) throw error;
          return { kind: "failed", group, shards, error };
        }
      }),
    );
  }
}
