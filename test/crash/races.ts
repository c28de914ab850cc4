/** What others do while an operation sleeps. */

import { snapshotVersion } from "../../lib/core/model/ids.ts";
import { repairPointer } from "../../lib/engine/operate/repair.ts";
import { rollback } from "../../lib/engine/operate/rollback.ts";
import { readCollection, readHead } from "../../lib/engine/shard/head.ts";
import { listManifests, pinVersion, publishedChain, unpin } from "../../lib/engine/shard/history.ts";
import { collectAll, ingestAll, mergeAll, name, retention, type Scene, write } from "./scenarios.ts";

export interface Race {
  readonly name: string;
  /** One after the other; each may fail as its caller would have to live with. */
  readonly work: readonly ((scene: Scene) => Promise<void>)[];
}

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const pass =
  (ms: number) =>
  async ({ memory }: Scene): Promise<void> =>
    memory.clock.advance(ms);
const ingest = ({ world }: Scene) => ingestAll(world);
const merge = ({ world }: Scene) => mergeAll(world);
const collect = ({ world }: Scene) => collectAll(world);
const back = async ({ world }: Scene) => {
  await rollback(world, await readCollection(world.store, name), 0, snapshotVersion(1));
};
const pin = async ({ world, oracle }: Scene) => {
  const collection = await readCollection(world.store, name);
  const made = await pinVersion(world, () => readHead(world.store, collection, 0), {
    name: "race",
    version: snapshotVersion(1),
  });
  oracle.pins.set(made.name, { shard: `${name}/0`, version: made.version });
};
const loseAndRepair = async ({ world }: Scene) => {
  await world.store.delete([`${name}/0/pointer.json`]);
  await repairPointer(world, await readCollection(world.store, name), 0, retention);
};
/** To the oldest version there is. */
const backToTheOldest = async ({ world }: Scene) => {
  const collection = await readCollection(world.store, name);
  const head = await readHead(world.store, collection, 0);
  const chain = await publishedChain(world.store, head, await listManifests(world.store, head.manifest));
  await rollback(world, collection, 0, chain.at(-1)!.version);
};
const backToTheFirstMerge = async ({ world }: Scene) => {
  const collection = await readCollection(world.store, name);
  const head = await readHead(world.store, collection, 0);
  const chain = await publishedChain(world.store, head, await listManifests(world.store, head.manifest));
  const merged = chain.findLast(({ cause }) => cause === "merge");
  if (merged) await rollback(world, collection, 0, merged.version);
};
const takeOffPins = async ({ world, oracle }: Scene) => {
  for (const [made] of oracle.pins) await unpin(world.store, { collection: name, shard: 0 }, made);
  oracle.pins.clear();
};

export const races: readonly Race[] = [
  { name: "a day passes, and garbage is collected", work: [pass(26 * hour), collect] },
  { name: "another compactor and merger do the work", work: [pass(2 * minute), ingest, merge] },
  {
    name: "others write, ingest, merge and collect garbage for days",
    work: [
      pass(2 * minute),
      (scene) => write(scene.world, scene, "a", "-d"),
      ingest,
      merge,
      pass(26 * hour),
      collect,
    ],
  },
  {
    name: "the others go on for hours",
    work: [
      ...[pass(2 * hour), (scene: Scene) => write(scene.world, scene, "e", "-d"), ingest],
      ...[pass(2 * hour), (scene: Scene) => write(scene.world, scene, "d"), ingest],
    ],
  },
  { name: "another process rolls back", work: [pass(2 * minute), back] },
  { name: "another process rolls back to the first merge", work: [pass(2 * minute), backToTheFirstMerge] },
  { name: "the work is done, and rolled back", work: [pass(2 * minute), ingest, back] },
  {
    name: "the work is done, more work is done, and all of it is rolled back",
    work: [pass(2 * minute), ingest, (scene) => write(scene.world, scene, "f"), ingest, back],
  },
  { name: "another process pins", work: [pin] },
  { name: "another process pins, and garbage is collected", work: [pass(26 * hour), pin, collect] },
  { name: "pins are taken off, and garbage is collected", work: [takeOffPins, pass(26 * hour), collect] },
  {
    name: "a day passes, garbage is collected, the pointer is lost and repaired",
    work: [pass(26 * hour), collect, loseAndRepair],
  },
  {
    name: "the pointer is lost and repaired, and another process rolls back",
    work: [pass(2 * minute), loseAndRepair, backToTheOldest],
  },
  { name: "the horizon passes over a merge", work: [pass(32 * day), merge] },
  {
    name: "the horizon passes: deletes are forgotten",
    work: [(scene) => write(scene.world, scene, "-a", "-b", "-c"), ingest, pass(32 * day), merge, collect],
  },
];
