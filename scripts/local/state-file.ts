/**
 * local.json: what a running stack tells the command line and the next stack. It counts while the process that wrote it
 * lives and answers; what a killed stack left is replaced.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface Endpoints {
  readonly s3: string;
  readonly sqs: string;
  readonly dynamodb: string;
  readonly lambda: string;
}
export interface LocalState {
  readonly pid: number;
  /** Processes that the stack started. */
  readonly childPids: readonly number[];
  readonly stackName: string;
  readonly region: string;
  readonly endpoints: Endpoints;
  readonly outputs: Readonly<Record<string, string>>;
  /** URLs by function name. */
  readonly functionUrls: Readonly<Record<string, string>>;
}

const pathIn = (stateDir: string): string => join(stateDir, "local.json");

export function writeState(stateDir: string, state: LocalState): void {
  const path = pathIn(stateDir);
  const descriptor = openSync(`${path}.new`, "w");
  writeSync(descriptor, `${JSON.stringify(state, null, 2)}\n`);
  fsyncSync(descriptor);
  closeSync(descriptor);
  renameSync(`${path}.new`, path);
}

export function removeState(stateDir: string): void {
  rmSync(pathIn(stateDir), { force: true });
}

function readState(stateDir: string): LocalState | null {
  try {
    return JSON.parse(readFileSync(pathIn(stateDir), "utf8")) as LocalState;
  } catch {
    return null;
  }
}

/** The guardian of a killed stack needs a moment to end its children. */
const leftoverWaitMs = 5000;

/** Throws when a stack runs in this folder; waits until what a killed one left behind has ended. */
export async function claimState(stateDir: string): Promise<void> {
  const state = readState(stateDir);
  if (state === null) return;
  if (isAlive(state.pid) && (await answers(state.endpoints.lambda))) {
    throw new Error(
      `A local stack already runs in ${stateDir} (process ${state.pid}, ${state.endpoints.lambda}).`,
    );
  }
  const limitMs = Date.now() + leftoverWaitMs;
  while (state.childPids.some(isAlive) && Date.now() < limitMs) await sleep(20);
  removeState(stateDir);
}

/** Whether a process runs; one that has ended but was not waited for by its parent does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  try {
    return process.platform !== "linux" || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

/** A process id may have been given to another process since; only the host itself answers this. */
async function answers(lambdaEndpoint: string): Promise<boolean> {
  try {
    // Refused, since it is not signed, is an answer too.
    await fetch(`${lambdaEndpoint}/2015-03-31/functions`, { signal: AbortSignal.timeout(2000) });
    return true;
  } catch {
    return false;
  }
}
