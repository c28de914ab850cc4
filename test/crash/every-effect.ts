/** Runs the enumeration over the named scenarios. Two test files share them, so that they run side by side. */
import { makeIoSynchronous } from "../sim/synchronous-io.ts";
import { type Accident, accidents, everyPoint, explore, forgetPrepared, type Points } from "./explore.ts";
import { operations } from "./operations.ts";

/** A crash before an effect leaves S3 as one after the effect before it does: in `npm test` every third of them is tried. */
const pointsOf = (accident: Accident): Points =>
  accident === "crash before" && !process.env.WIDE ? { first: 1, step: 3 } : everyPoint;

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
        expect(tried).toBeGreaterThanOrEqual(isConditional ? 0 : 3 / points.step);
      },
      120_000,
    );
  });
}
