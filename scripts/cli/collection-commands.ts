/** silt collection create | list | describe | delete */
import { type Command, InvalidArgumentError, Option } from "commander";
import {
  type Collection,
  checkCollectionName,
  dimsMax,
  type FieldType,
  fieldTypes,
  type Metric,
  metrics,
  type Ordering,
  shardsMax,
  type TombstoneRetention,
  tombstoneDaysDefault,
  tombstoneDaysMax,
  tombstoneRetentionOf,
} from "../../lib/core/model/collection.ts";
import { invalid, SiltstoneError } from "../../lib/core/model/errors.ts";
import { lexicalDims } from "../../lib/embedding/lexical-embedder.ts";
import {
  createCollection,
  deleteCollection,
  listCollections,
  type UnreadableCollection,
} from "../../lib/engine/catalog/collections.ts";
import { shardStatus } from "../../lib/engine/operate/status.ts";
import { integer, openCollection, shardsOf } from "./arguments.ts";
import { exitCodeOfFailures } from "./each-shard.ts";
import { addEmbedderOptions, type EmbedderOptions, embedderOf } from "./embedder-options.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { bytes, moment, pairs, plural, table } from "./text.ts";

interface CreateOptions extends EmbedderOptions {
  readonly dims?: number;
  readonly metric: Metric;
  readonly field?: Readonly<Record<string, FieldType>>;
  readonly shards?: number;
  readonly ordering?: Ordering;
  readonly tombstoneRetention?: TombstoneRetention;
  readonly embeddingVersion?: string;
  readonly indexM?: number;
  readonly efConstruction?: number;
  readonly efSearch?: number;
}

export function addCollectionCommands(program: Command, run: Runner): void {
  const collection = program
    .command("collection")
    .description("create, list, describe and delete collections");
  addEmbedderOptions(
    collection
      .command("create")
      .description("create a collection; its configuration never changes afterwards")
      .argument("<name>"),
  )
    .option(
      "--dims <n>",
      `dimensions of a vector (with --embedder lexical: ${lexicalDims})`,
      integer(1, dimsMax),
    )
    .addOption(new Option("--metric <metric>", "how vectors are compared").choices(metrics).default("cosine"))
    .option(
      "--field <name:type>",
      `declare a filterable field: ${fieldTypes.join(", ")} (may be repeated)`,
      addField,
    )
    .option("--shards <n>", "parts that are compacted side by side", integer(1, shardsMax))
    .addOption(
      new Option(
        "--ordering <order>",
        "which write wins: the source's version, or the later arrival",
      ).choices(["source", "arrival"]),
    )
    .option(
      "--tombstone-retention <days>",
      `days after which deletes are forgotten, or never (default: ${tombstoneDaysDefault})`,
      tombstoneRetention,
    )
    .option("--embedding-version <text>", "names the embedding model; writes of another one are refused")
    .option("--index-m <n>", "links of a node in the graph", integer(4, 64))
    .option("--ef-construction <n>", "candidates while the graph is built", integer(16, 1000))
    .option("--ef-search <n>", "candidates while the graph is searched", integer(10, 2000))
    .action(run(create));
  collection.command("list").description("every collection").action(run(list));
  collection
    .command("describe")
    .description("configuration and size")
    .argument("<name>")
    .action(run(describe));
  collection
    .command("delete")
    .description("delete a collection with everything in it")
    .argument("<name>")
    .option("--confirm <name>", "the name once more")
    .action(run(remove));
}

const tombstoneRetention = (text: string): TombstoneRetention =>
  text === "never" ? text : integer(1, tombstoneDaysMax)(text);

function addField(text: string, before: Readonly<Record<string, FieldType>> = {}): Record<string, FieldType> {
  const [, name, type] = /^([^:]+):(.+)$/.exec(text) ?? [];
  const known = fieldTypes.find((one) => one === type);
  if (!name || !known)
    throw new InvalidArgumentError(`It must be name:type, with type ${fieldTypes.join(", ")}.`);
  if (Object.hasOwn(before, name)) throw new InvalidArgumentError(`The field ${name} is declared twice.`);
  return { ...before, [name]: known };
}

async function create(session: Session, name: string, options: CreateOptions): Promise<Outcome> {
  const dims = options.dims ?? (options.embedder === "lexical" ? lexicalDims : undefined);
  if (dims === undefined) throw invalid("--dims is missing: how many numbers has a vector?");
  const { world } = await session.open();
  const { indexM, efConstruction, efSearch } = options;
  const { collection, created } = await createCollection(world, {
    name,
    dims,
    metric: options.metric,
    fields: options.field,
    shards: options.shards,
    ordering: options.ordering,
    tombstoneRetention: options.tombstoneRetention,
    embedder: embedderOf(options),
    embeddingVersion: options.embeddingVersion,
    index: {
      ...(indexM === undefined ? {} : { M: indexM }),
      ...(efConstruction === undefined ? {} : { efConstruction }),
      ...(efSearch === undefined ? {} : { efSearch }),
    },
  });
  return {
    value: { created, collection },
    text: `${created ? "created" : "exists already, with the same configuration:"} ${name}\n${configuration(collection)}`,
    next: [`fill it: silt import ${name} --records FILE.jsonl --wait`],
  };
}

