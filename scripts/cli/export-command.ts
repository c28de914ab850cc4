/**
 * silt export: the live records of one version, as files of other programs. It reads S3 alone, and writes a file that is there when all
 * of it is. What is written and not ingested yet is not in it.
 */
import { existsSync, mkdirSync, statSync } from "node:fs";
import type { Command } from "commander";
import type { Manifest } from "../../lib/core/format/manifest.ts";
import { invalid } from "../../lib/core/model/errors.ts";
import { snapshotVersion, versionMax } from "../../lib/core/model/ids.ts";
import { eachLiveRow } from "../../lib/engine/operate/live-rows.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { encoders, formats, JsonLinesEncoder, type OutputFormat } from "../../lib/import/outputs/encoders.ts";
import { Output, type OutputRow, type RowEncoder } from "../../lib/import/outputs/row-writer.ts";
import { integer, type Opened, oneShard, openCollection, shardOption, shardsOf } from "./arguments.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { keptVersion } from "./snapshot-views.ts";
import { bytes, duration, plural } from "./text.ts";

interface ExportArguments {
  readonly to: string;
  readonly format?: OutputFormat;
  readonly shard?: number;
  readonly snapshot?: number;
}

const endings: readonly [string, OutputFormat][] = [
  [".jsonl", "jsonl"],
  [".parquet", "parquet"],
  [".arrow", "arrow"],
  [".feather", "arrow"],
  [".arrows", "arrows"],
  [".fvecs", "fvecs"],
];

/** Ctrl-C, in the middle of a file. */
class Interrupted extends Error {}

export function addExportCommand(program: Command, run: Runner): void {
  program
    .command("export")
    .description("write the records of the current version as JSONL, Parquet, Arrow or fvecs")
    .argument("<name>")
    .requiredOption("--to <location>", "a file, a folder (a file for each shard), or s3://BUCKET/KEY")
    .option("--format <format>", `${formats.join(", ")}; by the file's ending unless it is said`, formatOf)
    .addOption(shardOption())
    .option("--snapshot <version>", "a kept version instead of the current one", integer(1, versionMax))
    .action(run(runExport));
}

function formatOf(text: string): OutputFormat {
  const format = formats.find((one) => one === text);
  if (format === undefined) throw invalid(`--format: must be one of ${formats.join(", ")}`);
  return format;
}

async function runExport(session: Session, name: string, options: ExportArguments): Promise<Outcome> {
  const isFolder = options.to.endsWith("/") || (existsSync(options.to) && statSync(options.to).isDirectory());
  const format = options.format ?? formatIn(options.to, isFolder);
  const opened = await openCollection(session, name);
  const manifests = await manifestsOf(opened, options);
  const startMs = performance.now();
  const progress = session.progress("export");
  const all = manifests.reduce(
    (sum, { segments }) => sum + segments.reduce((rows, segment) => rows + segment.rows, 0),
    0,
  );
  let rows = 0;
  const files: { name: string; bytes: number }[] = [];
  const write = async (location: string, of: readonly Manifest[]) => {
    const written = await writeFile(opened, { location, format, manifests: of }, () => {
      rows += 1;
      if (rows % 1_000 === 0) progress.update(rows, all, `${rows} rows`);
      // What is half written is no export.
      if (session.interrupted.aborted) throw new Interrupted();
    });
    files.push(...written);
  };
  try {
    if (isFolder) {
      const folder = options.to.endsWith("/") ? options.to : `${options.to}/`;
      if (!folder.startsWith("s3://")) mkdirSync(folder, { recursive: true });
      const extension = endings.find(([, of]) => of === format)![0];
      for (const manifest of manifests)
        await write(`${folder}${name}-${manifest.shard}${extension}`, [manifest]);
    } else {
      await write(options.to, manifests);
    }
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    const value = { collection: name, interrupted: true, files };
    return {
      value,
      text: "interrupted: nothing is left of the file in hand",
      exitCode: exitCodes.interrupted,
    };
  } finally {
    progress.stop();
  }
  const versions = manifests.map(({ shard, version }) => ({ shard, version }));
  const milliseconds = Math.round(performance.now() - startMs);
  const text = [
    `wrote ${plural(rows, "row")} of ${versions.map(({ shard, version }) => `${name}/${shard} version ${version}`).join(", ")} in ${duration(milliseconds)}`,
    ...files.map((file) => `  ${file.name}  ${bytes(file.bytes)}`),
  ];
  const next = [
    importLine(
      format,
      files.map((file) => file.name),
    ),
  ];
  return { value: { collection: name, rows, versions, files, milliseconds }, text: text.join("\n"), next };
}

function formatIn(location: string, isFolder: boolean): OutputFormat {
  const name = location.replace(/\.(gz|zst)$/, "");
  const found = endings.find(([ending]) => name.endsWith(ending))?.[1];
  if (found !== undefined && !isFolder) return found;
  throw invalid(
    `--to ${location}: say which format, by the file's ending or by --format ${formats.join("|")}`,
  );
}

/** All of one moment, as far as shards have one: each is published by itself. */
async function manifestsOf(opened: Opened, { shard, snapshot }: ExportArguments): Promise<Manifest[]> {
  const { world, collection } = opened;
  if (snapshot !== undefined)
    return [await keptVersion(opened, oneShard(collection, shard), snapshotVersion(snapshot))];
  return Promise.all(
    shardsOf(collection, shard).map(async (one) => (await readHead(world.store, collection, one)).manifest),
  );
}

interface Target {
  readonly location: string;
  readonly format: OutputFormat;
  readonly manifests: readonly Manifest[];
}

/** fvecs hold vectors alone: their records are in a file beside them, line by line. */
async function writeFile(
  { world, collection, deployment }: Opened,
  { location, format, manifests }: Target,
  onRow: () => void,
): Promise<{ name: string; bytes: number }[]> {
  const targets: [Output, RowEncoder][] = [
    [Output.open(location, deployment.bucketFiles), encoders[format](collection.dims)],
  ];
  if (format === "fvecs") {
    const [, name, packed] = /^(.*?)(?:\.fvecs)?(\.gz|\.zst)?$/s.exec(location)!;
    const beside = `${name}.jsonl${packed ?? ""}`;
    targets.push([Output.open(beside, deployment.bucketFiles), new JsonLinesEncoder({ withVectors: false })]);
  }
  try {
    for (const manifest of manifests) {
      await eachLiveRow(world, collection, manifest, async (row: OutputRow) => {
        for (const [output, encoder] of targets) await output.write(await encoder.add(row));
        onRow();
      });
    }
    for (const [output, encoder] of targets) {
      await output.write(await encoder.end());
      await output.end();
    }
  } catch (error) {
    for (const [output] of targets) await output.abandon(error as Error);
    throw error;
  }
  return targets.map(([output]) => ({ name: output.name, bytes: output.bytes }));
}

function importLine(format: OutputFormat, [first, second]: readonly string[]): string {
  const from = format === "fvecs" ? `records:${second} --vectors ${first}` : `${kindOf(format)}:${first}`;
  return `it comes in again by: silt import NAME --from ${from}`;
}

const kindOf = (format: OutputFormat): string =>
  format === "jsonl" ? "records" : format === "arrows" ? "arrow" : format;
