/** A query process: one Reader, warm or just started, asked at all three consistency levels and with tokens. */
import { SiltstoneError } from "../../lib/core/errors.ts";
import type { World } from "../../lib/engine/ports.ts";
import type { Consistency, Freshness, Provenance } from "../../lib/engine/read-request.ts";
import { Reader } from "../../lib/engine/reader.ts";
import { Traffic } from "../../lib/engine/traffic.ts";
import type { Actor, Scene } from "./processes.ts";
import type { Chance } from "./random.ts";
import { beginRead, type ReadWindow, readFault } from "./reads.ts";
import { vectorOf } from "./writes.ts";

interface Judged {
  readonly consistency: Consistency;
  readonly maxAgeMs: number;
  readonly tokens: readonly string[];
  readonly found: ReadonlyMap<string, string>;
  /** Versions that this reader had answered from before the call. */
  readonly seenBefore: readonly number[];
}

export class ReadingProcess implements Actor {
  readonly everyMs = 15_000;
  readonly #scene: Scene;
  readonly #world: World;
  readonly #chance: Chance;
  readonly #refreshSeconds: number;
  #reader: Reader | null = null;
  #seen: number[] = [];

  constructor(scene: Scene, world: World, chance: Chance) {
    this.#scene = scene;
    this.#world = world;
    this.#chance = chance;
    this.#refreshSeconds = chance.pick([0, 5, 300]);
  }

  async close(): Promise<void> {
    await this.#reader?.close();
  }

  async round(): Promise<void> {
    const chance = this.#chance;
    // Now and then two at once, which share one refresh; the second may ask for something else.
    await Promise.all(Array.from({ length: chance.hits(0.2) ? 2 : 1 }, () => this.#ask()));
  }

  async #ask(): Promise<void> {
    const { plan, oracle, collection, tokens } = this.#scene;
    const chance = this.#chance;
    this.#reader ??= new Reader(this.#world, {
      refreshSeconds: this.#refreshSeconds,
      cacheBytesMax: 1e9,
      traffic: new Traffic(),
    });
    const consistency = chance.pick<Consistency>(["eventual", "bounded", "strong"]);
    const maxAgeSeconds = consistency === "bounded" ? chance.pick([0, 10, 300]) : this.#refreshSeconds;
    const token =
      consistency === "eventual" && chance.hits(0.5) ? tokens.at(-1 - chance.below(3)) : undefined;
    const freshness: Freshness = {
      consistency,
      ...(consistency === "bounded" ? { maxAgeSeconds } : {}),
      ...(token ? { atLeast: [token.token] } : {}),
    };
    const window = beginRead(oracle, collection.name, plan.shards);
    const seenBefore = [...this.#seen];
    try {
      const { answer, found } = await this.#read(this.#reader, freshness);
      this.#judge(window, answer, {
        consistency,
        maxAgeMs: maxAgeSeconds * 1000,
        tokens: token?.deltas ?? [],
        found,
        seenBefore,
      });
    } catch (error) {
      if (!(error instanceof SiltstoneError)) throw error;
      oracle.count(`read ${error.kind}`);
      if (error.kind === "unavailable") return;
      const mayMeetDamage = consistency === "strong" || token !== undefined;
      if (error.kind === "corrupt" && mayMeetDamage && /delta/.test(error.message)) return;
      oracle.violate(`a ${consistency} read failed with ${error.kind}: ${error.stack}`);
    }
  }

  async #read(
    reader: Reader,
    freshness: Freshness,
  ): Promise<{ answer: Provenance; found: Map<string, string> }> {
    const { plan, collection } = this.#scene;
    const ids = idsOf(plan.ids);
    if (this.#chance.hits(0.5)) {
      const answer = await reader.get({
        collection: collection.name,
        ids,
        include: ["document"],
        ...freshness,
      });
      return { answer, found: new Map(answer.records.map(({ id, document }) => [id, document!])) };
    }
    const vector = vectorOf("question", collection.dims);
    const request = { collection: collection.name, vector, topK: 1000, ...freshness };
    const answer = await reader.query({ ...request, include: ["document"] });
    const { results } = answer;
    for (const [i, { distance, document }] of results.entries()) {
      const other = vectorOf(document!, collection.dims);
      const expected = vector.reduce((sum, value, j) => sum + (value - other[j]!) ** 2, 0);
      const isNear = Math.abs(distance - expected) <= 1e-4 * (1 + expected);
      const inOrder = i === 0 || results[i - 1]!.distance <= distance;
      if (!isNear || !inOrder)
        this.#scene.oracle.violate(
          `a query answered distance ${distance} for ${document}; it is ${expected}`,
        );
    }
    return { answer, found: new Map(results.map(({ id, document }) => [id, document!])) };
  }

  #judge(window: ReadWindow, answer: Provenance, { seenBefore, ...read }: Judged): void {
    const { oracle, plan, collection } = this.#scene;
    const versions = answer.shards.map(({ version }) => version);
    oracle.count(`read ${read.consistency}${read.tokens.length > 0 ? " with tokens" : ""}`);
    if (answer.deltasOverlaid > 0) oracle.count("deltas overlaid");
    if (answer.warning !== undefined) {
      oracle.count("fallback view");
      if (/corrupt/.test(answer.warning))
        oracle.violate(`a reader says that something is corrupt: ${answer.warning}`);
    }
    versions.forEach((version, shard) => {
      const before = seenBefore[shard] ?? 0;
      if (version < before) oracle.violate(`a reader saw version ${version} after ${before} (I6)`);
      this.#seen[shard] = Math.max(this.#seen[shard] ?? 0, version);
    });
    const fault = readFault(oracle, window, {
      collection: collection.name,
      ids: idsOf(plan.ids),
      mayBeOld: answer.warning !== undefined,
      versions,
      ...read,
    });
    if (fault !== null) oracle.violate(fault);
  }
}

const idsOf = (count: number): string[] => Array.from({ length: count }, (_, i) => `id${i}`);
