/** Every scenario runs whole at its tiny size, so that no scenario can rot. Only targets of counts are looked at, since so small a run measures nothing else. */
import { scenarios } from "../../scripts/bench/registry.ts";

/** Requests and bytes, of compactor and reader; size with one and two full segments; answers of many shards and of one reader. */
const countedOf: Readonly<Record<string, number>> = { ingest: 5, churn: 2, scale: 1, path: 6 };

/** That one needs the whole stack, as test/e2e/jobs.test.ts does, which has the same parts. */
const ownRun = "items";

test.each(
  scenarios.filter(({ name }) => name !== ownRun).map((scenario) => [scenario.name, scenario] as const),
)(
  "%s",
  async (name, scenario) => {
    const { tables, checks } = await scenario.run({ tiny: true }, () => {});
    expect(tables.length).toBeGreaterThan(0);
    for (const { columns, rows } of tables) {
      expect(rows.length).toBeGreaterThan(0);
      for (const row of rows) {
        expect(row).toHaveLength(columns.length);
        for (const cell of row) expect(cell).not.toBeNaN();
      }
    }
    for (const { target, measured } of checks) expect([target, measured]).not.toContain(Number.NaN);
    const counted = checks.filter((check) => check.counted);
    expect(counted.filter(({ met }) => !met)).toEqual([]);
    expect(counted).toHaveLength(countedOf[name] ?? 0);
  },
  60_000,
);
