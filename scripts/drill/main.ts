/**
 * `npm run drill`: kill -9 of everything at random moments while producers, compactors and readers work, on the local
 * stack with the real bundles; then proof that every acknowledged write is there (docs/drill.md).
 *
 *   npm run drill                           one kill of each kind
 *   npm run drill -- --minutes 20           kills at random for so long
 *   npm run drill -- --seed 7               other choices
 *   npm run drill -- --groups 2 --cold      with query groups, and readers of what has not been loaded yet
 *   npm run drill -- --scenario import      an import and a compaction killed in the middle
 *   npm run drill -- --scenario import --data aimath
 *   npm run drill -- --json                 one line of JSON at the end
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { importDrill } from "./import.ts";
import { pipelineDrill } from "./pipeline.ts";
import { Tally } from "./report.ts";

const minutesMax = 24 * 60;
/** Most query groups that a store may have (lib/contract/settings.ts). */
const groupsMax = 48;
const usage = `Usage: npm run drill -- [options]
  --minutes <n>       kills at random for so long; without it, one kill of each kind
  --seed <n>          other choices
  --groups <n>        query groups; 0, the default: one query function
  --cold              a collection large enough to be read before its graphs have arrived, and readers of it
  --scenario <name>   pipeline (default) or import: an import and a compaction killed in the middle
  --data <name>       for the import: generated (default) or aimath
  --json              progress on stderr, one line of JSON at the end`;

const { values } = parseArgs({
  options: {
    minutes: { type: "string" },
    seed: { type: "string", default: "1" },
    groups: { type: "string", default: "0" },
    cold: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
    scenario: { type: "string", default: "pipeline" },
    data: { type: "string", default: "generated" },
    json: { type: "boolean", default: false },
  },
});

function numberOf(name: string, text: string, max: number): number {
  const value = Number(text);
  if (Number.isFinite(value) && value >= 0 && value <= max) return value;
  throw new Error(`--${name}: a number from 0 to ${max} is expected, got ${JSON.stringify(text)}`);
}

function oneOf<T extends string>(name: string, text: string, known: readonly T[]): T {
  const found = known.find((one) => one === text);
  if (found !== undefined) return found;
  throw new Error(`--${name}: one of ${known.join(", ")} is expected, got ${JSON.stringify(text)}`);
}

async function main(): Promise<boolean> {
  const scenario = oneOf("scenario", values.scenario, ["pipeline", "import"] as const);
  const data = oneOf("data", values.data, ["generated", "aimath"] as const);
  const groups = Math.floor(numberOf("groups", values.groups, groupsMax));
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
  const drill =
    scenario === "import"
      ? importDrill({ folder, seed, data, tally, say })
      : pipelineDrill({ folder, seed, durationMs, groups, isCold: values.cold, tally, say });
  const { rows } = await drill.catch((error: unknown) => {
    say(`the state is kept in ${folder}`);
    throw error;
  });
  const { kills, counts, failures, violations, violationCount } = tally;
  const seconds = Math.round((Date.now() - startedMs) / 1000);
  const report = {
    scenario,
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
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  process.exit((await main()) ? 0 : 1);
} catch (error) {
  console.error(`failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(2);
}
