/**
 * The main job on real input: the project's own documentation, saved as items, a text for each file, through the producer function;
 * cut into chunks and embedded by the embedder function through a provider over HTTP; ingested by the scheduled compactor, and asked
 * three questions by text through the query function.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { completeProfile } from "../../lib/core/model/embedding-profile.ts";
import { isKind } from "../../lib/core/model/errors.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import type { World } from "../../lib/engine/ports.ts";
import type { JobTable } from "../../lib/jobs/ports.ts";

export const collectionName = "siltstone-docs";
export const dims = 384;
/** As the provider on this machine is called by collections. */
const provider = "tei";
const model = "fake-384";
/** A chunk's bytes. */
const inputBytes = 1_500;
/** Texts of one producer call, in bytes: a Lambda takes 6 MB of JSON. */
const callBytesMax = 1_000_000;

export const questions = [
  "When is a write durable?",
  "Why does a crash leave garbage and never a wrong state?",
  "How do I deploy it to my own AWS account?",
];

/** What the stage is told of the provider that listens there. */
export const providersAt = (url: string): object => ({
  [provider]: { endpoint: url, models: [model], requestsPerMinute: 10_000, tokensPerMinute: 100_000_000 },
});

/** Invokes a function and gives its answer; throws what it throws. */
export type Invoke = (output: string, event: object) => Promise<Record<string, unknown>>;

export interface DocumentItem {
  /** The file: saving it again replaces it. */
  readonly id: string;
  readonly text: string;
  readonly metadata: { readonly file: string };
}

const pictures = /^```mermaid\n[\s\S]*?^```\n/gm;

/** README.md and docs/, but for measurements, and pictures drawn in text. */
export function documentItems(root: string): DocumentItem[] {
  const docs = readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((file) => !file.startsWith(`lab${sep}`))
    .map((file) => join(root, "docs", file));
  const files = [join(root, "README.md"), ...docs.sort()].filter((file) => file.endsWith(".md"));
  return files.map((path) => {
    const file = relative(root, path);
    return { id: file, text: readFileSync(path, "utf8").replaceAll(pictures, ""), metadata: { file } };
  });
}

export async function createDocumentCollection(world: World): Promise<{ id: string; created: boolean }> {
  try {
    const { collection, created } = await createCollection(world, {
      ...{ name: collectionName, dims, metric: "cosine" },
      embedder: completeProfile({ provider, model, inputTokensMax: inputBytes }),
      fields: { file: "string", item: "string" },
    });
    return { id: collection.id, created };
  } catch (error) {
    if (!isKind(error, "conflict")) throw error;
    throw new Error(`${collectionName} was made by an older version; \`npm start -- --fresh\` starts over`);
  }
}

/** Saves the items, which answers at once; how many are new or changed. */
export async function saveItems(invoke: Invoke, items: readonly DocumentItem[]): Promise<number> {
  let saved = 0;
  let part: DocumentItem[] = [];
  let bytes = 0;
  const send = async () => {
    const answer = await invoke("ProducerFunctionName", { collection: collectionName, items: part });
    saved += (answer.items as { outcome: string }[]).filter(({ outcome }) => outcome === "saved").length;
    part = [];
    bytes = 0;
  };
  for (const item of items) {
    part.push(item);
    bytes += Buffer.byteLength(item.text);
    if (bytes > callBytesMax) await send();
  }
  if (part.length > 0) await send();
  return saved;
}

const waitMs = 250;
const waitsMax = 480;
const pause = () => new Promise((resolve) => setTimeout(resolve, waitMs));

/** Waits until every item's job is done; how many chunks they have. */
export async function waitForEmbedder(
  table: JobTable,
  collectionId: string,
  items: readonly DocumentItem[],
): Promise<number> {
  let left = items.map(({ id }) => id);
  let chunks = 0;
  for (let wait = 0; wait < waitsMax; wait++) {
    const found = await Promise.all(left.map((item) => table.read({ collectionId, item })));
    for (const item of found) {
      if (item?.status === "failed")
        throw new Error(`${item.item} was not embedded: ${item.error?.kind}: ${item.error?.message}`);
      if (item?.status === "completed") chunks += item.chunks ?? 0;
    }
    left = left.filter((_, i) => found[i]?.status !== "completed");
    if (left.length === 0) return chunks;
    await pause();
  }
  throw new Error(
    `${left.length} items were not embedded in ${(waitMs * waitsMax) / 1000} s; the embedder's log is in .siltstone/logs/`,
  );
}

/** Waits until the compactor has ingested everything that was written; says how far it is. */
export async function waitForCompactor(invoke: Invoke, report: (pending: number) => void): Promise<number> {
  for (let wait = 0; wait < waitsMax; wait++) {
    const stats = await invoke("QueryFunctionName", { op: "stats", collection: collectionName }).catch(
      notYet,
    );
    if (stats !== null && stats.pendingDeltas === 0) return stats.snapshotVersion as number;
    if (wait % 2 === 0) report((stats?.pendingDeltas as number | undefined) ?? 0);
    await pause();
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
    readonly metadata: { readonly file: string };
  }[];
}

export async function ask(invoke: Invoke, question: string): Promise<Answer> {
  const answer = await invoke("QueryFunctionName", { collection: collectionName, text: question, topK: 3 });
  const { results, milliseconds, snapshotVersion } = answer as unknown as Answer;
  if (results.length === 0) throw new Error(`no chunk answers ${JSON.stringify(question)}`);
  return { question, results, milliseconds, snapshotVersion };
}

/** The heading that a chunk begins with, if it has one: chunks are cut at headings first. */
export const headingOf = (document: string): string | null =>
  /^#{1,6}[ \t]+([^\n]*)/
    .exec(document.trimStart())?.[1]
    ?.replaceAll(/[`*]|#+$/g, "")
    .trim() ?? null;
