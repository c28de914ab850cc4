/**
 * A persistent directory of ChromaDB (0.5, 0.6, 1.x), read without Chroma: it is not changed, and should not be written meanwhile.
 *
 *  1. Ids, documents and metadata are in chroma.sqlite3, which has every write.
 *  2. Vectors are in the segment's folder (chroma-index.ts), up to some write of the queue; Chroma purges what is in there from
 *     the queue. What is left of the queue comes on top, in its order, with its operations.
 *  3. Ids and vectors must agree. Where they do not, nothing is read before the caller says that what is whole will do.
 */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { invalid, SiltstoneError } from "../../core/model/errors.ts";
import {
  type Cursor,
  type ImportSource,
  ownFields,
  type SourceDescription,
  type SourceItem,
  type SourcePage,
} from "../source.ts";
import { type ChromaCollection, collectionOf, lastWriteOf } from "./chroma-catalog.ts";
import { ChromaIndex } from "./chroma-index.ts";
import { MetadataReader } from "./chroma-metadata.ts";
import { floats } from "./fixed-rows.ts";

const pageRows = 500;
const operation = { add: 0, update: 1, upsert: 2, delete: 3 } as const;
const documentKey = "chroma:document";

export class ChromaFolder implements ImportSource {
  readonly fields = ownFields;
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  readonly #folder: string;
  readonly #db: DatabaseSync;
  readonly #collection: ChromaCollection;
  readonly #index: ChromaIndex | null;
  /** What the rest of the queue says of an id: the write that has its vector, or null where it was deleted. */
  readonly #queued: ReadonlyMap<string, number | null>;
  readonly #queuedVector: StatementSync;
  readonly #takesIncomplete: boolean;

