import { readFileSync } from "node:fs";
import { join } from "node:path";
import { measured } from "../../../lib/core/policy/cost/measured.ts";
import { monthlyCost, total } from "../../../lib/core/policy/cost/monthly-cost.ts";
import { prices, pricesAsOf } from "../../../lib/core/policy/cost/prices.ts";
import { rivalCosts } from "../../../lib/core/policy/cost/rivals.ts";
import { rivalUnitCosts, unitCosts } from "../../../lib/core/policy/cost/unit-costs.ts";
import { queryGroups, type Workload } from "../../../lib/core/policy/cost/workload.ts";

const workload: Workload = {
  vectors: 100_000,
  dims: 384,
  recordBytes: 500,
  writes: 300_000,
  rowsPerWrite: 100,
  queries: 1_000_000,
  strongShare: 0,
  ingestSeconds: 60,
  coldStarts: 1000,
  architecture: "x86",
};
const cost = (change: Partial<Workload> = {}): number => total(monthlyCost({ ...workload, ...change }));

test("every line is a finite number of dollars, from zero up", () => {
  for (const { dollars } of [...monthlyCost(workload), ...rivalCosts(workload)]) {
    expect(Number.isFinite(dollars)).toBe(true);
    expect(dollars).toBeGreaterThanOrEqual(0);
  }
});

test.each([
  ["vectors", { vectors: 200_000 }],
  ["dims", { dims: 1024 }],
  ["writes", { writes: 600_000 }],
  ["smaller writes", { rowsPerWrite: 10 }],
  ["queries", { queries: 2_000_000 }],
  ["strong reads", { strongShare: 0.5 }],
  ["cold starts", { coldStarts: 10_000 }],
] as const)("more %s cost more", (_, change) => {
  expect(cost(change)).toBeGreaterThan(cost());
});

test("a longer interval and arm64 cost less", () => {
  expect(cost({ ingestSeconds: 600 })).toBeLessThan(cost());
  expect(cost({ architecture: "arm" })).toBeLessThan(cost());
});

const watchers = ["alarms", "dashboard"];

test("an idle collection costs its storage and its compactor's schedule, less than a dollar, and what watches over it", () => {
  const lines = monthlyCost({ ...workload, writes: 0, queries: 0 });
  expect(total(lines.filter(({ what }) => !watchers.includes(what)))).toBeLessThan(1);
  const watching = measured.alarmMetrics * prices.alarmMetricMonth + prices.dashboardMonth;
  expect(total(lines.filter(({ what }) => watchers.includes(what)))).toBeCloseTo(watching, 6);
  expect(unitCosts(workload).idle).toBe(total(lines));
});

test("without queries nothing starts cold, and nothing is paid for it", () => {
  const idle = monthlyCost({ ...workload, queries: 0 });
  expect(idle.find(({ what }) => what === "cold starts")!.dollars).toBe(0);
  expect(cost({ queries: 10, coldStarts: 1000 })).toBe(cost({ queries: 10, coldStarts: 10 }));
});

/** The workload of README's table: `silt cost --vectors 100000 --dims 384 --writes 300000 --queries 1000000`. */
test("README says what silt cost says", () => {
  const readme = readFileSync(join(import.meta.dirname, "../../../README.md"), "utf8");
  expect(readme).toContain(
    `\`silt cost --vectors ${workload.vectors} --dims ${workload.dims} --writes ${workload.writes} --queries ${workload.queries}\``,
  );
  expect(readme).toContain(`prices of ${pricesAsOf}`);
  const dollars = (sum: number) => (sum < 100 ? sum.toFixed(2) : Math.round(sum).toLocaleString("en-US"));
  const rows = [{ name: "Siltstone", ...unitCosts(workload) }, ...rivalUnitCosts(workload)].map(
    ({ name, idle, tenThousandUpdates, millionQueries }) =>
      `| ${name} | $${dollars(idle)} | $${dollars(tenThousandUpdates)} | $${dollars(millionQueries)} |`,
  );
  for (const row of rows) expect(readme).toContain(row);
  const idle = monthlyCost({ ...workload, writes: 0, queries: 0 });
  const watched = total(idle.filter(({ what }) => watchers.includes(what)));
  const said = `an idle store costs $${dollars(total(idle))} a month, $${dollars(watched)} of it for the alarms and the dashboard`;
  expect(readme.replaceAll("\n", " ")).toContain(said);
  expect(readme).toContain(`| Idle cost | $${dollars(total(idle) - watched)} a month`);
});

/** The table "An idle store": what runs ask, as test/e2e/idle-requests.test.ts counts it, in dollars. */
test("docs/cost.md says of an idle store what is reckoned", () => {
  const document = readFileSync(join(import.meta.dirname, "../../../docs/cost.md"), "utf8");
  const of = (shards: number, services: readonly string[]): string =>
    total(
      monthlyCost({ ...workload, vectors: shards * 390_000, writes: 0, queries: 0 }).filter(({ service }) =>
        services.includes(service),
      ),
    ).toFixed(2);
  const requests = ["S3 requests", "SQS", "DynamoDB"];
  expect(document).toContain(`| 0.79 | ${of(1, requests)} | 5.02 |`);
  const metrics = (measured.idleMetrics * prices.metricMonth).toFixed(2);
  expect(document).toContain(`| dollars a month for them | 3.60 | ${metrics} | 14.40 | ${metrics} |`);
});

test("an index beyond one function is spread over query groups, each of which is invoked", () => {
  expect(queryGroups(workload)).toBe(1);
  const large = { ...workload, vectors: 20_000_000, queries: 1e6 };
  expect(queryGroups(large)).toBe(15);
  const queries = (given: Workload) => monthlyCost(given).find(({ what }) => what === "queries")!.dollars;
  const memoryGb = (20e6 * 2_484 * 1.25) / 1e9 + 15 * 0.25 + 1.769;
  expect(queries(large)).toBeCloseTo(16 * 0.2 + memoryGb * 0.005 * 1e6 * 0.0000166667, 1);
});

test("idle shards are looked at in turns: a shard more costs less than a tenth of three requests a minute and eight every five", () => {
  const requests = (vectors: number) =>
    monthlyCost({ ...workload, vectors, writes: 0, queries: 0, coldStarts: 0 })
      .filter(({ service }) => service === "S3 requests")
      .reduce((sum, { dollars }) => sum + dollars, 0);
  const [few, many] = [100, 600];
  const aShard = (requests(many * 390_000) - requests(few * 390_000)) / (many - few);
  const before = (43_200 * (5 + 2 * 0.4) + 8_640 * (4 * 5 + 4 * 0.4)) / 1e6;
  expect(aShard).toBeGreaterThan(0.01);
  expect(aShard).toBeLessThan(before / 10);
});

test("S3 Vectors is the cheaper one for a large collection that is seldom asked", () => {
  const seldom = { ...workload, vectors: 50_000_000, writes: 0, queries: 1000, coldStarts: 1000 };
  const vectors = rivalCosts(seldom).find(({ name }) => name === "Amazon S3 Vectors")!;
  expect(vectors.dollars).toBeLessThan(total(monthlyCost(seldom)));
});
