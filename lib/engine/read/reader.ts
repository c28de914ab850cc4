/**
 * Reading collections: query, get, count, stats and health over cached views of their shards.
 *
 * One reader serves any number of collections and shards (lib/engine/read/shard-cache.ts). A request first makes its views
 * fresh enough for its consistency (lib/engine/read/shard-reader.ts), then searches them without a pause.
 */

import { snapshotBytes } from "../../core/format/manifest.ts";
import { AnswerSize } from "../../core/model/answer-size.ts";
import type { DeltaId } from "../../core/model/ids.ts";
import { ulidTimeMs } from "../../core/model/ulid.ts";
import type { World } from "../ports.ts";
import { backlogOf, listDeltas } from "../shard/deltas.ts";
import { fetchGivenVectors, includesVectors, recordsOf } from "./answer-records.ts";
import { coldTopKMax } from "./cold-view.ts";
import { descriptorsDefault } from "./descriptors.ts";
import { type Health, healthOf, type ShardHealth } from "./health.ts";
import type {
  CountAnswer,
  CountRequest,
  GetAnswer,
  GetRequest,
  Operations,
  QueriesAnswer,
  QueryAnswer,
  QuestionAnswer,
  StatsAnswer,
  StatsRequest,
} from "./operations.ts";
import { answerOf, filtersOver, viewOfId } from "./questions.ts";
import {
  checkQueries,
  checkTopK,
  type Freshness,
  type Provenance,
  type QueriesRequest,
  type QueryRequest,
  type Question,
  topKDefault,
} from "./read-request.ts";
import { Reading, type ReadingOptions, type ViewOf } from "./reading.ts";
import { ShardCache } from "./shard-cache.ts";
import type { ShardReader } from "./shard-reader.ts";
import type { SnapshotView } from "./snapshot-view.ts";
import { checkIds, type View, type ViewRow } from "./view.ts";

export interface ReaderOptions extends ReadingOptions {
  /** Seconds after which a cached view is checked again, for eventual reads: 0 to 300. */
  readonly refreshSeconds: number;
  readonly cacheBytesMax: number;
  /** File descriptors that it may have open, connections to S3 not counted. @default 512 */
  readonly descriptorsMax?: number;
  /**
   * Path of the script of the thread that opens large segments (lib/segment/segment-thread-main.ts), while others answer.
   * @default the thread that answers opens them
   */
  readonly threadScript?: string;
}

export class Reader implements Operations {
  readonly #world: World;
  readonly #options: ReaderOptions;
  readonly #cache: ShardCache;
  readonly #reading: Reading;

  constructor(world: World, options: ReaderOptions) {
    this.#world = world;
    this.#options = options;
    const { cacheBytesMax: bytesMax, descriptorsMax = descriptorsDefault, threadScript = null } = options;
    this.#cache = new ShardCache(world, { bytesMax, descriptorsMax, threadScript });
    this.#reading = new Reading(world, this.#cache, options);
  }

  close(): Promise<void> {
    return this.#cache.close();
  }

  async query(request: QueryRequest): Promise<QueryAnswer> {
    const { answers, ...provenance } = await this.#ask(request, [request]);
    return { ...answers[0]!, ...provenance };
  }

  async queries(request: QueriesRequest): Promise<QueriesAnswer> {
    return this.#ask(request, checkQueries(request.queries));
  }

