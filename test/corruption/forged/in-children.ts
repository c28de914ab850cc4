/** Has forgeries tried in child processes: the one that a process dies of, or that does not end, is named; the rest go on. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { plantingArguments, root } from "../../mutants/plant.ts";
import type { Asked, Said } from "./child.ts";

/** In memory where that can be: a case makes some forty files, and removes them. */
const temporaryFolder = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** Of one forgery, on a machine that has other things to do. */
const secondsMax = 30;

export interface Outcome {
  readonly name: string;
  readonly refused: readonly string[];
  readonly fault: string | null;
  readonly seconds: number;
  readonly rssBytes: number;
}

export async function inChildren({ metric, names }: Asked): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  while (outcomes.length < names.length) {
    const before = outcomes.length;
    await oneChild({ metric, names: names.slice(before) }, outcomes);
    if (outcomes.length === before) throw new Error("a child process ended before its first forgery");
  }
  return outcomes;
}

async function oneChild(asked: Asked, outcomes: Outcome[]): Promise<void> {
  const file = join(root, "test/corruption/forged/child.ts");
  const child = spawn(
    process.execPath,
    ["--expose-gc", ...plantingArguments(), file, JSON.stringify(asked)],
    {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, TMPDIR: temporaryFolder },
    },
  );
  const ended = new Promise<string>((resolve) => {
    child.on("close", (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
  let begun: string | null = null;
  let timer: NodeJS.Timeout | undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as Said;
    clearTimeout(timer);
    if ("begins" in said) {
      begun = said.begins;
      timer = setTimeout(() => child.kill("SIGKILL"), secondsMax * 1_000);
    } else {
      begun = null;
      const { ended: name, ...rest } = said;
      outcomes.push({ name, ...rest });
    }
  }
  clearTimeout(timer);
  const how = await ended;
  if (begun !== null)
    outcomes.push({ name: begun, refused: [], fault: `the process: ${how}`, seconds: 0, rssBytes: 0 });
}
