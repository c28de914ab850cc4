/** `npm run bench -- NAME --beside FOLDER`: what it makes of the tables of two checkouts. */
import { compared } from "../../scripts/bench/beside.ts";
import type { Table } from "../../scripts/bench/scenario.ts";

const table = (rows: Table["rows"], columns = ["dims", "what", "ms"]): Table => ({
  title: "Warm",
  columns,
  rows,
});

test("labels stay; of measured cells it gives both medians, their ratio, and the spread of the rounds", () => {
  const here = [1, 4, 2].map((ms) => table([[384, "graph", ms]]));
  const there = ["5 ms", "4 ms", "4.4 ms"].map((ms) => table([[384, "graph", ms]]));
  expect(compared(here, there)).toEqual(table([[384, "graph", "2 / 4.4 = 0.455 (±300 %)"]]));
});

test("columns are found by their names; what one side does not have is left out", () => {
  const here = [table([[384, "graph", 3]]), table([[384, "graph", 3]])];
  const there = [table([[6, 384]], ["ms", "dims"])];
  expect(compared(here, there)).toEqual(table([[384, "3 / 6 = 0.5 (±0 %)"]], ["dims", "ms"]));
});
