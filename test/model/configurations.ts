/**
 * What is explored. The quick configurations run in the tests; the large ones by `npm run model`. docs/model.md tells
 * what each covers.
 */

import type { Model } from "./explore.ts";
import { allRules, type Rules, type Setup } from "./rules.ts";
import { type Cast, modelOf } from "./siltstone-model.ts";
import type { World } from "./world.ts";

export interface Configuration {
  readonly name: string;
  readonly quick: boolean;
  readonly cast: Cast;
  readonly setup: Omit<Setup, "rules">;
}

const ordinary: Omit<Setup, "rules"> = {
  deltas: 2,
  pastCommits: 0,
  deletes: [],
  tableLost: false,
  reclaims: false,
  triesMax: 2,
  versionsKept: 1,
  smallBatches: true,
  onceOnly: true,
};

export const configurations: readonly Configuration[] = [
  { name: "ingest", quick: true, cast: { compactor: [1, 1] }, setup: ordinary },
  { name: "read", quick: true, cast: { compactor: [1], reader: [1] }, setup: ordinary },
  { name: "merge", quick: true, cast: { compactor: [1], merger: [1, 1] }, setup: ordinary },
  {
    name: "collect",
    quick: true,
    cast: { compactor: [1], merger: [1], collector: [1] },
    setup: ordinary,
  },
  {
    name: "pins",
    quick: true,
    cast: { pin: [1], rollback: [1], collector: [1] },
    setup: { ...ordinary, pastCommits: 3 },
  },
  {
    name: "undo",
    quick: true,
    cast: { merger: [1], rollback: [1], collector: [1] },
    setup: { ...ordinary, pastCommits: 2 },
  },
  {
    name: "repair",
    quick: true,
    cast: { rollback: [1], collector: [1], repair: [1] },
    setup: { ...ordinary, pastCommits: 3, versionsKept: 2 },
  },
  {
    name: "repair and merge",
    quick: false,
    cast: { merger: [1], rollback: [1], collector: [1], repair: [1] },
    setup: { ...ordinary, pastCommits: 2, versionsKept: 2 },
  },
  {
    name: "repair and pin",
    quick: false,
    cast: { pin: [1], rollback: [1], collector: [1], repair: [1] },
    setup: { ...ordinary, pastCommits: 3, versionsKept: 2 },
  },
  {
    name: "reclaim",
    quick: true,
    cast: { merger: [1], rollback: [1], time: [0] },
    setup: { ...ordinary, pastCommits: 2, deletes: [0, 0b01], reclaims: true },
  },
  {
    name: "two reclaim, and one rolls back",
    quick: false,
    cast: { merger: [1, 1], rollback: [1], time: [0] },
    setup: { ...ordinary, pastCommits: 2, deletes: [0, 0b01], reclaims: true },
  },
  {
    name: "reclaim, ingest and collect",
    quick: false,
    cast: { compactor: [1], merger: [1], collector: [1], time: [0] },
    setup: { ...ordinary, pastCommits: 2, deltas: 3, deletes: [0, 0b01, 0b11], reclaims: true, triesMax: 1 },
  },
  {
    name: "rollbacks without a lease table",
    quick: true,
    cast: { rollback: [1, 1] },
    setup: { ...ordinary, pastCommits: 3, tableLost: true },
  },
  {
    name: "rollback and ingest without a lease table",
    quick: false,
    cast: { compactor: [1], rollback: [1], merger: [1] },
    setup: { ...ordinary, deltas: 3, pastCommits: 3, tableLost: true, triesMax: 2 },
  },
  {
    name: "restarts",
    quick: false,
    cast: { compactor: [2, 1], reader: [1] },
    setup: ordinary,
  },
  { name: "three deltas", quick: false, cast: { compactor: [1, 1] }, setup: { ...ordinary, deltas: 3 } },
  {
    name: "two mergers and a reader",
    quick: false,
    cast: { compactor: [1], merger: [1, 1], reader: [1] },
    setup: ordinary,
  },
  {
    name: "tombstones",
    quick: false,
    cast: { compactor: [1, 1], merger: [1], time: [0] },
    setup: { ...ordinary, deletes: [0, 0b01] },
  },
  { name: "rollback", quick: false, cast: { compactor: [1, 1], rollback: [1] }, setup: ordinary },
  {
    name: "two collectors",
    quick: false,
    cast: { compactor: [1], merger: [1], collector: [1, 1] },
    setup: ordinary,
  },
  {
    name: "undone merge",
    quick: false,
    cast: { compactor: [1], merger: [1], collector: [1], rollback: [1] },
    setup: ordinary,
  },
  {
    name: "pins over two collections",
    quick: false,
    cast: { pin: [2], rollback: [1], collector: [2] },
    setup: { ...ordinary, pastCommits: 3 },
  },
  {
    name: "pins and ingest",
    quick: false,
    cast: { compactor: [1], pin: [1], rollback: [1], collector: [1] },
    setup: { ...ordinary, pastCommits: 3, deltas: 3, triesMax: 1 },
  },
];

export const configurationNamed = (name: string): Configuration =>
  configurations.find((configuration) => configuration.name === name)!;

/** `answersOnly`: what is merely counted twice is no fault, so that a wrong answer is looked for behind it. */
export const modelWithout = (
  configuration: Configuration,
  without: readonly (keyof Rules)[],
  options: { plain?: boolean; answersOnly?: boolean } = {},
): Model<World> => {
  const rules = { ...allRules, ...Object.fromEntries(without.map((rule) => [rule, false])) };
  const setup = { ...configuration.setup, ...(options.answersOnly ? { onceOnly: false } : {}), rules };
  return modelOf(setup, configuration.cast, options.plain);
};
