/** Every scenario runs whole at its tiny size, so that none can rot. Of what it measures so small, ratios of sizes alone are looked at. */
import { scenarios } from "../../scripts/bench/registry.ts";

test.each(scenarios.map((scenario) => [scenario.name, scenario] as const))(
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
    // Shards whose rows fill one and two segments: a ratio of bytes, whatever the size.
    const sizes = checks.filter(({ target }) => target.includes("full: size"));
    expect(sizes.map(({ met }) => met)).toEqual(name === "churn" ? [true, true] : []);
  },
  60_000,
);
