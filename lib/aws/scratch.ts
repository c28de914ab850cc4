/**
 * A function's /tmp outlives a process that was killed (a timeout, out of memory): what it left there would fill the
 * disk of the next one. A Lambda runs one process at a time, so whatever is there at start belongs to no living process.
 */
import { readdirSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ResourceBudget } from "../core/policy/resource-estimate.ts";

/** Call once at cold start, before anything is written. Only in a function: elsewhere /tmp is shared, and is left alone. */
export function clearScratch(variables: Readonly<Record<string, string | undefined>>): void {
  if (variables.AWS_LAMBDA_RUNTIME_API === undefined) return;
  for (const name of readdirSync(tmpdir())) {
    if (name.startsWith("siltstone-")) rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

/** The memory that Lambda gives the function, and what is free of its /tmp. */
export function budgetHere(variables: Readonly<Record<string, string | undefined>>): ResourceBudget {
  const { bavail, bsize } = statfsSync(tmpdir());
  const memoryMiB = Number(variables.AWS_LAMBDA_FUNCTION_MEMORY_SIZE ?? Number.POSITIVE_INFINITY);
  return { memoryBytes: memoryMiB * 2 ** 20, diskBytes: bavail * bsize };
}
