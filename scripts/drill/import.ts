/**
 * The import drill, through the command line: the same rows are imported and compacted twice, once in peace and once
 * with kill -9 of everything in the middle of the import and in the middle of the compaction. Afterwards count, verify
 * and recall must be the same.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { deltaPrefix, manifestPrefix, segmentPrefix, shardName } from "../../lib/core/format/keys.ts";
import type { ObjectStore } from "../../lib/engine/ports.ts";
import { mergeLease } from "../../lib/engine/shard/lease.ts";
import { worldOf } from "./faults.ts";
import { aimathData, generateData, type ImportData } from "./import-data.ts";
import { recallOf } from "./neighbours.ts";
import { Random } from "./random.ts";
import type { Tally } from "./report.ts";
import { SiltProcess, type SiltResult } from "./silt-process.ts";
import { StackProcess } from "./stack-process.ts";

export interface ImportOptions {
  readonly folder: string;
  readonly seed: number;
  readonly data: "generated" | "aimath";
  readonly tally: Tally;
  readonly say: (text: string) => void;
}

const importKills = 3;
/**
 * Where a compaction is killed: its first file is up; its manifest is up, the pointer perhaps not; while it merges; the
 * merge's first file is up.
 */
const moments = ["segment", "manifest", "merge", "merged segment"] as const;
type Moment = (typeof moments)[number];
/** Runs of one command until it gets through: a killed run's lease keeps the next one out for two minutes. */
const attemptsMax = 10;
const lookMs = 5;
const recallLeast = 0.99;
const recallDifferenceMax = 0.005;

interface Outcome {
  readonly count: number;
  readonly recall: number;
  readonly segments: number;
}

interface Progress {
  readonly segmentFiles: number;
  readonly manifests: number;
  readonly isMerging: boolean;
}

function hasReached(moment: Moment, before: Progress, now: Progress): boolean {
  switch (moment) {
    case "segment":
      return now.segmentFiles > before.segmentFiles;
    case "manifest":
      return now.manifests > before.manifests;
    case "merge":
      return now.isMerging;
    case "merged segment":
      return now.isMerging && now.segmentFiles > before.segmentFiles;
  }
}

async function keysBelow(store: ObjectStore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of store.list(prefix)) keys.push(...page.map(({ key }) => key));
  return keys;
}

export async function importDrill(options: ImportOptions): Promise<{ rows: Record<string, number> }> {
  const { folder, seed, data, tally, say } = options;
  const source = data === "aimath" ? aimathData() : generateData(folder, seed);
  // No schedule: what is killed is the run that the drill asked for.
  const stack = await StackProcess.prepare(folder, { scheduleEveryMs: null, groups: 0 });
  const drill = new ImportDrill(stack, source, options);
  try {
    await stack.start();
    const peaceful = await drill.inPeace("drill-peaceful");
    const troubled = await drill.inTrouble("drill-troubled");
    say(`in peace ${JSON.stringify(peaceful)}, killed ${JSON.stringify(troubled)}`);
    for (const { count, recall } of [peaceful, troubled]) {
      if (count !== source.rows) tally.violation(`the count is ${count}, ${source.rows} rows were imported`);
      if (recall < recallLeast) tally.violation(`recall@10 is ${recall}`);
    }
    if (Math.abs(peaceful.recall - troubled.recall) > recallDifferenceMax)
      tally.violation("the recalls differ");
    tally.counts["recall@10 in peace"] = peaceful.recall;
    tally.counts["recall@10 killed"] = troubled.recall;
    return { rows: { peaceful: peaceful.count, troubled: troubled.count } };
  } finally {
    await stack.stop();
  }
}

class ImportDrill {
  readonly #stack: StackProcess;
  readonly #data: ImportData;
  readonly #options: ImportOptions;
  readonly #random: Random;
  #mergeMs = 0;

  constructor(stack: StackProcess, data: ImportData, options: ImportOptions) {
    this.#stack = stack;
    this.#data = data;
    this.#options = options;
    this.#random = new Random(options.seed);
  }

