/**
 * Reading by an alias: the side is chosen here, once, and everything behind, query groups too, is asked for that collection by its name.
 *
 * - Strong, bounded and token reads, and stats, go to the writing side, by an alias that is read within the call: a write that was acknowledged
 *   before it was acknowledged on that side, or carried there before the side was moved (I13).
 * - Eventual reads are shared out among both sides, by an alias that was asked for at most `aliasHeldMs` ago.
 *
 * A name that is a collection's costs no request: it is looked for among aliases when no collection has it.
 */
import { decodeToken } from "../../core/format/token.ts";
import {
  type Alias,
  checkSpaces,
  type LedBy,
  ledBy,
  type SideName,
  sideNames,
  sideOfKey,
  writingSide,
} from "../../core/model/alias.ts";
import { invalid, SiltstoneError } from "../../core/model/errors.ts";
import { aliasHeldMs } from "../../core/policy/time-bounds.ts";
import { type KnownAlias, readAlias, readAliasAgain } from "../catalog/aliases.ts";
import type { World } from "../ports.ts";
import { type Health, mergeHealth } from "./health.ts";
import type {
  CountAnswer,
  CountRequest,
  GetAnswer,
  GetRequest,
  Operations,
  QueriesAnswer,
  QueryAnswer,
  StatsAnswer,
  StatsRequest,
  Waiting,
} from "./operations.ts";
import type { Freshness, QueriesRequest, QueryRequest } from "./read-request.ts";

/** By which eventual reads of an alias are shared out: the same key has the same side as long as the shares stand. */
export interface Routing {
  /** A function where it costs something to make, and the name may not be an alias's. @default what is asked for */
  readonly routingKey?: string | (() => string) | undefined;
}

type Call = Freshness & Routing & { readonly collection: string };
type Led<A> = A & { readonly alias?: LedBy };

interface Held {
  readonly known: KnownAlias;
  /** When it was asked for. */
  readonly askedAtMs: number;
}

export class ThroughAlias implements Operations {
  readonly #reads: Operations;
  readonly #world: Pick<World, "store" | "clock">;
  readonly #held = new Map<string, Held>();
  /** Aliases that are being read for whoever can do with a held one. */
  readonly #coming = new Map<string, Promise<KnownAlias | null>>();

  constructor(reads: Operations, world: Pick<World, "store" | "clock">) {
    this.#reads = reads;
    this.#world = world;
  }

