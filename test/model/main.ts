/**
 * `npm run model [-- --json] [--quick] [--only NAME]`: explores every configuration of the protocol's model to the end,
 * then each protection taken out, with the shortest counterexample. docs/model.md says what the model is. Exit code 1
 * when something is not as expected. `--plain` explores without any reduction of the states (use it with --quick).
 */
import { parseArgs } from "node:util";
import { configurationNamed, configurations, modelWithout } from "./configurations.ts";
import { type Exploration, explore } from "./explore.ts";
import { jobModelWithout } from "./jobs-model.ts";
import { type JobRules, jobConfigurations, jobCovered, jobMutants } from "./jobs-rules.ts";
import { covered, mutants, slowMutants } from "./mutants.ts";
import type { Rules } from "./rules.ts";

/** Far above the largest configuration; about 1 KB each in memory. */
const statesMax = 6_000_000;

interface Report extends Exploration {
  readonly configuration: string;
  readonly without: readonly string[];
  readonly seconds: number;
  readonly expected: string;
  readonly asExpected: boolean;
}

/** One exploration: a configuration, what is taken out, and how the fault begins that is expected. */
interface Task {
  readonly configuration: string;
  readonly without: readonly (keyof Rules)[];
  readonly finds: string | null;
  readonly answersOnly?: true;
}

function run({ configuration, without, finds, answersOnly }: Task, plain: boolean): Report {
  const model = modelWithout(configurationNamed(configuration), without, {
    plain,
    answersOnly: answersOnly === true,
  });
  return reported({ configuration, without, finds }, () => explore(model, statesMax));
}

/** Those of items and jobs: one item, and not a shard. */
interface JobTask extends Pick<Task, "configuration" | "finds"> {
  readonly without: readonly (keyof JobRules)[];
}
const jobTasks: readonly JobTask[] = [
  ...jobConfigurations.map(({ name }) => ({ configuration: name, without: [], finds: null })),
  ...jobMutants,
  ...jobConfigurations.flatMap(({ name }) =>
    jobCovered.map((rule) => ({ configuration: name, without: [rule], finds: null })),
  ),
];
const runJobs = ({ configuration, without, finds }: JobTask): Report =>
  reported({ configuration: `jobs: ${configuration}`, without, finds }, () =>
    explore(jobModelWithout(configuration, without), statesMax),
  );

function reported(
  {
    configuration,
    without,
    finds,
  }: { configuration: string; without: readonly string[]; finds: string | null },
  exploration: () => Exploration,
): Report {
  const startMs = performance.now();
  const result = exploration();
  return {
    configuration,
    without,
    ...result,
    seconds: Math.round((performance.now() - startMs) / 100) / 10,
    expected: finds ?? "holds",
    asExpected: finds === null ? result.outcome === "holds" : (result.fault?.startsWith(finds) ?? false),
  };
}

function print(report: Report, json: boolean): void {
  if (json) {
    console.log(JSON.stringify(report));
    return;
  }
  const { configuration, without, outcome, states, transitions, depth, seconds, fault, trace } = report;
  const title = without.length === 0 ? configuration : `${configuration} without ${without.join(", ")}`;
  const mark = report.asExpected ? "ok " : "BAD";
  console.log(
    `${mark} ${title}: ${outcome}, ${states} states, ${transitions} transitions, depth ${depth}, ${seconds} s`,
  );
  if (fault !== null) console.log(`      ${fault}\n${trace.map((step) => `        ${step}`).join("\n")}`);
}

function main(): void {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean" },
      quick: { type: "boolean" },
      plain: { type: "boolean" },
      only: { type: "string" },
    },
  });
  const wanted = (name: string): boolean =>
    (values.only === undefined || values.only === name) &&
    (values.quick !== true || configurationNamed(name).quick);
  const names = configurations.map(({ name }) => name).filter(wanted);
  const tasks: Task[] = [
    ...names.map((configuration) => ({ configuration, without: [], finds: null })),
    ...[...mutants, ...slowMutants].filter(({ configuration }) => wanted(configuration)),
    ...names
      .filter((name) => configurationNamed(name).quick)
      .flatMap((configuration) => covered.map((rule) => ({ configuration, without: [rule], finds: null }))),
  ];
  const reports = function* (): Iterable<Report> {
    for (const task of tasks) yield run(task, values.plain === true);
    if (values.only === undefined || jobConfigurations.some(({ name }) => name === values.only))
      for (const task of jobTasks)
        if (values.only === undefined || task.configuration === values.only) yield runJobs(task);
  };
  for (const report of reports()) {
    print(report, values.json === true);
    if (!report.asExpected) process.exitCode = 1;
  }
}

if (import.meta.main) main();
