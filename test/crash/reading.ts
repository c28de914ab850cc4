/** Reads as operations: what happens to each when it is hit, or falls asleep, at every one of its effects. */
import { lookOnce, readerOf } from "./look.ts";
import { type Scenario, twoVersions } from "./scenarios.ts";

export const readings: readonly Scenario[] = (["strong", "token", "bounded"] as const).flatMap((look) =>
  (["just started", "warm"] as const).map((process) => ({
    name: `${look} read of a process that is ${process}`,
    races: true,
    reads: true,
    prepare: twoVersions,
    run: async (world, scene) => {
      const reader = readerOf(world);
      try {
        if (process === "warm") await lookOnce(scene, reader, "eventual");
        await lookOnce(scene, reader, look);
      } finally {
        await reader.close();
      }
    },
  })),
);
