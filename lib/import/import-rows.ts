/**
 * The rows of a source become deltas through the library, not through the producer function, whose calls are limited to 6 MB.
 *
 *  1. Pages are read one by one, their rows shaped and gathered into batches of bounded rows, numbers and characters.
 *  2. Each batch is one call of produce(); it is durable when that answers, and only then is the place behind it kept. A bad
 *     row goes to the rejects file, the others go on.
 *
 * Ids are the source's, or derived from it alone, so running it again writes the same rows again and adds none: an interrupted
 * import goes on when it is repeated, from its resume point where there is one.
 */
import { callRowsMax } from "../core/model/check-records.ts";
import type { Collection } from "../core/model/collection.ts";
import type { DeltaId } from "../core/model/ids.ts";
import type { EmbedDocuments } from "../embedding/document-embedder.ts";
import { type ProduceAnswer, type ProduceWorld, produce } from "../engine/write/produce.ts";
import { type EmbedCount, embedRows, type FoundRecord, type MetRow } from "./embed-rows.ts";
import type { RejectsFile } from "./rejects-file.ts";
import type { ResumeFile, ResumePoint } from "./resume-file.ts";
import { type RowFault, type Shape, type ShapedRecord, shapeRow } from "./shape-row.ts";
import { type Cursor, charsOf, type ImportSource, pageRowsMax, type SourceItem } from "./source.ts";

/** Rows of one delta, roughly: large enough to be cheap, small enough to be ingested in good time. */
const rowsPerShard = 2_000;
/** Numbers held in one batch: 32 MB of vectors. */
const batchComponents = 8_000_000;
/** Of documents and metadata of one batch, which is held in memory whole, and encoded. */
const batchCharsMax = 64 * 1024 * 1024;
/** Of a record beside them: its id, and the names of its parts. */
const ownChars = 128;

/** What of a source is imported, and as what. */
export interface Selection {
  readonly source: ImportSource;
  readonly shape: Shape;
  /** Only the rows of this namespace. */
  readonly namespace: string | null;
  /** Only the first so many lines (rows that are passed over included). */
  readonly limit: number | null;
}

export interface ImportOptions {
  readonly rejects: RejectsFile;
  readonly resumeFile: ResumeFile;
  /** For rows that have no vector; null: they are rejected. */
  readonly embed: EmbedDocuments | null;
  /** Told after each page. */
  readonly onProgress: (
    progress: { done: number; all: number } | null,
    lines: number,
    written: number,
  ) => void;
  /** Aborted: no more pages are read, and what was read is written. */
  readonly interrupted: AbortSignal;
}

export interface Imported {
  readonly lines: number;
  /** Lines of an earlier run, which this one went on behind. */
  readonly resumedAt: number;
  /** Rows: one for each line that was taken, whether or not a later one has its id. */
  readonly written: number;
  /** Rows whose id an earlier row had, and which replace it. */
  readonly repeated: number;
  readonly deltas: readonly { readonly shard: number; readonly delta: DeltaId }[];
  /** By this run. */
  readonly embedded: EmbedCount;
}

/** Throws `invalid` when the source cannot be read as what it is said to be, and what produce() throws for a whole call. */
export async function importRows(
  world: ProduceWorld,
  collection: Collection,
  selection: Selection,
  { rejects, resumeFile, embed, onProgress, interrupted }: ImportOptions,
): Promise<Imported> {
  const { source, limit } = selection;
  const { point: before, ids } = resumeFile.resume();
  const writer = new BatchWriter(world, collection, rejects, before);
  let [lines, repeated] = [before?.lines ?? 0, before?.repeated ?? 0];
  let cursor: Cursor | null = before?.cursor ?? null;
  const count: EmbedCount = { texts: 0, tokens: 0 };
  const flush = async () => {
    await writer.flush();
    const { written, deltas } = writer;
    const { rows, bytes } = rejects;
    if (cursor !== null)
      resumeFile.write({ cursor, lines, written, repeated, deltas, rejects: { rows, bytes } }, ids);
  };
  for await (const page of source.pages(cursor)) {
    if (interrupted.aborted) break;
    const isLast = limit !== null && lines + page.items.length >= limit;
    const taken = isLast ? page.items.slice(0, limit - lines) : page.items;
    const met = metRows(collection, selection, taken, lines);
    lines += taken.length;
    for (const { at, found } of await embedRows(collection, selection.shape, met, { embed, count })) {
      if (found.kind === "faulty") {
        rejects.add(at, [found.fault], found.record);
        continue;
      }
      const { id } = found.record;
      const isNew = typeof id !== "string" || ids.add(id);
      if (!isNew && !source.repeatsReplace) {
        rejects.add(at, [repeatOf(id)], found.record);
        continue;
      }
      if (!isNew) repeated += 1;
      await writer.add(at, found.record);
    }
    if (isLast) {
      onProgress({ done: lines, all: lines }, lines, writer.written);
      break;
    }
    cursor = page.cursor;
    if (writer.isFull) await flush();
    onProgress(limit === null ? page.progress : { done: lines, all: limit }, lines, writer.written);
  }
  await flush();
  if (!interrupted.aborted) resumeFile.remove();
  const { written, deltas } = writer;
  return { lines, resumedAt: before?.lines ?? 0, written, repeated, deltas, embedded: count };
}

