/**
 * `npm run soak -- --seconds N [--seed S] [--steps M] [--json]`: simulated runs, one seed after the other, until the
 * time is over or a promise is broken. A violation is shrunk, printed with its seed and trace, and ends with exit code 1.
 */
import { parseArgs } from "node:util";
import { planOf } from "./plan.ts";
import { shrink } from "./shrink.ts";
import { type Outcome, simulate } from "./simulation.ts";
import { makeIoSynchronous } from "./synchronous-io.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    seeds: { type: "string" },
    steps: { type: "string", default: "1500" },
    json: { type: "boolean", default: false },
  },
});

makeIoSynchronous();
const started = performance.now();
const limitMs = Number(values.seconds) * 1000;
const steps = Number(values.steps);
const first = Number(values.seed);
const seedLimit = first + Number(values.seeds ?? Number.POSITIVE_INFINITY);
const totals = { runs: 0, steps: 0 };
const faults = new Map<string, number>();
const events = new Map<string, number>();
let violation: Awaited<ReturnType<typeof shrink>> | null = null;
let last: Outcome | null = null;

for (
  let seed = first;
  seed < seedLimit && performance.now() - started < limitMs && violation === null;
  seed++
) {
  const outcome = await simulate(planOf(seed, steps));
  last = outcome;
  totals.runs += 1;
  totals.steps += outcome.steps;
  add(faults, outcome.faults);
  add(events, outcome.events);
  if (outcome.violation !== null) violation = await shrink(planOf(seed, steps), outcome, { secondsMax: 60 });
  else if (!values.json && totals.runs % 100 === 0) {
    process.stderr.write(`${totals.runs} runs, ${totals.steps} steps, ${rate()} steps/s\n`);
  }
}

const report = {
  seeds: { first, last: first + totals.runs - 1 },
  seconds: Math.round((performance.now() - started) / 100) / 10,
  ...totals,
  stepsPerSecond: rate(),
  faults: Object.fromEntries([...faults].sort()),
  events: Object.fromEntries([...events].sort()),
  lastTraceHash: last?.traceHash ?? null,
  violation: violation && {
    seed: violation.plan.seed,
    message: violation.outcome.violation,
    processes: violation.plan.processes.map(({ name }) => name),
    steps: violation.outcome.steps,
    trace: violation.outcome.trace.slice(-400),
  },
};
if (values.json) process.stdout.write(`${JSON.stringify(report)}\n`);
else {
  const { violation: found, ...rest } = report;
  process.stdout.write(`${JSON.stringify(rest, null, 2)}\n`);
  if (found)
    process.stdout.write(`${found.trace.join("\n")}\n\nVIOLATION, seed ${found.seed}: ${found.message}\n`);
}
process.exitCode = violation === null ? 0 : 1;

function rate(): number {
  return Math.round(totals.steps / ((performance.now() - started) / 1000));
}

function add(into: Map<string, number>, from: ReadonlyMap<string, number>): void {
  for (const [key, count] of from) into.set(key, (into.get(key) ?? 0) + count);
}
