/**
 * Makes a failing run small: without processes, fault kinds and complications that it does not need, and with as few
 * steps as may be. What is taken away changes every later choice, so each smaller plan is tried with a few seeds.
 */
import { faultKinds } from "./faults.ts";
import type { Plan } from "./plan.ts";
import { type Outcome, simulate } from "./simulation.ts";

const seedsPerAttempt = 12;

export async function shrink(
  plan: Plan,
  outcome: Outcome,
  { secondsMax }: { secondsMax: number },
): Promise<{ plan: Plan; outcome: Outcome }> {
  const limitMs = performance.now() + secondsMax * 1000;
  const kind = kindOf(outcome);
  let best = { plan: { ...plan, steps: outcome.steps }, outcome };
  const attempt = async (smaller: Plan): Promise<boolean> => {
    for (let i = 0; i < seedsPerAttempt && performance.now() < limitMs; i++) {
      const tried = { ...smaller, seed: smaller.seed + i * 7919 };
      const found = await simulate(tried);
      if (kindOf(found) !== kind) continue;
      best = { plan: { ...tried, steps: found.steps }, outcome: found };
      return true;
    }
    return false;
  };
  for (const { name } of plan.processes) {
    await attempt({ ...best.plan, processes: best.plan.processes.filter((one) => one.name !== name) });
  }
  for (const fault of faultKinds) {
    if (best.plan.rates[fault] > 0)
      await attempt({ ...best.plan, rates: { ...best.plan.rates, [fault]: 0 } });
  }
  await attempt({ ...best.plan, processes: best.plan.processes.map((one) => ({ ...one, skewMs: 0 })) });
  await attempt({ ...best.plan, ids: 2 });
  await attempt({ ...best.plan, shards: 1, pageKeys: 1000 });
  while (
    best.plan.steps > 20 &&
    (await attempt({ ...best.plan, steps: Math.floor(best.plan.steps * 0.7) }))
  ) {
    // Shorter while it still fails.
  }
  return best;
}

/** The violation without its particulars. */
const kindOf = ({ violation }: Outcome): string | null =>
  violation &&
  violation
    .split("\n")[0]!
    .replace(/[0-9A-HJKMNP-TV-Z]{26}/g, "…")
    .replace(/\bw\d+\b|\d+(\.\d+)?/g, "n")
    .slice(0, 60);
