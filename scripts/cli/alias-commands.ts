/** silt alias create | list | show | set | history | delete */
import { userInfo } from "node:os";
import { type Command, InvalidArgumentError } from "commander";
import {
  type Alias,
  percent,
  type Side,
  type SideName,
  sideNamed,
  sideNames,
  sideOf,
  sideWith,
  withOnly,
  withoutBarrier,
  withReadShare,
  withTarget,
  withWriting,
} from "../../lib/core/model/alias.ts";
import { invalid, SiltstoneError } from "../../lib/core/model/errors.ts";
import {
  type AliasCall,
  type AliasWorld,
  byOf,
  changeAlias,
  createAlias,
  deleteAlias,
  listAliases,
  mustReadAlias,
  setTarget,
} from "../../lib/engine/catalog/aliases.ts";
import { moveWriting } from "../../lib/engine/catalog/move-writing.ts";
import { readCollection } from "../../lib/engine/shard/head.ts";
import { integer } from "./arguments.ts";
import { exitCodeOfFailures } from "./each-shard.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { moment, pairs, table } from "./text.ts";

interface Changing {
  readonly actor?: string;
  readonly reason?: string;
  readonly dryRun?: boolean;
}
interface SetOptions extends Changing {
  readonly reason: string;
  readonly target?: string;
  readonly only?: string;
  readonly reads?: number;
  readonly writes?: string;
  readonly liftBarrier?: boolean;
  readonly atOnce?: boolean;
  readonly revision?: number;
  readonly confirm?: string;
}

export function addAliasCommands(program: Command, run: Runner): void {
  const alias = program
    .command("alias")
    .description("stable names that lead to collections: make, look at, change and delete them");
  const changing = (command: Command): Command =>
    command
      .option("--actor <text>", "who makes the change (default: who runs the command)")
      .option("--dry-run", "say what would be done; nothing is written");
  changing(
    alias
      .command("create")
      .description("make an alias that leads to a collection")
      .argument("<name>")
      .argument("<collection>"),
  )
    .option("--reason <text>", "why, for the history")
    .action(run(create));
  alias.command("list").description("every alias").action(run(list));
  alias.command("show").description("where an alias leads").argument("<name>").action(run(show));
  changing(alias.command("set").description("make one change to where an alias leads").argument("<name>"))
    .requiredOption("--reason <text>", "why, for the history")
    .option("--target <collection>", "lead to this collection as well, as the target")
    .option("--reads <percent>", "so many of the eventual reads are answered by the target", share)
    .option("--writes <collection>", "write to this side, and read strongly from it (with --at-once)")
    .option("--at-once", "without carrying over what the other side alone has acknowledged")
    .option("--only <collection>", "lead to this side alone; the other is given up (with --confirm)")
    .option("--lift-barrier", "lift the barrier of a move that is under way")
    .option("--revision <n>", "only where this is its revision still", integer(1, Number.MAX_SAFE_INTEGER))
    .option("--confirm <name>", "the alias's name once more")
    .action(run(set));
  alias
    .command("history")
    .description("the last changes of an alias, with who made them and why")
    .argument("<name>")
    .action(run(history));
  alias
    .command("delete")
    .description("delete an alias; the collections stay")
    .argument("<name>")
    .option("--confirm <name>", "the name once more")
    .option("--dry-run", "say what would be done; nothing is written")
    .action(run(remove));
}

/** Percent, to a tenth, as thousandths. */
function share(text: string): number {
  const thousandths = Math.round(Number(text) * 10);
  if (/^\d+(\.\d)?$/.test(text) && thousandths <= 1_000) return thousandths;
  throw new InvalidArgumentError("It must be 0 to 100, with at most one digit behind the point.");
}

const actorOf = ({ actor }: Changing): string => actor ?? userInfo().username;

async function create(
  session: Session,
  name: string,
  collection: string,
  options: Changing,
): Promise<Outcome> {
  const { world } = await session.open();
  const call = { name, collection, actor: actorOf(options), reason: options.reason ?? "made" };
  if (options.dryRun) {
    await readCollection(world.store, collection);
    return wouldBe(null, `would make the alias ${name}, which leads to ${collection}`);
  }
  const { alias, created } = await createAlias(world, call);
  return {
    value: { created, alias },
    text: `${created ? "created" : "exists already, and leads there:"} ${name}\n${shown(alias)}`,
    next: [`use it in place of ${collection}: silt count ${name}`],
  };
}

async function list(session: Session): Promise<Outcome> {
  const { world } = await session.open();
  const { aliases, unreadable } = await listAliases(world.store);
  const rows = aliases.map(({ alias }) => [
    alias.name,
    alias.source.collection,
    alias.target?.collection ?? "",
    sideNamed(alias, alias.writing).collection,
    percent(alias.readShare),
    alias.revision,
  ]);
  const damaged = unreadable.map(({ name }) => [name, "DAMAGED", "", "", "", ""]);
  const none = rows.length + damaged.length === 0;
  return {
    value: {
      aliases: aliases.map(({ alias }) => alias),
      unreadable: unreadable.map(({ name, error: { kind, message } }) => ({ name, kind, message })),
    },
    text: none
      ? "there are no aliases"
      : table(["NAME", "SOURCE", "TARGET", "WRITES", "READS OF TARGET", "REVISION"], [...rows, ...damaged]),
    next: unreadable.map(
      ({ error }) => `${error.message}; bring the object back (docs/runbook.md, "Corrupt")`,
    ),
    exitCode: exitCodeOfFailures(unreadable.map(({ error }) => error)),
  };
}

