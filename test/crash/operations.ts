/** Everything that is hit at each of its effects, and falls asleep there. */
import { readings } from "./reading.ts";
import { type Scenario, scenarios } from "./scenarios.ts";

export const operations: readonly Scenario[] = [...readings, ...scenarios];
