/** KIND:LOCATION becomes an import source: a new one is a line in `kinds`. */
import { invalid } from "../core/model/errors.ts";
import { type InputFile, type Inputs, openInputs } from "./inputs.ts";
import type { ImportSource } from "./source.ts";
import { ArrowFiles } from "./sources/arrow.ts";
import { ChromaFolder } from "./sources/chroma-folder.ts";
import { ChromaServer } from "./sources/chroma-server.ts";
import { CsvFiles } from "./sources/csv.ts";
import { FixedRows } from "./sources/fixed-rows.ts";
import { JsonLines, recordJsonLines } from "./sources/jsonl.ts";
import { type LanceDb, LanceRows } from "./sources/lancedb.ts";
import { ParquetFiles } from "./sources/parquet.ts";
import { PgFile } from "./sources/pgvector-file.ts";
import { PgTable } from "./sources/pgvector-table.ts";
import { PineconeIndex, pineconeFiles } from "./sources/pinecone.ts";
import { QdrantCollection } from "./sources/qdrant.ts";
import { type S3Vectors, S3VectorsIndex } from "./sources/s3-vectors.ts";
import { VectorizeIndex, vectorizeLines } from "./sources/vectorize.ts";

/** What sources may need of where the command runs. */
export interface SourceWorld extends Inputs {
  /** Where keys and passwords come from. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** What is whole will do, where a source is damaged. */
  readonly incomplete: boolean;
  readonly s3Vectors: () => Promise<S3Vectors>;
  /** Throws `invalid` where it is not installed. */
  readonly lanceDb: () => Promise<LanceDb>;
}

interface Kind {
  readonly location: string;
  open(world: SourceWorld, location: string): Promise<ImportSource>;
}

const ofFiles = (
  extensions: readonly string[],
  open: (files: readonly InputFile[]) => ImportSource | Promise<ImportSource>,
): Kind => ({
  location: `a file, a folder, s3://BUCKET/PREFIX, or - (${extensions.join(", ")})`,
  async open(world, location) {
    const files = await openInputs(world, location, extensions);
    try {
      return await open(files);
    } catch (error) {
      for (const file of files) await file.close();
      throw error;
    }
  },
});

const isUrl = (location: string): boolean => /^https?:\/\//.test(location);

const chroma: Kind = {
  location: "a persistent directory, or http://HOST:PORT; #COLLECTION behind it where there are several",
  async open({ environment, incomplete }, location) {
    if (isUrl(location)) return new ChromaServer(location, environment);
    const at = location.indexOf("#");
    const [folder, name] = at < 0 ? [location, null] : [location.slice(0, at), location.slice(at + 1)];
    return ChromaFolder.open(folder, name, { incomplete });
  },
};

const pgvector: Kind = {
  location:
    "postgres://USER@HOST/DATABASE?table=NAME, a plain pg_dump file, or a COPY file with ?columns=NAME:TYPE,…",
  async open(world, location) {
    if (/^postgres(ql)?:/.test(location)) return PgTable.open(location);
    const at = location.indexOf("?");
    const query = new URLSearchParams(at < 0 ? "" : location.slice(at + 1));
    const files = await openInputs(world, at < 0 ? location : location.slice(0, at), [".sql", ".copy"]);
    const [file] = files;
    if (file === undefined || files.length > 1) throw invalid(`${location}: give one file`);
    return PgFile.open(file, { columns: query.get("columns"), table: query.get("table") });
  },
};

const qdrant: Kind = {
  location: "http://HOST:6333/collections/NAME, ?vector=NAME and ?filter=JSON behind it",
  open: async ({ environment }, location) => new QdrantCollection(location, environment),
};

const ndjson = [".ndjson", ".jsonl"];
const vectorize: Kind = {
  location:
    "an NDJSON file, or https://api.cloudflare.com/client/v4/accounts/ACCOUNT/vectorize/v2/indexes/NAME",
  open: async (world, location) =>
    isUrl(location)
      ? new VectorizeIndex(location, world.environment)
      : vectorizeLines(await openInputs(world, location, ndjson)),
};

const s3vectors: Kind = {
  location: "BUCKET/INDEX",
  open: async ({ s3Vectors }, location) => new S3VectorsIndex(await s3Vectors(), location),
};

const lancedb: Kind = {
  location: "a folder of LanceDB, or s3://BUCKET/PREFIX; #TABLE behind it where there are several",
  open: async ({ lanceDb }, location) => LanceRows.open(await lanceDb(), location),
};

const pinecone: Kind = {
  location: "a folder (or s3://) with a folder of Parquet files for each namespace, or https://INDEX-HOST",
  open: async (world, location) =>
    isUrl(location)
      ? new PineconeIndex(location, world.environment)
      : pineconeFiles(await openInputs(world, location, [".parquet"]), location),
};

export const kinds: Readonly<Record<string, Kind>> = {
  jsonl: ofFiles([".jsonl", ".ndjson"], (files) => new JsonLines(files)),
  records: ofFiles([".jsonl", ".ndjson"], (files) => recordJsonLines(files)),
  csv: ofFiles([".csv", ".tsv"], (files) => new CsvFiles(files)),
  fvecs: ofFiles([".fvecs"], (files) => new FixedRows(files, "fvecs")),
  npy: ofFiles([".npy"], (files) => new FixedRows(files, "npy")),
  parquet: ofFiles([".parquet"], (files) => ParquetFiles.open(files)),
  arrow: ofFiles([".arrow", ".arrows", ".feather"], ArrowFiles.open),
  chroma,
  pgvector,
  qdrant,
  vectorize,
  s3vectors,
  pinecone,
  lancedb,
};

export async function openSource(world: SourceWorld, from: string): Promise<ImportSource> {
  const colon = from.indexOf(":");
  const [kind, location] = [from.slice(0, colon), from.slice(colon + 1)];
  if (colon > 0 && location !== "" && Object.hasOwn(kinds, kind)) return kinds[kind]!.open(world, location);
  const known = Object.keys(kinds).join(", ");
  throw invalid(
    `--from: say KIND:LOCATION, where the kind is one of ${known}; got ${JSON.stringify(from.slice(0, 80))}`,
  );
}
