/**
 * A Qdrant collection, by its REST scroll: points in the order of their ids. Snapshot files are the engine's own and are not read.
 * What is written meanwhile behind the point that scrolling has reached is missed.
 */
import type { Metric } from "../../core/model/collection.ts";
import { invalid } from "../../core/model/errors.ts";
import { type HttpServer, readJson, serverUrl } from "../http-json.ts";
import {
  type Cursor,
  type FieldNames,
  type ImportSource,
  ownFields,
  type SourceDescription,
  type SourceItem,
  type SourcePage,
} from "../source.ts";

const pageRows = 500;
export const qdrantKey = "QDRANT_API_KEY";
const metricOf: Readonly<Record<string, Metric>> = { Cosine: "cosine", Euclid: "l2", Dot: "ip" };

interface VectorParameters {
  readonly size: number;
  readonly distance: string;
}
interface Point {
  readonly id: string | number | bigint;
  readonly payload?: Readonly<Record<string, unknown>> | null;
  readonly vector?: unknown;
}

export class QdrantCollection implements ImportSource {
  /** A payload's text is the document, if it has one. */
  readonly fields: FieldNames = { ...ownFields, document: "text" };
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  readonly #server: HttpServer;
  readonly #path: string;
  readonly #asked: string | null;
  readonly #filter: unknown;
  #known: { rows: number; vector: string | null; parameters: VectorParameters } | null = null;

  /** `http://HOST:6333/collections/NAME?vector=NAME&filter=JSON`. */
  constructor(location: string, environment: Readonly<Record<string, string | undefined>>) {
    const url = serverUrl(location, qdrantKey);
    const found = /^(.*)(\/collections\/[^/]+)\/?$/.exec(url.pathname);
    if (found === null) throw invalid(`${location}: say which collection, by /collections/NAME`);
    const key = environment[qdrantKey];
    this.#server = {
      url: url.origin + found[1]!,
      headers: key === undefined ? {} : { "api-key": key },
      keyVariable: qdrantKey,
    };
    this.#path = found[2]!;
    this.#asked = url.searchParams.get("vector");
    const filter = url.searchParams.get("filter");
    try {
      this.#filter = filter === null ? undefined : JSON.parse(filter);
    } catch (error) {
      throw invalid(`?filter must be JSON: ${(error as Error).message}`);
    }
  }

  async describe(): Promise<SourceDescription> {
    const { rows, parameters, vector } = await this.#collection();
    const { size, distance } = parameters;
    const metric = metricOf[distance] ?? null;
    const notes = [
      ...(vector === null ? [] : [`the vector is ${JSON.stringify(vector)}`]),
      ...(metric === null ? [`its distance ${distance} has no counterpart`] : []),
      ...(distance === "Cosine"
        ? ["Qdrant keeps vectors of cosine collections at unit length: what they were is gone"]
        : []),
      ...(distance === "Euclid" ? ["its distance is the root of ours: the order is the same"] : []),
    ];
    const identity = `${this.#server.url}${this.#path} ${vector} ${JSON.stringify(this.#filter)}`;
    return { rows: this.#filter === undefined ? rows : null, dims: size, metric, notes, identity };
  }

  async #collection() {
    if (this.#known !== null) return this.#known;
    const { result } = (await readJson(this.#server, "GET", this.#path)) as {
      result: {
        points_count: number | null;
        config: { params: { vectors?: VectorParameters | Readonly<Record<string, VectorParameters>> } };
      };
    };
    const vectors = result.config.params.vectors ?? {};
    const rows = result.points_count ?? 0;
    if (typeof (vectors as VectorParameters).size === "number") {
      this.#known = { rows, vector: null, parameters: vectors as VectorParameters };
      return this.#known;
    }
    const named = vectors as Readonly<Record<string, VectorParameters>>;
    const names = Object.keys(named);
    const vector = this.#asked ?? (names.length === 1 ? names[0]! : null);
    if (vector === null || !Object.hasOwn(named, vector))
      throw invalid(
        `${this.#path} has the vectors ${names.join(", ") || "(none)"}; choose one by ?vector=NAME`,
      );
    this.#known = { rows, vector, parameters: named[vector]! };
    return this.#known;
  }

  async *pages(after: Cursor | null): AsyncGenerator<SourcePage> {
    const { rows: all, vector } = await this.#collection();
    let offset = after?.offset ?? null;
    let done = Number(after?.done ?? 0);
    if (after !== null && offset === null) return;
    do {
      const call = {
        limit: pageRows,
        with_payload: true,
        with_vector: vector === null ? true : [vector],
        ...(offset === null ? {} : { offset: exactJson(offset) }),
        ...(this.#filter === undefined ? {} : { filter: this.#filter }),
      };
      const { result } = (await readJson(this.#server, "POST", `${this.#path}/points/scroll`, call)) as {
        result: { points: readonly Point[]; next_page_offset: string | number | bigint | null };
      };
      const items = result.points.map((point) => itemOf(point, vector));
      const next = result.next_page_offset ?? null;
      offset = typeof next === "bigint" ? String(next) : next;
      done += items.length;
      const progress = this.#filter === undefined ? { done, all: Math.max(all, done) } : null;
      if (items.length > 0) yield { items, cursor: { offset, done }, progress };
    } while (offset !== null);
  }

  async close(): Promise<void> {}
}

/** Ids are UUIDs, or integers of 64 bits: beyond what a number holds a cursor has them as text. */
const exactJson = (offset: string | number): unknown =>
  typeof offset === "string" && /^\d{1,20}$/.test(offset)
    ? (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(offset)
    : offset;

function itemOf({ id, payload, vector }: Point, name: string | null): SourceItem {
  const at = `point ${id}`;
  const found = name === null ? vector : (vector as Readonly<Record<string, unknown>> | undefined)?.[name];
  const isDense = Array.isArray(found) && typeof found[0] === "number";
  if (found != null && !isDense) {
    const reason = "is sparse, or one of several of a point; a record has one dense vector";
    return { at, fault: { id: String(id), field: "vector", reason } };
  }
  return { at, row: { id, vector: found ?? null, metadata: payload ?? {} } };
}
