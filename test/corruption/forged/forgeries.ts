import type { Metric } from "../../../lib/core/model/collection.ts";
import { clusterForgeries } from "./clusters.ts";
import type { Forgery } from "./forgery.ts";
import { forgeryOfSeed } from "./fuzz.ts";
import { graphForgeries } from "./graphs.ts";
import { recordForgeries } from "./records.ts";

/** What is worth trying by the metric; records and clusters know little of that. */
export const forgeriesOf = (metric: Metric): readonly Forgery[] => [
  ...graphForgeries(metric),
  ...(metric === "l2" ? [...recordForgeries, ...clusterForgeries] : []),
];

export function forgeryNamed(metric: Metric, name: string): Forgery {
  const [, seed] = /^seed (\d+):/.exec(name) ?? [];
  if (seed !== undefined) return forgeryOfSeed(Number(seed));
  const found = forgeriesOf(metric).find((one) => one.name === name);
  if (found === undefined) throw new Error(`there is no forgery ${JSON.stringify(name)}`);
  return found;
}