  async inPeace(name: string): Promise<Outcome> {
    await this.#create(name);
    await this.#surely(this.#importArguments(name));
    let mergingSinceMs: number | null = null;
    const silt = new SiltProcess(["compact", name], this.#stack.stateDir);
    while (silt.isRunning) {
      if ((await this.#progress(name)).isMerging) mergingSinceMs ??= performance.now();
      await sleep(lookMs);
    }
    this.#mergeMs = performance.now() - (mergingSinceMs ?? performance.now());
    await this.#surely(["compact", name]);
    return this.#outcome(name);
  }

  async inTrouble(name: string): Promise<Outcome> {
    await this.#create(name);
    for (let kill = 0; kill < importKills; kill++) await this.#killImport(name);
    await this.#surely(this.#importArguments(name));
    for (const moment of moments) await this.#killCompaction(name, moment);
    await this.#surely(["compact", name]);
    return this.#outcome(name);
  }

  /** Ends everything once this run's deltas begin to appear; those that were seen must be there afterwards. */
  async #killImport(name: string): Promise<void> {
    const { tally, say } = this.#options;
    const before = (await this.#deltas(name)).length;
    const wanted = before + this.#random.between(1, 4);
    const silt = new SiltProcess(this.#importArguments(name), this.#stack.stateDir);
    let seen: string[] = [];
    while (silt.isRunning && seen.length < wanted) {
      seen = await this.#deltas(name);
      await sleep(lookMs);
    }
    const wasRunning = silt.isRunning;
    await this.#killEverything(silt);
    const left = new Set(await this.#deltas(name));
    for (const key of seen)
      if (!left.has(key)) tally.violation(`${key} was there before the kill and is gone`);
    if (wasRunning) tally.count("imports killed");
    say(
      `killed everything during the import, ${seen.length - before} deltas in (${wasRunning ? "running" : "too late"})`,
    );
  }

  /** Ends everything once the compaction has come as far as `moment` says. */
  async #killCompaction(name: string, moment: Moment): Promise<void> {
    const { tally, say } = this.#options;
    const before = await this.#progress(name);
    const silt = new SiltProcess(["compact", name], this.#stack.stateDir);
    while (silt.isRunning && !hasReached(moment, before, await this.#progress(name))) await sleep(lookMs);
    if (moment === "merge") await sleep(this.#random.between(0, this.#mergeMs / 4));
    const wasRunning = silt.isRunning;
    await this.#killEverything(silt);
    if (wasRunning) tally.count(`compactions killed at their ${moment}`);
    say(`killed everything at the compaction's ${moment} (${wasRunning ? "running" : "too late"})`);
    for (const lease of ["ingest", "merge"])
      await this.#silt(["lease", "release", name, "--kind", lease, "--confirm", name]);
  }

  async #progress(name: string): Promise<Progress> {
    const { store, leases, clock } = worldOf(this.#stack);
    const shard = { collection: name, shard: 0 };
    const merge = await leases.read(mergeLease(shardName(shard)));
    return {
      segmentFiles: (await keysBelow(store, segmentPrefix(shard))).length,
      manifests: (await keysBelow(store, manifestPrefix(shard))).length,
      isMerging: merge !== null && merge.expiresAtMs > clock.nowMs(),
    };
  }

  async #killEverything(silt: SiltProcess): Promise<void> {
    silt.kill();
    await this.#stack.kill();
    await silt.result;
    this.#options.tally.kills.stack += 1;
    await this.#stack.start();
  }

  async #outcome(name: string): Promise<Outcome> {
    const { tally } = this.#options;
    const { count } = (await this.#surely(["count", name])).lines[0] as { count: number };
    const verified = (await this.#surely(["verify", name])).lines[0] as {
      shards: { segments: number; faults: string[] }[];
    };
    for (const { faults } of verified.shards)
      for (const fault of faults) tally.violation(`verify ${name}: ${fault}`);
    const asked = await this.#surely(["query", name, "--vectors", this.#data.queriesFile, "--top-k", "10"]);
    const answers = asked.lines as { results: { distance: number }[] }[];
    const { truth } = this.#data;
    if (answers.length !== truth.length)
      tally.violation(`${answers.length} of ${truth.length} queries were answered`);
    const recalls = answers.map(({ results }, i) =>
      recallOf(
        truth[i]!,
        results.map(({ distance }) => distance),
      ),
    );
    const recall = recalls.reduce((sum, one) => sum + one, 0) / truth.length;
    const segments = verified.shards.reduce((sum, shard) => sum + shard.segments, 0);
    return { count, recall: Math.round(recall * 10_000) / 10_000, segments };
  }

  async #create(name: string): Promise<void> {
    await this.#surely([
      "collection",
      "create",
      name,
      "--dims",
      String(this.#data.dims),
      "--metric",
      "cosine",
    ]);
  }

  #importArguments(name: string): string[] {
    const { recordsFile, vectorsFile, rows } = this.#data;
    return ["import", name, "--records", recordsFile, "--vectors", vectorsFile, "--limit", String(rows)];
  }

  #deltas(name: string): Promise<string[]> {
    return keysBelow(worldOf(this.#stack).store, deltaPrefix({ collection: name, shard: 0 }));
  }

  async #silt(args: readonly string[]): Promise<SiltResult> {
    this.#options.tally.count("commands");
    return new SiltProcess(args, this.#stack.stateDir).result;
  }

  /** Again until it succeeds. */
  async #surely(args: readonly string[]): Promise<SiltResult> {
    let last: SiltResult | null = null;
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      last = await this.#silt(args);
      if (last.exitCode === 0) return last;
      this.#options.say(`silt ${args.slice(0, 2).join(" ")} ended with ${last.exitCode}; once more`);
    }
    throw new Error(
      `silt ${args.join(" ")} ended with ${last?.exitCode}: ${last?.errors}${JSON.stringify(last?.lines)}`,
    );
  }
}
