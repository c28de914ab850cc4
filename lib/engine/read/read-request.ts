/**
 * What a read asks and what it answers: the requests' and answers' shapes, and the checks of what callers give. Whatever
 * is wrong is `invalid`, with the field, the range and the value.
 */

import { decodeToken, namedDeltasMax, tooManyNamed } from "../../core/format/token.ts";
import { type Collection, efSearchRange, type Metric } from "../../core/model/collection.ts";
import { invalid, SiltstoneError } from "../../core/model/errors.ts";
import { type Filter, parseFilter } from "../../core/model/filter.ts";
import type { DeltaId, SnapshotVersion } from "../../core/model/ids.ts";
import type { Metadata } from "../../core/model/row.ts";
import { checkVector } from "../../core/model/vector.ts";

export const topKMax = 1_000;
export const topKDefault = 10;
export const refreshSecondsMax = 300;
export const queriesMax = 64;

export type Consistency = "eventual" | "bounded" | "strong";
export type Include = "document" | "metadata" | "vector";
/** Vectors of an answer: numbers, or base64 of little-endian float32, a quarter of that in bytes and exact. */
export type VectorFormat = "list" | "base64";

/** Some shards of a collection: what one query group is asked for (fan-out.ts). */
export interface Part {
  /** ULID of the collection: it tells a collection from one that was deleted and made again under its name. */
  readonly collectionId: string;
  readonly shards: readonly number[];
}

/** How fresh an answer has to be, and of which part of the collection it is. */
export interface Freshness {
  /** Default: the whole collection. */
  readonly part?: Part | undefined;
  /** When given, it must be the collection's: an answer of another embedding space means nothing to the caller. */
  readonly embeddingVersion?: string | undefined;
  /** `eventual` (default): the cached view. `bounded`: at most maxAgeSeconds old. `strong`: every acknowledged write. */
  readonly consistency?: Consistency | undefined;
  /** For `bounded`: seconds since the pointer was read, 0 to 300. */
  readonly maxAgeSeconds?: number | undefined;
  /** Write tokens whose writes the answer must contain. */
  readonly atLeast?: readonly string[] | undefined;
}

/** A query's vector, where it depends on the collection's configuration: that of a text does. */
export type VectorOf = (collection: Collection) => Promise<Float32Array>;

/** What is searched for, and what of it is answered. */
export interface Question {
  /** dims numbers, base64 of little-endian float32, or a VectorOf. Exactly one of vector and id. */
  readonly vector?: unknown;
  /** The vector of this record. The record itself is among the results unless excluded. */
  readonly id?: string | undefined;
  /** 0 to 1,000; default 10. */
  readonly topK?: number | undefined;
  readonly filter?: unknown;
  /** Only results with at least this score. */
  readonly minScore?: number | undefined;
  readonly excludeIds?: readonly string[] | undefined;
  /** Default: document and metadata. */
  readonly include?: readonly Include[] | undefined;
  /** @default "list" */
  readonly vectorFormat?: VectorFormat | undefined;
  /**
   * How many of the nearest nodes a graph of all rows is searched for, 10 to 2,000: more finds more, and takes longer.
   * @default the collection's efSearch
   */
  readonly ef?: number | undefined;
  /** Instead of ef: the share of the nearest that the answer is to have, 0.5 to 1; 1 searches exactly. */
  readonly recallTarget?: number | undefined;
}
export interface QueryRequest extends Freshness, Question {
  readonly collection: string;
}
/** Several questions over one snapshot. */
export interface QueriesRequest extends Freshness {
  readonly collection: string;
  /** 1 to 64. */
  readonly queries: readonly Question[];
}

export interface ReadRecord {
  readonly id: string;
  readonly version: number;
  readonly document?: string | null;
  readonly metadata?: Metadata | null;
  readonly vector?: number[] | string;
}
export interface QueryResult extends ReadRecord {
  /** Larger is nearer: cosine similarity, dot product, or 1 / (1 + squared distance). */
  readonly score: number;
  /** 1 − cos, squared L2, or 1 − dot. */
  readonly distance: number;
}

