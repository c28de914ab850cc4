/**
 * silt import: a JSONL file, with or without an fvecs file beside it, becomes deltas through the library (not through
 * the producer function, whose calls are limited to 6 MB).
 *
 *  1. Lines are read one by one, with their vectors, and gathered into batches of bounded rows, numbers and characters.
 *  2. Each batch is one call of produce(); it is durable when that answers. A bad row goes to the rejects file, the
 *     others go on.
 *  3. With --wait: until every delta written is merged.
 *
 * Ids are the caller's, so running it again writes the same rows again and adds none: an interrupted import is resumed
 * by repeating it.
 */
import type { Command } from "commander";
import type { Collection } from "../../lib/core/collection.ts";
import { invalid } from "../../lib/core/errors.ts";
import { callRowsMax } from "../../lib/core/records.ts";
import type { World } from "../../lib/engine/ports.ts";
import { type ProduceAnswer, produce } from "../../lib/engine/produce.ts";
import { integer, openCollection } from "./arguments.ts";
import { exitCodes } from "./exit-code.ts";
import { parseRow, type RowFields } from "./import-rows.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./program.ts";
import { type RecordLine, recordFileBytes, recordLines } from "./record-lines.ts";
import { RejectsFile } from "./rejects-file.ts";
import type { Session } from "./session.ts";
import { duration, plural } from "./text.ts";
import { VectorFile } from "./vector-file.ts";
import { waitUntilMerged } from "./wait-until-merged.ts";

/** Rows of one delta, roughly: large enough to be cheap, small enough to be merged in good time. */
const rowsPerShard = 2_000;
/** Numbers held in one batch: 32 MB of vectors. */
const batchComponents = 8_000_000;
/** Of the lines of one batch, which is held in memory whole, and encoded. */
const batchCharsMax = 64 * 1024 * 1024;

interface ImportOptions extends RowFields {
  readonly records: string;
  readonly vectors?: string;
  readonly limit?: number;
  readonly wait?: boolean;
}

export function addImportCommand(program: Command, run: Runner): void {
  program
    .command("import")
    .description("write a JSONL file's records; fields that are not named below become metadata")
    .argument("<name>")
    .requiredOption("--records <file.jsonl>", "one JSON object a line")
    .option(
      "--vectors <file.fvecs>",
      "vectors, row i for line i; without it: the field vector, or the embedder",
    )
    .option("--id-field <field>", "holds the id", "id")
    .option("--text-field <field>", "holds the document", "text")
    .option("--version-field <field>", "holds the source's version (ordering source)")
    .option("--limit <n>", "only the first n lines", integer(1, Number.MAX_SAFE_INTEGER))
    .option("--wait", "until everything written is merged, and seen by every reader")
    .action(run(importRecords));
}

async function importRecords(session: Session, name: string, options: ImportOptions): Promise<Outcome> {
  const size = await recordFileBytes(options.records);
  const { world, collection } = await openCollection(session, name);
  checkVersionField(collection, options);
  const vectors =
    options.vectors === undefined ? null : await VectorFile.open(options.vectors, collection.dims);
  const rejects = new RejectsFile(options.records);
  const writer = new BatchWriter(world, collection, rejects);
  const progress = session.progress("import");
  const startMs = world.clock.nowMs();
  let lines = 0;
  try {
    for await (const line of recordLines(options.records)) {
      if (lines === options.limit || session.interrupted.aborted) break;
      lines += 1;
      await addLine(writer, line, { collection, vectors, rejects, fields: options });
      const seconds = Math.max(0.001, (world.clock.nowMs() - startMs) / 1000);
      const share = options.limit === undefined ? [line.endByte, size] : [lines, options.limit];
      progress.update(
        share[0]!,
        share[1]!,
        `${writer.written} rows, ${Math.round(writer.written / seconds)}/s`,
      );
    }
    await writer.flush();
  } finally {
    progress.stop();
    rejects.close();
    await vectors?.close();
  }
  const interrupted = session.interrupted.aborted;
  const merged =
    options.wait && !interrupted ? await waitUntilMerged(session, world, collection, writer.deltas) : null;
  const milliseconds = world.clock.nowMs() - startMs;
  const unused =
    vectors === null || options.limit !== undefined || interrupted ? 0 : Math.max(0, vectors.rows - lines);
  return importOutcome(name, { lines, writer, rejects, merged, interrupted, milliseconds, unused });
}

