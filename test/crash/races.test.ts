/** CMP-2, SNP-1, SNP-4, ENV-3: every operation falls asleep before each of its effects while others work. */
import { makeIoSynchronous } from "../sim/synchronous-io.ts";
import { exploreRace, forgetPrepared } from "./explore.ts";
import { operations } from "./operations.ts";
import { races } from "./races.ts";

let undo = (): void => undefined;
beforeAll(() => {
  undo = makeIoSynchronous();
});
afterAll(() => {
  forgetPrepared();
  undo();
});

const sleepers = operations.filter(({ races }) => races);

describe.each(sleepers.map((scenario) => [scenario.name, scenario] as const))(
  "%s sleeps while",
  (_name, scenario) => {
    test.each(races.map((race) => [race.name, race] as const))(
      "%s",
      async (_race, race) => {
        expect(await exploreRace(scenario, race)).toBeGreaterThanOrEqual(3);
      },
      120_000,
    );
  },
);
