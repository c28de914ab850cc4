/** silt export-chroma: a directory of ChromaDB becomes an exported snapshot, for the compactor to take over (lib/import/export-snapshot.ts). */
import type { Command } from "commander";
import { checkExportedPath, exportedFolder } from "../../lib/core/format/exported-snapshot.ts";
import { collectionKey } from "../../lib/core/format/keys.ts";
import { checkCollectionName } from "../../lib/core/model/collection.ts";
import { invalid, isKind } from "../../lib/core/model/errors.ts";
import { exportSnapshot } from "../../lib/import/export-snapshot.ts";
import type { BucketFiles } from "../../lib/import/inputs.ts";
import { ChromaFolder } from "../../lib/import/sources/chroma-folder.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { bytes, duration, plural } from "./text.ts";

interface ExportChromaArguments {
  readonly sourcePath: string;
  readonly bucket?: string;
  readonly prefix: string;
  readonly collection?: string;
  readonly incomplete?: boolean;
}

export function addExportChromaCommand(program: Command, run: Runner): void {
  program
    .command("export-chroma")
    .description("write a directory of ChromaDB into the bucket, for the compactor to take over")
    .requiredOption(
      "--source-path <dir>",
      "the persistent directory; #COLLECTION behind it where there are several",
    )
    .option("--bucket <name>", "where it goes (default: the store's bucket)")
    .requiredOption("--prefix <prefix>", `below ${exportedFolder}/, such as snapshot/migration/`)
    .option("--collection <name>", "the collection that takes the records (default: as Chroma calls it)")
    .option(
      "--incomplete",
      "of a damaged directory, export what is whole; the rest is rejected when it is taken over",
    )
    .action(run(exportChroma));
}

async function exportChroma(session: Session, options: ExportChromaArguments): Promise<Outcome> {
  const { sourcePath, prefix, incomplete = false } = options;
  const path = checkExportedPath("--prefix", prefix.endsWith("/") ? prefix : `${prefix}/`);
  const at = sourcePath.indexOf("#");
  const [folder, name] = at < 0 ? [sourcePath, null] : [sourcePath.slice(0, at), sourcePath.slice(at + 1)];
  const source = ChromaFolder.open(folder, name, { incomplete });
  const progress = session.progress("export");
  try {
    const collection = checkCollectionName(options.collection ?? source.name);
    const { bucketFiles, place } = await session.open();
    const bucket = options.bucket ?? place.bucket;
    const read = (key: string) => wholeFile(bucketFiles, bucket, key);
    // What lies below a collection's name is deleted with it.
    if ((await read(collectionKey(exportedFolder))) !== null)
      throw invalid(
        `--prefix: ${bucket} has a collection ${exportedFolder}; use \`silt import --from chroma:…\``,
      );
    const { dims, metric } = await source.describe();
    const startMs = performance.now();
    const { complete, rows, parts } = await exportSnapshot(source, {
      ...{ path, collection, read, interrupted: session.interrupted },
      create: (key, body) => bucketFiles.create(bucket, key, body),
      onProgress: (done, exported) => progress.update(done?.done ?? 0, done?.all ?? 0, `${exported} rows`),
    });
    const milliseconds = Math.round(performance.now() - startMs);
    const size = parts.reduce((sum, part) => sum + part.bytes, 0);
    const value = {
      collection,
      bucket,
      prefix: path,
      dims,
      metric,
      rows,
      parts: parts.length,
      bytes: size,
      milliseconds,
    };
    if (!complete)
      return {
        value: { ...value, interrupted: true },
        text: `interrupted after ${plural(rows, "row")}: the same command begins again, and writes no part twice`,
        exitCode: exitCodes.interrupted,
      };
    return {
      value,
      text: `exported ${plural(rows, "row")} in ${plural(parts.length, "part")} (${bytes(size)}) to s3://${bucket}/${path} in ${duration(milliseconds)}`,
      next: [
        `create the collection, if it is not there: silt collection create ${collection} --dims ${dims} --metric ${metric}`,
        `take it over: silt compact --snapshot-path ${path}`,
      ],
    };
  } finally {
    progress.stop();
    await source.close();
  }
}

async function wholeFile(files: BucketFiles, bucket: string, key: string): Promise<Buffer | null> {
  try {
    for await (const file of files.list(bucket, key))
      return file.key === key ? await files.read(file, { start: 0, limit: file.bytes }) : null;
  } catch (error) {
    if (!isKind(error, "notFound")) throw error;
    throw invalid(`--bucket: there is no bucket ${bucket}`);
  }
  return null;
}
