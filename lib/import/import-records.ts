/**
 * A file of records becomes deltas through the library, not through the producer function, whose calls are limited to
 * 6 MB.
 *
 *  1. Lines are read one by one, with their vectors, and gathered into batches of bounded rows, numbers and characters.
 *  2. Each batch is one call of produce(); it is durable when that answers. A bad row goes to the rejects file, the
 *     others go on.
 *
 * Ids are the caller's, so running it again writes the same rows again and adds none: an interrupted import is resumed
 * by repeating it.
 */
import { callRowsMax } from "../core/model/check-records.ts";
import type { Collection } from "../core/model/collection.ts";
import type { DeltaId } from "../core/model/ids.ts";
import { type ProduceAnswer, type ProduceWorld, produce } from "../engine/write/produce.ts";
import { parseRow, type RowFields } from "./import-rows.ts";
import { type RecordLine, recordFileBytes, recordLines } from "./record-lines.ts";
import type { RejectsFile } from "./rejects-file.ts";
import type { VectorFile } from "./vector-file.ts";

/** Rows of one delta, roughly: large enough to be cheap, small enough to be ingested in good time. */
const rowsPerShard = 2_000;
/** Numbers held in one batch: 32 MB of vectors. */
const batchComponents = 8_000_000;
/** Of the lines of one batch, which is held in memory whole, and encoded. */
const batchCharsMax = 64 * 1024 * 1024;

export interface ImportSource {
  /** JSONL: one JSON object a line. */
  readonly records: string;
  readonly fields: RowFields;
  /** Row i is of line i; null where each line brings its own, or the collection embeds its text. */
  readonly vectors: VectorFile | null;
  /** Only the first so many lines. */
  readonly limit?: number | undefined;
}

export interface ImportOptions {
  readonly rejects: RejectsFile;
  /** Told after each line: how much of the whole is done, in whatever unit is known, and the rows written so far. */
  readonly onProgress: (done: number, all: number, written: number) => void;
  /** Aborted: no more lines are read, and those that were are written. */
  readonly interrupted: AbortSignal;
}

export interface Imported {
  readonly lines: number;
  /** Rows: one for each line that was taken, whether or not a later one has its id. */
  readonly written: number;
  readonly deltas: readonly { readonly shard: number; readonly delta: DeltaId }[];
}

/** Throws `invalid` when the file of records cannot be read as one, and what produce() throws for a whole call. */
export async function importRecords(
  world: ProduceWorld,
  collection: Collection,
  source: ImportSource,
  { rejects, onProgress, interrupted }: ImportOptions,
): Promise<Imported> {
  const { records, limit } = source;
  const size = await recordFileBytes(records);
  const writer = new BatchWriter(world, collection, rejects);
  let lines = 0;
  for await (const line of recordLines(records)) {
    if (lines === limit || interrupted.aborted) break;
    lines += 1;
    await addLine(writer, line, { collection, source, rejects });
    if (limit === undefined) onProgress(line.endByte, size, writer.written);
    else onProgress(lines, limit, writer.written);
  }
  await writer.flush();
  return { lines, written: writer.written, deltas: writer.deltas };
}

interface LineContext {
  readonly collection: Collection;
  readonly source: ImportSource;
  readonly rejects: RejectsFile;
}

async function addLine(writer: BatchWriter, line: RecordLine, context: LineContext): Promise<void> {
  const { number, text, fault } = line;
  const { collection, source, rejects } = context;
  if (text === null) return rejects.add({ line: number, field: "line", reason: fault ?? "" });
  if (text.trim() === "") return;
  const vector = await source.vectors?.vector(number - 1);
  if (typeof vector === "string") return rejects.add({ line: number, field: "vector", reason: vector });
  const row = await parseRow(collection, text, source.fields, vector);
  if (row.kind === "faulty") rejects.add({ line: number, ...row.fault });
  else await writer.add(number, row.record, text.length);
}

/** Gathers records into calls of produce(); what such a call refuses is traced back to its line. */
class BatchWriter {
  /** Rows: one for each line that was taken, whether or not a later one has its id. */
  written = 0;
  readonly deltas: { shard: number; delta: DeltaId }[] = [];
  readonly #world: ProduceWorld;
  readonly #collection: Collection;
  readonly #rejects: RejectsFile;
  readonly #rowsMax: number;
  #records: object[] = [];
  #lines: number[] = [];
  #chars = 0;

  constructor(world: ProduceWorld, collection: Collection, rejects: RejectsFile) {
    this.#world = world;
    this.#collection = collection;
    this.#rejects = rejects;
    this.#rowsMax = Math.min(
      rowsPerShard * collection.shards,
      Math.floor(batchComponents / collection.dims),
      callRowsMax,
    );
  }

  /** `chars`: of the record's line. */
  async add(line: number, record: object, chars: number): Promise<void> {
    if (this.#chars + chars > batchCharsMax) await this.flush();
    this.#records.push(record);
    this.#lines.push(line);
    this.#chars += chars;
    if (this.#records.length >= this.#rowsMax) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#records.length === 0) return;
    const [records, lines] = [this.#records, this.#lines];
    this.#records = [];
    this.#lines = [];
    this.#chars = 0;
    const { name, embeddingVersion } = this.#collection;
    const call = { collection: name, embeddingVersion, records, onInvalid: "skip", producer: "silt import" };
    const answer: ProduceAnswer = await produce(this.#world, call);
    this.written += records.length - new Set(answer.rejected.map(({ index }) => index)).size;
    this.deltas.push(...answer.deltas.map(({ shard, delta }) => ({ shard, delta })));
    for (const { id, index, field, reason } of answer.rejected) {
      this.#rejects.add({ line: lines[index ?? 0]!, ...(id === undefined ? {} : { id }), field, reason });
    }
  }
}
