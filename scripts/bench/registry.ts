/** Every scenario, in the order in which they run when none is named. */
import { churn } from "./churn.ts";
import { cold } from "./cold.ts";
import { filters } from "./filters.ts";
import { importing } from "./import.ts";
import { importFile } from "./import-file.ts";
import { ingest } from "./ingest.ts";
import { items } from "./items.ts";
import { memory } from "./memory.ts";
import { parameters } from "./parameters.ts";
import { path } from "./path/path.ts";
import { realFilters } from "./real-filters.ts";
import { runtime } from "./runtime.ts";
import { scale } from "./scale.ts";
import type { Log, Result, Scenario } from "./scenario.ts";
import { trickle } from "./trickle.ts";
import { warmQuery } from "./warm-query.ts";

export interface Entry {
  readonly name: string;
  readonly about: string;
  /** `rows` takes the place of the scenario's own number of rows. */
  run(options: { tiny: boolean; rows?: number | undefined }, log: Log): Promise<Result>;
}

function entry<Size extends { readonly rows: number }>(scenario: Scenario<Size>): Entry {
  return {
    name: scenario.name,
    about: scenario.about,
    run({ tiny, rows }, log) {
      const size = tiny ? scenario.tiny : scenario.full;
      return scenario.run(rows === undefined ? size : { ...size, rows }, log);
    },
  };
}

export const scenarios: readonly Entry[] = [
  entry(warmQuery),
  entry(runtime),
  entry(filters),
  entry(realFilters),
  entry(ingest),
  entry(importing),
  entry(importFile),
  entry(churn),
  entry(trickle),
  entry(cold),
  entry(memory),
  entry(parameters),
  entry(scale),
  entry(path),
  entry(items),
];
