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
    async atMost(ms, work) {
      const ended = new AbortController();
      try {
        return await Promise.race([work.then((value) => ({ value })), elapse(ms, ended.signal)]);
      } finally {
        ended.abort();
      }
    },
    ulid: () => nextUlid(Date.now()),
  };
}

const ticks = 8;

/**
 * In several ticks: when a process that was frozen wakes up, its timers go off before it has looked at what arrived. It
 * loses one tick for that, and has the others to look.
 */
async function elapse(ms: number, signal: AbortSignal): Promise<null> {
  for (let i = 0; i < ticks; i++) await timer(ms / ticks, undefined, { signal });
  return null;
}