const configuration = (collection: Collection): string =>
  pairs({
    dims: collection.dims,
    metric: collection.metric,
    embedding: `${collection.embeddingVersion} (${embedderText(collection)})`,
    fields: fieldList(collection),
    shards: collection.shards,
    ordering: collection.ordering,
    deletes: deletesText(tombstoneRetentionOf(collection)),
    index: `M ${collection.index.M}, efConstruction ${collection.index.efConstruction}, efSearch ${collection.index.efSearch}`,
    created: moment(collection.createdAt),
    id: collection.id,
  });

function embedderText({ embedder }: Collection): string {
  if (embedder === null) return "vectors are given";
  if (embedder === "lexical") return "embedder lexical";
  const { provider, model, inputTokensMax } = embedder;
  return `embedder ${provider}/${model}, texts of at most ${plural(inputTokensMax, "token")}`;
}

const deletesText = (retention: TombstoneRetention): string =>
  retention === "never" ? "never forgotten" : `forgotten after ${plural(retention, "day")}`;

const fieldList = ({ fields }: Collection): string =>
  Object.entries(fields)
    .map(([name, type]) => `${name}:${type}`)
    .join(" ") || "none declared";

async function list(session: Session): Promise<Outcome> {
  const { world } = await session.open();
  const { collections, unreadable } = await listCollections(world.store);
  if (collections.length + unreadable.length === 0) {
    return {
      value: { collections, unreadable: [] },
      text: "there are no collections",
      next: ["make one: silt collection create docs --dims 384 --metric cosine"],
    };
  }
  const rows = collections.map((one) => [
    one.name,
    one.dims,
    one.metric,
    one.shards,
    one.embeddingVersion,
    moment(one.createdAt),
    fieldList(one),
  ]);
  const damaged = unreadable.map((one) => [one.name, "DAMAGED", "", "", "", "", ""]);
  return {
    value: { collections, unreadable: unreadable.map(unreadableOf) },
    text: table(
      ["NAME", "DIMS", "METRIC", "SHARDS", "EMBEDDING", "CREATED", "FIELDS"],
      [...rows, ...damaged],
    ),
    next: unreadable.map(unreadableAdvice),
    exitCode: exitCodeOfFailures(unreadable.map(({ error }) => error)),
  };
}

/** The JSON of a collection that cannot be read. */
export const unreadableOf = ({ name, error: { kind, message } }: UnreadableCollection): object => ({
  name,
  kind,
  message,
});
export const unreadableAdvice = ({ name, error }: UnreadableCollection): string =>
  error.kind === "corrupt"
    ? `${name} is damaged: ${error.message}; bring the object back (docs/runbook.md, "Corrupt"), or delete the ` +
      `collection: silt collection delete ${name} --confirm ${name}`
    : `${name} could not be looked at: ${error.message}`;

async function describe(session: Session, name: string): Promise<Outcome> {
  const { world, collection } = await openCollection(session, name);
  const shards = [];
  for (const shard of shardsOf(collection, undefined))
    shards.push(await shardStatus(world, collection, shard));
  const rows = shards.map(({ shard, snapshot, backlog, faults }) =>
    snapshot === null
      ? [shard, `damaged: ${faults[0]?.message}`, "", "", "", ""]
      : [
          shard,
          snapshot.version,
          snapshot.segments,
          snapshot.rows,
          bytes(snapshot.bytes),
          backlog?.deltas ?? "",
        ],
  );
  const shown = table(["SHARD", "VERSION", "SEGMENTS", "ROWS", "SIZE", "BACKLOG"], rows);
  return {
    value: { collection, shards },
    text: `${name}\n${configuration(collection)}\n\n${shown}`,
    next: [`records, exactly: silt count ${name}`],
    exitCode: exitCodeOfFailures(shards.flatMap(({ faults }) => faults)),
  };
}

async function remove(session: Session, name: string, options: { confirm?: string }): Promise<Outcome> {
  checkCollectionName(name);
  if (options.confirm !== name) {
    throw invalid(
      `this deletes ${name} with all its records; to do it: \`silt collection delete ${name} --confirm ${name}\``,
    );
  }
  const { world } = await session.open();
  const objects = await deleteCollection(world.store, name);
  // A deletion that an earlier run left unfinished has no configuration any more, but objects.
  if (objects === 0) {
    throw new SiltstoneError(
      "notFound",
      `collection ${name} does not exist; \`silt collection list\` shows those that do`,
    );
  }
  return { value: { deleted: name, objects }, text: `deleted ${name}: ${plural(objects, "object")}` };
}
