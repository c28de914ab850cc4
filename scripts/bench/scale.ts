/**
 * A collection of several shards: their compactors side by side, then queries over all shards by one reader for each
 * query group, merged by the same fan-out that the query function uses. Every compactor and reader is a process of its
 * own over the local S3; a question and its answers go over pipes, so Lambda's own invocation is not in the times.
 * Compared in turns with one shard's reader alone, and with one reader that holds all shards.
 */
import { systemClock } from "../../lib/aws/system-clock.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { shardOf } from "../../lib/core/model/shard-of.ts";
import { vectorToBase64 } from "../../lib/core/model/vector.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { FanOut } from "../../lib/engine/read/fan-out.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { MemoryLeases } from "../../test/support/memory/leases.ts";
import { MemoryQueue } from "../../test/support/memory/queue.ts";
import { gaussianMixture, recallOf, truthOf, type Vectors } from "./data.ts";
import { interleaved, median, percentile, queryPasses, round, timed } from "./measure.ts";
import { type AskedProcess, type LocalS3, withLocalS3 } from "./reader-client.ts";
import type { CompactAnswer, MemoryAnswer, ScaleQuestion } from "./scale-process.ts";
import type { Cell, Log, Scenario, Table } from "./scenario.ts";
import { fields, recordOf, rowOfId } from "./store.ts";

interface Size {
  /** Over all shards. */
  readonly rows: number;
  readonly dims: number;
  readonly shards: number;
  readonly groups: number;
  readonly queries: number;
}

const collectionName = "bench";
const topK = 10;
const callRows = 4_000;
const waitMs = 600_000;

export const scale: Scenario<Size> = {
  name: "scale",
  about: "many shards: compactors side by side, queries fanned out to query groups",
  full: { rows: 1_000_000, dims: 384, shards: 4, groups: 2, queries: 100 },
  tiny: { rows: 600, dims: 16, shards: 4, groups: 2, queries: 3 },
  async run(size, log) {
    const vectors = gaussianMixture(size);
    return withLocalS3(async (s3) => {
      const produced = await timed(() => produceAll(s3, vectors, size.shards, log));
      const { collection, rowsOfShard } = produced.value;
      const compaction = await compactAll(s3, { rowsOfShard, produceMs: produced.ms }, log);
      const { tables, recall, alone } = await queryAll(s3, collection, vectors, size, log);
      return {
        tables: [compaction, ...tables],
        checks: [
          { target: "recall@10 of the merged answers ≥ 0.95", measured: recall, met: recall >= 0.95 },
          {
            target: "merged answers are those of one reader of all shards",
            measured: alone ? "the same" : "others",
            met: alone,
            counted: true,
          },
        ],
      };
    });
  },
};

async function produceAll({ store }: LocalS3, vectors: Vectors, shards: number, log: Log) {
  log(`producing ${vectors.rows} × ${vectors.dims} into ${shards} shards`);
  const clock = systemClock();
  const world = {
    store,
    clock,
    leases: new MemoryLeases(),
    queue: new MemoryQueue(clock, { visibilityMs: 1_000 }),
  };
  const { collection } = await createCollection(world, {
    name: collectionName,
    dims: vectors.dims,
    metric: "cosine",
    shards,
    fields,
  });
  for (let at = 0; at < vectors.rows; at += callRows) {
    const count = Math.min(callRows, vectors.rows - at);
    const records = Array.from({ length: count }, (_, i) => recordOf(vectors, at + i));
    await produce(world, { collection: collectionName, records });
  }
  const rowsOfShard = new Array<number>(shards).fill(0);
  for (let row = 0; row < vectors.rows; row++) rowsOfShard[shardOf(`record-${row}`, shards)]! += 1;
  return { collection, rowsOfShard };
}

