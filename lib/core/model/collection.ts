/**
 * A collection's configuration (`<collection>/collection.json`): immutable, created once with create-if-absent. To
 * change any of it, make another collection and move an alias.
 */

import {
  completeProfile,
  type EmbeddingProfile,
  type ProfileOptions,
  profileProblems,
} from "./embedding-profile.ts";
import { invalid, type Problem } from "./errors.ts";
import { shown } from "./metadata.ts";

/**
 * 1: tombstones are kept for 30 days, and texts are embedded by the built-in embedder or not at all. 2: tombstones for as long as
 * `tombstoneRetention` says, texts by an embedding profile; code that reads 1 alone would forget deletes, or take deltas that
 * are too old, and leaves such a collection alone. Written is the lowest that says it.
 */
export const collectionFormat = 2;
export const metrics = ["cosine", "l2", "ip"] as const;
export type Metric = (typeof metrics)[number];
export const fieldTypes = ["string", "number", "boolean", "string[]"] as const;
export type FieldType = (typeof fieldTypes)[number];
export type Ordering = "source" | "arrival";

export const dimsMax = 4096;
export const shardsMax = 1024;
export const fieldsMax = 32;

export interface IndexParameters {
  /** Links of a node on the upper layers (twice that on the lowest). */
  readonly M: number;
  /** Candidate list while building. */
  readonly efConstruction: number;
  /** Candidate list while searching; raised to topK when that is larger. */
  readonly efSearch: number;
}

/** Days, or for as long as the collection is there. */
export type TombstoneRetention = number | "never";
export const tombstoneDaysDefault = 30;
export const tombstoneDaysMax = 36_500;

export interface Collection {
  readonly format: 1 | typeof collectionFormat;
  readonly name: string;
  /** ULID given at creation: a collection made again under the same name is another collection. */
  readonly id: string;
  readonly dims: number;
  readonly metric: Metric;
  /** Names the embedding space. Every delta carries it; another one is refused. */
  readonly embeddingVersion: string;
  /** What texts are embedded with: the built-in embedder, a provider by a profile (format 2), or nothing. */
  readonly embedder: "lexical" | EmbeddingProfile | null;
  readonly index: IndexParameters;
  /** Declared filterable metadata fields. */
  readonly fields: Readonly<Record<string, FieldType>>;
  readonly shards: number;
  readonly ordering: Ordering;
  /** When deletes are forgotten, in days after they were made; absent in format 1: 30. */
  readonly tombstoneRetention?: TombstoneRetention;
  /** ISO 8601. */
  readonly createdAt: string;
}

export const tombstoneRetentionOf = ({ tombstoneRetention }: Collection): TombstoneRetention =>
  tombstoneRetention ?? tombstoneDaysDefault;

const embeddingVersionMax = 128;
const versionPattern = new RegExp(`^[\\x21-\\x7e]{1,${embeddingVersionMax}}$`);
const namePattern = /^[a-z0-9][a-z0-9._-]{0,62}$/;
const fieldPattern = /^[A-Za-z][A-Za-z0-9_]{0,62}$/;

/** The one check of collection names: a name that passed can never leave its prefix. */
export function checkCollectionName(name: unknown): string {
  if (typeof name !== "string" || !namePattern.test(name) || name.includes("..") || name === "aliases") {
    const shown = JSON.stringify(typeof name === "string" ? name.slice(0, 80) : (name ?? null));
    throw invalid(
      `collection: ${shown?.slice(0, 90)} is not a collection name; use 1 to 63 of a-z 0-9 . _ - starting with a letter or digit`,
    );
  }
  return name;
}

/** Of a collection's efSearch, and of a query's ef. */
export const efSearchRange = { min: 10, max: 2_000 } as const;
/** Defaults that reach recall@10 ≥ 0.99 on real embeddings at moderate build cost (docs/lab/performance.md). */
const defaultIndex: IndexParameters = { M: 16, efConstruction: 100, efSearch: 100 };

export interface CollectionOptions {
  readonly name: string;
  readonly dims: number;
  readonly metric: Metric;
  readonly embeddingVersion?: string | undefined;
  readonly embedder?: "lexical" | ProfileOptions | null | undefined;
  readonly index?: Partial<IndexParameters> | undefined;
  readonly fields?: Readonly<Record<string, FieldType>> | undefined;
  readonly shards?: number | undefined;
  readonly ordering?: Ordering | undefined;
  /** @default 30 */
  readonly tombstoneRetention?: TombstoneRetention | undefined;
}

/** Completes and checks the configuration of a new collection. Throws `invalid`, naming every wrong field. */
export function newCollection(options: CollectionOptions, id: string, createdAtMs: number): Collection {
  const { tombstoneRetention = tombstoneDaysDefault } = options;
  const embedder = completeEmbedder(options.embedder ?? null);
  const isFormat1 =
    tombstoneRetention === tombstoneDaysDefault && (embedder === null || embedder === "lexical");
  const collection: Collection = {
    format: isFormat1 ? 1 : collectionFormat,
    name: checkCollectionName(options.name),
    id,
    dims: options.dims,
    metric: options.metric,
    embeddingVersion: options.embeddingVersion ?? spaceOf(embedder, options.dims),
    embedder,
    index: { ...defaultIndex, ...options.index },
    fields: { ...options.fields },
    shards: options.shards ?? 1,
    ordering: options.ordering ?? "arrival",
    ...(isFormat1 ? {} : { tombstoneRetention }),
    createdAt: new Date(createdAtMs).toISOString(),
  };
  const problems = collectionProblems(collection);
  if (problems.length > 0) {
    throw invalid(
      `collection ${collection.name}: ${problems.map((p) => `${p.field} ${p.reason}`).join("; ")}`,
      problems,
    );
  }
  return collection;
}

