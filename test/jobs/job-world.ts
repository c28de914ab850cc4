/** Jobs over a world in memory: vectors follow from the text, and what a strong read would see is the fold of all deltas. */
import { decodeDelta } from "../../lib/core/format/delta.ts";
import { fold } from "../../lib/core/model/fold.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import type { Metadata, Row } from "../../lib/core/model/row.ts";
import type { EmbedDocuments } from "../../lib/embedding/document-embedder.ts";
import { lexicalVector } from "../../lib/embedding/lexical-embedder.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { watchSettings } from "../../lib/jobs/control.ts";
import type { ReadChunks } from "../../lib/jobs/embed-all/judge.ts";
import { standOf } from "../../lib/jobs/in-call.ts";
import { saveItems } from "../../lib/jobs/save.ts";
import { decodeWake } from "../../lib/jobs/wake.ts";
import { type WorkReport, type WorkWorld, work } from "../../lib/jobs/work.ts";
import { MemoryJobTable, MemoryWakeQueues } from "../support/memory/job-table.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";

export const dims = 4;
export interface JobTestWorld extends WorkWorld {
  readonly memory: MemoryWorld;
  readonly table: MemoryJobTable;
  readonly wake: MemoryWakeQueues;
  /** Texts that were embedded, in their order. */
  readonly embedded: string[];
  /** In the place of the provider, where it is set. */
  provider: EmbedDocuments | null;
}

export const vectorOf = (text: string): Float32Array => lexicalVector(`a ${text}`, dims);

export async function jobWorld(
  options: { seed?: number; shards?: number; ordering?: "source" } = {},
): Promise<JobTestWorld> {
  const { seed = 1, shards = 1, ordering = "arrival" } = options;
  const memory = memoryWorld({ seed });
  const table = new MemoryJobTable(memory.clock);
  const world: JobTestWorld = {
    ...{ memory, table, wake: new MemoryWakeQueues(), embedded: [], provider: null },
    embedder: null,
    ...{ store: memory.store, queue: memory.queue, clock: memory.clock, random: () => 0.5 },
    settings: watchSettings(table, memory.clock),
    async embed(collection, texts, given) {
      if (world.provider !== null) return world.provider(collection, texts, given);
      world.embedded.push(...texts);
      return { outcomes: texts.map(vectorOf), tokens: texts.length };
    },
  };
  await createCollection(memory, {
    name: "notes",
    dims,
    metric: "cosine",
    embedder: "lexical",
    shards,
    ordering,
  });
  return world;
}

/** Saves are made in the call, by an embedder that has so long. */
export function withEmbedder(world: JobTestWorld): JobTestWorld {
  return {
    ...world,
    embedder: {
      async embed(keys) {
        const untilMs = Number.MAX_SAFE_INTEGER;
        await work(world, keys, { owner: `call-${++runs}`, untilMs, inCall: true });
        return standOf(world, keys);
      },
    },
  };
}

/** The metadata of the records of those ids, as a strong read sees them. */
export const readChunks =
  (world: Pick<JobTestWorld, "memory">): ReadChunks =>
  async (_, ids) =>
    new Map(
      fold(rowsOf(world)).kept.flatMap(({ id, vector, metadata }) =>
        vector === null || !ids.includes(id) ? [] : [[id, JSON.parse(metadata!) as Metadata]],
      ),
    );

export const save = (world: JobTestWorld, ...items: object[]) =>
  saveItems(world, { collection: "notes", items });

let runs = 0;
/** Works on all messages that there are. */
export async function workAll(world: JobTestWorld, untilMs = Number.MAX_SAFE_INTEGER): Promise<WorkReport> {
  const keys = world.wake.take().map((body) => {
    const key = decodeWake(body);
    if ("reason" in key) throw new Error(key.reason);
    return key;
  });
  return work(world, keys, { owner: `run-${++runs}`, untilMs });
}

/** Every row that lies in the collection's backlog. */
export function rowsOf({ memory }: Pick<JobTestWorld, "memory">): Row[] {
  return memory.store
    .keys("notes/")
    .filter((key) => key.includes("/deltas/"))
    .flatMap(
      (key) => decodeDelta(memory.store.bytes(key)!, { key, delta: deltaId(key.slice(-32, -6)) }).rows,
    );
}

/** What a strong read sees: the documents of each item's chunks, in their order. */
export function visible(world: Pick<JobTestWorld, "memory">): Record<string, string[]> {
  const chunks = fold(rowsOf(world)).kept.flatMap(({ vector, document, metadata }) => {
    if (vector === null) return [];
    const { item, chunk } = JSON.parse(metadata!) as { item: string; chunk: number };
    return [{ item, chunk, document: document! }];
  });
  return Object.fromEntries(
    [...Map.groupBy(chunks, ({ item }) => item)].map(([item, all]) => [
      item,
      all.sort((a, b) => a.chunk - b.chunk).map(({ document }) => document),
    ]),
  );
}

/** A text of so many chunks, each of which says what it is of. */
export const textOf = (word: string, chunks: number): string =>
  Array.from(
    { length: chunks },
    (_, i) => `# ${word} ${i}\n\n${`${word}${i} `.repeat(Math.ceil(1_200 / (word.length + 2)))}`,
  ).join("\n\n");
