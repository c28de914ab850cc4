/**
 * `npm run forge -- [--seconds N] [--seed S] [--only NAME] [--json]`: forged segments, with every hash right,
 * are read, merged and verified in child processes: all that are known (test/corruption/forged), then, until the time is over,
 * others by chance. Exit code 1 when one ends a process, does not end, or is refused as anything but `corrupt`.
 */
import { parseArgs } from "node:util";
import { forgeriesOf } from "../test/corruption/forged/forgeries.ts";
import { forgeryOfSeed } from "../test/corruption/forged/fuzz.ts";
import { inChildren, type Outcome } from "../test/corruption/forged/in-children.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    only: { type: "string" },
    json: { type: "boolean", default: false },
  },
});

/** Seeds that one child process tries. */
const seedsTogether = 200;
const metrics = ["cosine", "l2", "ip"] as const;
const started = performance.now();
const bad: Outcome[] = [];
const totals = { tried: 0, refused: 0, secondsMax: 0, rssBytesMax: 0 };

for (const metric of metrics) {
  const names = forgeriesOf(metric).map(({ name }) => name);
  count(await inChildren({ metric, names: names.filter((name) => name.includes(values.only ?? "")) }));
}
const limitMs = performance.now() + (values.only === undefined ? Number(values.seconds) * 1000 : 0);
let seed = Number(values.seed);
for (; performance.now() < limitMs; seed += seedsTogether) {
  const names = Array.from({ length: seedsTogether }, (_, i) => forgeryOfSeed(seed + i).name);
  count(await inChildren({ metric: metrics[((seed / seedsTogether) % metrics.length) | 0]!, names }));
  if (!values.json) process.stderr.write(`${totals.tried} tried, ${totals.refused} refused\n`);
}
const seconds = Math.round((performance.now() - started) / 100) / 10;
process.stdout.write(`${JSON.stringify({ seconds, seedsBelow: seed, ...totals, bad }, null, 1)}\n`);
process.exitCode = bad.length === 0 ? 0 : 1;

function count(outcomes: readonly Outcome[]): void {
  for (const outcome of outcomes) {
    totals.tried += 1;
    if (outcome.refused.length > 0) totals.refused += 1;
    totals.secondsMax = Math.max(totals.secondsMax, outcome.seconds);
    totals.rssBytesMax = Math.max(totals.rssBytesMax, outcome.rssBytes);
    if (outcome.fault === null) continue;
    bad.push(outcome);
    process.stderr.write(`${outcome.name}: ${outcome.fault}\n`);
  }
}