  query(call: QueryRequest & Waiting & Routing, remainingMs: number): Promise<Led<QueryAnswer>> {
    const isOfSpace = typeof call.vector !== "function" && call.vector !== undefined;
    const { vector, id, filter } = call;
    return this.#led(call, {
      ask: (led) => this.#reads.query(led, remainingMs),
      key: () => JSON.stringify([vector, id, filter]),
      isOfSpace,
    });
  }

  queries(call: QueriesRequest & Waiting & Routing, remainingMs: number): Promise<Led<QueriesAnswer>> {
    const { queries } = call;
    return this.#led(call, {
      ask: (led) => this.#reads.queries(led, remainingMs),
      key: () => JSON.stringify(queries.map(({ vector, id, filter }) => [vector, id, filter])),
      isOfSpace: queries.some(({ vector }) => typeof vector !== "function" && vector !== undefined),
    });
  }

  get(call: GetRequest & Waiting & Routing, remainingMs: number): Promise<Led<GetAnswer>> {
    return this.#led(call, {
      ask: (led) => this.#reads.get(led, remainingMs),
      key: () => JSON.stringify(call.ids),
    });
  }

  count(call: CountRequest & Waiting & Routing, remainingMs: number): Promise<Led<CountAnswer>> {
    return this.#led(call, {
      ask: (led) => this.#reads.count(led, remainingMs),
      key: () => JSON.stringify(call.filter ?? null),
    });
  }

  stats(call: StatsRequest & Waiting, remainingMs: number): Promise<Led<StatsAnswer>> {
    const ask = ({ consistency: _, ...led }: StatsRequest & Waiting & Freshness) =>
      this.#reads.stats(led, remainingMs);
    return this.#led({ ...call, consistency: "strong" }, { ask, key: () => "" });
  }

  /** Of an alias that this process has answered by, both sides; of any other name, what it is. */
  async health(call: { readonly collection?: string | undefined }, remainingMs: number): Promise<Health> {
    const held = call.collection === undefined ? undefined : this.#held.get(call.collection);
    if (held === undefined) return this.#reads.health(call, remainingMs);
    const { alias } = held.known;
    const names = new Set(sideNames.flatMap((side) => alias[side]?.collection ?? []));
    const parts = [...names].map((collection) => this.#reads.health({ collection }, remainingMs));
    return mergeHealth(await Promise.all(parts));
  }

  async #led<C extends Call, A extends object>(
    call: C,
    { ask, key, isOfSpace = false }: { ask: (call: C) => Promise<A>; key: () => string; isOfSpace?: boolean },
  ): Promise<Led<A>> {
    const { routingKey, ...asked } = call;
    const { collection: name, part, embeddingVersion } = call;
    // Whoever asks for a part has chosen the side.
    if (part !== undefined) return ask(asked as C);
    let fresh: KnownAlias | null = null;
    if (!this.#held.has(name)) {
      try {
        return await ask(asked as C);
      } catch (error) {
        if (!isNoCollection(error)) throw error;
        fresh = await this.#readNow(name);
        if (fresh === null) throw error;
      }
    }
    const isShared = (call.consistency ?? "eventual") === "eventual" && (call.atLeast ?? []).length === 0;
    const askThrough = async ({ alias }: KnownAlias): Promise<Led<A>> => {
      if (isOfSpace) checkSpaces(alias, embeddingVersion);
      const routing = typeof routingKey === "function" ? routingKey : () => routingKey ?? key();
      const side = isShared ? sideOfRead(alias, embeddingVersion, routing) : alias.writing;
      const led = ledBy(alias, side);
      const tokens = isShared ? asked : { ...asked, ...tokensFor(alias, call) };
      const answer = await ask({ ...tokens, collection: led.collection } as C);
      return { ...answer, alias: led };
    };
    const known = fresh ?? (await (isShared ? this.#readHeld(name) : this.#readNow(name)));
    if (known === null) return ask(asked as C);
    try {
      return await askThrough(known);
    } catch (error) {
      // A side that the alias has left, and that was deleted then.
      if (!isNoCollection(error)) throw error;
      const now = await this.#readNow(name);
      if (now === null || now.alias.revision === known.alias.revision) throw error;
      return askThrough(now);
    }
  }

  /** As it was at most `aliasHeldMs` ago; null when there is none any more. */
  async #readHeld(name: string): Promise<KnownAlias | null> {
    const held = this.#held.get(name);
    const ageMs = this.#world.clock.nowMs() - (held?.askedAtMs ?? Number.NEGATIVE_INFINITY);
    if (held !== undefined && ageMs >= 0 && ageMs < aliasHeldMs) return held.known;
    const coming = this.#coming.get(name) ?? this.#readNow(name).finally(() => this.#coming.delete(name));
    this.#coming.set(name, coming);
    return coming;
  }

  async #readNow(name: string): Promise<KnownAlias | null> {
    const { store, clock } = this.#world;
    const askedAtMs = clock.nowMs();
    const held = this.#held.get(name);
    const known = await (held === undefined ? readAlias(store, name) : readAliasAgain(store, held.known));
    const since = this.#held.get(name);
    if (known === null) this.#held.delete(name);
    // What was asked for later is no older.
    else if (since === undefined || since.askedAtMs <= askedAtMs) this.#held.set(name, { known, askedAtMs });
    return known;
  }
}

const isNoCollection = (error: unknown): boolean => error instanceof SiltstoneError && error.isNoCollection;

/** Where the sides have different embedding spaces, a call that names one of them is answered by the side that has it. */
function sideOfRead(alias: Alias, embeddingVersion: string | undefined, routing: () => string): SideName {
  if (alias.target === null) return "source";
  const ofSpace = sideNames.filter((side) => alias[side]?.embeddingVersion === embeddingVersion);
  return ofSpace.length === 1 ? ofSpace[0]! : sideOfKey(alias, routing());
}

/**
 * What a call with tokens asks of the writing side. A token of the side that the alias has left is answered by a strong read: what
 * it names was carried over before the alias left. One that names no alias was written by the collection's own name, and is that one's.
 */
function tokensFor(alias: Alias, { atLeast = [] }: Call): Partial<Freshness> {
  const { collection } = writingSide(alias);
  const tokens = atLeast.map((text) => decodeToken(text));
  for (const token of tokens) {
    if (token.alias == null ? token.collection === collection : token.alias === alias.name) continue;
    const of = token.alias == null ? `collection ${token.collection}` : `alias ${token.alias}`;
    throw invalid(`atLeast: the token is of ${of}, and alias ${alias.name} leads writes to ${collection}`);
  }
  const isLeft = tokens.some((token) => token.collection !== collection);
  return isLeft ? { consistency: "strong", atLeast: undefined, maxAgeSeconds: undefined } : {};
}