/** A delta of a token that was ingested, perhaps after `version`, to which the shard was rolled back since. */
export interface TakenBackWrite {
  readonly shard: number;
  readonly delta: DeltaId;
  readonly version: SnapshotVersion;
}

/** Where an answer comes from, and what it took. */
export interface Provenance {
  /** Sum of the versions of the shards: it grows with every publication. */
  readonly snapshotVersion: number;
  readonly shards: readonly {
    readonly shard: number;
    readonly version: number;
    readonly ageSeconds: number;
  }[];
  readonly consistency: Consistency;
  readonly segments: number;
  readonly deltasOverlaid: number;
  readonly milliseconds: number;
  readonly requests: number;
  readonly bytesRead: number;
  /** Set when a newer version is damaged and an older one answers. */
  readonly warning?: string;
  /** Set when writes of the tokens may not be in the answer, because a roll back took them back. */
  readonly takenBack?: readonly TakenBackWrite[];
  /** Set when the graphs were not there yet: the results are approximate (docs/lab/performance.md, "Cold start"). */
  readonly cold?: true;
  /** Set when shards are missing from the answer, which the call allowed. */
  readonly partial?: { readonly missingShards: readonly number[]; readonly reasons: readonly string[] };
}

export const nothingPublished = (collection: string): SiltstoneError =>
  new SiltstoneError(
    "unavailable",
    `collection ${collection} has no snapshot yet: nothing has been published; run \`silt compact ${collection}\`, or read with consistency strong`,
  );

export const madeAgain = (collection: string): SiltstoneError =>
  new SiltstoneError("conflict", `collection ${collection} was deleted and made again; repeat the call`);

const tokenOfFormer = ({ name, createdAt }: Collection): SiltstoneError =>
  new SiltstoneError(
    "conflict",
    `atLeast: the token is of a former collection ${name}, which was deleted with what the token names; ` +
      `the one that has its name was made on ${createdAt}: leave the token out`,
  );

/** Of the same vector 1, but for inner products, where it is the square of its norm. */
export function scoreOf(metric: Metric, distance: number): number {
  if (metric === "l2") return 1 / (1 + distance);
  // Cosine distances are exact next to 0, finer than scores next to 1: vectors of one direction have a score of 1.
  return metric === "cosine" ? Math.fround(1 - distance) : 1 - distance;
}

/** What float32 rounding may take from an inner product. */
const productRounding = 1e-6;

/** Whether a score is at least `minScore`, as far as float32 can tell. */
export function isScoreAtLeast(metric: Metric, score: number, minScore: number): boolean {
  if (metric === "cosine") return score >= Math.fround(minScore);
  if (metric === "l2") return score >= minScore;
  return score >= minScore - productRounding * Math.max(1, Math.abs(minScore));
}

/** The vector that a query names, in full; null where it names no vector. Throws `invalid` when it does not fit this collection. */
export async function vectorIn(
  collection: Collection,
  { vector }: Pick<Question, "vector">,
): Promise<Float32Array | null> {
  if (vector === undefined) return null;
  if (typeof vector === "function") return (vector as VectorOf)(collection);
  const checked = checkVector(collection, vector);
  if (typeof checked === "string")
    throw invalid(`vector: ${checked}`, [{ field: "vector", reason: checked }]);
  return checked;
}

export function checkTopK(topK: number | undefined): number {
  if (topK === undefined) return topKDefault;
  if (!Number.isInteger(topK) || topK < 0 || topK > topKMax)
    throw invalid(`topK: must be an integer from 0 to ${topKMax}, got ${JSON.stringify(topK)}`);
  return topK;
}

export const recallTargetRange = { min: 0.5, max: 1 } as const;