async function show(session: Session, name: string): Promise<Outcome> {
  const { world } = await session.open();
  const { alias } = await mustReadAlias(world.store, name);
  return { value: { alias }, text: `${name}\n${shown(alias)}` };
}

function shown(alias: Alias): string {
  const { barrier, revision, changes } = alias;
  const of = (side: SideName, { collection, embeddingVersion }: Side): string => {
    const reads = side === "target" ? alias.readShare : 1_000 - alias.readShare;
    const writes = alias.writing === side ? "writes, strong reads, " : "";
    return `${collection} (embedding ${embeddingVersion}): ${writes}${percent(reads)} of eventual reads`;
  };
  const sides = sideNames.flatMap((side) => (alias[side] === null ? [] : [[side, of(side, alias[side])]]));
  return pairs({
    ...(Object.fromEntries(sides) as Record<string, string>),
    ...(barrier === null ? {} : { barrier: `until ${moment(barrier.deadline)}: writes wait` }),
    revision: `${revision}, since ${moment(changes[0]!.at)}`,
  });
}

async function set(session: Session, name: string, options: SetOptions): Promise<Outcome> {
  const { target, only, reads, writes, liftBarrier, atOnce = false, revision } = options;
  const asked = [target, only, reads, writes, liftBarrier].filter((one) => one !== undefined).length;
  if (asked !== 1)
    throw invalid(`give exactly one of --target, --reads, --writes, --only and --lift-barrier, got ${asked}`);
  if (atOnce && writes === undefined) throw invalid("--at-once: goes with --writes");
  if (only !== undefined && options.confirm !== name && !options.dryRun)
    throw invalid(
      `this gives up a side of ${name}; to do it, add \`--confirm ${name}\`; to see what it would do, \`--dry-run\``,
    );
  const { world } = await session.open();
  const call = { name, actor: actorOf(options), reason: options.reason, revision };
  const before = (await mustReadAlias(world.store, name)).alias;
  if (options.dryRun) {
    const alias = await previewed(world, call, before, options);
    return wouldBe(alias, `${name} would be\n${shown(alias)}${skipped(before, options)}`);
  }
  const { alias } = await changed(world, call, options);
  const isSame = alias.revision === before.revision;
  return {
    value: { changed: !isSame, alias },
    text: `${isSame ? "is so already:" : "changed"} ${name}\n${shown(alias)}${isSame ? "" : skipped(before, options)}`,
  };
}

function changed(world: AliasWorld, call: AliasCall, options: SetOptions) {
  const { target, only, reads, writes, atOnce } = options;
  if (target !== undefined) return setTarget(world, { ...call, collection: target });
  if (writes !== undefined) return moveWriting(world, { ...call, collection: writes, atOnce });
  return changeAlias(world, call, (alias, by) => {
    if (only !== undefined) return withOnly(alias, sideKept(alias, only), by);
    return reads === undefined ? withoutBarrier(alias, by) : withReadShare(alias, reads, by);
  });
}

/** What a change would make, by the rules alone. */
async function previewed(
  world: AliasWorld,
  call: AliasCall,
  alias: Alias,
  { target, only, reads, writes }: SetOptions,
): Promise<Alias> {
  const by = byOf(world, call);
  if (target !== undefined) return withTarget(alias, sideOf(await readCollection(world.store, target)), by);
  if (writes !== undefined) return withWriting(alias, sideWith(alias, writes), by);
  if (only !== undefined) return withOnly(alias, sideKept(alias, only), by);
  return reads === undefined ? withoutBarrier(alias, by) : withReadShare(alias, reads, by);
}

/** Where both sides are one collection, the one that is written to. */
const sideKept = (alias: Alias, collection: string): SideName =>
  alias[alias.writing]?.collection === collection ? alias.writing : sideWith(alias, collection);

function skipped(before: Alias, { writes }: SetOptions): string {
  const from = sideNamed(before, before.writing).collection;
  if (writes === undefined || writes === from) return "";
  return (
    `\nskipped: what ${from} has acknowledged and ${writes} does not hold is missing from strong reads by ${before.name} ` +
    "until it is carried over"
  );
}

async function history(session: Session, name: string): Promise<Outcome> {
  const { world } = await session.open();
  const { alias } = await mustReadAlias(world.store, name);
  const rows = alias.changes.map(({ revision, at, actor, what, reason }) => [
    revision,
    moment(at),
    actor,
    what,
    reason,
  ]);
  return {
    value: { name, changes: alias.changes },
    text: table(["REVISION", "AT", "ACTOR", "CHANGE", "REASON"], rows),
  };
}

async function remove(
  session: Session,
  name: string,
  options: { confirm?: string; dryRun?: boolean },
): Promise<Outcome> {
  if (options.confirm !== name && !options.dryRun)
    throw invalid(
      `this deletes the alias ${name}, and no collection; calls that name it fail then; to do it: \`silt alias delete ${name} --confirm ${name}\``,
    );
  const { world } = await session.open();
  if (options.dryRun) {
    const { alias } = await mustReadAlias(world.store, name);
    return wouldBe(null, `would delete the alias ${name}; ${alias.source.collection} stays`);
  }
  if (!(await deleteAlias(world, name)))
    throw new SiltstoneError(
      "notFound",
      `alias ${name} does not exist; \`silt alias list\` shows those that do`,
    );
  return { value: { deleted: name }, text: `deleted the alias ${name}` };
}

const wouldBe = (alias: Alias | null, text: string): Outcome => ({ value: { dryRun: true, alias }, text });