  private constructor(folder: string, db: DatabaseSync, name: string | null, takesIncomplete: boolean) {
    this.#folder = folder;
    this.#db = db;
    this.#collection = collectionOf(db, folder, name);
    this.#index = ChromaIndex.open(join(folder, this.#collection.vectorSegment), {
      isCosine: this.#collection.metric === "cosine",
    });
    this.#queued = this.#readQueue();
    this.#queuedVector = db.prepare("SELECT vector, encoding FROM embeddings_queue WHERE seq_id = ?");
    this.#takesIncomplete = takesIncomplete;
  }

  /** `name`: of the collection; null where there is only one. `incomplete`: what is whole will do. */
  static open(folder: string, name: string | null, { incomplete }: { incomplete: boolean }): ChromaFolder {
    const path = join(folder, "chroma.sqlite3");
    if (!existsSync(path)) throw invalid(`${folder} is no directory of Chroma: it has no chroma.sqlite3`);
    // Beside a log there are writes that the file does not have; without one it may lie where nothing can be written.
    const uri = pathToFileURL(path);
    if (!existsSync(`${path}-wal`)) uri.searchParams.set("immutable", "1");
    const db = new DatabaseSync(uri, { readOnly: true });
    try {
      return new ChromaFolder(folder, db, name, incomplete);
    } catch (error) {
      db.close();
      throw error instanceof SiltstoneError
        ? error
        : invalid(`${path} cannot be read: ${(error as Error).message}`);
    }
  }

  /** As Chroma calls the collection. */
  get name(): string {
    return this.#collection.name;
  }

  async describe(): Promise<SourceDescription> {
    const { dims, metric, metadataSegment } = this.#collection;
    const { ids, missing, more } = this.#agreement();
    const { size, mtimeMs } = statSync(join(this.#folder, "chroma.sqlite3"));
    return {
      rows: ids,
      dims: dims ?? this.#index?.dims ?? null,
      metric,
      notes: missing + more > 0 ? [disagreement(ids, missing, more)] : [],
      identity: `${metadataSegment} ${size} ${mtimeMs}`,
    };
  }

  async *pages(after: Cursor | null): AsyncGenerator<SourcePage> {
    const { ids: all, missing, more } = this.#agreement();
    if (missing + more > 0 && !this.#takesIncomplete) {
      throw invalid(
        `${this.#folder}: ${disagreement(all, missing, more)}; import what is whole with --incomplete`,
      );
    }
    const select = this.#db.prepare(
      "SELECT id, embedding_id FROM embeddings WHERE segment_id = ? AND id > ? ORDER BY id LIMIT ?",
    );
    const metadata = new MetadataReader(this.#db);
    let row = Number(after?.row ?? -1);
    let done = Number(after?.done ?? 0);
    for (;;) {
      const rows = select.all(this.#collection.metadataSegment, row, pageRows) as unknown as {
        id: number;
        embedding_id: string;
      }[];
      if (rows.length === 0) return;
      const fields = metadata.read(rows.map(({ id }) => id));
      const items: SourceItem[] = [];
      for (const { id, embedding_id: name } of rows) {
        const vector = await this.#vector(name);
        const { [documentKey]: document, ...rest } = fields.get(id) ?? {};
        const at = `embedding ${JSON.stringify(name)}`;
        if (vector === null)
          items.push({ at, fault: { id: name, field: "vector", reason: "is not in the directory" } });
        else items.push({ at, row: { id: name, vector, document: document ?? null, metadata: rest } });
      }
      row = rows.at(-1)!.id;
      done += rows.length;
      yield { items, cursor: { row, done }, progress: { done, all } };
    }
  }

  async close(): Promise<void> {
    await this.#index?.close();
    this.#db.close();
  }

  async #vector(id: string): Promise<Float32Array | null> {
    const queued = this.#queued.get(id);
    if (queued === undefined) {
      const label = this.#index?.labels.get(id);
      return label === undefined ? null : ((await this.#index?.vector(label)) ?? null);
    }
    if (queued === null) return null;
    const { vector, encoding } = this.#queuedVector.get(queued) as { vector: Uint8Array; encoding: string };
    const values = floats(vector, 0, vector.length / 4);
    return encoding === "INT32" ? Float32Array.from(new Int32Array(values.buffer)) : values;
  }

  /** In the order of the queue; what the index has is left out where it is known how far it is. */
  #readQueue(): Map<string, number | null> {
    const { id: collection, vectorSegment } = this.#collection;
    const start = lastWriteOf(this.#db, vectorSegment) ?? this.#index?.lastWrite ?? -1;
    const rows = this.#db
      .prepare(
        `SELECT seq_id, operation, id, vector IS NOT NULL AS has_vector FROM embeddings_queue
         WHERE seq_id > ? AND substr(topic, -length(?)) = ? ORDER BY seq_id`,
      )
      .iterate(start, collection, collection) as unknown as Iterable<{
      seq_id: number;
      operation: number;
      id: string;
      has_vector: number;
    }>;
    const queued = new Map<string, number | null>();
    const exists = (id: string) =>
      (queued.get(id) ?? (queued.has(id) ? null : this.#index?.labels.get(id))) != null;
    for (const { seq_id: write, operation: kind, id, has_vector: hasVector } of rows) {
      if (kind === operation.delete) queued.set(id, null);
      // As Chroma does: what is there is not added again, and what is not there is not updated.
      else if (hasVector === 1 && kind !== (exists(id) ? operation.add : operation.update))
        queued.set(id, write);
    }
    return queued;
  }

  #agreement(): { ids: number; missing: number; more: number } {
    const select = this.#db.prepare("SELECT embedding_id AS id FROM embeddings WHERE segment_id = ?");
    let [ids, missing] = [0, 0];
    for (const { id } of select.iterate(this.#collection.metadataSegment) as unknown as Iterable<{
      id: string;
    }>) {
      ids += 1;
      const queued = this.#queued.get(id);
      if (queued === null || (queued === undefined && this.#index?.labels.has(id) !== true)) missing += 1;
    }
    let vectors = 0;
    for (const write of this.#queued.values()) if (write !== null) vectors += 1;
    for (const id of this.#index?.labels.keys() ?? []) if (!this.#queued.has(id)) vectors += 1;
    return { ids, missing, more: vectors - (ids - missing) };
  }
}

const disagreement = (ids: number, missing: number, more: number): string =>
  `of ${ids} ids ${missing} have no vector in the directory, and ${more} vectors have no id: ` +
  `${ids - missing} records can be saved. Was it copied while Chroma wrote, or without its folders?${
    missing === 0
      ? " Or they are of ids that were deleted and updated at once, whose vectors Chroma 0.5 and 0.6 leave behind."
      : ""
  }`;
