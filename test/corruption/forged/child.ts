/** Tries forgeries, and says of each when it begins and how it ended: a signal ends this process, and not who asks. */
import type { Metric } from "../../../lib/core/model/collection.ts";
import { peakBytes } from "../../../scripts/bench/peak-memory.ts";
import { forgeryNamed } from "./forgeries.ts";
import { exercise, forging, prepare } from "./world.ts";

export interface Asked {
  readonly metric: Metric;
  readonly names: readonly string[];
}
export type Said =
  | { readonly begins: string }
  | {
      readonly ended: string;
      /** Which readings refused it as `corrupt`, and how. */
      readonly refused: readonly string[];
      /** What was wrong with it beside that. */
      readonly fault: string | null;
      readonly seconds: number;
      /** The largest that this process was so far. */
      readonly rssBytes: number;
    };

const collectedBytesLeast = 250e6;

const { metric, names } = JSON.parse(process.argv[2]!) as Asked;
// Written at once: what a signal ends has said where.
const say = (said: Said) => process.stdout.write(`${JSON.stringify(said)}\n`);
const scene = await prepare(metric);
const intact = await forging(scene, [], () => exercise(scene));
if (intact.refused.length > 0) throw new Error(`without a forgery: ${intact.refused.join("; ")}`);
for (const name of names) {
  say({ begins: name });
  const started = performance.now();
  const outcome = await attempt(name).catch((error: unknown) => ({
    refused: [],
    fault: String((error as Error).stack ?? error),
  }));
  const seconds = (performance.now() - started) / 1_000;
  // What one case leaves is not counted for the next: a machine with memory to spare is in no hurry to collect it. To collect
  // after every case would take as long as the cases.
  if (process.memoryUsage.rss() > collectedBytesLeast) globalThis.gc!();
  say({ ended: name, ...outcome, seconds, rssBytes: peakBytes() });
}

async function attempt(name: string): Promise<{ refused: readonly string[]; fault: string | null }> {
  const forgery = forgeryNamed(metric, name);
  const forged = forgery.forge(scene);
  const { refused } = await forging(scene, forged, () => exercise(scene));
  // The sum of rows is no single file's.
  const ofRows = /its files do not have the|the rows read from a merge's inputs/;
  const isNamed = (said: string) => ofRows.test(said) || forged.some(({ file }) => said.includes(file));
  const other = refused.find((said) => !isNamed(said));
  if (other !== undefined) return { refused, fault: `refused for something else: ${other}` };
  const missing = forgery.refusedBy.filter((one) => !refused.some((said) => said.startsWith(one)));
  return { refused, fault: missing.length === 0 ? null : `not refused by ${missing.join(", ")}` };
}
