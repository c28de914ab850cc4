/** What a simulated run is made of. All of it follows from the seed; shrinking takes parts away. */
import { type Bounds, bounds as productBounds } from "../../lib/core/model/bounds.ts";
import type { TombstoneRetention } from "../../lib/core/model/collection.ts";
import type { MergeLimits } from "../../lib/core/policy/merge-plan.ts";
import type { Retention } from "../../lib/engine/shard/retention.ts";
import { drawRates, type FaultRates, jumpsMs, longJumpsMs } from "./faults.ts";
import { Chance } from "./random.ts";

export const processKinds = ["producer", "compactor", "merger", "collector", "operator", "reader"] as const;
export type ProcessKind = (typeof processKinds)[number];

export interface Plan {
  readonly seed: number;
  /** Effects and waits before the faults end. */
  readonly steps: number;
  readonly processes: readonly {
    readonly kind: ProcessKind;
    readonly name: string;
    readonly skewMs: number;
  }[];
  readonly rates: FaultRates;
  readonly jumpsMs: readonly number[];
  readonly shards: number;
  readonly ordering: "source" | "arrival";
  readonly ids: number;
  readonly pageKeys: number;
  readonly limits: MergeLimits;
  /** The product's, or so small that a run meets them. */
  readonly bounds: Bounds;
  readonly retention: Retention;
  readonly tombstoneRetention: TombstoneRetention;
  /** Factor on the time between a process's rounds: slow runs meet long horizons, fast ones meet each other. */
  readonly tempo: number;
}

const minute = 60_000;
const hour = 60 * minute;

export function planOf(seed: number, steps: number): Plan {
  const chance = new Chance(seed);
  const ordering = chance.hits(0.3) ? "source" : "arrival";
  const processes = processKinds.flatMap((kind) =>
    Array.from({ length: countOf(kind, chance) }, (_, i) => ({
      kind,
      name: `${kind}${i + 1}`,
      skewMs: chance.hits(0.5) ? 0 : chance.below(29 * minute) - 14 * minute,
    })),
  );
  return {
    seed,
    steps,
    processes,
    rates: drawRates(chance),
    // Versions of a source know no horizon: a write older than a forgotten delete is not what this is about.
    jumpsMs: ordering === "arrival" ? longJumpsMs : jumpsMs,
    ordering,
    shards: chance.hits(0.2) ? 2 : 1,
    // Many ids leave most of a graph alive, so that it is grown and not built anew.
    ids: chance.pick([4, 12, 24, 100]),
    pageKeys: chance.pick([1, 2, 7, 1000]),
    limits: {
      // Many: versions of dozens of segments.
      flatSegmentsMax: chance.pick([1, 2, 4, 30]),
      flatRowsMax: chance.pick([2, 5, 9]),
      growth: chance.pick([1, 4]),
      deadShareMax: 0.25,
      // By the seed, so that other draws stay what they were.
      staleMsMax: seed % 3 === 0 ? hour : 1e15,
      uncountedMsMax: seed % 5 === 0 ? hour : 1e15,
      segmentComponentsMax: chance.pick([40, 1_000]),
      segmentWeightMax: 1e9,
      clusteredComponentsMin: seed % 2 === 0 ? 1 : 1_000,
    },
    bounds: chance.hits(0.5)
      ? productBounds
      : {
          ...productBounds,
          listedDeltas: 16,
          appliedDeltas: 26,
          batchDeltas: chance.pick([2, 5]),
          overlaidDeltas: chance.pick([3, 8]),
          lateDeltas: 2,
          piledFlats: 3,
          comparedPairs: 1,
        },
    tombstoneRetention: seed % 5 === 2 ? "never" : 30,
    retention: {
      versionsKept: chance.pick([1, 2, 5]),
      keptMs: hour,
      keptMsMax: seed % 2 === 0 ? 6 * hour : 1e15,
      orphanMs: 24 * hour,
    },
    tempo: chance.pick([0.2, 1, 1, 10, 60]),
  };
}

function countOf(kind: ProcessKind, chance: Chance): number {
  switch (kind) {
    case "producer":
      return 1 + chance.below(3);
    case "compactor":
      return 1 + chance.below(3);
    case "merger":
    case "collector":
      return 1 + chance.below(2);
    case "operator":
      return chance.below(3);
    case "reader":
      return 1 + chance.below(3);
  }
}
