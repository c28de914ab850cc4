/** Tries planted faults, each in a process of its own: the simulator, races and crash points (probe.ts), or one Jest path. */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Mutant } from "./mutants.ts";
import { plantVariable, root } from "./plant.ts";
import type { Catch, Question, Verdict } from "./probe.ts";

/** What caught each fault when `npm run mutants -- --write` was run last: where the next trial looks first. */
export interface Caught {
  readonly by: Catch;
  /** From the start of the process, with the machine to itself. */
  readonly seconds: number;
}
export const caughtFile = join(root, "test/mutants/caught.json");
export const caughtBefore: Readonly<Record<string, Caught>> = existsSync(caughtFile)
  ? JSON.parse(readFileSync(caughtFile, "utf8"))
  : {};

export interface Trial {
  readonly mutant: Mutant;
  readonly verdict: Verdict | null;
  readonly seconds: number;
}

const run = promisify(execFile);
const timeoutMs = 1_200_000;

export async function tryOut(mutant: Mutant, { seeds }: { seeds: number }): Promise<Trial> {
  const started = performance.now();
  const first = caughtBefore[mutant.name]?.by ?? null;
  const verdict =
    mutant.test === undefined
      ? await probe(mutant, { seeds, first })
      : await jest(mutant, mutant.test, first);
  return { mutant, verdict, seconds: Math.round((performance.now() - started) / 100) / 10 };
}

/** `count` at a time, in the given order; each is told of as it ends. */
export async function tryAll(
  mutants: readonly Mutant[],
  options: { seeds: number; count: number; onTrial?: (trial: Trial) => void },
): Promise<Trial[]> {
  const trials = new Map<Mutant, Trial>();
  const waiting = [...mutants];
  const work = async () => {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      const trial = await tryOut(mutant, options);
      trials.set(mutant, trial);
      options.onTrial?.(trial);
    }
  };
  await Promise.all(Array.from({ length: options.count }, work));
  return mutants.map((mutant) => trials.get(mutant)!);
}

async function probe({ name }: Mutant, question: Question): Promise<Verdict | null> {
  const file = (path: string) => join(root, "test/mutants", path);
  const args = ["--import", file("plant-at-load.ts"), file("probe.ts"), JSON.stringify(question)];
  try {
    const { stdout } = await run(process.execPath, args, optionsFor(name));
    return JSON.parse(stdout.trim().split("\n").at(-1)!) as Verdict | null;
  } catch (error) {
    // Killed: it crashed, or did not end. Anything else is a defect of the trial.
    if (!(error as { signal?: string }).signal) throw error;
    return { by: { suite: "process" }, message: textOf(error).slice(0, 400) };
  }
}

/** The test that caught it last time; when that passes, the whole path. */
async function jest({ name }: Mutant, path: string, first: Catch | null): Promise<Verdict | null> {
  const known = first?.suite === "test" && first.path === path ? first.title : null;
  const titles = known === null ? [null] : [known, null];
  for (const title of titles) {
    const only = title === null ? [] : ["-t", `^${title.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`];
    const args = [join(root, "node_modules/jest/bin/jest.js"), path, "--maxWorkers", "1", ...only];
    try {
      await run(process.execPath, args, optionsFor(name));
    } catch (error) {
      const text = textOf(error);
      const [, at = ""] = /● (.*)/.exec(text) ?? [];
      if (at === "" || text.includes("not once")) throw error;
      return { by: { suite: "test", path, title: at.split(" › ").join(" ") }, message: at };
    }
  }
  return null;
}

const optionsFor = (name: string) => ({
  cwd: root,
  timeout: timeoutMs,
  maxBuffer: 64 * 1024 * 1024,
  env: {
    ...process.env,
    [plantVariable]: name,
    ...(existsSync("/dev/shm") && process.env.TMPDIR === undefined ? { TMPDIR: "/dev/shm" } : {}),
  },
});

const textOf = (error: unknown): string => String((error as { stderr?: string }).stderr || error);
