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
  /** Why there is no verdict, where the trial itself failed. */
  readonly failure?: string;
}

const run = promisify(execFile);
/** A probe that nothing ends goes through all seeds. */
const probeMsMax = 3_600_000;
/** A test that runs longer than this does so for the fault. */
const testMsMax = 300_000;

export async function tryOut(mutant: Mutant, { seeds }: { seeds: number }): Promise<Trial> {
  const started = performance.now();
  const first = caughtBefore[mutant.name]?.by ?? null;
  const verdict = await (mutant.test === undefined
    ? probe(mutant, { seeds, first })
    : jest(mutant, mutant.test, first)
  ).catch((error: unknown) => error as Error);
  const seconds = Math.round((performance.now() - started) / 100) / 10;
  if (verdict instanceof Error) return { mutant, verdict: null, seconds, failure: textOf(verdict) };
  return { mutant, verdict, seconds };
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
    const { stdout } = await run(process.execPath, args, optionsFor(name, probeMsMax));
    return JSON.parse(stdout.trim().split("\n").at(-1)!) as Verdict | null;
  } catch (error) {
    // A signal of its own doing. Anything else is a defect of the trial.
    const { signal, killed } = error as { signal?: string; killed?: boolean };
    if (!signal || killed) throw error;
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
      await run(process.execPath, args, optionsFor(name, testMsMax));
    } catch (error) {
      const text = textOf(error);
      if ((error as { killed?: boolean }).killed)
        return { by: { suite: "process" }, message: `${path} does not end` };
      const [, at = ""] = /● (.*)/.exec(text) ?? [];
      if (at === "" || text.includes("not once")) throw error;
      return { by: { suite: "test", path, title: at.split(" › ").join(" ") }, message: at };
    }
  }
  return null;
}

const optionsFor = (name: string, timeout: number) => ({
  cwd: root,
  timeout,
  maxBuffer: 64 * 1024 * 1024,
  env: {
    ...process.env,
    [plantVariable]: name,
    ...(existsSync("/dev/shm") && process.env.TMPDIR === undefined ? { TMPDIR: "/dev/shm" } : {}),
  },
});

const textOf = (error: unknown): string => String((error as { stderr?: string }).stderr || error);
