/**
 * `npm run bench -- [SCENARIO…] [--rows N] [--tiny] [--json] [--beside FOLDER [--rounds N]]`: runs the named scenarios, or all
 * of them, and prints their tables and targets; with --beside, those of another checkout as well (scripts/bench/beside.ts). Exit code 0 whatever the numbers: they depend on the machine. docs/lab/performance.md holds
 * the numbers that were measured for it.
 */
import { availableParallelism, cpus, totalmem } from "node:os";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { type Beside, runBeside } from "./beside.ts";
import { type Entry, scenarios } from "./registry.ts";
import type { Result } from "./scenario.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: "string" },
    tiny: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    beside: { type: "string" },
    rounds: { type: "string", default: "3" },
  },
});

const chosen = choose(positionals);
const rows = values.rows === undefined ? undefined : Number(values.rows);
if (rows !== undefined && !(Number.isInteger(rows) && rows > 0))
  throw new Error(`--rows: ${values.rows} is not a number of rows`);

const machine = {
  processor: cpus()[0]?.model.trim(),
  threads: availableParallelism(),
  memoryGb: Math.round(totalmem() / 1e9),
  node: process.version,
};
const reports: { scenario: string; seconds: number; result: Result }[] = [];
for (const scenario of chosen) {
  const startedMs = performance.now();
  const log = (line: string) => process.stderr.write(`${scenario.name}: ${line}\n`);
  const size = { tiny: values.tiny, rows };
  const result =
    values.beside === undefined
      ? await scenario.run(size, log)
      : { tables: await runBeside(scenario.name, besideOf(values.beside), log), checks: [] };
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  reports.push({ scenario: scenario.name, seconds, result });
  if (!values.json) show(scenario.name, seconds, result);
}
if (values.json) console.log(JSON.stringify({ machine, at: new Date().toISOString(), reports }, null, 2));

function besideOf(folder: string): Beside {
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new Error(`--rounds: ${values.rounds} is not a number of rounds`);
  const options = [
    ...(values.tiny ? ["--tiny"] : []),
    ...(rows === undefined ? [] : ["--rows", String(rows)]),
  ];
  return { folder, rounds, options };
}

function choose(names: readonly string[]): readonly Entry[] {
  const unknown = names.filter((name) => !scenarios.some((scenario) => scenario.name === name));
  if (unknown.length > 0) {
    const known = scenarios.map((scenario) => `  ${scenario.name.padEnd(14)}${scenario.about}`).join("\n");
    throw new Error(`unknown scenario ${unknown.join(", ")}; there are\n${known}`);
  }
  return names.length === 0 ? scenarios : scenarios.filter((scenario) => names.includes(scenario.name));
}

function show(name: string, seconds: number, { tables, checks }: Result): void {
  console.log(
    `\n${name} (${seconds} s; ${machine.processor}, ${machine.threads} threads, Node ${machine.node})`,
  );
  for (const { title, columns, rows: cells } of tables) {
    const table = new Table({ head: [...columns], style: { head: [], border: [] } });
    table.push(...cells.map((row) => [...row]));
    console.log(`\n${title}\n${table.toString()}`);
  }
  for (const { target, measured, met } of checks)
    console.log(`${met ? "met   " : "MISSED"} ${target}: ${measured}`);
}
