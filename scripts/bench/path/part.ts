/** What the parts of the scenario have in common. */
import type { World } from "../../../lib/engine/ports.ts";
import type { Vectors } from "../data.ts";
import { round } from "../measure.ts";
import type { Check, Table } from "../scenario.ts";

export interface Size {
  readonly rows: number;
  readonly dims: number;
  /** Of sixteen shards, 2,000 of each to have graphs. */
  readonly shardedRows: number;
  /** Of writing and reading. */
  readonly rounds: number;
  readonly deltas: number;
  readonly collections: number;
  readonly requestMs: number;
}
export type Part = (size: Size, vectors: Vectors) => Promise<{ table: Table; checks: readonly Check[] }>;

export const counted = (target: string, measured: number, met: boolean): Check => ({
  target,
  measured: round(measured),
  met,
  counted: true,
});

/** A world whose requests take their time; a batch of messages, and a page of a LIST, are one. */
export function slow(world: World, requestMs: number) {
  let [underWay, most] = [0, 0];
  const request = async () => {
    underWay += 1;
    most = Math.max(most, underWay);
    await new Promise((resolve) => setTimeout(resolve, requestMs));
    underWay -= 1;
  };
  const slowed = <Port extends object>(port: Port): Port =>
    new Proxy(port, {
      get(target, name) {
        const method = Reflect.get(target, name) as (...given: unknown[]) => unknown;
        if (name === "list")
          return async function* (...given: unknown[]) {
            for await (const page of method.apply(target, given) as AsyncIterable<unknown>) {
              await request();
              yield page;
            }
          };
        return async (...given: unknown[]) => {
          await request();
          return method.apply(target, given);
        };
      },
    });
  const { store, queue, leases } = world;
  return {
    world: { ...world, store: slowed(store), queue: slowed(queue), leases: slowed(leases) },
    /** The most that were under way at once. */
    most: () => most,
  };
}
