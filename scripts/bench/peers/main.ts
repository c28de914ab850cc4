/**
 * `npm run bench:peers -- [--rows N] [--peers NAME,…] [--json]`: Siltstone beside what runs here, on the same rows, each over the path that its
 * users take: in process beside in process, HTTP beside HTTP. Each peer builds by its own defaults in a process of its own, and is asked
 * by its default effort, and at equal recall: by the efforts around the ones that reach it on other queries, between which is interpolated
 * (equal-recall.ts). All answer in turns, warm, and every sample counts.
 */
import { lstatSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { withFolder } from "../../../lib/segment/files.ts";
import { gaussianMixture, truthOf } from "../data.ts";
import { median, percentile, round } from "../measure.ts";
import { bucketOf } from "../store.ts";
import { type AtRecall, atRecall, type Point, settingsAround } from "./equal-recall.ts";
import type { Peer } from "./peer.ts";
import type { PeerSetup } from "./peer-process.ts";
import { peers } from "./peers.ts";
import { type PeerProcess, startPeer } from "./running-peer.ts";

const { values } = parseArgs({
  options: {
    rows: { type: "string", default: "100000" },
    peers: { type: "string", default: "" },
    json: { type: "boolean", default: false },
  },
});
/** Those that are measured; behind them come those by which a peer is tuned. */
const measured = 160;
const tuning = 80;
const size = { rows: Number(values.rows), dims: 384, queries: measured + tuning };
const topK = 10;
const recalls = [0.95, 0.99] as const;
const rounds = 2;
/** Filters of a share of the rows; "fresh": of every query another one. */
const filters = [
  { name: "10 %", bucketBelow: 1000, fresh: false },
  { name: "10 %, fresh", bucketBelow: 1000, fresh: true },
  { name: "1 %", bucketBelow: 100, fresh: false },
  { name: "1 %, fresh", bucketBelow: 100, fresh: true },
] as const;

interface Line {
  readonly peer: Peer;
  readonly process: PeerProcess;
  readonly built: readonly [buildSeconds: number, openMs: number, diskMegabytes: number];
  readonly efforts: readonly number[];
}
interface Measured {
  readonly built: Line["built"];
  rssMegabytes: number;
  readonly samples: Map<number, { ms: number[]; recalls: number[] }>;
  readonly filtered: {
    readonly name: string;
    readonly ms: number;
    readonly p99: number;
    readonly recall: number;
  }[];
}

const vectors = gaussianMixture(size);
const allRows = Uint32Array.from({ length: size.rows }, (_, row) => row);
const truthBelow = (below: number | null) =>
  truthOf(
    vectors,
    "cosine",
    topK,
    below === null ? undefined : allRows.filter((row) => bucketOf(row) < below),
  );
const truth = truthBelow(null);
const chosen =
  values.peers === "" ? peers : peers.filter(({ name }) => values.peers.split(",").includes(name));

await withFolder(async (root) => {
  const lines: Line[] = [];
  const skipped: Record<string, string> = {};
  for (const [i, peer] of chosen.entries()) {
    try {
      lines.push(await prepare(peer, join(root, String(i))));
    } catch (error) {
      skipped[peer.name] = (error as Error).message;
    }
  }
  const results = await measure(lines);
  for (const { process: running } of lines) await running.stop();
  const shown = [...results].map(([{ peer }, result]) => summary(peer, result));
  if (values.json) console.log(JSON.stringify({ size, results: shown, skipped }, null, 2));
  else show(shown, skipped);
});

async function prepare(peer: Peer, folder: string): Promise<Line> {
  mkdirSync(folder);
  const setup: PeerSetup = { peer: peer.name, folder, ...size };
  process.stderr.write(`${peer.name}: building\n`);
  const builder = startPeer(setup, "build");
  const built = await builder.ask({ op: "build" });
  await builder.stop();
  const running = startPeer(setup, "queries-only");
  const opened = await running.ask({ op: "open", effort: peer.effortDefault });
  const megabytes = Math.round(bytesIn(folder) / 1e6);
  const times = [round(built.ms[0]! / 1000), Math.round(opened.ms[0]!), megabytes] as const;
  return { peer, process: running, built: times, efforts: await effortsOf(peer, running) };
}

/** Its default, and those around the recalls, by queries that are not measured. */
async function effortsOf(peer: Peer, running: PeerProcess): Promise<number[]> {
  const points: { effort: number; recall: number }[] = [];
  for (const effort of peer.efforts) {
    await running.ask({ op: "tune", effort });
    const asked = { start: measured, limit: size.queries, bucketBelow: null, truth: truth.slice(measured) };
    const { recall } = await running.ask({ op: "queries", ...asked });
    points.push({ effort, recall });
    // One more than is needed, for the other side of the last.
    if (points.at(-2) !== undefined && points.at(-2)!.recall >= recalls.at(-1)!) break;
  }
  const around = recalls.flatMap((recall) => settingsAround(points, recall));
  return [...new Set([peer.effortDefault, ...around])].sort((a, b) => a - b);
}

async function measure(lines: readonly Line[]): Promise<Map<Line, Measured>> {
  const results = new Map<Line, Measured>(
    lines.map((line) => [line, { built: line.built, rssMegabytes: 0, samples: new Map(), filtered: [] }]),
  );
  const most = Math.max(...lines.map(({ efforts }) => efforts.length));
  const all = { start: 0, limit: measured, bucketBelow: null, truth: truth.slice(0, measured) };
  for (let turn = 0; turn < rounds * most; turn++) {
    for (const [line, result] of results) {
      const effort = line.efforts[turn % most];
      if (effort === undefined) continue;
      await line.process.ask({ op: "tune", effort });
      // Every query is asked once before it counts: V8 compiles what is warm, native peers' caches fill.
      if (turn < most) await line.process.ask({ op: "queries", ...all });
      const answer = await line.process.ask({ op: "queries", ...all });
      const sample = result.samples.get(effort) ?? { ms: [], recalls: [] };
      sample.ms.push(...answer.ms);
      sample.recalls.push(answer.recall);
      result.samples.set(effort, sample);
      result.rssMegabytes = Math.round(answer.rss / 1e6);
    }
  }
  for (const { name, bucketBelow, fresh } of filters) {
    const asked = {
      start: 0,
      limit: measured,
      bucketBelow,
      truth: truthBelow(bucketBelow).slice(0, measured),
    };
    for (const [{ peer, process: running }, { filtered }] of results) {
      if (!peer.filters) continue;
      await running.ask({ op: "tune", effort: peer.effortDefault });
      if (!fresh) await running.ask({ op: "queries", ...asked });
      const { ms, recall } = await running.ask({ op: "queries", ...asked, fresh });
      filtered.push({ name, ms: median(ms), p99: percentile(ms, 0.99), recall });
    }
  }
  return results;
}

function summary(peer: Peer, { built, rssMegabytes, samples, filtered }: Measured) {
  const points = [...samples]
    .map(([effort, { ms, recalls: shares }]): Point => {
      return { effort, recall: shares.reduce((a, b) => a + b, 0) / shares.length, ms: median(ms) };
    })
    .sort((a, b) => a.effort - b.effort);
  const byDefault = points.find(({ effort }) => effort === peer.effortDefault)!;
  const p99 = percentile(samples.get(peer.effortDefault)!.ms, 0.99);
  const equal = recalls.map((recall) => ({ recall, ...atRecall(points, recall) }));
  const { name, path } = peer;
  return { name, path, built, rssMegabytes, byDefault: { ...byDefault, p99 }, equal, points, filtered };
}

/** What it answers at a recall, by which effort; with its own recall where that is the least it can. */
function atText(at: AtRecall): string {
  if (at.kind === "below") return "not reached";
  const rate = `${Math.round(1000 / at.ms)} (${round(at.effort)})`;
  return at.kind === "between" ? rate : `${rate}, at ${round(at.recall, 4)}`;
}

function show(results: readonly ReturnType<typeof summary>[], skipped: Record<string, string>): void {
  console.log(`${size.rows} × ${size.dims}, topK ${topK}; queries/s are 1 / median, the effort in brackets`);
  for (const path of ["in process", "over HTTP"] as const) {
    const head = [
      ...[path, "build s", "open ms", "disk MB", "RSS MB"],
      ...["by default: q/s", "p99 ms", "recall"],
      ...recalls.map((recall) => `at ${recall}`),
      ...filters.map(({ name, fresh }) => (fresh ? `${name}: q/s` : `${name}: q/s, recall`)),
    ];
    const table = new Table({ head, style: { head: [], border: [] } });
    for (const { name, built, rssMegabytes, byDefault, equal, filtered } of results.filter(
      (one) => one.path === path,
    )) {
      const { effort, ms, p99, recall } = byDefault;
      table.push([
        ...[name, ...built, rssMegabytes],
        ...[`${Math.round(1000 / ms)} (${effort})`, round(p99), round(recall, 4)],
        ...equal.map(atText),
        ...filters.map(({ name: filter, fresh }) => {
          const one = filtered.find(({ name: known }) => known === filter);
          if (one === undefined) return "none";
          const rate = Math.round(1000 / one.ms);
          return fresh ? `${rate}` : `${rate}, ${round(one.recall, 4)}`;
        }),
      ]);
    }
    console.log(table.toString());
  }
  for (const [name, reason] of Object.entries(skipped)) console.log(`${name}: not measured: ${reason}`);
}

function bytesIn(path: string): number {
  const entry = lstatSync(path);
  if (!entry.isDirectory()) return entry.size;
  return readdirSync(path).reduce((sum, name) => sum + bytesIn(join(path, name)), 0);
}