function checkVersionField(collection: Collection, { versionField }: ImportOptions): void {
  const needed = collection.ordering === "source";
  if (needed && versionField === undefined) {
    throw invalid(
      `collection ${collection.name} has ordering source: say which field holds the version, with --version-field`,
    );
  }
  if (!needed && versionField !== undefined) {
    throw invalid(
      `--version-field: collection ${collection.name} has ordering arrival, where the time of the import is the version`,
    );
  }
}

interface LineContext {
  readonly collection: Collection;
  readonly vectors: VectorFile | null;
  readonly rejects: RejectsFile;
  readonly fields: RowFields;
}

async function addLine(writer: BatchWriter, line: RecordLine, context: LineContext): Promise<void> {
  const { number, text, fault } = line;
  const { rejects } = context;
  if (text === null) return rejects.add({ line: number, field: "line", reason: fault ?? "" });
  if (text.trim() === "") return;
  const vector = await context.vectors?.vector(number - 1);
  if (typeof vector === "string") return rejects.add({ line: number, field: "vector", reason: vector });
  const row = parseRow(context.collection, text, context.fields, vector);
  if (row.kind === "faulty") rejects.add({ line: number, ...row.fault });
  else await writer.add(number, row.record, text.length);
}

/** Gathers records into calls of produce(); what such a call refuses is traced back to its line. */
class BatchWriter {
  /** Rows: one for each line that was taken, whether or not a later one has its id. */
  written = 0;
  readonly deltas: { shard: number; delta: string }[] = [];
  readonly #world: World;
  readonly #collection: Collection;
  readonly #rejects: RejectsFile;
  readonly #rowsMax: number;
  #records: object[] = [];
  #lines: number[] = [];
  #chars = 0;

  constructor(world: World, collection: Collection, rejects: RejectsFile) {
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

interface Imported {
  readonly lines: number;
  readonly writer: BatchWriter;
  readonly rejects: RejectsFile;
  readonly merged: { readonly quarantined: number } | null;
  readonly interrupted: boolean;
  readonly milliseconds: number;
  readonly unused: number;
}

function importOutcome(name: string, imported: Imported): Outcome {
  const { lines, writer, rejects, merged, interrupted, milliseconds, unused } = imported;
  const rejected = rejects.rows;
  const parts = [
    `${interrupted ? "interrupted: " : ""}wrote ${plural(writer.written, "row")} in ${plural(writer.deltas.length, "delta")}`,
    `${plural(lines, "line")} in ${duration(milliseconds)}`,
  ];
  const text = [
    parts.join("; "),
    ...(merged ? ["all of it is merged and seen by every reader"] : []),
    ...(unused > 0 ? [`${unused} vectors at the end of --vectors have no line and were not used`] : []),
    ...(rejected > 0 ? [`REJECTED ${plural(rejected, "row")}; each with its reason in ${rejects.path}`] : []),
    ...rejects.examples.map(
      ({ line, id, field, reason }) =>
        `  line ${line}${id === undefined ? "" : ` (${id})`}: ${field} ${reason}`,
    ),
  ].join("\n");
  const next = [
    ...(interrupted ? ["go on: run the same command again; rows that are there already change nothing"] : []),
    ...(rejected > 0
      ? ["mend those lines and import again; rows that are there already change nothing"]
      : []),
    ...(merged === null && writer.written > 0
      ? [`it is durable now, and merged by the next run of the compactor (at once: silt compact ${name})`]
      : []),
    ...(writer.written > 0
      ? [`count it: silt count ${name}${merged === null ? " --consistency strong" : ""}`]
      : []),
  ];
  const exitCode = interrupted
    ? exitCodes.interrupted
    : rejected > 0 || (merged?.quarantined ?? 0) > 0
      ? exitCodes.failure
      : exitCodes.ok;
  return {
    value: {
      collection: name,
      lines,
      written: writer.written,
      deltas: writer.deltas.length,
      rejected,
      rejectsFile: rejected > 0 ? rejects.path : null,
      vectorsUnused: unused,
      merged: merged !== null,
      interrupted,
      milliseconds,
    },
    text,
    next,
    exitCode,
  };
}
