/** Jobs under every interleaving that a seed makes (simulation.ts). `JOB_SEEDS=a-b` runs others. */
import { simulate } from "./simulation.ts";

const [from, to] = (process.env.JOB_SEEDS ?? "1-40").split("-").map(Number) as [number, number];

test(`seeds ${from} to ${to}: no row of an older save is seen once a newer is finished, and the last save is what is left`, async () => {
  for (let seed = from; seed <= to; seed++) {
    const faults = await simulate(seed);
    if (faults.length > 0) throw new Error(`seed ${seed}: ${faults.slice(0, 3).join("; ")}`);
  }
}, 120_000);
