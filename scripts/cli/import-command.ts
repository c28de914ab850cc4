/**
 * silt import: reads what is to be imported from the command line and says what came of it (lib/import/import-rows.ts does it).
 * With --plan nothing is written; with --wait it ends when every delta written is ingested; with --verify the source is read
 * again, and compared with what the collection answers.
 */
import { readFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { type Command, Option } from "commander";
import { AwsS3Vectors } from "../../lib/aws/s3-vectors.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { invalid } from "../../lib/core/model/errors.ts";
import { isPlainObject } from "../../lib/core/model/metadata.ts";
import { CheckpointFile } from "../../lib/import/checkpoint-file.ts";
import { type Imported, importRows, type Selection } from "../../lib/import/import-rows.ts";
import { diskFile, type InputFile, openInputs } from "../../lib/import/inputs.ts";
import { kinds, openSource, type SourceWorld } from "../../lib/import/open-source.ts";
import { RejectsFile } from "../../lib/import/rejects-file.ts";
import type { Nested, Shape } from "../../lib/import/shape-row.ts";
import type { ImportSource } from "../../lib/import/source.ts";
import { JsonLines, recordJsonLines } from "../../lib/import/sources/jsonl.ts";
import { VectorFile } from "../../lib/import/vector-file.ts";
import { integer, openCollection, several } from "./arguments.ts";
import { exitCodes } from "./exit-code.ts";
import { planImport } from "./import-plan.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { duration, plural } from "./text.ts";
import { verifyImported } from "./verify-imported.ts";
import { waitUntilIngested } from "./wait-until-ingested.ts";

export interface ImportArguments {
  readonly from?: string;
  readonly records?: string;
  readonly vectors?: string;
  readonly plan?: boolean;
  readonly idField?: string;
  readonly textField?: string;
  readonly vectorField?: string;
  readonly metadataField?: string;
  readonly versionField?: string;
  readonly map?: readonly string[];
  readonly only?: readonly string[];
  readonly nested: Nested;
  readonly idMap?: string;
  readonly deriveIds?: string;
  readonly namespace?: string;
  readonly reEmbed?: boolean;
  readonly limit?: number;
  readonly incomplete?: boolean;
  readonly wait?: boolean;
  readonly verify?: boolean;
}

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
    s3Vectors: () => AwsS3Vectors.open(),
    bucketFiles: async () => (await session.open()).bucketFiles,
  };
  // What cannot be read is an error before AWS is asked.
  const open = await openSourceOf(world, options);
  const opened: { close(): Promise<void> }[] = [open.source];
  try {
    if (options.plan) return await planImport(session, name, selectionOf(open.source, options), options);
    const { collection } = await openCollection(session, name);
    checkVersionField(collection, options, open.source);
    let vectors: VectorFile | null = null;
    if (options.vectors !== undefined) {
      vectors = await VectorFile.open(options.vectors, collection.dims);
      opened.push(vectors);
    }
    const source = vectors === null ? open.source : open.withVectors(vectors);
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

function selectionOf(source: ImportSource, options: ImportArguments): Selection {
  const { idField, textField, vectorField, metadataField, versionField } = options;
  const shape: Shape = {
    fields: {
      id: idField ?? source.fields.id,
      document: textField ?? source.fields.document,
      vector: vectorField ?? source.fields.vector,
      metadata: metadataField ?? source.fields.metadata,
      version: versionField ?? source.fields.version,
    },
    renamed: new Map((options.map ?? []).map(renaming)),
    only: options.only === undefined ? null : new Set(options.only),
    nested: options.nested,
    reEmbed: options.reEmbed ?? false,
    ids: options.idMap === undefined ? new Map() : idMapOf(options.idMap),
    deriveIds: options.deriveIds ?? null,
  };
  return { source, shape, namespace: options.namespace ?? null, limit: options.limit ?? null };
}

function renaming(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at > 0 && at < text.length - 1) return [text.slice(0, at), text.slice(at + 1)];
  throw invalid(`--map: say OLD=NEW, got ${JSON.stringify(text.slice(0, 80))}`);
}

function idMapOf(path: string): Map<string, string> {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw invalid(`--id-map: ${path} cannot be read as JSON: ${(error as Error).message}`);
  }
  if (!isPlainObject(value))
    throw invalid(`--id-map: ${path} must hold one JSON object of new ids by old ones`);
  const ids = new Map<string, string>();
  const taken = new Set<string>();
  for (const [old, id] of Object.entries(value)) {
    if (typeof id !== "string") throw invalid(`--id-map: the new id of ${JSON.stringify(old)} is no text`);
    if (taken.has(id)) throw invalid(`--id-map: two ids become ${JSON.stringify(id)}`);
    taken.add(id);
    ids.set(old, id);
  }
  return ids;
}