  async #ask<R extends Freshness & { readonly collection: string }>(
    request: R,
    questions: readonly Question[],
  ): Promise<QueriesAnswer> {
    const soon = await this.#askViews(request, questions, this.#viewSoonFor(questions));
    if (soon.answers !== null) return { ...soon, answers: soon.answers };
    // A cold view could not answer: the graphs are waited for.
    const full = await this.#askViews(request, questions, this.#view);
    return { ...full, answers: full.answers! };
  }

  /** All over the same views. `answers` is null where one of them cannot answer before its graphs are there. */
  #askViews<R extends Freshness & { readonly collection: string }>(
    request: R,
    questions: readonly Question[],
    viewOf: ViewOf<SnapshotView, R>,
  ): Promise<{ answers: QuestionAnswer[] | null } & Provenance> {
    for (const { topK } of questions) checkTopK(topK);
    return this.#reading.read(request, viewOf, async (collection, views, readers) => {
      const filters = filtersOver(collection, views, questions);
      const asked = { collection, views, readers, isPart: request.part !== undefined };
      const size = new AnswerSize(questions.reduce((sum, { topK }) => sum + checkTopK(topK), 0));
      const answers: QuestionAnswer[] = [];
      for (const [i, question] of questions.entries()) {
        const answer = await answerOf(asked, { question, filter: filters[i]!, size });
        if (answer === null) return { answers: null };
        answers.push(answer);
      }
      return { answers };
    });
  }

  async get(request: GetRequest): Promise<GetAnswer> {
    return this.#reading.read(request, this.#view, async (collection, views, readers) => {
      const found: ViewRow[] = [];
      const missing: string[] = [];
      for (const id of checkIds("ids", request.ids)) {
        const row = viewOfId(views, collection, id).find(id);
        if (row === null) missing.push(id);
        else found.push(row);
      }
      if (includesVectors(request.include)) await fetchGivenVectors(readers, found);
      return { records: recordsOf(collection, found, request).map(({ record }) => record), missing };
    });
  }

  /** The exact number of live records, of all or of those that a filter accepts. */
  async count(request: CountRequest): Promise<CountAnswer> {
    return this.#reading.read(request, this.#view, (collection, views) => {
      const [filter] = filtersOver(collection, views, [request]);
      return { count: views.reduce((sum, view) => sum + view.count(filter!), 0) };
    });
  }

  async stats(request: StatsRequest): Promise<StatsAnswer> {
    // Looks at every pointer now; what is damaged answers as eventual reads do, with a warning.
    const viewOf = (reader: ShardReader) => reader.aged.fresh(0, true);
    const answer = await this.#reading.read(request, viewOf, ({ dims, metric, embeddingVersion }, views) => ({
      dims,
      metric,
      embeddingVersion,
      vectors: views.reduce((sum, view) => sum + view.liveRows, 0),
      bytes: views.reduce((sum, view) => sum + snapshotBytes(view.manifest), 0),
      manifests: views.map((view) => view.manifest),
    }));
    const { manifests, ...rest } = answer;
    let pendingDeltas = 0;
    let oldestMs: number | null = null;
    for (const manifest of manifests) {
      const listed = await listDeltas(this.#world.store, manifest, manifest.watermark);
      const pending = backlogOf(listed, manifest);
      pendingDeltas += pending.length;
      if (pending[0]) oldestMs = Math.min(oldestMs ?? Number.POSITIVE_INFINITY, ulidTimeMs(pending[0].delta));
    }
    const lagSeconds = oldestMs === null ? 0 : Math.max(0, (this.#world.clock.nowMs() - oldestMs) / 1000);
    return { pendingDeltas, lagSeconds, ...rest };
  }

  /** Of what this process holds; it looks at nothing. */
  async health({ collection }: { readonly collection?: string | undefined }): Promise<Health> {
    return healthOf(this.shards, collection);
  }

  /** What this process holds, of all collections, and what it knows of it. What a caller may know of it is healthOf's. */
  get shards(): readonly ShardHealth[] {
    const nowMs = this.#world.clock.nowMs();
    return [...this.#cache.shards].map((reader) => ({
      shard: reader.name,
      version: reader.view?.manifest.version ?? null,
      ageSeconds: reader.view && Math.max(0, (nowMs - reader.asOfMsOf(reader.view)) / 1000),
      bytes: reader.openBytes,
      fault: reader.fault?.message ?? null,
    }));
  }

  /** As fresh as the request wants it. */
  readonly #view = (
    reader: ShardReader,
    { consistency = "eventual", maxAgeSeconds }: Freshness,
    token: readonly DeltaId[] | undefined,
  ): Promise<View> => {
    if (consistency === "strong") return reader.strong();
    if (consistency === "eventual" && token === undefined)
      return reader.aged.eventual(this.#options.refreshSeconds * 1000);
    const maxAgeMs = (consistency === "bounded" ? maxAgeSeconds! : this.#options.refreshSeconds) * 1000;
    const tolerant = consistency === "eventual";
    return token ? reader.including(token, maxAgeMs, tolerant) : reader.aged.fresh(maxAgeMs, tolerant);
  };

  /** Likewise; queries that can do without graphs need not wait for them. */
  #viewSoonFor(questions: readonly Question[]): ViewOf<SnapshotView, Freshness> {
    const isPlain = questions.every(
      ({ id, filter, include, recallTarget, topK = topKDefault }) =>
        id === undefined &&
        (filter ?? null) === null &&
        recallTarget === undefined &&
        !includesVectors(include) &&
        topK <= coldTopKMax,
    );
    return (reader, request, token) =>
      isPlain && (request.consistency ?? "eventual") === "eventual" && token === undefined
        ? reader.aged.soon(this.#options.refreshSeconds * 1000)
        : this.#view(reader, request, token);
  }
}
