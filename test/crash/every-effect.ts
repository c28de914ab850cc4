/** Runs the enumeration over the named scenarios. Two test files share them, so that they run side by side. */
import { makeIoSynchronous } from "../sim/synchronous-io.ts";
import { type Accident, accidents, everyPoint, explore, forgetPrepared, type Points } from "./explore.ts";
import { operations } from "./operations.ts";

/**
 * In `npm test` each effect meets every other accident, by turns; under `npm run test:wide`, and where faults are planted, all of them.
 * A crash before an effect leaves S3 as one after the effect before it does: every fourth of them is tried.
 */
function pointsOf(accident: Accident): Points {
  if (process.env.WIDE) return everyPoint;
  return accident === "crash before"
    ? { first: 1, step: 4 }
    : { first: 1 + (accidents.indexOf(accident) % 2), step: 2 };
}

export function exploreAll(...names: string[]): void {
  let undo = (): void => undefined;
  beforeAll(() => {
    undo = makeIoSynchronous();
  });
  afterAll(() => {
    forgetPrepared();
    undo();
  });
  describe.each(names)("%s", (name) => {
    const scenario = operations.find((one) => one.name === name)!;
    test.each(accidents)(
      "%s, at every effect",
      async (accident) => {
        const points = pointsOf(accident);
        const tried = await explore(scenario, accident, points);
        const isConditional = accident === "spurious" || accident === "won unnoticed";
        expect(tried).toBeGreaterThanOrEqual(isConditional ? 0 : Math.max(1, Math.floor(3 / points.step)));
      },
      120_000,
    );
  });
}
