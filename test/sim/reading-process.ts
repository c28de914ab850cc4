/**
 * A query process: one Reader, warm or just started, asked at all three consistency levels and with tokens, for records
 * by id, by vector, by filter, and for their number. Some have hardly any cache.
 */
import { bounds } from "../../lib/core/model/bounds.ts";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { loadBehindMs } from "../../lib/core/policy/time-bounds.ts";
import type {
  Consistency,
  Freshness,
  Include,
  Provenance,
  QueryResult,
  ReadRecord,
} from "../../lib/engine/read/read-request.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { Traffic } from "../../lib/engine/traffic.ts";
import type { Generation } from "./generation.ts";
import type { Actor, ActorWorld, Scene } from "./processes.ts";
import type { Chance } from "./random.ts";
import { type Asked as AskedOf, type Judged, judgeError } from "./read-errors.ts";
import { beginRead, judgeRead, type ReadOutcome } from "./reads.ts";
import { groupOf, groups, vectorOf } from "./writes.ts";

interface Answered {
  readonly answer: Provenance;
  readonly found: ReadOutcome["found"];
  readonly wants: ReadOutcome["wants"];
}
/** The newest version of each shard that it was answered from, and whose; and from graphs, not only from clusters. */
interface Seen {
  readonly generation: Generation | null;
  readonly versions: readonly number[];
  readonly open: readonly number[];
}
const nothingSeen: Seen = { generation: null, versions: [], open: [] };
interface Asked extends AskedOf {
  readonly freshness: Freshness;
  /** What may be answered before the graphs are there. */
  readonly isPlain: boolean;
}
/** Bytes of cache: enough for everything, or for one shard with a segment or two. */
const cacheBytes = [1e9, 1e9, 60_000];
/** A question that meets a fault each time is given up. */
const attemptsMax = 6;

export class ReadingProcess implements Actor {
  readonly everyMs = 15_000;
  readonly #scene: Scene;
  readonly #world: ActorWorld;
  readonly #chance: Chance;
  readonly #refreshSeconds: number;
  readonly #cacheBytesMax: number;
  #reader: Reader | null = null;
  /** When the last read began that was answered without a warning. */
  #cleanAt = 0;
  #seen: Seen = nothingSeen;

  constructor(scene: Scene, world: ActorWorld, chance: Chance) {
    this.#scene = scene;
    this.#world = world;
    this.#chance = chance;
    this.#refreshSeconds = chance.pick([0, 5, 300]);
    this.#cacheBytesMax = chance.pick(cacheBytes);
  }

  async close(): Promise<void> {
    await this.#reader?.close();
    this.#reader = null;
    // Where a version is damaged, another process may well begin with the one before.
    this.#seen = nothingSeen;
  }

  async round(): Promise<void> {
    const chance = this.#chance;
    // Lambda gives up a process whenever it likes, also while graphs are on their way after a cold answer.
    if (chance.hits(0.2)) await this.close();
    // Now and then two at once, which share one refresh; the second may ask for something else.
    await Promise.all(Array.from({ length: chance.hits(0.2) ? 2 : 1 }, () => this.#ask()));
  }

  /** One question, asked again while faults of this very read leave it without an answer. */
  async #ask(): Promise<void> {
    const { oracle } = this.#scene;
    const asked = this.#question();
    oracle.count("read asked");
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      if (await this.#attempt(asked)) return oracle.count("read judged");
    }
    oracle.count("read met faults only");
  }

  #question(): Asked {
    const { collection, tokens } = this.#scene;
    const chance = this.#chance;
    const isPlain = this.#reader === null && chance.hits(0.5);
    const consistency = isPlain ? "eventual" : chance.pick<Consistency>(["eventual", "bounded", "strong"]);
    const maxAgeSeconds = consistency === "bounded" ? chance.pick([0, 10, 300]) : this.#refreshSeconds;
    const hasTokens = !isPlain && consistency !== "strong" && chance.hits(0.4);
    // Several at once, some of them the same: what a session gathers.
    const given = hasTokens
      ? Array.from({ length: chance.pick([1, 1, 2, 3]) }, () => tokens.at(-1 - chance.below(5))).filter(
          (token) => token !== undefined,
        )
      : [];
    return {
      collection: collection.name,
      isPlain,
      consistency,
      // The refresh is behind the answer of an eventual read that names no token.
      maxAgeMs:
        consistency === "eventual" && given.length === 0
          ? loadBehindMs(maxAgeSeconds * 1000)
          : maxAgeSeconds * 1000,
      tokens: given.flatMap(({ deltas }) => deltas),
      cacheBytesMax: this.#cacheBytesMax,
      process: this.#world.process,
      freshness: {
        consistency,
        ...(consistency === "bounded" ? { maxAgeSeconds } : {}),
        ...(given.length > 0 ? { atLeast: given.map(({ token }) => token) } : {}),
      },
    };
  }

