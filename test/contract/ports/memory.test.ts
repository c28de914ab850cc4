/** The contracts of the ports over the world in memory. */
import { MemoryLimitTable } from "../../embedding/fake-world.ts";
import { MemoryJobTable } from "../../support/memory/job-table.ts";
import { memoryWorld } from "../../support/memory/world.ts";
import { clockContract } from "./clock.ts";
import { jobTableContract } from "./job-table.ts";
import { leaseTableContract } from "./leases.ts";
import { limitTableContract } from "./limits.ts";
import { objectStoreContract } from "./object-store.ts";
import { deltaQueueContract } from "./queue.ts";

for (const pageKeys of [1, 3, 1000]) {
  objectStoreContract(`memory, ${pageKeys} keys a page`, async () => {
    const { store, clock } = memoryWorld({ pageKeys });
    return { store, keysBelow: "contract/", pageKeys, nowMs: () => clock.nowMs() };
  });
}

deltaQueueContract("memory", async () => {
  const { queue, clock } = memoryWorld();
  return {
    queue,
    passVisibility: async () => clock.advance(960_000),
    deadLetters: async () => [...queue.deadLetters],
  };
});

leaseTableContract("memory", async () => ({ leases: memoryWorld().leases, namesBelow: "" }));

limitTableContract("memory", async () => new MemoryLimitTable());

jobTableContract("memory", async () => new MemoryJobTable(memoryWorld().clock));

clockContract("memory", () => memoryWorld().clock);

test("two worlds of one seed make the same ULIDs, of another seed others", () => {
  const ulids = (seed: number): string[] => {
    const { clock } = memoryWorld({ seed });
    return Array.from({ length: 10 }, () => {
      clock.advance(1);
      return clock.ulid();
    });
  };
  expect(ulids(7)).toEqual(ulids(7));
  expect(ulids(7)).not.toEqual(ulids(8));
});

test("a forked clock shares time, is skewed, and makes ULIDs of its own", async () => {
  const { clock } = memoryWorld({ startMs: 1_000 });
  const behind = clock.fork({ seed: 2, skewMs: -300 });
  expect(behind.nowMs()).toBe(700);
  const woken: string[] = [];
  const sleepers = [
    behind.until(800).then(() => woken.push("behind")),
    clock.until(1_050).then(() => woken.push("first")),
  ];
  clock.advance(99);
  await new Promise(setImmediate);
  expect(woken).toEqual(["first"]);
  clock.advance(1);
  await Promise.all(sleepers);
  expect(woken).toEqual(["first", "behind"]);
  expect(behind.ulid()).not.toBe(clock.ulid());
});
