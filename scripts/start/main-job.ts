/**
 * The main job on real input: the project's own documentation, cut into passages by heading, embedded by the built-in
 * lexical embedder, sent through the producer function, ingested by the scheduled compactor, and asked three questions
 * through the query function.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { derivedId } from "../../lib/core/model/derived-id.ts";
import { vectorToBase64 } from "../../lib/core/model/vector.ts";
import { lexicalEmbedder } from "../../lib/embedding/lexical-embedder.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import type { World } from "../../lib/engine/ports.ts";
import { markdownPassages, type Passage } from "./markdown-passages.ts";

export const collectionName = "siltstone-docs";
const dims = 384;
/** Records of one producer call: a few hundred KB of JSON. */
const recordsPerCall = 100;

export const questions = [
  "When is a write durable?",
  "Why does a crash leave garbage and never a wrong state?",
  "How do I deploy it to my own AWS account?",
];

/** Invokes a function and gives its answer; throws what it throws. */
export type Invoke = (output: string, event: object) => Promise<Record<string, unknown>>;

export interface DocumentRecord {
  readonly id: string;
  readonly vector: string;
  readonly document: string;
  readonly metadata: { readonly file: string; readonly heading: string };
}

const pictures = /^```mermaid\n[\s\S]*?^```\n/gm;

/** README.md and docs/ (but for measurements, and pictures drawn in text) as records. Ids are derived from file and place, so that sending them again adds nothing. */
export async function documentRecords(root: string): Promise<DocumentRecord[]> {
  const docs = readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((file) => !file.startsWith(`lab${sep}`))
    .map((file) => join(root, "docs", file));
  const files = [join(root, "README.md"), ...docs.sort()].filter((file) => file.endsWith(".md"));
  const pieces = files.flatMap((path) => {
    const file = relative(root, path);
    const text = readFileSync(path, "utf8").replaceAll(pictures, "");
    return markdownPassages(text).map((passage, chunk) => pieceOf(file, passage, chunk));
  });
  const texts = pieces.map(({ document, metadata }) => `${metadata.heading}\n${document}`);
  const { vectors } = await lexicalEmbedder(dims).embed(texts, "document");
  return pieces.map((piece, i) => ({ ...piece, vector: vectorToBase64(vectors[i]!) }));
}

const pieceOf = (
  file: string,
  { headings, text }: Passage,
  chunk: number,
): Omit<DocumentRecord, "vector"> => ({
  id: derivedId({ tenant: "local", source: "docs", sourceId: file, chunk }),
  document: text,
  metadata: { file, heading: headings.join(" > ") },
});

export async function createDocumentCollection(world: World): Promise<boolean> {
  const fields = { file: "string", heading: "string" } as const;
  return (
    await createCollection(world, {
      name: collectionName,
      dims,
      metric: "cosine",
      embedder: "lexical",
      fields,
    })
  ).created;
}

/** Sends the records and returns the tokens of the writes. */
export async function sendRecords(invoke: Invoke, records: readonly DocumentRecord[]): Promise<string[]> {
  const tokens: string[] = [];
  for (let start = 0; start < records.length; start += recordsPerCall) {
    const part = records.slice(start, start + recordsPerCall);
    const answer = await invoke("ProducerFunctionName", { collection: collectionName, records: part });
    if (answer.written !== part.length)
      throw new Error(`the producer wrote ${answer.written} of ${part.length} records`);
    tokens.push(answer.token as string);
  }
  return tokens;
}

/** Waits until the compactor has ingested everything that was sent; says how far it is. */
export async function waitForCompactor(invoke: Invoke, report: (pending: number) => void): Promise<number> {
  const waitMs = 500;
  const waitsMax = 240;
  for (let wait = 0; wait < waitsMax; wait++) {
    const stats = await invoke("QueryFunctionName", { op: "stats", collection: collectionName }).catch(
      notYet,
    );
    if (stats !== null && stats.pendingDeltas === 0) return stats.snapshotVersion as number;
    report((stats?.pendingDeltas as number | undefined) ?? 0);
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
  throw new Error(
    `the compactor did not ingest everything in ${(waitMs * waitsMax) / 1000} s; its log is in .siltstone/logs/`,
  );
}

/** Before the first compaction there is no snapshot to have statistics about. */
function notYet(error: unknown): null {
  if ((error as Error).message.includes("no snapshot yet")) return null;
  throw error;
}

export interface Answer {
  readonly question: string;
  readonly milliseconds: number;
  readonly snapshotVersion: number;
  readonly results: readonly {
    readonly score: number;
    readonly document: string;
    readonly metadata: DocumentRecord["metadata"];
  }[];
}

export async function ask(invoke: Invoke, question: string): Promise<Answer> {
  const answer = await invoke("QueryFunctionName", { collection: collectionName, text: question, topK: 3 });
  const { results, milliseconds, snapshotVersion } = answer as unknown as Answer;
  if (results.length === 0) throw new Error(`no passage answers ${JSON.stringify(question)}`);
  return { question, results, milliseconds, snapshotVersion };
}
