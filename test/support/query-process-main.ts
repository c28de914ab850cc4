/**
 * The query function's own handler in a process of its own, asked by lines of JSON; each answer says what the process has open
 * then. `{ "left": n }` takes descriptors until n are left; with null it gives them back.
 */
import { closeSync, openSync, readdirSync, readlinkSync } from "node:fs";
import { createInterface } from "node:readline";
import { handler } from "../../lambdas/query/handler.ts";

const context = { awsRequestId: "request-1", getRemainingTimeInMillis: () => 30_000 };
const targets = (): string[] => {
  const listed = attempt(() => readdirSync("/proc/self/fd")) ?? [];
  // The one that listed them is gone.
  return listed.flatMap((descriptor) => attempt(() => readlinkSync(`/proc/self/fd/${descriptor}`)) ?? []);
};
/** Null where there is no descriptor for it. */
function attempt<T>(work: () => T): T | null {
  try {
    return work();
  } catch {
    return null;
  }
}

const taken: number[] = [];
function take(left: number | null): object {
  const open = () => attempt(() => openSync("/dev/null", "r"));
  if (left !== null) for (let one = open(); one !== null; one = open()) taken.push(one);
  for (const descriptor of taken.splice(left === null ? 0 : -left)) closeSync(descriptor);
  return {};
}

let most = 0;
const watch = setInterval(() => {
  most = Math.max(most, targets().length);
}, 5);
for await (const line of createInterface({ input: process.stdin })) {
  const event = JSON.parse(line) as { left?: number | null };
  const answer =
    event.left === undefined
      ? await handler(event, context).catch((error: Error) => ({
          failed: JSON.parse(error.message) as object,
        }))
      : take(event.left);
  const open = targets();
  const openFiles = open.filter((target) => target.startsWith(process.env.TMPDIR!));
  process.stdout.write(`${JSON.stringify({ answer, open: open.length, most, openFiles })}\n`);
}
clearInterval(watch);