const completeEmbedder = (given: "lexical" | ProfileOptions | null): Collection["embedder"] =>
  given === null || typeof given === "string" ? given : completeProfile(given);

function spaceOf(embedder: Collection["embedder"], dims: number): string {
  if (embedder === null) return "1";
  if (typeof embedder === "string") return `${embedder}-1`;
  return `${embedder.provider}/${embedder.model}@${dims}`.slice(0, embeddingVersionMax);
}

/** Whether a call may go to the collection: it names the collection's embedding space, or no space. */
export const isOfSpace = ({ embeddingVersion }: Collection, asked: string | undefined): boolean =>
  asked === undefined || asked === embeddingVersion;

/** Throws `invalid`, naming both. */
export function checkEmbeddingVersion(collection: Collection, asked: string | undefined): void {
  if (isOfSpace(collection, asked)) return;
  const reason =
    `collection ${collection.name} holds ${shown(collection.embeddingVersion)}, got ${shown(asked)}; ` +
    "vectors of two models cannot be mixed";
  throw invalid(`embeddingVersion: ${reason}`, [{ field: "embeddingVersion", reason }]);
}

/** What makes two configurations the same collection: everything but the id and the time of creation. */
export function sameConfiguration(a: Collection, b: Collection): boolean {
  const essence = ({ id: _id, createdAt: _createdAt, fields, index, ...rest }: Collection) =>
    JSON.stringify([
      Object.entries(rest).sort(([x], [y]) => (x < y ? -1 : 1)),
      Object.entries(fields).sort(([x], [y]) => (x < y ? -1 : 1)),
      [index.M, index.efConstruction, index.efSearch],
    ]);
  return essence(a) === essence(b);
}

/** What is wrong with a configuration, of this code or of any other. */
export function collectionProblems(collection: Collection): Problem[] {
  const problems: Problem[] = [];
  const { tombstoneRetention: retention } = collection;
  const bad = (field: string, reason: string) => problems.push({ field, reason });
  const integer = (field: string, value: unknown, low: number, high: number) => {
    if (!Number.isInteger(value) || (value as number) < low || (value as number) > high) {
      bad(field, `must be an integer from ${low} to ${high}, got ${JSON.stringify(value)}`);
    }
  };
  if (typeof collection.name !== "string" || !namePattern.test(collection.name))
    bad("name", "is not a collection name");
  if (typeof collection.id !== "string" || collection.id === "") bad("id", "is missing");
  integer("dims", collection.dims, 1, dimsMax);
  integer("shards", collection.shards, 1, shardsMax);
  integer("index.M", collection.index?.M, 4, 64);
  integer("index.efConstruction", collection.index?.efConstruction, 16, 1000);
  integer("index.efSearch", collection.index?.efSearch, efSearchRange.min, efSearchRange.max);
  if (!metrics.includes(collection.metric)) {
    bad("metric", `must be one of ${metrics.join(", ")}, got ${JSON.stringify(collection.metric)}`);
  }
  if (collection.ordering !== "source" && collection.ordering !== "arrival") {
    bad("ordering", `must be source or arrival, got ${JSON.stringify(collection.ordering)}`);
  }
  // As the format says: what reads format 1 alone must not meet the field.
  if (collection.format === 1 && retention !== undefined)
    bad("tombstoneRetention", "is not a field of format 1");
  if (collection.format === 2 && retention !== "never")
    integer("tombstoneRetention", retention, 1, tombstoneDaysMax);
  if (typeof collection.embeddingVersion !== "string" || !versionPattern.test(collection.embeddingVersion)) {
    bad("embeddingVersion", `must be 1 to ${embeddingVersionMax} printable ASCII characters without spaces`);
  }
  const { embedder } = collection;
  if (embedder !== null && embedder !== "lexical") {
    problems.push(...profileProblems(embedder, "embedder"));
    if (collection.format === 1) bad("embedder", "has a profile, which format 1 does not");
  }
  const { createdAt } = collection;
  if (typeof createdAt !== "string" || Number.isNaN(Date.parse(createdAt))) bad("createdAt", "is not a time");
  if (typeof collection.fields !== "object" || collection.fields === null || Array.isArray(collection.fields))
    bad("fields", "must be an object of names and types");
  const fields = Object.entries(collection.fields ?? {});
  if (fields.length > fieldsMax) bad("fields", `may be at most ${fieldsMax}, got ${fields.length}`);
  for (const [name, type] of fields) {
    if (!fieldPattern.test(name))
      bad(`fields.${name.slice(0, 80)}`, "must be 1 to 63 of A-Z a-z 0-9 _ starting with a letter");
    if (!fieldTypes.includes(type)) {
      bad(
        `fields.${name.slice(0, 80)}`,
        `must be one of ${fieldTypes.join(", ")}, got ${JSON.stringify(type)}`,
      );
    }
  }
  return problems;
}
