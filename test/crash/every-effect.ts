/** Runs the enumeration over the named scenarios. Two test files share them, so that they run side by side. */
import { makeIoSynchronous } from "../sim/synchronous-io.ts";
import { accidents, explore, forgetPrepared } from "./explore.ts";
import { operations } from "./operations.ts";

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
        const tried = await explore(scenario, accident);
        const isConditional = accident === "spurious" || accident === "won unnoticed";
        expect(tried).toBeGreaterThanOrEqual(isConditional ? 0 : 3);
      },
      120_000,
    );
  });
}
