/**
 * `npm run mutants [-- --only TEXT] [--jobs N] [--write] [--json]`: plants one fault at a time into the sources as they are
 * loaded (test/mutants/plant.ts), and asks the simulator, races and crash points, or a named test, whether they notice. A
 * fault that nothing catches means that the tests are not good enough; one whose text is not found any more has to be
 * written anew. Both end with exit code 1. No file of the working tree is touched, unless `--write` is given after a
 * whole run: then test/mutants/caught.json (where the next run looks first) and the table in docs/protocol.md are.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { mutants } from "./mutants.ts";
import { root } from "./plant.ts";
import type { Catch } from "./probe.ts";
import { type Caught, caughtFile, type Trial, tryAll } from "./trial.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    seeds: { type: "string", default: "150" },
    jobs: { type: "string", default: String(availableParallelism()) },
    write: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

const started = performance.now();
const trials = await tryAll(
  mutants.filter(({ name }) => name.includes(values.only)),
  {
    seeds: Number(values.seeds),
    count: Number(values.jobs),
    onTrial: ({ mutant: { name }, verdict, seconds, failure = "" }) =>
      process.stderr.write(
        `${verdict ? "caught" : "MISSED"} ${name} (${nameOf(verdict?.by)}, ${seconds} s) ${failure}\n`,
      ),
  },
);
const minutes = (performance.now() - started) / 60_000;
if (values.json) process.stdout.write(`${JSON.stringify(trials)}\n`);
else process.stdout.write(`${tableOf(trials)}\n${trials.length} faults in ${minutes.toFixed(1)} minutes\n`);
process.exitCode = trials.every(({ verdict }) => verdict !== null) ? 0 : 1;
if (values.write && values.only === "") write(trials);

function nameOf(by: Catch | undefined): string {
  switch (by?.suite) {
    case undefined:
      return "nothing";
    case "simulator":
      return `simulator, seed ${by.seed}`;
    case "test":
      return by.path;
    case "process":
      return "the process ended";
    default:
      return by!.suite;
  }
}

function tableOf(all: readonly Trial[]): string {
  const table = new Table({
    head: ["planted fault", "file", "caught by", "s", "what it said"],
    colWidths: [36, 30, 24, 7, 60],
    wordWrap: true,
  });
  for (const { mutant, verdict, seconds } of all) {
    const said = (verdict?.message ?? "").split("\n", 1).join("").slice(0, 160);
    table.push([mutant.name, mutant.file, nameOf(verdict?.by), String(seconds), said]);
  }
  return table.toString();
}

function write(all: readonly Trial[]): void {
  const caught: Record<string, Caught> = {};
  for (const { mutant, verdict, seconds } of all)
    if (verdict !== null) caught[mutant.name] = { by: verdict.by, seconds };
  writeFileSync(caughtFile, `${JSON.stringify(caught, null, 2)}\n`);
  const path = join(root, "docs/lab/protocol.md");
  const rows = all.map(({ mutant, verdict }) => `| ${mutant.name} | ${nameOf(verdict?.by)} |\n`).join("");
  const text = readFileSync(path, "utf8");
  writeFileSync(
    path,
    text.replace(
      /(\| planted fault \| caught by \|\n\|---\|---\|\n)(?:\|.*\n)*/,
      (_, head: string) => `${head}${rows}`,
    ),
  );
}
