/** Run in a patched copy of the sources: does anything notice? Prints one JSON line. */
import { accidents, explore } from "../crash/explore.ts";
import { scenarios } from "../crash/scenarios.ts";
import { planOf } from "../sim/plan.ts";
import { simulate } from "../sim/simulation.ts";
import { makeIoSynchronous } from "../sim/synchronous-io.ts";

export interface Verdict {
  readonly by: string;
  readonly steps: number;
  readonly message: string;
}

const quickSeeds = 40;
const steps = 1_000;

makeIoSynchronous();
const verdict = await probe(Number(process.argv[2] ?? 400));
process.stdout.write(`${JSON.stringify(verdict)}\n`);

/** A few simulated runs, then every crash point, then many simulated runs. */
async function probe(seeds: number): Promise<Verdict | null> {
  return (
    (await bySimulator(1, quickSeeds)) ??
    (await byCrashPoints()) ??
    (await bySimulator(quickSeeds + 1, seeds))
  );
}

async function bySimulator(first: number, last: number): Promise<Verdict | null> {
  let done = 0;
  for (let seed = first; seed <= last; seed++) {
    const outcome = await simulate(planOf(seed, steps)).catch((error: unknown) => ({
      steps: 0,
      violation: String(error),
    }));
    done += outcome.steps;
    if (outcome.violation !== null)
      return { by: `simulator, seed ${seed}`, steps: done, message: outcome.violation };
  }
  return null;
}

async function byCrashPoints(): Promise<Verdict | null> {
  let points = 0;
  for (const scenario of scenarios) {
    for (const accident of accidents) {
      try {
        points += await explore(scenario, accident);
      } catch (error) {
        return { by: "crash points", steps: points, message: (error as Error).message };
      }
    }
  }
  return null;
}
