/**
 * silt import: reads what is to be imported from the command line and says what came of it (lib/import/import-rows.ts does it).
 * With --plan nothing is written; with --wait it ends when every delta written is ingested; with --verify the source is read
 * again, and compared with what the collection answers.
 */
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { AwsS3Vectors } from "../../lib/aws/s3-vectors.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { invalid } from "../../lib/core/model/errors.ts";
import { type Imported, importRows, type Selection } from "../../lib/import/import-rows.ts";
import { diskFile, type InputFile, openInputs } from "../../lib/import/inputs.ts";
import { kinds, openSource, type SourceWorld } from "../../lib/import/open-source.ts";
import { RejectsFile } from "../../lib/import/rejects-file.ts";
import { ResumeFile } from "../../lib/import/resume-file.ts";
import type { ImportSource } from "../../lib/import/source.ts";
import { JsonLines, recordJsonLines } from "../../lib/import/sources/jsonl.ts";
import { VectorFile } from "../../lib/import/vector-file.ts";
import { integer, openCollection, several } from "./arguments.ts";
import { documentEmbedderOf, estimateEmbedding, estimateText } from "./embedding-estimate.ts";
import {
  checkStandardInput,
  checkVersionField,
  fileNameOf,
  type ImportArguments,
  isStandardInput,
  selectionOf,
} from "./import-options.ts";
import { importOutcome } from "./import-outcome.ts";
import { planImport } from "./import-plan.ts";
import { look } from "./import-survey.ts";
import { lanceDb } from "./lance-db.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { verifyImported } from "./verify-imported.ts";
import { waitUntilIngested } from "./wait-until-ingested.ts";

export function addImportCommand(program: Command, run: Runner): void {
  const locations = Object.entries(kinds).map(([kind, { location }]) => `  ${kind}:LOCATION  ${location}`);
  program
    .command("import")
    .description("write what another store or a file holds; fields that are not named below become metadata")
    .argument("<name>")
    .option("--from <kind:location>", "what is imported; the kinds are listed below")
    .option("--records <file.jsonl>", "the same as --from jsonl:FILE, with which --vectors goes")
    .option(
      "--vectors <file.fvecs>",
      "vectors, row i for line i; without it: the field vector, or the embedder",
    )
    .option("--plan", "say what is there and what would come of it; nothing is written")
    .option("--id-field <field>", "holds the id (files: id)")
    .option("--text-field <field>", "holds the document (files: text)")
    .option("--vector-field <field>", "holds the vector (files: vector)")
    .option("--metadata-field <field>", "holds an object, or its JSON, whose fields become metadata")
    .option("--version-field <field>", "holds the source's version (ordering source)")
    .option("--map <field=field>", "another name for a metadata field (may be repeated)", several)
    .option("--only <field>", "carry no other metadata than this, by its new name (may be repeated)", several)
    .addOption(
      new Option(
        "--nested <how>",
        "objects and other lists in metadata: refuse them, spread them, or keep their JSON",
      )
        .choices(["reject", "path", "json"])
        .default("reject"),
    )
    .option("--id-map <file.json>", "one JSON object of new ids by old ones; others stay")
    .option(
      "--derive-ids <source>",
      "ids become UUIDs derived from this name, the namespace and the row's id",
    )
    .option(
      "--re-embed",
      "vectors come from the documents, by the collection's embedder, not from the source",
    )
    .option("--namespace <text>", "only the rows of this namespace")
    .option("--limit <n>", "only the first n lines", integer(1, Number.MAX_SAFE_INTEGER))
    .option("--incomplete", "of a damaged source, import what is whole; the rest goes to the rejects file")
    .option("--wait", "until everything written is ingested, and seen by every reader")
    .option("--verify", "then read the source again, and compare it with what the collection answers")
    .addHelpText("after", `\nKinds:\n${locations.join("\n")}`)
    .action(run(runImport));
}

async function runImport(session: Session, name: string, options: ImportArguments): Promise<Outcome> {
  const world: SourceWorld = {
    stdin: session.stdin,
    environment: process.env,
    incomplete: options.incomplete ?? false,
    s3Vectors: () => Promise.resolve(new AwsS3Vectors()),
    lanceDb: () => lanceDb(),
    bucketFiles: async () => (await session.open()).bucketFiles,
  };
  checkStandardInput(options);
  // What cannot be read is an error before AWS is asked.
  const open = await openSourceOf(world, options);
  const opened: { close(): Promise<void> }[] = [open.source];
  try {
    let vectors: VectorFile | null = null;
    const withVectors = async (dims: number | null): Promise<ImportSource> => {
      if (options.vectors === undefined) return open.source;
      vectors = await VectorFile.open(options.vectors, dims);
      opened.push(vectors);
      return open.withVectors(vectors);
    };
    if (options.plan) {
      const source = await withVectors(null);
      return await planImport(session, name, selectionOf(source, options), options);
    }
    const { collection } = await openCollection(session, name);
    checkVersionField(collection, options, open.source);
    const source = await withVectors(collection.dims);
    return await importInto(session, name, selectionOf(source, options), { options, vectors });
  } finally {
    for (const one of opened) await one.close();
  }
}

