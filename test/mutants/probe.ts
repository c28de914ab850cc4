/**
 * `node --import plant-at-load.ts probe.ts '{"seeds":150,"first":…}'`: does anything notice the fault? What caught it last
 * time is asked first; then a few simulated runs, every race and every crash point, and many simulated runs. Prints one
 * JSON line.
 */
import { accidents, everyPoint, explore, exploreRace } from "../crash/explore.ts";
import { operations } from "../crash/operations.ts";
import { races } from "../crash/races.ts";
import { planOf } from "../sim/plan.ts";
import { simulate } from "../sim/simulation.ts";
import { makeIoSynchronous } from "../sim/synchronous-io.ts";

/** Who caught a fault, and where. */
export type Catch =
  | { readonly suite: "simulator"; readonly seed: number }
  | { readonly suite: "races" | "crash points"; readonly scenario: string; readonly what: string }
  | { readonly suite: "test"; readonly path: string; readonly title: string }
  | { readonly suite: "process" };
export interface Verdict {
  readonly by: Catch;
  readonly message: string;
}
export interface Question {
  /** Simulated runs at most. */
  readonly seeds: number;
  readonly first: Catch | null;
}

const quickSeeds = 25;
const steps = 1_000;
const sleepers = operations.filter((scenario) => scenario.races);

makeIoSynchronous();
const question = JSON.parse(process.argv[2]!) as Question;
process.stdout.write(`${JSON.stringify(await probe(question))}\n`);

async function probe({ seeds, first }: Question): Promise<Verdict | null> {
  return (
    (first && (await by(first))) ??
    (await bySimulator(1, quickSeeds)) ??
    (await byRaces()) ??
    (await byCrashPoints()) ??
    (await bySimulator(quickSeeds + 1, seeds))
  );
}

async function by(known: Catch): Promise<Verdict | null> {
  switch (known.suite) {
    case "simulator":
      return bySimulator(known.seed, known.seed);
    case "races":
      return byRaces((scenario, race) => scenario === known.scenario && race === known.what);
    case "crash points":
      return byCrashPoints((scenario, accident) => scenario === known.scenario && accident === known.what);
    default:
      return null;
  }
}

async function bySimulator(first: number, last: number): Promise<Verdict | null> {
  for (let seed = first; seed <= last; seed++) {
    const message = await simulate(planOf(seed, steps)).then(({ violation }) => violation, String);
    if (message !== null) return { by: { suite: "simulator", seed }, message };
  }
  return null;
}

type Chosen = (scenario: string, what: string) => boolean;

async function byRaces(isChosen: Chosen = () => true): Promise<Verdict | null> {
  for (const scenario of sleepers)
    for (const race of races) {
      if (!isChosen(scenario.name, race.name)) continue;
      const message = await exploreRace(scenario, race, everyPoint).then(() => null, messageOf);
      if (message !== null)
        return { by: { suite: "races", scenario: scenario.name, what: race.name }, message };
    }
  return null;
}

async function byCrashPoints(isChosen: Chosen = () => true): Promise<Verdict | null> {
  for (const scenario of operations)
    for (const accident of accidents) {
      if (!isChosen(scenario.name, accident)) continue;
      const message = await explore(scenario, accident).then(() => null, messageOf);
      if (message !== null)
        return { by: { suite: "crash points", scenario: scenario.name, what: accident }, message };
    }
  return null;
}

function messageOf(error: unknown): string {
  return (error as Error).message;
}
