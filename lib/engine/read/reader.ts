/**
 * Reading collections: query, get, count, stats and health over cached views of their shards.
 *
 * One reader serves any number of collections and shards (lib/engine/read/shard-cache.ts). A request first makes its views
 * fresh enough for its consistency (lib/engine/read/shard-reader.ts), then searches them without a pause.
 */

import { snapshotBytes } from "../../core/format/manifest.ts";
import { AnswerSize, vectorJsonBytesMin } from "../../core/model/answer-size.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt, invalid, isKind, SiltstoneError } from "../../core/model/errors.ts";
import type { Filter } from "../../core/model/filter.ts";
import { checkFilterCost } from "../../core/model/filter-cost.ts";
import type { Metadata } from "../../core/model/row.ts";
import { shardOf } from "../../core/model/shard-of.ts";
import { mergeTopK } from "../../core/model/top-k.ts";
import { ulidTimeMs } from "../../core/model/ulid.ts";
import { normalised, vectorToBase64 } from "../../core/model/vector.ts";
import { asShortage } from "../../segment/files.ts";
import type { OpenSegment } from "../../segment/open-segment.ts";
import type { World } from "../ports.ts";
import { backlogOf, listDeltas } from "../shard/deltas.ts";
import type { Traffic } from "../traffic.ts";
import { type ColdHit, ColdView, coldTopKMax } from "./cold-view.ts";
import { descriptorsDefault } from "./descriptors.ts";
import { healthOf, type ShardHealth } from "./health.ts";
import {
  checkConsistency,
  checkFilter,
  checkMinScore,
  checkTopK,
  type Freshness,
  type Include,
  isScoreAtLeast,
  nothingPublished,
  type Provenance,
  type QueryRequest,
  type QueryResult,
  type ReadRecord,
  scoreOf,
  shardsToRead,
  tokensByShard,
  topKDefault,
  vectorIn,
} from "./read-request.ts";
import { ShardCache } from "./shard-cache.ts";
import type { ShardReader } from "./shard-reader.ts";
import { checkIds, type Found, type SearchOptions, View, type ViewHit } from "./view.ts";

export interface ReaderOptions {
  /** Seconds after which a cached view is checked again, for eventual reads: 0 to 300. */
  readonly refreshSeconds: number;
  readonly cacheBytesMax: number;
  /** File descriptors that it may have open, connections to S3 not counted. @default 512 */
  readonly descriptorsMax?: number;
  readonly traffic: Traffic;
  /** Told when a damaged version is passed over; the handler makes a metric of it. */
  readonly onFault?: (fault: SiltstoneError) => void;
}

type ViewOf<V, R> = (reader: ShardReader, request: R, token: readonly string[] | undefined) => Promise<V>;
type Work<V, T> = (
  collection: Collection,
  views: V[],
  readers: ReadonlyMap<V, ShardReader>,
) => Promise<T> | T;

export class Reader {
  readonly #world: World;
  readonly #options: ReaderOptions;
  readonly #cache: ShardCache;

  constructor(world: World, options: ReaderOptions) {
    this.#world = world;
    this.#options = options;
    const { cacheBytesMax: bytesMax, descriptorsMax = descriptorsDefault } = options;
    this.#cache = new ShardCache(world, { bytesMax, descriptorsMax });
  }

  close(): Promise<void> {
    return this.#cache.close();
  }

  /** A query by `id` of one part answers `queryVector` (base64) too: the other parts are asked with it. */
  async query(request: QueryRequest): Promise<{ results: QueryResult[]; queryVector?: string } & Provenance> {
    const soon = await this.#query(request, this.#viewSoon);
    if (soon.results !== null) return { ...soon, results: soon.results };
    // A cold view could not answer: the graphs are waited for.
    const full = await this.#query(request, this.#view);
    return { ...full, results: full.results! };
  }