interface OpenedSource {
  readonly source: ImportSource;
  withVectors(vectors: VectorFile): ImportSource;
}

async function openSourceOf(world: SourceWorld, options: ImportArguments): Promise<OpenedSource> {
  const { from, records, vectors } = options;
  if ((from === undefined) === (records === undefined))
    throw invalid("say what to import: --from or --records");
  const files = async (location: string) => openInputs(world, location, [".jsonl", ".ndjson"]);
  if (records !== undefined)
    return linesWith(
      [await diskFile(records, "--records")],
      (of, given) => new JsonLines(of, { vectors: given }),
    );
  if (from!.startsWith("records:"))
    return linesWith(await files(from!.slice("records:".length)), recordJsonLines);
  if (vectors !== undefined) throw invalid("--vectors goes with --records, and with --from records:FILE");
  const source = await openSource(world, from!);
  return { source, withVectors: () => source };
}

const linesWith = (
  files: readonly InputFile[],
  make: (files: readonly InputFile[], vectors: VectorFile | null) => ImportSource,
): OpenedSource => ({ source: make(files, null), withVectors: (vectors) => make(files, vectors) });

async function importInto(
  session: Session,
  name: string,
  selection: Selection,
  { options, vectors }: { options: ImportArguments; vectors: VectorFile | null },
): Promise<Outcome> {
  const { world, collection } = await openCollection(session, name);
  const { identity, dims, metric } = await selection.source.describe();
  if (dims !== null && dims !== collection.dims && options.reEmbed !== true) {
    throw invalid(
      `the source has vectors of ${dims} dimensions, collection ${name} of ${collection.dims}: vectors of two models cannot be mixed; ` +
        "embed the documents again by --re-embed, or create another collection",
    );
  }
  if (metric !== null && metric !== collection.metric)
    session.remark(
      `the source compares by ${metric}, collection ${name} by ${collection.metric}: scores will differ`,
    );
  const base = resolve(fileNameOf(name, options));
  const { wait: _wait, verify: _verify, ...decisive } = options;
  const resumeFile = new ResumeFile(
    `${base}.import.json`,
    identity === null ? null : { collectionId: collection.id, identity, options: decisive },
  );
  const embed = documentEmbedderOf(await session.open(), collection);
  await sayCost(session, collection, selection, options);
  // It empties the file of the import before.
  const rejects = new RejectsFile(`${base}.rejects.jsonl`, resumeFile.read()?.rejects);
  const progress = session.progress("import");
  const startMs = world.clock.nowMs();
  const { interrupted } = session;
  let imported: Imported;
  try {
    imported = await importRows(world, collection, selection, {
      rejects,
      resumeFile,
      embed,
      interrupted,
      onProgress: (read, lines, written) => {
        const seconds = Math.max(0.001, (world.clock.nowMs() - startMs) / 1000);
        const { done, all } = read ?? { done: 0, all: 0 };
        progress.update(done, all, `${written} rows of ${lines}, ${Math.round(written / seconds)}/s`);
      },
    });
  } finally {
    progress.stop();
    rejects.close();
  }
  const ended = interrupted.aborted;
  const ingested =
    options.wait && !ended ? await waitUntilIngested(session, world, collection, imported.deltas) : null;
  const verified = options.verify && !ended ? await verifyImported(session, collection, selection) : null;
  const isWhole = vectors !== null && options.limit === undefined && !ended;
  return importOutcome(name, {
    ...imported,
    rejects,
    ingested,
    verified,
    interrupted: ended,
    milliseconds: world.clock.nowMs() - startMs,
    unused: isWhole ? Math.max(0, vectors.rows - imported.lines) : 0,
  });
}

/** Lines that are looked at for it. */
const sampleLines = 1_000;

/** What a provider will be asked, said before it is. What standard input holds is not known before it is read. */
async function sayCost(
  session: Session,
  collection: Collection,
  selection: Selection,
  options: ImportArguments,
): Promise<void> {
  const { embedder } = collection;
  if (embedder === null || embedder === "lexical" || isStandardInput(options)) return;
  const { limit } = options;
  const description = await selection.source.describe();
  const looking = { description, limit: Math.min(limit ?? sampleLines, sampleLines), name: collection.name };
  const said = await estimateEmbedding(session, collection, await look(collection, selection, looking));
  if (said !== null) session.remark(`embeds ${estimateText(said)}`);
}