/** The rows of items of the namespace, shaped. `start`: the number of the first item in the source, from 0. */
export const metRows = (
  collection: Collection,
  selection: Pick<Selection, "shape" | "namespace">,
  items: readonly SourceItem[],
  start: number,
): MetRow[] =>
  items.flatMap((item, i) =>
    "blank" in item || !isIn(item, selection.namespace)
      ? []
      : [{ at: item.at, found: recordOf(collection, selection, item, start + i) }],
  );

/** Whether an item is of the namespace asked for, or none is. A fault has none: it is reported whatever is asked for. */
const isIn = (item: SourceItem, namespace: string | null): boolean =>
  namespace === null || !("row" in item) || (item.row.namespace ?? "") === namespace;

export const repeatOf = (id: string): RowFault => ({
  id,
  field: "id",
  reason:
    "is the id of an earlier row of the source, which was taken; choose one namespace, or tell them apart by --derive-ids",
});

const recordOf = (
  collection: Collection,
  { shape }: Pick<Selection, "shape">,
  item: Exclude<SourceItem, { blank: true }>,
  number: number,
): FoundRecord =>
  "row" in item
    ? shapeRow(collection, shape, item.row, number)
    : { kind: "faulty", fault: item.fault, record: item.text };

/** Gathers records into calls of produce(); what such a call refuses is traced back to its line. */
class BatchWriter {
  written: number;
  readonly deltas: { shard: number; delta: DeltaId }[];
  readonly #world: ProduceWorld;
  readonly #collection: Collection;
  readonly #rejects: RejectsFile;
  readonly #rowsMax: number;
  #records: ShapedRecord[] = [];
  #places: string[] = [];
  #chars = 0;

  /** `before`: what an earlier run of the same import has written. */
  constructor(
    world: ProduceWorld,
    collection: Collection,
    rejects: RejectsFile,
    before: Pick<ResumePoint, "written" | "deltas"> | null,
  ) {
    this.#world = world;
    this.#collection = collection;
    this.#rejects = rejects;
    this.written = before?.written ?? 0;
    this.deltas = [...(before?.deltas ?? [])];
    this.#rowsMax = Math.min(
      rowsPerShard * collection.shards,
      Math.floor(batchComponents / collection.dims),
      callRowsMax - pageRowsMax,
    );
  }

  /** Asked at the end of a page: a resume point is behind whole pages. */
  get isFull(): boolean {
    return this.#records.length >= this.#rowsMax;
  }

  async add(at: string, record: ShapedRecord): Promise<void> {
    const { document, metadata, vector } = record;
    const chars =
      ownChars + charsOf(document) + charsOf(metadata) + (ArrayBuffer.isView(vector) ? 0 : charsOf(vector));
    if (this.#chars + chars > batchCharsMax) await this.flush();
    this.#records.push(record);
    this.#places.push(at);
    this.#chars += chars;
  }

  async flush(): Promise<void> {
    if (this.#records.length === 0) return;
    const [records, places] = [this.#records, this.#places];
    this.#records = [];
    this.#places = [];
    this.#chars = 0;
    const { name, embeddingVersion } = this.#collection;
    const call = { collection: name, embeddingVersion, records, onInvalid: "skip", producer: "silt import" };
    const answer: ProduceAnswer = await produce(this.#world, call);
    const faults = Map.groupBy(answer.rejected, ({ index }) => index ?? 0);
    this.written += records.length - faults.size;
    this.deltas.push(...answer.deltas.map(({ shard, delta }) => ({ shard, delta })));
    for (const [index, found] of faults) this.#rejects.add(places[index]!, found, records[index]);
  }
}
