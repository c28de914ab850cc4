/**
 * `npm run bench:peers -- [--rows N] [--json]`: Siltstone beside what runs here, on the same rows. Each peer builds in a
 * process of its own, is tuned to the least effort that reaches recall@10 ≥ 0.95 on queries that are not measured, and then all answer
 * in turns, warm.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { lstatSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { withFolder } from "../../../lib/segment/files.ts";
import { gaussianMixture, truthOf } from "../data.ts";
import { percentile, round } from "../measure.ts";
import { bucketOf } from "../store.ts";
import type { Peer } from "./peer.ts";
import type { PeerAnswer, PeerQuestion, PeerSetup } from "./peer-process.ts";
import { peers } from "./peers.ts";

const { values } = parseArgs({
  options: { rows: { type: "string", default: "100000" }, json: { type: "boolean", default: false } },
});
/** Those that are measured; behind them come those by which a peer is tuned. */
const measured = 240;
const tuning = 80;
const size = { rows: Number(values.rows), dims: 384, queries: measured + tuning };
const topK = 10;
const recallLeast = 0.95;
const rounds = 4;
const filters = [
  { name: "unfiltered", bucketBelow: null },
  { name: "10 %", bucketBelow: 1000 },
  { name: "1 %", bucketBelow: 100 },
] as const;

interface Line {
  readonly peer: Peer;
  readonly process: PeerProcess;
  readonly cells: (string | number)[];
}

const vectors = gaussianMixture(size);
const truths = filters.map(({ bucketBelow }) => {
  const rows = Uint32Array.from({ length: size.rows }, (_, row) => row);
  const matching = bucketBelow === null ? undefined : rows.filter((row) => bucketOf(row) < bucketBelow);
  return truthOf(vectors, "cosine", topK, matching);
});

await withFolder(async (root) => {
  const lines: Line[] = [];
  const skipped: Record<string, string> = {};
  for (const [i, peer] of peers.entries()) {
    try {
      lines.push(await prepare(peer, join(root, String(i))));
    } catch (error) {
      skipped[peer.name] = (error as Error).message;
    }
  }
  const results = await measure(lines);
  for (const { process: running } of lines) await running.stop();
  if (values.json) console.log(JSON.stringify({ size, results, skipped }, null, 2));
  else show(results, skipped);
});

async function prepare(peer: Peer, folder: string): Promise<Line> {
  mkdirSync(folder);
  const setup: PeerSetup = { peer: peer.name, folder, ...size };
  process.stderr.write(`${peer.name}: building\n`);
  const builder = startPeer(setup, "build");
  const built = await builder.ask({ op: "build" });
  await builder.stop();
  const running = startPeer(setup, "queries-only");
  const opened = await running.ask({ op: "open", effort: peer.efforts[0]! });
  const effort = await tune(peer, running);
  const cells = [
    round(built.ms[0]! / 1000),
    Math.round(opened.ms[0]!),
    effort,
    Math.round(bytesIn(folder) / 1e6),
  ];
  return { peer, process: running, cells };
}

/** The least effort that reaches the recall; the largest there is when none does. */
async function tune(peer: Peer, running: PeerProcess): Promise<number> {
  for (const effort of peer.efforts) {
    await running.ask({ op: "tune", effort });
    const truth = truths[0]!.slice(measured);
    const { recall } = await running.ask({
      op: "queries",
      start: measured,
      limit: size.queries,
      bucketBelow: null,
      truth,
    });
    if (recall >= recallLeast) return effort;
  }
  return peer.efforts.at(-1)!;
}

async function measure(lines: readonly Line[]) {
  const results: Record<string, (string | number)[]> = {};
  for (const { peer, cells } of lines) results[peer.name] = [...cells];
  const rss = new Map<string, number>();
  for (const [f, { bucketBelow }] of filters.entries()) {
    const samples = new Map<string, { ms: number[]; recalls: number[] }>();
    // Every query is asked once before it counts: V8 compiles what is warm, native peers' caches fill.
    for (let turn = 0; turn < 2 * rounds; turn++) {
      const part = turn % rounds;
      const [start, limit] = [(part * measured) / rounds, ((part + 1) * measured) / rounds];
      for (const { peer, process: running } of lines) {
        if (bucketBelow !== null && !peer.filters) continue;
        const truth = truths[f]!.slice(start, limit);
        const answer = await running.ask({ op: "queries", start, limit, bucketBelow, truth });
        if (turn < rounds) continue;
        const sample = samples.get(peer.name) ?? { ms: [], recalls: [] };
        sample.ms.push(...answer.ms);
        sample.recalls.push(answer.recall);
        samples.set(peer.name, sample);
        rss.set(peer.name, answer.rss);
      }
    }
    for (const { peer } of lines) {
      const sample = samples.get(peer.name);
      const cells = sample
        ? [
            Math.round(1000 / percentile(sample.ms, 0.5)),
            round(percentile(sample.ms, 0.99)),
            round(sample.recalls.reduce((a, b) => a + b, 0) / sample.recalls.length, 3),
          ]
        : ["", "", ""];
      results[peer.name]!.push(...cells);
    }
  }
  for (const { peer } of lines) results[peer.name]!.splice(3, 0, Math.round(rss.get(peer.name)! / 1e6));
  return results;
}

function show(results: Record<string, (string | number)[]>, skipped: Record<string, string>): void {
  const columns = filters.flatMap(({ name }) => [`${name} q/s`, "p99 ms", "recall"]);
  const head = ["", "build s", "open ms", "effort", "RSS MB", "disk MB", ...columns];
  const table = new Table({ head, style: { head: [], border: [] } });
  for (const [name, cells] of Object.entries(results)) table.push([name, ...cells]);
  console.log(`${size.rows} × ${size.dims}, topK ${topK}; q/s is 1 / median\n${table.toString()}`);
  for (const [name, reason] of Object.entries(skipped)) console.log(`${name}: not measured: ${reason}`);
}

interface PeerProcess {
  ask(question: PeerQuestion): Promise<PeerAnswer>;
  stop(): Promise<void>;
}

function startPeer(setup: PeerSetup, mode: "build" | "queries-only"): PeerProcess {
  const program = join(import.meta.dirname, "peer-process.ts");
  const child: ChildProcess = spawn(process.execPath, ["--expose-gc", program, JSON.stringify(setup), mode], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const answers = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return {
    async ask(question) {
      child.stdin!.write(`${JSON.stringify(question)}\n`);
      for (;;) {
        const { value, done } = await answers.next();
        if (done) throw new Error(`${setup.peer} ended during ${question.op}`);
        if ((value as string).startsWith('{"failed":'))
          throw new Error((JSON.parse(value as string) as { failed: string }).failed);
        // A peer may print lines of its own.
        if ((value as string).startsWith('{"ms":')) return JSON.parse(value as string) as PeerAnswer;
      }
    },
    async stop() {
      child.stdin!.end();
      await exited;
    },
  };
}

function bytesIn(path: string): number {
  const entry = lstatSync(path);
  if (!entry.isDirectory()) return entry.size;
  return readdirSync(path).reduce((sum, name) => sum + bytesIn(join(path, name)), 0);
}
