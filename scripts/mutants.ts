/**
 * `npm run mutants [-- --only TEXT] [--json]`: plants one protocol fault at a time in a copy of the sources and asks
 * the crash points and the simulator (or a named test) whether they notice. A fault that nothing catches means that
 * the tests are not good enough; a fault whose text is not found any more has to be written anew. Both end with exit
 * code 1. The working tree is never touched.
 */
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import Table from "cli-table3";
import { type Mutant, mutants } from "../test/mutants/mutants.ts";
import type { Verdict } from "../test/mutants/probe.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    seeds: { type: "string", default: "150" },
    json: { type: "boolean", default: false },
  },
});
const root = join(import.meta.dirname, "..");
const run = promisify(execFile);

interface Row {
  readonly name: string;
  readonly file: string;
  readonly verdict: Verdict | null;
  readonly seconds: number;
}

if (existsSync("/dev/shm") && process.env.TMPDIR === undefined) process.env.TMPDIR = "/dev/shm";
const copy = mkdtempSync(join(tmpdir(), "siltstone-mutants-"));
const rows: Row[] = [];
try {
  const parts = [
    "lib",
    "test",
    "native",
    "scripts",
    "lambdas",
    "bin",
    "package.json",
    "jest.config.js",
    "tsconfig.json",
  ];
  for (const part of parts) cpSync(join(root, part), join(copy, part), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  for (const mutant of mutants) plant(mutant)(); // All of them still fit, before the first is tried.
  for (const mutant of mutants.filter(({ name }) => name.includes(values.only))) {
    const started = performance.now();
    const restore = plant(mutant);
    const verdict = mutant.test === undefined ? await probe() : await jest(mutant.test);
    restore();
    const row = {
      name: mutant.name,
      file: mutant.file,
      verdict,
      seconds: Math.round((performance.now() - started) / 1000),
    };
    rows.push(row);
    process.stderr.write(
      `${verdict ? "caught" : "MISSED"} ${mutant.name} (${verdict?.by ?? "by nothing"})\n`,
    );
  }
} finally {
  rmSync(copy, { recursive: true, force: true });
}
if (values.json) process.stdout.write(`${JSON.stringify(rows)}\n`);
else process.stdout.write(`${tableOf(rows)}\n`);
process.exitCode = rows.every(({ verdict }) => verdict !== null) ? 0 : 1;

/** Returns what takes the fault out again. */
function plant({ name, file, edits }: Mutant): () => void {
  const originals = new Map<string, string>();
  for (const edit of edits) {
    const path = join(copy, edit.file ?? file);
    const source = readFileSync(path, "utf8");
    if (!originals.has(path)) originals.set(path, source);
    const found = source.split(edit.search).length - 1;
    if (found !== 1)
      throw new Error(`mutant "${name}": its text occurs ${found} times in ${edit.file ?? file}, not once`);
    writeFileSync(
      path,
      source.replace(edit.search, () => edit.replace),
    );
  }
  return () => {
    for (const [path, source] of originals) writeFileSync(path, source);
  };
}

async function probe(): Promise<Verdict | null> {
  const probeFile = join(copy, "test/mutants/probe.ts");
  try {
    const { stdout } = await run(process.execPath, [probeFile, values.seeds], {
      cwd: copy,
      timeout: 1_200_000,
    });
    return JSON.parse(stdout.trim().split("\n").at(-1)!) as Verdict | null;
  } catch (error) {
    return {
      by: "the process ended",
      steps: 0,
      message: String((error as { stderr?: string }).stderr ?? error).slice(0, 400),
    };
  }
}

async function jest(path: string): Promise<Verdict | null> {
  const bin = join(copy, "node_modules/jest/bin/jest.js");
  try {
    await run(process.execPath, [bin, "--rootDir", copy, path], { cwd: copy, timeout: 1_200_000 });
    return null;
  } catch (error) {
    const text = String((error as { stderr?: string }).stderr ?? error);
    if (!text.includes("●")) throw error;
    return { by: path, steps: 0, message: /● (.*)/.exec(text)?.[1] ?? "" };
  }
}

function tableOf(all: readonly Row[]): string {
  const table = new Table({
    head: ["planted fault", "file", "caught by", "after", "what it said"],
    colWidths: [36, 30, 24, 12, 60],
    wordWrap: true,
  });
  for (const { name, file, verdict } of all) {
    table.push([
      name,
      file,
      verdict?.by ?? "NOTHING",
      verdict ? String(verdict.steps) : "",
      (verdict?.message ?? "").split("\n", 1).join("").slice(0, 160),
    ]);
  }
  return table.toString();
}
