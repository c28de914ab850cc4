/** Run in a patched copy of the sources: does anything notice? Prints one JSON line. */
import { accidents, explore, exploreRace } from "../crash/explore.ts";
import { races } from "../crash/races.ts";
import { scenarios } from "../crash/scenarios.ts";
import { planOf } from "../sim/plan.ts";
import { simulate } from "../sim/simulation.ts";
import { makeIoSynchronous } from "../sim/synchronous-io.ts";

export interface Verdict {
  readonly by: string;
  readonly steps: number;
  readonly message: string;
}

const quickSeeds = 25;
const steps = 1_000;

makeIoSynchronous();
const verdict = await probe(Number(process.argv[2] ?? 400));
process.stdout.write(`${JSON.stringify(verdict)}\n`);

/** A few simulated runs, then every race and every crash point, then many simulated runs. */
async function probe(seeds: number): Promise<Verdict | null> {
  return (
    (await bySimulator(1, quickSeeds)) ??
    (await byRaces()) ??
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
  return explored("crash points", accidents, explore);
}
async function byRaces(): Promise<Verdict | null> {
  const sleepers = scenarios.filter((scenario) => scenario.races);
  return explored("races", races, (scenario, race) =>
    sleepers.includes(scenario) ? exploreRace(scenario, race) : Promise.resolve(0),
  );
}

async function explored<T>(
  by: string,
  all: readonly T[],
  explore: (scenario: (typeof scenarios)[number], one: T) => Promise<number>,
): Promise<Verdict | null> {
  let points = 0;
  for (const scenario of scenarios) {
    for (const one of all) {
      try {
        points += await explore(scenario, one);
      } catch (error) {
        return { by, steps: points, message: (error as Error).message };
      }
    }
  }
  return null;
}
