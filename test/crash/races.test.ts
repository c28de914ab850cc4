/**
 * CMP-2, SNP-1, SNP-4, ENV-3: every operation falls asleep before each of its effects while others work. In `npm test`
 * before every third, another third from one pair of operation and race to the next; `npm run test:wide` tries all.
 */
import { makeIoSynchronous } from "../sim/synchronous-io.ts";
import { everyPoint, exploreRace, forgetPrepared, type Points } from "./explore.ts";
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

const pointsOf = (scenario: number, race: number): Points =>
  process.env.WIDE ? everyPoint : { first: 1 + ((scenario + race) % 3), step: 3 };

const sleepers = operations.filter(({ races }) => races);

describe.each(sleepers.map((scenario, i) => [scenario.name, scenario, i] as const))(
  "%s sleeps while",
  (_name, scenario, i) => {
    test.each(races.map((race, k) => [race.name, race, k] as const))(
      "%s",
      async (_race, race, k) => {
        const points = pointsOf(i, k);
        expect(await exploreRace(scenario, race, points)).toBeGreaterThanOrEqual(3 / points.step);
      },
      120_000,
    );
  },
);
