/** The contract of Clock, for every implementation. */
import { isUlid, ulidTimeMs } from "../../../lib/core/model/ulid.ts";
import type { Clock } from "../../../lib/engine/ports.ts";

export function clockContract(name: string, makeClock: () => Clock): void {
  describe(`clock contract: ${name}`, () => {
    test("ULIDs are of their time and strictly ascending", () => {
      const clock = makeClock();
      const startMs = clock.nowMs();
      const ulids = Array.from({ length: 5_000 }, () => clock.ulid());
      expect(ulids.every(isUlid)).toBe(true);
      expect(ulidTimeMs(ulids[0]!)).toBeGreaterThanOrEqual(startMs);
      expect(ulidTimeMs(ulids.at(-1)!)).toBeLessThanOrEqual(clock.nowMs());
      expect(ulids.every((ulid, i) => i === 0 || ulid > ulids[i - 1]!)).toBe(true);
    });

    test("time is a whole number of milliseconds that passes in sleep", async () => {
      const clock = makeClock();
      const startMs = clock.nowMs();
      expect(Number.isSafeInteger(startMs)).toBe(true);
      await clock.sleep(5);
      // A timer may fire a fraction of a millisecond early.
      expect(clock.nowMs() - startMs).toBeGreaterThanOrEqual(4);
    });

    test("waiting gives the value or the error, and null when it takes too long", async () => {
      const clock = makeClock();
      expect(await clock.atMost(10_000, Promise.resolve(7))).toEqual({ value: 7 });
      await expect(clock.atMost(10_000, Promise.reject(new Error("no")))).rejects.toThrow("no");
      const slow = Promise.withResolvers<number>();
      const startMs = clock.nowMs();
      const late = clock.atMost(50, slow.promise);
      await clock.sleep(60);
      expect(await late).toBeNull();
      expect(clock.nowMs() - startMs).toBeGreaterThanOrEqual(49);
      slow.reject(new Error("nothing waits for it any more"));
    });
  });
}
