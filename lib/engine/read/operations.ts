/**
 * What a query function is asked and answers, whether by a reader of its shards (reader.ts) or by a fan-out over query
 * groups that have them (fan-out.ts).
 */
import type { Health } from "./health.ts";
import type {
  Freshness,
  Include,
  Provenance,
  QueriesRequest,
  QueryRequest,
  QueryResult,
  ReadRecord,
  VectorFormat,
} from "./read-request.ts";
import type { Recall } from "./recall-target.ts";

/** `remainingMs`: what the function has left. */
export interface Operations {
  query(call: QueryRequest & Waiting, remainingMs: number): Promise<QueryAnswer>;
  queries(call: QueriesRequest & Waiting, remainingMs: number): Promise<QueriesAnswer>;
  get(call: GetRequest & Waiting, remainingMs: number): Promise<GetAnswer>;
  count(call: CountRequest & Waiting, remainingMs: number): Promise<CountAnswer>;
  stats(call: StatsRequest & Waiting, remainingMs: number): Promise<StatsAnswer>;
  health(call: { readonly collection?: string | undefined }, remainingMs: number): Promise<Health>;
}

/** How long a call waits for the query groups, and whether it does without those that fail. */
export interface Waiting {
  /** @default what the function has left */
  readonly deadlineMs?: number | undefined;
  readonly allowPartial?: boolean | undefined;
}

export interface GetRequest extends Freshness {
  readonly collection: string;
  readonly ids: readonly string[];
  /** Default: document and metadata. */
  readonly include?: readonly Include[] | undefined;
  /** @default "list" */
  readonly vectorFormat?: VectorFormat | undefined;
}
export interface CountRequest extends Freshness {
  readonly collection: string;
  readonly filter?: unknown;
}
export interface StatsRequest extends Pick<Freshness, "part" | "embeddingVersion"> {
  readonly collection: string;
}

/** A query by `id` of one part answers `queryVector` (base64) too: the other parts are asked with it. */
export interface QuestionAnswer {
  results: QueryResult[];
  queryVector?: string;
  /** Of a question with a recallTarget. */
  recall?: Recall;
}
export type QueryAnswer = QuestionAnswer & Provenance;
/** In the order of the queries. */
export type QueriesAnswer = { answers: QuestionAnswer[] } & Provenance;
/** Records in the order of the ids; unknown ones are listed in `missing`. */
export type GetAnswer = { records: ReadRecord[]; missing: string[] } & Provenance;
export type CountAnswer = { count: number } & Provenance;
export type StatsAnswer = Stats & Provenance;

export interface Stats {
  readonly dims: number;
  readonly metric: string;
  readonly embeddingVersion: string;
  readonly vectors: number;
  readonly bytes: number;
  readonly pendingDeltas: number;
  readonly lagSeconds: number;
}
