/**
 * Pinecone: Parquet files in a folder for each namespace, as its import takes them, with columns id, values and metadata (JSON text); and
 * an index over HTTP, whose ids are listed by namespace, and whose vectors are fetched by id.
 */
import { basename, dirname } from "node:path";
import { type Metric, metrics } from "../../core/model/collection.ts";
import { invalid } from "../../core/model/errors.ts";
import { type HttpServer, readJson, serverUrl } from "../http-json.ts";
import type { InputFile } from "../inputs.ts";
import {
  type Cursor,
  type FieldNames,
  type ImportSource,
  ownFields,
  type SourceDescription,
  type SourcePage,
  type SourceRow,
} from "../source.ts";
import { type IdPage, type ListedStore, listedPages } from "./listed-ids.ts";
import { ParquetFiles } from "./parquet.ts";

export const pineconeKey = "PINECONE_API_KEY";
const apiVersion = "2025-04";
const listMax = 100;
const defaultNamespace = "__default__";

const parquetFields: FieldNames = {
  ...ownFields,
  id: "id",
  vector: "values",
  metadata: "metadata",
  document: "text",
};

/** The default namespace has no name here. */
const nameOf = (namespace: string): string => (namespace === defaultNamespace ? "" : namespace);

export function pineconeFiles(files: readonly InputFile[], location: string): Promise<ParquetFiles> {
  const root = location.replace(/\/+$/, "");
  const namespaceOf = (name: string) => (dirname(name) === root ? "" : nameOf(basename(dirname(name))));
  return ParquetFiles.open(files, { fields: parquetFields, namespaceOf });
}

interface Stats {
  readonly dimension?: number | null;
  readonly metric?: string;
  readonly totalVectorCount: number;
  readonly namespaces?: Readonly<Record<string, { readonly vectorCount: number }>>;
}

export class PineconeIndex implements ImportSource, ListedStore {
  readonly fields: FieldNames = { ...ownFields, document: "text" };
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  readonly idsMax = listMax;
  readonly fetchesAtOnce = 2;
  readonly #server: HttpServer;
  #known: Stats | null = null;

  /** `https://INDEX-HOST`. */
  constructor(location: string, environment: Readonly<Record<string, string | undefined>>) {
    const url = serverUrl(location, pineconeKey);
    const key = environment[pineconeKey];
    if (url.pathname !== "/")
      throw invalid(`${location}: give the index's host alone, as the console shows it`);
    this.#server = {
      url: url.origin,
      headers: { "x-pinecone-api-version": apiVersion, ...(key === undefined ? {} : { "api-key": key }) },
      keyVariable: pineconeKey,
    };
  }

  async describe(): Promise<SourceDescription> {
    const stats = await this.#stats();
    const metric = { cosine: "cosine", dotproduct: "ip", euclidean: "l2" }[stats.metric ?? ""] ?? null;
    return {
      rows: stats.totalVectorCount,
      dims: stats.dimension ?? null,
      metric: metrics.includes(metric as Metric) ? (metric as Metric) : null,
      notes: [
        "vectors of all namespaces are read; --namespace keeps those of one. Sparse values are left out",
      ],
      identity: this.#server.url,
    };
  }

  async #stats(): Promise<Stats> {
    this.#known ??= (await readJson(this.#server, "POST", "/describe_index_stats", {})) as Stats;
    return this.#known;
  }

  pages(after: Cursor | null): AsyncIterable<SourcePage> {
    return listedPages(this, after);
  }

  /** One namespace after the other, in the order of their names. */
  async #namespaces(): Promise<string[]> {
    const { namespaces = {} } = await this.#stats();
    return Object.keys(namespaces).sort();
  }

  async #namespaceOf(after: Cursor | null): Promise<string | undefined> {
    return after?.namespace === undefined ? (await this.#namespaces())[0] : String(after.namespace);
  }

  async list(after: Cursor | null): Promise<IdPage> {
    const names = await this.#namespaces();
    const { totalVectorCount: all } = await this.#stats();
    const name = await this.#namespaceOf(after);
    if (name === undefined) return { ids: [], next: null, all };
    const query = new URLSearchParams({ namespace: name, limit: String(listMax) });
    if (after?.token != null) query.set("paginationToken", String(after.token));
    const { vectors = [], pagination } = (await readJson(this.#server, "GET", `/vectors/list?${query}`)) as {
      vectors?: readonly { id: string }[];
      pagination?: { next?: string | null } | null;
    };
    const token = pagination?.next || null;
    // By name: those of a resumed import may be others.
    const behind = names.find((one) => one > name);
    const next =
      token !== null
        ? { namespace: name, token }
        : behind === undefined
          ? null
          : { namespace: behind, token: null };
    return { ids: vectors.map(({ id }) => id), next, all };
  }

  async fetch(ids: readonly string[], after: Cursor | null): Promise<Map<string, SourceRow>> {
    const name = (await this.#namespaceOf(after))!;
    const query = new URLSearchParams({ namespace: name });
    for (const id of ids) query.append("ids", id);
    const { vectors } = (await readJson(this.#server, "GET", `/vectors/fetch?${query}`)) as {
      vectors: Readonly<
        Record<string, { id: string; values?: unknown; metadata?: Readonly<Record<string, unknown>> | null }>
      >;
    };
    return new Map(
      Object.entries(vectors).map(([id, { values, metadata }]) => {
        const namespace = nameOf(name);
        const isDense = Array.isArray(values) && values.length > 0;
        return [
          id,
          {
            id,
            vector: isDense ? values : null,
            metadata: metadata ?? {},
            ...(namespace === "" ? {} : { namespace }),
          },
        ];
      }),
    );
  }

  async close(): Promise<void> {}
}
