/**
 * Cloudflare Vectorize: NDJSON of {id, values, namespace?, metadata?}, as `wrangler vectorize insert` takes it, and an index over
 * HTTP, whose ids are listed as they were at the first page, and whose vectors are fetched by id.
 */
import type { Metric } from "../../core/model/collection.ts";
import { invalid } from "../../core/model/errors.ts";
import { isPlainObject } from "../../core/model/metadata.ts";
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
import { JsonLines } from "./jsonl.ts";
import { type IdPage, type ListedStore, listedPages } from "./listed-ids.ts";

export const vectorizeToken = "CLOUDFLARE_API_TOKEN";
const listMax = 1_000;
const fields: FieldNames = { ...ownFields, document: "text" };
const metricOf: Readonly<Record<string, Metric>> = { cosine: "cosine", euclidean: "l2", "dot-product": "ip" };

interface Vector {
  readonly id: string;
  readonly values?: unknown;
  readonly namespace?: unknown;
  readonly metadata?: unknown;
}

function rowOf({ id, values, namespace, metadata }: Partial<Vector>): SourceRow | string {
  if (metadata != null && !isPlainObject(metadata)) return "its metadata must be an object";
  return {
    id,
    vector: values ?? null,
    metadata: metadata ?? {},
    ...(typeof namespace === "string" && namespace !== "" ? { namespace } : {}),
  };
}

/** Later lines replace earlier ones of their id, as upserts do. */
export const vectorizeLines = (files: readonly InputFile[]): JsonLines =>
  new JsonLines(files, { fields, rowOf });

export class VectorizeIndex implements ImportSource, ListedStore {
  readonly fields = fields;
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  /** What a call by ids takes. */
  readonly idsMax = 20;
  readonly fetchesAtOnce = 8;
  readonly #server: HttpServer;

  /** `https://api.cloudflare.com/client/v4/accounts/ACCOUNT/vectorize/v2/indexes/NAME`. */
  constructor(location: string, environment: Readonly<Record<string, string | undefined>>) {
    const url = serverUrl(location, vectorizeToken);
    if (!/\/vectorize\/v2\/indexes\/[^/]+$/.test(url.pathname))
      throw invalid(`${location}: say which index, by …/accounts/ACCOUNT/vectorize/v2/indexes/NAME`);
    const token = environment[vectorizeToken];
    this.#server = {
      url: url.origin + url.pathname,
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      keyVariable: vectorizeToken,
    };
  }

  async describe(): Promise<SourceDescription> {
    const { config } = (await this.#read("GET", "")) as { config: { dimensions: number; metric: string } };
    const { vectorCount } = (await this.#read("GET", "/info")) as { vectorCount: number };
    const notes = ["vectors of all namespaces are read; --namespace keeps those of one"];
    const metric = metricOf[config.metric] ?? null;
    return { rows: vectorCount, dims: config.dimensions, metric, notes, identity: this.#server.url };
  }

  pages(after: Cursor | null): AsyncIterable<SourcePage> {
    return listedPages(this, after);
  }

  async list(after: Cursor | null): Promise<IdPage> {
    const query = new URLSearchParams({ count: String(listMax) });
    if (after?.cursor != null) query.set("cursor", String(after.cursor));
    const { vectors, nextCursor, isTruncated, totalCount } = (await this.#read("GET", `/list?${query}`)) as {
      vectors: readonly { id: string }[];
      nextCursor?: string | null;
      isTruncated: boolean;
      totalCount: number;
    };
    const next = isTruncated && nextCursor != null ? { cursor: nextCursor } : null;
    return { ids: vectors.map(({ id }) => id), next, all: totalCount };
  }

  async fetch(ids: readonly string[]): Promise<Map<string, SourceRow>> {
    const vectors = (await this.#read("POST", "/get_by_ids", { ids })) as readonly Vector[];
    return new Map(
      vectors.map((vector) => {
        const row = rowOf(vector);
        return [vector.id, typeof row === "string" ? { id: vector.id, vector: null, metadata: {} } : row];
      }),
    );
  }

  async #read(method: "GET" | "POST", path: string, body?: object): Promise<unknown> {
    return ((await readJson(this.#server, method, path, body)) as { result: unknown }).result;
  }

  async close(): Promise<void> {}
}
