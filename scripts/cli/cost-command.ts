/** silt cost: what a month costs, by service, beside what people would pick instead. Needs no deployment. */
import type { Command } from "commander";
import { type CostLine, monthlyCost, total } from "../../lib/core/policy/cost/monthly-cost.ts";
import { pricesAsOf } from "../../lib/core/policy/cost/prices.ts";
import { type Rival, rivalCosts } from "../../lib/core/policy/cost/rivals.ts";
import { rivalUnitCosts, unitCosts } from "../../lib/core/policy/cost/unit-costs.ts";
import {
  queryGroups,
  residentRowBytes,
  shardsOf,
  type Workload,
} from "../../lib/core/policy/cost/workload.ts";
import { integer, real } from "./arguments.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { bytes, table } from "./text.ts";

interface Options {
  readonly vectors: number;
  readonly dims: number;
  readonly recordBytes: number;
  readonly writes: number;
  readonly rowsPerWrite: number;
  readonly queries: number;
  readonly strong: number;
  readonly interval: number;
  readonly coldStarts: number;
  readonly arm?: boolean;
}

const countMax = 1e12;
/** Cheaper by less than this is no reason to choose. */
const noticeable = 0.9;

export function addCostCommand(program: Command, run: Runner): void {
  const count = integer(0, countMax);
  program
    .command("cost")
    .description(`dollars a month at AWS list prices of ${pricesAsOf}, by service, and beside other stores`)
    .requiredOption("--vectors <n>", "vectors stored", integer(1, countMax))
    .requiredOption("--dims <n>", "their dimensions", integer(1, 4096))
    .option("--record-bytes <n>", "document and metadata of a record", count, 500)
    .option("--writes <n>", "rows written in a month", count, 0)
    .option("--rows-per-write <n>", "rows in a producer call", integer(1, 100_000), 100)
    .option("--queries <n>", "queries in a month", count, 0)
    .option("--strong <share>", "share of strong queries, 0 to 1", real, 0)
    .option("--interval <seconds>", "between compactor runs", integer(60, 86_400), 60)
    .option(
      "--cold-starts <n>",
      "cold starts of query functions in a month; none without queries",
      count,
      1000,
    )
    .option("--arm", "functions on arm64")
    .action(run(cost));
}

async function cost(_: Session, options: Options): Promise<Outcome> {
  const { strong, interval, arm, ...rest } = options;
  const workload: Workload = {
    ...rest,
    strongShare: strong,
    ingestSeconds: interval,
    architecture: arm ? "arm" : "x86",
  };
  const lines = monthlyCost(workload);
  const rivals = rivalCosts(workload);
  const memoryBytes = workload.vectors * residentRowBytes(workload);
  const [shards, groups] = [shardsOf(workload), queryGroups(workload)];
  const [units, rivalUnits] = [unitCosts(workload), rivalUnitCosts(workload)];
  const value = {
    pricesAsOf,
    workload,
    lines,
    total: total(lines),
    rivals,
    units,
    rivalUnits,
    memoryBytes,
    shards,
    queryGroups: groups,
  };
  const text = [
    table(["SERVICE", "FOR", "$/MONTH"], [...lines.map(lineOf), ["whole", "", dollars(total(lines))]]),
    `shards: ${shards}; query groups: ${groups}; they hold about ${bytes(memoryBytes)} of index together`,
    table(
      ["INSTEAD", "$/MONTH", "ON THE BASIS OF"],
      rivals.map((one) => [one.name, dollars(one.dollars), one.basis]),
    ),
    table(
      ["$", "IDLE MONTH", "10,000 UPDATES MORE", "MILLION QUERIES MORE"],
      [{ name: "Siltstone", ...units }, ...rivalUnits].map((one) => [
        one.name,
        dollars(one.idle),
        dollars(one.tenThousandUpdates),
        dollars(one.millionQueries),
      ]),
    ),
    `prices of ${pricesAsOf}, us-east-1, without free tiers; with the alarms and the dashboard that are deployed by default`,
    verdict(total(lines), rivals),
  ].join("\n\n");
  return { value, text };
}

const lineOf = ({ service, what, dollars: sum }: CostLine): [string, string, string] => [
  service,
  what,
  dollars(sum),
];
const dollars = (sum: number): string =>
  sum < 100 ? sum.toFixed(2) : Math.round(sum).toLocaleString("en-US");

function verdict(ours: number, rivals: readonly Rival[]): string {
  const cheaper = rivals.filter((rival) => rival.dollars < ours * noticeable);
  if (cheaper.length === 0) return "none of these is noticeably cheaper for this workload";
  return `cheaper for this workload: ${cheaper.map(({ name }) => name).join(", ")}`;
}