function checkVersionField(
  collection: Collection,
  { versionField }: ImportArguments,
  source: ImportSource,
): void {
  const needed = collection.ordering === "source";
  if (needed && versionField === undefined && source.fields.version === null && !source.givesVersions) {
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
  const checkpoint = new CheckpointFile(`${base}.import.json`, {
    collectionId: collection.id,
    identity: identity ?? process.pid,
    options: decisive,
  });
  const rejects = new RejectsFile(`${base}.rejects.jsonl`, checkpoint.read()?.rejects);
  const progress = session.progress("import");
  const startMs = world.clock.nowMs();
  const { interrupted } = session;
  let imported: Imported;
  try {
    imported = await importRows(world, collection, selection, {
      rejects,
      checkpoint,
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

/** Files of the import's own are in the working folder, named after what is imported, or into what. */
function fileNameOf(name: string, { records, from }: ImportArguments): string {
  if (records !== undefined) return basename(records);
  const location = from!.slice(from!.indexOf(":") + 1);
  return location === "-" || /[?#]|^[a-z0-9]+:\/\/(?!.*\.[a-z0-9]+$)/.test(location)
    ? name
    : basename(location);
}

interface ImportEnd extends Imported {
  readonly rejects: RejectsFile;
  readonly ingested: { readonly quarantined: number } | null;
  readonly verified: Awaited<ReturnType<typeof verifyImported>> | null;
  readonly interrupted: boolean;
  readonly milliseconds: number;
  readonly unused: number;
}

function importOutcome(name: string, imported: ImportEnd): Outcome {
  const { lines, written, deltas, rejects, ingested, verified, interrupted } = imported;
  const { milliseconds, unused, repeated, resumedAt } = imported;
  const rejected = rejects.rows;
  const differ = verified?.differing ?? 0;
  const parts = [
    `${interrupted ? "interrupted: " : ""}wrote ${plural(written, "row")} in ${plural(deltas.length, "delta")}`,
    `${plural(lines, "line")} in ${duration(milliseconds)}`,
  ];
  const text = [
    parts.join("; "),
    ...(resumedAt > 0 ? [`went on behind line ${resumedAt}, where an earlier run was ended`] : []),
    ...(repeated > 0 ? [`${plural(repeated, "row")} replaced an earlier one of the same id`] : []),
    ...(ingested ? ["all of it is ingested and seen by every reader"] : []),
    ...(unused > 0 ? [`${unused} vectors at the end of --vectors have no line and were not used`] : []),
    ...(rejected > 0 ? [`REJECTED ${plural(rejected, "row")}; each with its reason in ${rejects.path}`] : []),
    ...rejects.examples.map(({ at, id, problems: [first] }) => {
      return `  ${at}${id === undefined ? "" : ` (${id})`}: ${first?.field} ${first?.reason}`;
    }),
    ...(verified === null ? [] : verified.lines),
  ].join("\n");
  const next = [
    ...(interrupted ? ["go on: run the same command again; rows that are there already change nothing"] : []),
    ...(rejected > 0
      ? [`mend the records in that file, and import it: silt import ${name} --from records:FILE`]
      : []),
    ...(ingested === null && written > 0
      ? [`it is durable now, and ingested by the next run of the compactor (at once: silt compact ${name})`]
      : []),
    ...(written > 0
      ? [`count it: silt count ${name}${ingested === null ? " --consistency strong" : ""}`]
      : []),
  ];
  const exitCode =
    interrupted || verified?.complete === false
      ? exitCodes.interrupted
      : rejected > 0 || differ > 0 || (ingested?.quarantined ?? 0) > 0
        ? exitCodes.failure
        : exitCodes.ok;
  const value = {
    collection: name,
    lines,
    written,
    deltas: deltas.length,
    rejected,
    rejectsFile: rejected > 0 ? rejects.path : null,
    repeated,
    resumedAt,
    vectorsUnused: unused,
    merged: ingested !== null,
    verified: verified === null ? null : { equal: verified.equal, differing: differ },
    interrupted,
    milliseconds,
  };
  return { value, text, next, exitCode };
}
