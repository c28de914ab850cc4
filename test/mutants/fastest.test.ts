/**
 * Planted faults in every run of the tests: a dozen that the simulator meets within its first seeds, one or two of each
 * part of the protocol. `npm run mutants` tries all of them.
 */
import { mutantOf } from "./plant.ts";
import { tryOut } from "./trial.ts";

test.each([
  "pointer moved without If-Match",
  "deltas deleted before the commit",
  "messages deleted before the commit",
  "applied deltas are not recorded",
  "a lost answer to a PUT is acknowledged",
  "a token is not looked at",
  "a row dropped by the fold, and no conservation check",
  "a row dropped by the fold (the conservation check must stop it)",
  "shadows computed from one side only",
  "merge drops tombstones at once",
  "garbage collection without raising the floor",
  "garbage collection takes what a kept version names",
])(
  "%s",
  async (name) => {
    const { verdict, failure } = await tryOut(mutantOf(name), { seeds: 25 });
    expect({ failure, by: verdict?.by }).toEqual({
      failure: undefined,
      by: { suite: "simulator", seed: expect.any(Number) },
    });
  },
  120_000,
);