  /** Whether it came to a verdict. */
  async #attempt(asked: Asked): Promise<boolean> {
    const { oracle } = this.#scene;
    this.#reader ??= new Reader(this.#world, {
      refreshSeconds: this.#refreshSeconds,
      cacheBytesMax: this.#cacheBytesMax,
      traffic: new Traffic(),
    });
    const { beganAt, ...began } = beginRead(oracle, asked.collection, oracle.collection.shards);
    const window = { ...began, beganAt, damageSince: Math.min(this.#cleanAt, beganAt) };
    const seenBefore = this.#seen;
    try {
      this.#judge(window, asked, await this.#read(this.#reader, asked), seenBefore);
      return true;
    } catch (error) {
      if (!(error instanceof SiltstoneError)) throw error;
      const verdict = judgeError(oracle, window, asked, error);
      oracle.count(verdict === "injected" ? "read met a fault" : `read ${error.kind}`);
      if (typeof verdict === "object") oracle.violate(verdict.wrong);
      return verdict !== "injected";
    }
  }

  async #read(reader: Reader, { freshness, isPlain }: Asked): Promise<Answered> {
    const { plan, collection, oracle } = this.#scene;
    const chance = this.#chance;
    const group = !isPlain && chance.hits(0.3) ? chance.below(groups) : null;
    const wants = (document: string) => group === null || groupOf(document) === group;
    const request = { collection: collection.name, ...freshness };
    const filter = group === null ? {} : { filter: { group } };
    const include: Include[] = !isPlain && chance.hits(0.3) ? ["document", "vector"] : ["document"];
    const kind = isPlain ? "query" : chance.pick(["get", "get", "query", "query", "count"] as const);
    oracle.count(`asked to ${kind}${group === null || kind === "get" ? "" : " with a filter"}`);
    switch (kind) {
      case "get": {
        const answer = await reader.get({ ...request, ids: idsOf(plan.ids), include });
        this.#checkRecords(answer.records);
        return { answer, found: documentsOf(answer.records), wants: () => true };
      }
      case "query": {
        const vector = vectorOf("question", collection.dims);
        const answer = await reader.query({ ...request, ...filter, vector, topK: 100, include });
        this.#checkDistances(vector, answer.results);
        this.#checkRecords(answer.results);
        return { answer, found: documentsOf(answer.results), wants };
      }
      case "count": {
        const answer = await reader.count({ ...request, ...filter });
        return { answer, found: answer.count, wants };
      }
    }
  }

  #checkRecords(records: readonly Pick<ReadRecord, "id" | "document" | "vector">[]): void {
    if (documentsOf(records).size !== records.length)
      this.#scene.oracle.violate(`a record was answered twice: ${records.map(({ id }) => id).join()}`);
    for (const { document, vector } of records) {
      if (Array.isArray(vector) && vector.join() !== vectorOf(document!, vector.length).join())
        this.#scene.oracle.violate(`${document} was answered with the vector of another record`);
    }
  }

  #checkDistances(vector: readonly number[], results: readonly QueryResult[]): void {
    for (const [i, { distance, document }] of results.entries()) {
      const other = vectorOf(document!, vector.length);
      const expected = vector.reduce((sum, value, j) => sum + (value - other[j]!) ** 2, 0);
      const isNear = Math.abs(distance - expected) <= 1e-4 * (1 + expected);
      const inOrder = i === 0 || results[i - 1]!.distance <= distance;
      if (!isNear || !inOrder)
        this.#scene.oracle.violate(
          `a query answered distance ${distance} for ${document}; it is ${expected}`,
        );
    }
  }

  #judge(window: Judged, asked: Asked, { answer, found, wants }: Answered, seenBefore: Seen): void {
    const { oracle, plan } = this.#scene;
    const versions = answer.shards.map(({ version }) => version);
    oracle.count(`read ${asked.consistency}${asked.tokens.length > 0 ? " with tokens" : ""}`);
    if ((asked.freshness.atLeast?.length ?? 0) > 1) oracle.count("read with several tokens");
    if (answer.cold) oracle.count("read cold");
    if (answer.deltasOverlaid > 0) oracle.count("deltas overlaid");
    if (answer.deltasOverlaid >= bounds.overlaidDeltas) oracle.count("as many deltas overlaid as may be");
    if (answer.warning !== undefined) {
      oracle.count("fallback view");
      if (answer.warning.includes("slow or silent")) oracle.count("hold over");
      const isDamage =
        oracle.isChangedSince(window.damageSince) ||
        oracle.mayMeetDamage(this.#world.process, window.damageSince, answer.warning);
      if (/corrupt/.test(answer.warning) && !isDamage)
        oracle.violate(`a reader says that something is corrupt: ${answer.warning}`);
    } else this.#cleanAt = window.beganAt;
    const { fault, generation } = judgeRead(oracle, window, {
      ...asked,
      ids: idsOf(plan.ids),
      versions,
      ageSeconds: answer.shards.map(({ ageSeconds }) => ageSeconds),
      warned: answer.warning !== undefined,
      takenBack: (answer.takenBack ?? []).map(({ delta }) => delta),
      found,
      wants,
    });
    if (fault !== null) oracle.violate(fault);
    if (generation !== oracle.generation || oracle.isDeleted) oracle.count("read of a former collection");
    const isOf = (seen: Seen) => (seen.generation === generation ? seen : nothingSeen);
    // What only clusters have answered may have a graph that cannot be opened; then the version before it answers, with a warning.
    const mayFallBack =
      answer.warning !== undefined && oracle.isFlipped(this.#world.process, window.damageSince);
    const { versions: shown, open } = isOf(seenBefore);
    versions.forEach((version, shard) => {
      const before = (mayFallBack ? open : shown)[shard] ?? 0;
      if (version < before) oracle.violate(`a reader saw version ${version} after ${before} (I6)`);
    });
    const newest = (seen: readonly number[]) =>
      versions.map((version, shard) => Math.max(version, seen[shard] ?? 0));
    const seen = isOf(this.#seen);
    this.#seen = {
      generation,
      versions: newest(seen.versions),
      open: answer.cold ? seen.open : newest(seen.open),
    };
  }
}

const idsOf = (count: number): string[] => Array.from({ length: count }, (_, i) => `id${i}`);
const documentsOf = (records: readonly Pick<ReadRecord, "id" | "document">[]): Map<string, string> =>
  new Map(records.map(({ id, document }) => [id, document!]));