async function compactAll(
  s3: LocalS3,
  { rowsOfShard, produceMs }: { rowsOfShard: readonly number[]; produceMs: number },
  log: Log,
): Promise<Table> {
  log(`${rowsOfShard.length} compactors side by side`);
  const all = await timed(() =>
    Promise.all(
      rowsOfShard.map(async (_, shard) => {
        const compactor = s3.start<ScaleQuestion, CompactAnswer>("scale-process.ts");
        const answer = await compactor.ask({ op: "compact", collection: collectionName, shard });
        await compactor.stop();
        return answer;
      }),
    ),
  );
  const rows = rowsOfShard.reduce((sum, n) => sum + n, 0);
  const processorMs = all.value.reduce((sum, one) => sum + one.processorMs, 0);
  const seconds = (ms: number) => round(ms / 1000);
  const perSecond = (count: number, ms: number) => Math.round((count / ms) * 1000);
  return {
    title: `Import, all compactors side by side (produced before, in ${seconds(produceMs)} s)`,
    columns: ["shard", "rows", "ingest s", "merge s", "rows/s", "processor s", "peak RSS, MB"],
    rows: [
      ...all.value.map(({ ingestMs, mergeMs, processorMs, peakBytes }, shard): Cell[] => [
        shard,
        rowsOfShard[shard]!,
        seconds(ingestMs),
        seconds(mergeMs),
        perSecond(rowsOfShard[shard]!, ingestMs + mergeMs),
        seconds(processorMs),
        Math.round(peakBytes / 1e6),
      ]),
      ["all", rows, "", seconds(all.ms), perSecond(rows, all.ms), seconds(processorMs), ""],
    ],
  };
}

async function queryAll(s3: LocalS3, collection: Collection, vectors: Vectors, size: Size, log: Log) {
  log(`opening ${size.groups} query groups, and one reader of all shards`);
  const newReader = () => s3.start<ScaleQuestion, object>("scale-process.ts");
  const groups = Array.from({ length: size.groups }, newReader);
  const [whole, single] = [newReader(), newReader()];
  // The processes are up before the first question is timed.
  for (const reader of [...groups, whole, single]) await reader.ask({ op: "memory" });
  const fanOut = new FanOut({
    store: s3.store,
    groups: size.groups,
    ask: (group, event) => groups[group]!.ask(event as ScaleQuestion),
  });
  const questions = vectors.queries.map((query) => ({
    collection: collectionName,
    vector: vectorToBase64(query),
    topK,
  }));
  const part = { collectionId: collection.id, shards: [0] };
  const found = { merged: [] as string[][], whole: [] as string[][] };
  const idsOf = (answer: object) => (answer as { results: { id: string }[] }).results.map(({ id }) => id);
  const cases = {
    single: (turn: number) => single.ask({ op: "query", ...questions[turn]!, part }),
    merged: async (turn: number) => {
      found.merged[turn] = idsOf(await fanOut.query(questions[turn]!, waitMs));
    },
    whole: async (turn: number) => {
      found.whole[turn] = idsOf(await whole.ask({ op: "query", ...questions[turn]! }));
    },
  };
  const first = {
    single: await timed(() => cases.single(0)),
    merged: await timed(() => cases.merged(0)),
    whole: await timed(() => cases.whole(0)),
  };
  log("queries");
  const samples = await interleaved(cases, { turns: questions.length, warmups: 3, passes: queryPasses });
  const timesOf = (name: keyof typeof cases): Cell[] => [
    round(median(samples[name])),
    round(percentile(samples[name], 0.95)),
    round(first[name].ms),
  ];
  const memory = await memoryOf([
    ...groups.map((reader, group) => [`group ${group}`, reader] as const),
    ["all shards", whole],
  ]);
  for (const reader of [...groups, whole, single]) await reader.stop();
  log("exact answers");
  const truth = truthOf(vectors, "cosine", topK);
  const rowsOf = (lists: readonly string[][]) => lists.map((ids) => ids.map(rowOfId));
  return {
    recall: round(recallOf(rowsOf(found.merged), truth), 4),
    alone: found.merged.every((ids, query) => ids.join() === found.whole[query]!.join()),
    tables: [
      {
        title: `Queries over ${size.rows} × ${size.dims} in ${size.shards} shards, topK ${topK}, ms`,
        columns: ["asked", "p50", "p95", "first, nothing cached"],
        rows: [
          ["one shard, by one reader", ...timesOf("single")],
          [`all shards, by ${size.groups} query groups, merged`, ...timesOf("merged")],
          ["all shards, by one reader", ...timesOf("whole")],
        ],
      },
      memory,
    ] satisfies Table[],
  };
}

async function memoryOf(
  readers: readonly (readonly [string, AskedProcess<ScaleQuestion, object>])[],
): Promise<Table> {
  const rows: Cell[][] = [];
  for (const [name, reader] of readers) {
    const { residentBytes, indexBytes } = (await reader.ask({ op: "memory" })) as MemoryAnswer;
    rows.push([name, Math.round(indexBytes / 1e6), Math.round(residentBytes / 1e6)]);
  }
  return { title: "Memory of the readers, MB", columns: ["reader", "index files", "RSS"], rows };
}
