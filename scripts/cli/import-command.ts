/**
 * silt import: reads what is to be imported from the command line and says what came of it (lib/import/import-records.ts does
 * it). With --wait it ends when every delta written is ingested.
 */
import type { Command } from "commander";
import type { Collection } from "../../lib/core/model/collection.ts";
import { invalid } from "../../lib/core/model/errors.ts";
import { type Imported, importRecords } from "../../lib/import/import-records.ts";
import type { RowFields } from "../../lib/import/import-rows.ts";
import { recordFileBytes } from "../../lib/import/record-lines.ts";
import { RejectsFile } from "../../lib/import/rejects-file.ts";
import { VectorFile } from "../../lib/import/vector-file.ts";
import { integer, openCollection } from "./arguments.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { duration, plural } from "./text.ts";
import { waitUntilIngested } from "./wait-until-ingested.ts";

interface ImportArguments extends RowFields {
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
    .option("--wait", "until everything written is ingested, and seen by every reader")
    .action(run(runImport));
}

async function runImport(session: Session, name: string, options: ImportArguments): Promise<Outcome> {
  await recordFileBytes(options.records); // A missing file is an error before AWS is asked.
  const { world, collection } = await openCollection(session, name);
  checkVersionField(collection, options);
  const { records, limit } = options;
  const vectors =
    options.vectors === undefined ? null : await VectorFile.open(options.vectors, collection.dims);
  const rejects = new RejectsFile(records);
  const progress = session.progress("import");
  const startMs = world.clock.nowMs();
  const onProgress = (done: number, all: number, written: number) => {
    const seconds = Math.max(0.001, (world.clock.nowMs() - startMs) / 1000);
    progress.update(done, all, `${written} rows, ${Math.round(written / seconds)}/s`);
  };
  const { interrupted } = session;
  let imported: Imported;
  try {
    const source = { records, fields: options, vectors, limit };
    imported = await importRecords(world, collection, source, { rejects, onProgress, interrupted });
  } finally {
    progress.stop();
    rejects.close();
    await vectors?.close();
  }
  const ingested =
    options.wait && !interrupted.aborted
      ? await waitUntilIngested(session, world, collection, imported.deltas)
      : null;
  const unused =
    vectors === null || limit !== undefined || interrupted.aborted
      ? 0
      : Math.max(0, vectors.rows - imported.lines);
  const milliseconds = world.clock.nowMs() - startMs;
  return importOutcome(name, {
    ...imported,
    rejects,
    ingested,
    interrupted: interrupted.aborted,
    milliseconds,
    unused,
  });
}

function checkVersionField(collection: Collection, { versionField }: ImportArguments): void {
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

interface ImportEnd extends Imported {
  readonly rejects: RejectsFile;
  readonly ingested: { readonly quarantined: number } | null;
  readonly interrupted: boolean;
  readonly milliseconds: number;
  readonly unused: number;
}

function importOutcome(name: string, imported: ImportEnd): Outcome {
  const { lines, written, deltas, rejects, ingested, interrupted, milliseconds, unused } = imported;
  const rejected = rejects.rows;
  const parts = [
    `${interrupted ? "interrupted: " : ""}wrote ${plural(written, "row")} in ${plural(deltas.length, "delta")}`,
    `${plural(lines, "line")} in ${duration(milliseconds)}`,
  ];
  const text = [
    parts.join("; "),
    ...(ingested ? ["all of it is ingested and seen by every reader"] : []),
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
    ...(ingested === null && written > 0
      ? [`it is durable now, and ingested by the next run of the compactor (at once: silt compact ${name})`]
      : []),
    ...(written > 0
      ? [`count it: silt count ${name}${ingested === null ? " --consistency strong" : ""}`]
      : []),
  ];
  const exitCode = interrupted
    ? exitCodes.interrupted
    : rejected > 0 || (ingested?.quarantined ?? 0) > 0
      ? exitCodes.failure
      : exitCodes.ok;
  return {
    value: {
      collection: name,
      lines,
      written,
      deltas: deltas.length,
      rejected,
      rejectsFile: rejected > 0 ? rejects.path : null,
      vectorsUnused: unused,
      merged: ingested !== null,
      interrupted,
      milliseconds,
    },
    text,
    next,
    exitCode,
  };
}
