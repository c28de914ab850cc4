/** A running Chroma server, page by page over its HTTP API (v2). What is written to it meanwhile may be missed or met twice. */
import { type Metric, metrics } from "../../core/model/collection.ts";
import { invalid, SiltstoneError } from "../../core/model/errors.ts";
import { type HttpServer, readJson, serverUrl } from "../http-json.ts";
import {
  type Cursor,
  type ImportSource,
  ownFields,
  rowsBefore,
  type SourceDescription,
  type SourceItem,
  type SourcePage,
} from "../source.ts";
import { spaceIn } from "./chroma-catalog.ts";

/** What Chroma Cloud gives at the most. */
const pageRows = 300;
export const chromaKey = "CHROMA_API_KEY";

interface Answer {
  readonly ids: readonly string[];
  readonly embeddings: readonly (readonly number[] | null)[] | null;
  readonly documents: readonly (string | null)[] | null;
  readonly metadatas: readonly (Readonly<Record<string, unknown>> | null)[] | null;
}

export class ChromaServer implements ImportSource {
  readonly fields = ownFields;
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  readonly #server: HttpServer;
  readonly #path: string;
  readonly #name: string;
  #known: { id: string; dimension: number | null; metric: Metric; rows: number } | null = null;

  /** `http://HOST:PORT?tenant=…&database=…#COLLECTION`. */
  constructor(location: string, environment: Readonly<Record<string, string | undefined>>) {
    const url = serverUrl(location, chromaKey);
    const key = environment[chromaKey];
    const [tenant, database] = [
      url.searchParams.get("tenant") ?? "default_tenant",
      url.searchParams.get("database") ?? "default_database",
    ].map(encodeURIComponent);
    this.#name = decodeURIComponent(url.hash.slice(1));
    if (this.#name === "") throw invalid(`${location}: say which collection, by #NAME at its end`);
    this.#server = {
      url: url.origin + url.pathname.replace(/\/$/, ""),
      headers: key === undefined ? {} : { "x-chroma-token": key },
      keyVariable: chromaKey,
    };
    this.#path = `/api/v2/tenants/${tenant}/databases/${database}/collections`;
  }

  async describe(): Promise<SourceDescription> {
    const { id, dimension, metric, rows } = await this.#collection();
    return { rows, dims: dimension, metric, notes: [], identity: `${this.#server.url} ${id} ${rows}` };
  }

  async #collection() {
    if (this.#known !== null) return this.#known;
    const path = `${this.#path}/${encodeURIComponent(this.#name)}`;
    const found = (await readJson(this.#server, "GET", path)) as {
      id: string;
      dimension?: number | null;
      configuration_json?: unknown;
      metadata?: Readonly<Record<string, unknown>> | null;
    };
    const rows = (await readJson(this.#server, "GET", `${this.#path}/${found.id}/count`)) as number;
    const space = found.metadata?.["hnsw:space"] ?? spaceIn(found.configuration_json);
    const metric = metrics.includes(space as Metric) ? (space as Metric) : "l2";
    this.#known = { id: found.id, dimension: found.dimension ?? null, metric, rows };
    return this.#known;
  }

  async *pages(after: Cursor | null): AsyncGenerator<SourcePage> {
    const { id, rows: all } = await this.#collection();
    const include = ["embeddings", "documents", "metadatas"];
    for (let offset = rowsBefore(after); ; ) {
      const call = { limit: pageRows, offset, include };
      const answer = (await readJson(this.#server, "POST", `${this.#path}/${id}/get`, call)) as Answer;
      const { ids, embeddings, documents, metadatas } = answer;
      if (ids.length === 0) {
        // Its pages are counted, so what is written meanwhile moves rows from one page to another.
        if (offset === all) return;
        const said = `${this.#name}: the server said ${all} rows and gave ${offset}: it was written to meanwhile`;
        throw new SiltstoneError(
          "conflict",
          `${said}; run the import again, rows that are there change nothing`,
        );
      }
      const items = ids.map((id, i): SourceItem => {
        const row = { id, vector: embeddings?.[i] ?? null, document: documents?.[i] ?? null };
        return { at: `embedding ${JSON.stringify(id)}`, row: { ...row, metadata: metadatas?.[i] ?? {} } };
      });
      offset += ids.length;
      yield { items, cursor: { row: offset }, progress: { done: offset, all } };
    }
  }

  async close(): Promise<void> {}
}