/** How thoroughly a question is searched: the collection's efSearch where it says nothing. */
export function checkEffort(
  { index }: Collection,
  { ef, recallTarget }: Pick<Question, "ef" | "recallTarget">,
): { readonly ef: number } | { readonly recallTarget: number } {
  if (recallTarget !== undefined) {
    if (ef !== undefined) throw invalid("recallTarget: give it or ef, not both");
    const { min, max } = recallTargetRange;
    if (typeof recallTarget !== "number" || !(recallTarget >= min && recallTarget <= max))
      throw invalid(
        `recallTarget: must be a number from ${min} to ${max}, got ${JSON.stringify(recallTarget)}`,
      );
    return { recallTarget };
  }
  if (ef === undefined) return { ef: index.efSearch };
  const { min, max } = efSearchRange;
  if (!Number.isInteger(ef) || ef < min || ef > max)
    throw invalid(`ef: must be an integer from ${min} to ${max}, got ${JSON.stringify(ef)}`);
  return { ef };
}

export function checkQueries<Q>(queries: readonly Q[]): readonly Q[] {
  if (queries.length >= 1 && queries.length <= queriesMax) return queries;
  throw invalid(`queries: must be 1 to ${queriesMax}, got ${queries.length}`);
}

export function checkMinScore(minScore: number | undefined): number {
  if (minScore === undefined) return Number.NEGATIVE_INFINITY;
  if (typeof minScore !== "number" || Number.isNaN(minScore))
    throw invalid(`minScore: must be a number, got ${JSON.stringify(minScore)}`);
  return minScore;
}

export const checkFilter = (collection: Collection, filter: unknown): Filter | null =>
  filter === undefined || filter === null ? null : parseFilter(collection.fields, filter);

export function checkConsistency({ consistency = "eventual", maxAgeSeconds }: Freshness): Consistency {
  const inRange =
    typeof maxAgeSeconds === "number" && maxAgeSeconds >= 0 && maxAgeSeconds <= refreshSecondsMax;
  if (consistency === "bounded" && !inRange) {
    throw invalid(
      `maxAgeSeconds: bounded consistency needs 0 to ${refreshSecondsMax} seconds, got ${JSON.stringify(maxAgeSeconds) ?? "nothing"}`,
    );
  }
  if (consistency !== "bounded" && maxAgeSeconds !== undefined)
    throw invalid("maxAgeSeconds: goes with consistency bounded only");
  return consistency;
}

/** All shards, or those of the part. */
export function shardsToRead({ name, shards }: Collection, part: Part | undefined): readonly number[] {
  if (part === undefined) return Array.from({ length: shards }, (_, shard) => shard);
  const isOne = (shard: number) => Number.isInteger(shard) && shard >= 0 && shard < shards;
  if (!part.shards.every(isOne) || new Set(part.shards).size < part.shards.length) {
    const given = JSON.stringify(part.shards).slice(0, 80);
    throw invalid(`part.shards: must be different shards from 0 to ${shards - 1} of ${name}, got ${given}`);
  }
  return part.shards;
}

/** Deltas that the tokens name, by shard. */
export function tokensByShard(collection: Collection, tokens: readonly string[]): Map<number, DeltaId[]> {
  const byShard = new Map<number, DeltaId[]>();
  let named = 0;
  for (const text of tokens) {
    const token = decodeToken(text);
    if (token.collection !== collection.name)
      throw invalid(`atLeast: the token is of collection ${token.collection}, not ${collection.name}`);
    if (token.collectionId !== null && token.collectionId !== collection.id) throw tokenOfFormer(collection);
    named += token.deltas.length;
    if (named > namedDeltasMax) throw tooManyNamed();
    for (const { shard, delta } of token.deltas) {
      if (shard >= collection.shards)
        throw invalid(`atLeast: the token names shard ${shard}; ${collection.name} has ${collection.shards}`);
      const known = byShard.get(shard);
      if (known) known.push(delta);
      else byShard.set(shard, [delta]);
    }
  }
  return byShard;
}
