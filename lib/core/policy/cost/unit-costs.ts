/** The cost by what is asked of a store most often. */
import { monthlyCost, total } from "./monthly-cost.ts";
import { rivalCosts } from "./rivals.ts";
import type { Workload } from "./workload.ts";

/** What is asked of a store most often. */
export interface UnitCosts {
  /** A month in which nothing is written or asked: storage, and schedules that look for work, and what watches over it. */
  readonly idle: number;
  /** Of so many more in the month; the metrics that the first of them adds are not in it. */
  readonly tenThousandUpdates: number;
  readonly millionQueries: number;
}

export function unitCosts(workload: Workload): UnitCosts {
  const of = (change: Partial<Workload>): number =>
    total(monthlyCost({ ...workload, ...change }).filter(({ what }) => what !== "metrics"));
  return {
    idle: total(monthlyCost({ ...workload, writes: 0, queries: 0 })),
    tenThousandUpdates: of({ writes: workload.writes + 10_000 }) - of({}),
    millionQueries: of({ queries: workload.queries + 1e6 }) - of({}),
  };
}

/** The same of each rival. */
export function rivalUnitCosts(workload: Workload): (UnitCosts & { readonly name: string })[] {
  const of = (change: Partial<Workload>) => rivalCosts({ ...workload, ...change });
  const [idle, now] = [of({ writes: 0, queries: 0 }), of({})];
  const [written, asked] = [
    of({ writes: workload.writes + 10_000 }),
    of({ queries: workload.queries + 1e6 }),
  ];
  return now.map(({ name, dollars }, i) => ({
    name,
    idle: idle[i]!.dollars,
    tenThousandUpdates: written[i]!.dollars - dollars,
    millionQueries: asked[i]!.dollars - dollars,
  }));
}
