/**
 * `npm run drill`: kill -9 of everything at random moments while producers, compactors and readers work, on the local
 * stack with the real bundles; then proof that every acknowledged write is there (docs/drill.md).
 *
 *   npm run drill                           one kill of each kind
 *   npm run drill -- --minutes 20           kills at random for so long
 *   npm run drill -- --seed 7               other choices
 *   npm run drill -- --scenario import      an import and a compaction killed in the middle
 *   npm run drill -- --json                 one line of JSON at the end
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pipelineDrill } from "./drill/pipeline.ts";
import { Tally } from "./drill/report.ts";

const minutesMax = 24 * 60;

const { values } = parseArgs({
  options: {
    minutes: { type: "string" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});

function numberOf(name: string, text: string, max: number): number {
  const value = Number(text);
  if (Number.isFinite(value) && value >= 0 && value <= max) return value;
  throw new Error(`--${name}: a number from 0 to ${max} is expected, got ${JSON.stringify(text)}`);
}

async function main(): Promise<boolean> {
  const seed = Math.floor(numberOf("seed", values.seed, 2 ** 32 - 1));
  const minutes = values.minutes === undefined ? null : numberOf("minutes", values.minutes, minutesMax);
  const folder = mkdtempSync(join(tmpdir(), "siltstone-drill-"));
  const startedMs = Date.now();
  const say = (text: string) => {
    const seconds = ((Date.now() - startedMs) / 1000).toFixed(1).padStart(7);
    (values.json ? process.stderr : process.stdout).write(`${seconds} s  ${text}\n`);
  };
  const tally = new Tally((text) => say(`VIOLATION ${text}`));
  const durationMs = minutes === null ? null : minutes * 60_000;
  const { rows } = await pipelineDrill({ folder, seed, durationMs, tally, say });
  const { kills, counts, failures, violations, violationCount } = tally;
  const seconds = Math.round((Date.now() - startedMs) / 1000);
  const report = {
    scenario: "pipeline",
    seed,
    seconds,
    kills,
    counts,
    failures,
    rows,
    violationCount,
    violations,
  };
  console.log(values.json ? JSON.stringify(report) : JSON.stringify(report, null, 2));
  if (violationCount > 0) say(`the state is kept in ${folder}`);
  else rmSync(folder, { recursive: true, force: true });
  return violationCount === 0;
}

try {
  process.exit((await main()) ? 0 : 1);
} catch (error) {
  console.error(`failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(2);
}
