/** What there is of one collection, or of all of a store, and what is wrong with it: of status, doctor and metrics. */
import pLimit from "p-limit";
import type { Collection } from "../../lib/core/model/collection.ts";
import type { ErrorKind } from "../../lib/core/model/errors.ts";
import { listCollections, type UnreadableCollection } from "../../lib/engine/catalog/collections.ts";
import { runNote } from "../../lib/engine/compact/run-summary.ts";
import { type Fault, Faults } from "../../lib/engine/faults.ts";
import { type ShardStatus, shardStatus } from "../../lib/engine/operate/status.ts";
import { Strangers, type StrangersFound, seeBesideShards } from "../../lib/engine/shard/strangers.ts";
import { openCollection, shardsOf } from "./arguments.ts";
import { unreadableAdvice } from "./collection-commands.ts";
import type { Session } from "./session.ts";
import { adviceFor, adviceForRun, adviceForStrangers } from "./status-advice.ts";
import { plural } from "./text.ts";
import { adviceForViews, type Views, viewsOf } from "./views.ts";

/** Shards looked at side by side. */
const concurrency = 8;

export interface StoreState {
  readonly collections: readonly Collection[];
  readonly unreadable: readonly UnreadableCollection[];
  readonly shards: readonly ShardStatus[];
  /** The note of the compactor's last run. */
  readonly lastRun: Readonly<Record<string, unknown>> | null;
  readonly strangers: StrangersFound;
  /** Null where they could not be counted. */
  readonly deadLetters: number | null;
  readonly views: Views | null;
  /** What could not be looked at, beside shards. */
  readonly faults: readonly Fault[];
}

export async function storeState(session: Session, name: string | undefined): Promise<StoreState> {
  const deployment = await session.open();
  const { world, deadLetters } = deployment;
  const { collections, unreadable, strangers } =
    name === undefined
      ? await listCollections(world.store)
      : { collections: [(await openCollection(session, name)).collection], unreadable: [], strangers: [] };
  const limit = pLimit(concurrency);
  const shards = await Promise.all(
    collections.flatMap((collection) =>
      shardsOf(collection, undefined).map((shard) => limit(() => shardStatus(world, collection, shard))),
    ),
  );
  const faults = new Faults();
  const seen = new Strangers();
  for (const key of strangers) seen.see(key);
  for (const shard of shards) seen.add(shard.strangers);
  const seeBeside = (collection: Collection) =>
    faults.attempt(`what lies beside the shards of ${collection.name}`, () =>
      seeBesideShards(world.store, collection, seen.see),
    );
  await Promise.all(collections.map((collection) => limit(() => seeBeside(collection))));
  const names = collections.map((collection) => collection.name);
  const [lastRun, count, views] = await Promise.all([
    faults.attempt("last run", () => world.leases.readNote(runNote)),
    faults.attempt("the dead-letter queue", () => deadLetters.count()),
    faults.attempt("the query function", () => viewsOf(deployment, names)),
  ]);
  faults.throwUnexpected();
  const found = { strangers: seen.found, deadLetters: count, views, faults: faults.list };
  return { collections, unreadable, shards, lastRun, ...found };
}

export interface Judged {
  readonly advice: readonly string[];
  /** Strangers are no damage, and nothing waits for them. */
  readonly isDegraded: boolean;
  /** What is damaged or could not be looked at. */
  readonly wrong: readonly { readonly kind: ErrorKind }[];
}

export function judged({
  unreadable,
  shards,
  lastRun,
  strangers,
  deadLetters,
  views,
  faults,
}: StoreState): Judged {
  const wrongs = [
    ...unreadable.map(unreadableAdvice),
    ...faults.map(({ part, message }) => `${part} cannot be read: ${message}`),
    ...adviceForRun(lastRun, new Set(unreadable.map((one) => `collection ${one.name}`))),
    ...shards.flatMap(adviceFor),
    ...(views === null ? [] : adviceForViews(views)),
    ...(deadLetters === null || deadLetters === 0
      ? []
      : [`${plural(deadLetters, "message")} in the dead-letter queue: silt dlq list`]),
  ];
  return {
    advice: [...wrongs, ...adviceForStrangers(strangers)],
    isDegraded: wrongs.length > 0,
    wrong: [...unreadable.map(({ error }) => error), ...faults, ...shards.flatMap((shard) => shard.faults)],
  };
}
