/**
 * An importing process of its own, with the modules of the command line loaded, over HTTP to an S3: asked by JSON lines on stdin, it
 * makes a file, imports it, or produces the same rows out of memory, and prints what that took, one JSON line each.
 */

import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { createInterface } from "node:readline";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { readCollection } from "../../lib/engine/shard/head.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { importRows } from "../../lib/import/import-rows.ts";
import { openSource } from "../../lib/import/open-source.ts";
import { encoders } from "../../lib/import/outputs/encoders.ts";
import { RejectsFile } from "../../lib/import/rejects-file.ts";
import { ResumeFile } from "../../lib/import/resume-file.ts";
import "../cli/program.ts";
import { systemClock } from "../../lib/aws/system-clock.ts";
import { memoryWorld } from "../../test/support/memory/world.ts";
import { peakBytes } from "./peak-memory.ts";
import { servedWorld } from "./served-world.ts";

export type Question = { readonly path: string; readonly rows: number; readonly dims: number } & (
  | { readonly op: "make"; readonly format: "jsonl" | "parquet" }
  | { readonly op: "produce" }
  | { readonly op: "import"; readonly kind: "records" | "parquet" }
);
export interface Taken {
  readonly rows: number;
  readonly ms: number;
  readonly cpuMs: number;
  readonly peakBytes: number;
}

/** Rows of one call, as the import has them. */
const callRows = 2_000;
const name = "bench";
const { leases, queue } = memoryWorld();
const world = { ...servedWorld(), leases, queue, clock: systemClock() };

/** Cheap, and never the same twice. */
function record(n: number, dims: number) {
  const vector = Float32Array.from({ length: dims }, (_, i) => Math.fround(Math.sin(n * 0.37 + i * 1.7)));
  const document = `Row ${n}: ${"what somebody wrote about something, as it is found in documents. ".repeat(4)}`;
  return { id: `row-${n}`, vector, document, metadata: { kind: n % 2 ? "odd" : "even", n, ok: n % 3 === 0 } };
}

async function make({ path, rows, dims }: Question, format: "jsonl" | "parquet"): Promise<number> {
  const encoder = encoders[format](dims);
  const file = createWriteStream(path);
  const write = async (chunks: readonly Uint8Array[]) => {
    for (const chunk of chunks) if (!file.write(chunk)) await once(file, "drain");
  };
  for (let n = 0; n < rows; n++) {
    const { metadata, ...row } = record(n, dims);
    await write(await encoder.add({ ...row, version: 0, metadata: JSON.stringify(metadata) }));
  }
  await write(await encoder.end());
  file.end();
  await once(file, "finish");
  return rows;
}

async function produced({ rows, dims }: Question): Promise<number> {
  let written = 0;
  for (let start = 0; start < rows; start += callRows) {
    const count = Math.min(callRows, rows - start);
    const records = Array.from({ length: count }, (_, i) => record(start + i, dims));
    written += (await produce(world, { collection: name, records })).written;
  }
  return written;
}

async function imported({ path }: Question, kind: "records" | "parquet"): Promise<number> {
  const never = () => Promise.reject(new Error("not here"));
  const source = await openSource(
    {
      stdin: process.stdin,
      environment: {},
      incomplete: false,
      s3Vectors: never,
      lanceDb: never,
      bucketFiles: never,
    },
    `${kind}:${path}`,
  );
  const collection = await readCollection(world.store, name);
  const shape = {
    ...{ fields: source.fields, renamed: new Map(), only: null, nested: "reject" as const, reEmbed: false },
    ...{ ids: new Map(), newIds: new Set<string>(), deriveIds: null },
  };
  const { written } = await importRows(
    world,
    collection,
    { source, shape, namespace: null, limit: null },
    {
      rejects: new RejectsFile(`${path}.rejects.jsonl`),
      resumeFile: new ResumeFile(`${path}.import.json`, { of: "bench" }),
      embed: null,
      onProgress: () => {},
      interrupted: new AbortController().signal,
    },
  );
  await source.close();
  return written;
}

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line) as Question;
  await createCollection(world, { name, dims: question.dims, metric: "cosine" });
  const start = performance.now();
  const before = process.cpuUsage();
  const rows =
    question.op === "make"
      ? await make(question, question.format)
      : question.op === "produce"
        ? await produced(question)
        : await imported(question, question.kind);
  const { user, system } = process.cpuUsage(before);
  const taken: Taken = {
    rows,
    ms: performance.now() - start,
    cpuMs: (user + system) / 1000,
    peakBytes: peakBytes(),
  };
  process.stdout.write(`${JSON.stringify(taken)}\n`);
}
