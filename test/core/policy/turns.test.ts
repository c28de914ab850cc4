import { Turns } from "../../../lib/core/policy/turns.ts";
import { random } from "../../support/memory/clock.ts";

const boundMs = 600_000;
const calm = { isRestless: false };
const names = (count: number) => Array.from({ length: count }, (_, i) => `s${i}`);

test("a process that has just started looks at everything; from then on a share of it comes in each run", () => {
  const turns = new Turns(boundMs);
  const all = names(500);
  expect(turns.take(all, 0)).toEqual(all);
  for (const name of all) turns.saw(name, 0, calm);
  const seen = new Set<string>();
  for (let minute = 1; minute <= 10; minute++) {
    const taken = turns.take(all, minute * 60_000);
    expect(taken).toHaveLength(50);
    for (const name of taken) turns.saw(name, minute * 60_000, calm);
    for (const name of taken) seen.add(name);
  }
  expect(seen.size).toBe(500);
});

test("a few are looked at as seldom as many: each once within the bound, and nothing in the runs between", () => {
  for (const count of [1, 3, 7, 15]) {
    const turns = new Turns(boundMs);
    const all = names(count);
    for (const name of turns.take(all, 0)) turns.saw(name, 0, calm);
    let looks = 0;
    for (let minute = 1; minute <= 100; minute++) {
      const taken = turns.take(all, minute * 60_000);
      for (const name of taken) turns.saw(name, minute * 60_000, calm);
      looks += taken.length;
      expect(taken.length).toBeLessThanOrEqual(Math.ceil(count / 10));
    }
    expect(Math.abs(looks - 10 * count)).toBeLessThanOrEqual(1);
  }
});

test("no shard is unseen for longer than the bound, whatever the times of the runs", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const chance = random(seed);
    const turns = new Turns(boundMs);
    const seenAtMs = new Map<string, number>();
    let all = names(1 + Math.floor(chance() * 60));
    let nowMs = 0;
    let looks = 0;
    for (let run = 0; run < 100; run++) {
      nowMs += Math.floor(chance() ** 3 * 2 * boundMs);
      if (chance() < 0.1) all = names(1 + Math.floor(chance() * 60));
      const taken = turns.take(all, nowMs);
      const isTaken = new Set(taken);
      looks += taken.length;
      for (const name of taken) {
        // Out of time: not seen, and due the next time.
        if (chance() < 0.05) continue;
        turns.saw(name, nowMs, { isRestless: chance() < 0.1 });
        seenAtMs.set(name, nowMs);
      }
      const missed = all.filter(
        (name) => !isTaken.has(name) && nowMs - (seenAtMs.get(name) ?? -1e9) >= boundMs,
      );
      expect(missed).toEqual([]);
    }
    expect(looks).toBeGreaterThan(0);
  }
});

test("a shard that is restless, new, or seen by a clock that was set back since comes at once", () => {
  const turns = new Turns(boundMs);
  const all = names(100);
  for (const name of turns.take(all, 1e9)) turns.saw(name, 1e9, { isRestless: name === "s7" });
  expect(turns.take([...all, "new"], 1e9 + 1)).toEqual(["s7", "new"]);
  expect(turns.take(all, 1e9 - 1)).toHaveLength(100);
});

test("a shard that is gone is forgotten", () => {
  const turns = new Turns(boundMs);
  for (const name of turns.take(["a", "b"], 0)) turns.saw(name, 0, calm);
  expect(turns.take(["b"], 0)).toEqual([]);
  expect(turns.take(["a", "b"], 0)).toEqual(["a"]);
});
