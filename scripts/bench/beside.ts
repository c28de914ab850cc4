/**
 * `npm run bench -- NAME… --beside FOLDER [--rounds N]`: the same scenarios here and in another checkout with its packages
 * installed, by turns, so that both meet the same machine. Of every number: the medians of both, and their ratio; beside it
 * how far apart one side's own rounds are, which is what a ratio has to exceed to mean anything.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Cell, Result, Table } from "./scenario.ts";

export interface Beside {
  readonly folder: string;
  readonly rounds: number;
  /** What is handed on to both: --tiny, --rows. */
  readonly options: readonly string[];
}

const run = promisify(execFile);
const outputBytesMax = 64 * 1024 * 1024;

/** Tables in which each measured cell is "here / there = ratio (spread)". */
export async function runBeside(
  scenario: string,
  { folder, rounds, options }: Beside,
  log: (line: string) => void,
): Promise<Table[]> {
  const here: Result[] = [];
  const there: Result[] = [];
  for (let round = 1; round <= rounds; round++)
    for (const [results, cwd] of [
      [there, folder],
      [here, process.cwd()],
    ] as const) {
      log(`round ${round} of ${rounds} in ${cwd}`);
      const args = ["scripts/bench/main.ts", scenario, "--json", ...options];
      const { stdout } = await run(process.execPath, args, { cwd, maxBuffer: outputBytesMax });
      results.push(JSON.parse(stdout).reports[0].result);
    }
  return here[0]!.tables.map((_, i) => compared(tablesAt(here, i), tablesAt(there, i)));
}

const tablesAt = (results: readonly Result[], i: number): readonly Table[] =>
  results.flatMap(({ tables }) => tables[i] ?? []);

/** By the place of its rows and the names of its columns; what only one side has is left out. */
export function compared(here: readonly Table[], there: readonly Table[]): Table {
  const [first] = here as [Table];
  const other = there[0];
  const columns = first.columns.filter((column) => other?.columns.includes(column));
  const cellsOf = (tables: readonly Table[], row: number, column: string): Cell[] =>
    tables.flatMap(({ columns: names, rows }) => rows[row]?.[names.indexOf(column)] ?? []);
  const rows = first.rows.map((_, row) =>
    columns.map((column) => comparedCell(cellsOf(here, row, column), cellsOf(there, row, column))),
  );
  return { title: first.title, columns, rows };
}

function comparedCell(here: readonly Cell[], there: readonly Cell[]): Cell {
  const known = here[0] ?? "";
  if (new Set([...here, ...there]).size === 1) return known;
  const [ours, theirs] = [numbersIn(here), numbersIn(there)];
  if (ours.length === 0 || theirs.length === 0) return known;
  const [a, b] = [median(ours), median(theirs)];
  const spread = Math.max(spreadOf(ours), spreadOf(theirs));
  return `${rounded(a)} / ${rounded(b)} = ${rounded(a / b)} (±${Math.round((spread - 1) * 100)} %)`;
}

const numbersIn = (cells: readonly Cell[]): number[] =>
  cells.map((cell) => (typeof cell === "number" ? cell : Number.parseFloat(cell))).filter(Number.isFinite);
const rounded = (value: number): number => Number(value.toPrecision(3));
const spreadOf = (values: readonly number[]): number => Math.max(...values) / Math.min(...values);
function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
