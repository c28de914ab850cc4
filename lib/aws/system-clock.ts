/** The machine's own time, and ULIDs that ascend even when that time steps back. */
import { setTimeout as timer } from "node:timers/promises";
import { monotonicFactory } from "ulid";
import type { Clock } from "../engine/ports.ts";

export function systemClock(): Clock {
  const nextUlid = monotonicFactory();
  return {
    nowMs: () => Date.now(),
    sleep: async (ms) => {
      await timer(ms);
    },
    ulid: () => nextUlid(Date.now()),
  };
}