  async #query(
    request: QueryRequest,
    viewOf: ViewOf<View | ColdView, QueryRequest>,
  ): Promise<{ results: QueryResult[] | null; queryVector?: string } & Provenance> {
    const topK = checkTopK(request.topK);
    return this.#read(request, viewOf, async (collection, views, readers) => {
      const filter = filterOver(collection, views, request.filter);
      const excludeIds = Map.groupBy(checkIds("excludeIds", request.excludeIds ?? []), (id) =>
        shardOf(id, collection.shards),
      );
      const given = await this.#queryVector(collection, views, request);
      const query = collection.metric === "cosine" ? normalised(given) : given;
      const asked =
        request.part && request.id !== undefined ? { queryVector: vectorToBase64(given) } : undefined;
      if (topK === 0) return { results: [], ...asked };
      const lists = await Promise.all(
        views.map((view) => {
          const excluded = excludeIds.get(view.manifest.shard) ?? [];
          return search(view, query, { topK, filter, excludeIds: excluded });
        }),
      );
      if (!lists.every((list) => list !== null)) return { results: null };
      const least = checkMinScore(request.minScore);
      const best = mergeTopK(lists, topK);
      const { metric } = collection;
      const hits = best.filter(({ distance }) => isScoreAtLeast(metric, scoreOf(metric, distance), least));
      await fetchGivenVectors(readers, hits, request.include);
      const toRecord = recordMaker(collection, hits.length, request.include);
      const results = hits.map((hit): QueryResult => {
        const { distance } = hit;
        const { id, version, ...rest } = toRecord(hit);
        return { id, score: scoreOf(metric, distance), distance, version, ...rest };
      });
      return { results, ...asked };
    });
  }

  /** Records by id, in the order of the ids; unknown ones are listed in `missing`. */
  async get(
    request: Freshness & {
      collection: string;
      ids: readonly string[];
      include?: readonly Include[] | undefined;
    },
  ): Promise<{ records: ReadRecord[]; missing: string[] } & Provenance> {
    return this.#read(request, this.#view, async (collection, views, readers) => {
      const found: Found[] = [];
      const missing: string[] = [];
      for (const id of checkIds("ids", request.ids)) {
        const hit = viewOfId(views, collection, id).find(id);
        if (hit === null) missing.push(id);
        else found.push(hit);
      }
      await fetchGivenVectors(readers, found, request.include);
      return { records: found.map(recordMaker(collection, found.length, request.include)), missing };
    });
  }

  /** The exact number of live records, of all or of those that a filter accepts. */
  async count(
    request: Freshness & { collection: string; filter?: unknown },
  ): Promise<{ count: number } & Provenance> {
    return this.#read(request, this.#view, (collection, views) => {
      const filter = filterOver(collection, views, request.filter);
      return { count: views.reduce((sum, view) => sum + view.count(filter), 0) };
    });
  }

  async stats(request: Pick<Freshness, "part" | "embeddingVersion"> & { collection: string }) {
    // Looks at every pointer now; what is damaged answers as eventual reads do, with a warning.
    const viewOf = (reader: ShardReader) => reader.fresh(0, true);
    const answer = await this.#read(request, viewOf, ({ dims, metric, embeddingVersion }, views) => ({
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

  /**
   * What this process holds, of all collections, and what it knows of it; it looks at nothing. What a caller may know of it is
   * healthOf's.
   */
  health(): { readonly status: "ok" | "degraded"; readonly shards: readonly ShardHealth[] } {
    const nowMs = this.#world.clock.nowMs();
    const shards = [...this.#cache.shards].map((reader) => ({
      shard: reader.name,
      version: reader.view?.manifest.version ?? null,
      ageSeconds: Number.isFinite(reader.asOfMs) ? Math.max(0, (nowMs - reader.asOfMs) / 1000) : null,
      bytes: reader.openBytes,
      fault: reader.fault?.message ?? null,
    }));
    return { status: healthOf(shards, undefined).status, shards };
  }

  /** A call that is refused by the configuration that is known may be right by that of a collection made again. */
  async #read<V extends View | ColdView, R extends Freshness & { collection: string }, T extends object>(
    request: R,
    viewOf: ViewOf<V, R>,
    work: Work<V, T>,
  ): Promise<T & Provenance> {
    try {
      return await this.#readOnce(request, viewOf, work);
    } catch (error) {
      const mayBeRight = isKind(error, "invalid") || isKind(error, "conflict");
      if (!mayBeRight || !(await this.#cache.isMadeAgain(request.collection))) throw error;
      return this.#readOnce(request, viewOf, work);
    }
  }

  /** Makes the views, keeps them open while `work` runs, and adds where the answer comes from. */
  async #readOnce<V extends View | ColdView, R extends Freshness & { collection: string }, T extends object>(
    request: R,
    viewOf: ViewOf<V, R>,
    work: Work<V, T>,
  ): Promise<T & Provenance> {
    const started = performance.now();
    const before = this.#options.traffic.snapshot();
    const consistency = checkConsistency(request);
    const collection = await this.#cache.collection(request.collection, request);
    const tokens = tokensByShard(collection, request.atLeast ?? []);
    const shards = shardsToRead(collection, request.part);
    const readers = shards.map((shard) => this.#cache.shard(collection, shard));
    const readViews = async () => {
      const taken = await Promise.all(
        readers.map(async (reader, i) => {
          const view = await viewOf(reader, request, tokens.get(shards[i]!));
          // Now: while this call waits for other shards, another may refresh this one.
          return { view, state: { fault: reader.fault, asOfMs: reader.asOfMsOf(view) } };
        }),
      );
      const views = taken.map(({ view }) => view);
      const states = taken.map(({ state }) => state);
      const promised = consistency === "strong" || tokens.size > 0;
      // Of a part only who has asked all parts can tell.
      if (!promised && !request.part && views.every((view) => view.manifest.version === 0)) {
        // Where the newest version could not be looked at, that is what is wrong: there may be one by now.
        throw states.find(({ fault }) => fault !== null)?.fault ?? nothingPublished(collection.name);
      }
      const readerOf = new Map(views.map((view, i) => [view, readers[i]!]));
      return { views, states, answer: await work(collection, views, readerOf) };
    };
    const { answer, views, states } = await holdAll(readers, () =>
      this.#cache.forgettingDeleted(collection, readViews),
    ).catch((error: unknown) => {
      throw asShortage(error, this.#cache.folder);
    });
    const { requests, bytesRead } = this.#options.traffic.since(before);
    const faults = states.map(({ fault }) => fault).filter((fault) => fault !== null);
    for (const fault of faults) this.#options.onFault?.(fault);
    return {
      ...answer,
      snapshotVersion: views.reduce((sum, view) => sum + view.manifest.version, 0),
      shards: views.map(({ manifest: { shard, version } }, i) => ({
        shard,
        version,
        ageSeconds: Math.max(0, (this.#world.clock.nowMs() - states[i]!.asOfMs) / 1000),
      })),
      consistency,
      segments: views.reduce((sum, view) => sum + view.segments.length, 0),
      deltasOverlaid: views.reduce((sum, view) => sum + view.overlaid.length, 0),
      milliseconds: Math.round((performance.now() - started) * 1000) / 1000,
      requests,
      bytesRead,
      ...(views.some((view) => view instanceof ColdView) ? { cold: true } : {}),
      ...(faults.length > 0 ? { warning: faults[0]!.message } : {}),
    };
  }

  /** As fresh as the request wants it. */
  readonly #view = (
    reader: ShardReader,
    { consistency = "eventual", maxAgeSeconds }: Freshness,
    token: readonly string[] | undefined,
  ): Promise<View> => {
    if (consistency === "strong") return reader.strong();
    const maxAgeMs = (consistency === "bounded" ? maxAgeSeconds! : this.#options.refreshSeconds) * 1000;
    const tolerant = consistency === "eventual";
    return token ? reader.including(token, maxAgeMs, tolerant) : reader.fresh(maxAgeMs, tolerant);
  };

  /** Likewise; a query that can do without graphs need not wait for them. */
  readonly #viewSoon = (
    reader: ShardReader,
    request: QueryRequest,
    token: readonly string[] | undefined,
  ): Promise<View | ColdView> => {
    const { consistency = "eventual", id, filter, include, topK = topKDefault } = request;
    const isPlain = id === undefined && (filter ?? null) === null && !include?.includes("vector");
    return isPlain && consistency === "eventual" && token === undefined && topK <= coldTopKMax
      ? reader.soon(this.#options.refreshSeconds * 1000)
      : this.#view(reader, request, token);
  };

  async #queryVector(
    collection: Collection,
    views: readonly (View | ColdView)[],
    request: QueryRequest,
  ): Promise<Float32Array> {
    const { vector, id } = request;
    const given = [vector, id].filter((value) => value !== undefined).length;
    if (given !== 1) throw invalid(`give exactly one of vector and id, got ${given}`);
    if (id === undefined) return (await vectorIn(collection, request))!;
    const found = viewOfId(views, collection, id).find(id);
    if (found === null)
      throw new SiltstoneError(
        "notFound",
        `id: collection ${collection.name} has no record ${JSON.stringify(id.slice(0, 80))}`,
      );
    return found.segment.searchVector(found.label);
  }
}

const includeDefault: readonly Include[] = ["document", "metadata"];

/** Makes sure that the vectors that an answer includes are on disk. */
async function fetchGivenVectors(
  readers: ReadonlyMap<View | ColdView, ShardReader>,
  found: readonly { readonly segment: OpenSegment | null }[],
  include: readonly Include[] = includeDefault,
): Promise<void> {
  if (!include.includes("vector")) return;
  for (const segment of new Set(found.map((one) => one.segment!))) {
    const [, reader] = [...readers].find(([view]) => view.segments.includes(segment))!;
    await reader.fetchGivenVectors(segment);
  }
}

/** The filter of a request, once it is known that the views can answer it in time. */
function filterOver(
  collection: Collection,
  views: readonly (View | ColdView)[],
  json: unknown,
): Filter | null {
  const filter = checkFilter(collection, json);
  if (filter === null) return null;
  const segments = views.flatMap((view) => (view instanceof View ? view.segments : []));
  checkFilterCost(
    filter,
    segments.filter((segment) => !segment.hasLabelsOf(filter)),
  );
  return filter;
}

/** The nearest hits of a view; null when it is cold and cannot tell, or what it reads is damaged. */
async function search(
  view: View | ColdView,
  query: Float32Array,
  options: SearchOptions,
): Promise<(ViewHit | ColdHit)[] | null> {
  if (view instanceof View) return view.search(query, options);
  return view.search(query, options).catch((error: unknown) => {
    if (!isKind(error, "corrupt")) throw error;
    return null;
  });
}

/** What is stored was checked when it came: whatever is wrong with it is damage. */
function storedMetadata({ segment }: Found | ColdHit, metadata: string | null): Metadata | null {
  if (metadata === null) return null;
  const object: unknown = tryParse(metadata);
  if (typeof object !== "object" || object === null || Array.isArray(object))
    throw corrupt(
      segment === null ? "clusters.bin" : `${segment.folder}/records.db`,
      "a row's metadata is not a JSON object",
    );
  return object as Metadata;
}

function tryParse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}

/** Makes records of what was found, with what the answer includes of them, as long as they fit into it. */
function recordMaker(
  { dims }: Collection,
  records: number,
  include: readonly Include[] = includeDefault,
): (found: Found | ColdHit) => ReadRecord {
  const [document, metadata, vector] = (["document", "metadata", "vector"] as const).map((part) =>
    include.includes(part),
  );
  const size = new AnswerSize(records);
  return (found) => {
    const row = found.segment === null ? found.row : found.segment.row(found.label, { document: document! });
    size.add({
      id: row.id.length,
      ...(document ? { document: row.document?.length ?? 0 } : {}),
      ...(metadata ? { metadata: row.metadata?.length ?? 0 } : {}),
      ...(vector ? { vector: vectorJsonBytesMin(dims) } : {}),
    });
    return {
      id: row.id,
      version: row.version,
      ...(document ? { document: row.document } : {}),
      ...(metadata ? { metadata: storedMetadata(found, row.metadata) } : {}),
      ...(vector ? { vector: Array.from(found.segment!.givenVector(row.label)) } : {}),
    };
  };
}

/** Held from before the views are made: between the making and the searching, another read may retire their segments. */
function holdAll<T>(readers: readonly ShardReader[], work: () => Promise<T>): Promise<T> {
  const [first, ...rest] = readers;
  return first === undefined ? work() : first.holding(() => holdAll(rest, work));
}

function viewOfId(views: readonly (View | ColdView)[], { name, shards }: Collection, id: string): View {
  const shard = shardOf(id, shards);
  const view = views.find(({ manifest }) => manifest.shard === shard);
  if (!(view instanceof View))
    throw invalid(`part: the id is of shard ${shard} of ${name}, which is not among them`);
  return view;
}
