/** Every scenario runs whole at its tiny size, so that none can rot. What it measures so small is not looked at. */
import { scenarios } from "../../scripts/bench/registry.ts";

test.each(scenarios.map((scenario) => [scenario.name, scenario] as const))(
  "%s",
  async (_, scenario) => {
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
  },
  60_000,
);
