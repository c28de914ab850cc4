/** silt embed-all NAME …: a whole collection's items, judged by what is stored, and queued where they are not embedded (docs/jobs.md). */
import { type Command, Option } from "commander";
import type { Collection } from "../../lib/core/model/collection.ts";
import { invalid, SiltstoneError } from "../../lib/core/model/errors.ts";
import { audit, readSettings } from "../../lib/jobs/control.ts";
import { analyze } from "../../lib/jobs/embed-all/analysis.ts";
import {
  type BulkWorld,
  batchItemsFor,
  bulkStatus,
  isUnderWay,
  newRun,
  runBulk,
} from "../../lib/jobs/embed-all/bulk-run.ts";
import { rollBack } from "../../lib/jobs/embed-all/rollback.ts";
import { type Priority, priorities } from "../../lib/jobs/item.ts";
import type { BulkRun } from "../../lib/jobs/ports.ts";
import { integer, openCollection, real } from "./arguments.ts";
import { analysisOutcome, runOutcome, statusOutcome } from "./embed-all-views.ts";
import { exitCodes } from "./exit-code.ts";
import { who } from "./jobs-changes.ts";
import type { Outcome } from "./outcome.ts";
import { readChunksOf } from "./read-chunks.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { plural } from "./text.ts";

const actions = ["analyze", "run", "status", "rollback"] as const;
type Action = (typeof actions)[number];

interface Options {
  readonly price?: number;
  readonly dryRun?: boolean;
  readonly batchSize?: number;
  readonly priority?: Priority;
  readonly stage?: number;
  readonly tag?: string;
  readonly resume?: string;
  readonly follow?: boolean;
  readonly failed?: boolean;
  readonly confirm?: string;
}
/** Each action takes these, and no others. */
const optionsOf: Readonly<Record<Action, readonly (keyof Options)[]>> = {
  analyze: ["price", "batchSize"],
  run: ["dryRun", "batchSize", "priority", "stage", "tag", "resume"],
  status: ["follow", "failed"],
  rollback: ["confirm"],
};
const tagChars = 80;
const followMs = 2_000;

export function addEmbedAllCommand(program: Command, run: Runner): void {
  program
    .command("embed-all")
    .description("embed all items of a collection that are not embedded: look, queue, watch, or go back")
    .argument("<name>", "of the collection")
    .argument(`<${actions.join("|")}>`, "what to do")
    .argument("[id]", "for status: the run's id, or LATEST")
    .option("--price <dollars>", "for analyze: of a million tokens", real)
    .option("--dry-run", "for run: only count what would be queued")
    .option("--batch-size <n>", "items that are looked at and queued together", integer(1, 5_000))
    .addOption(new Option("--priority <priority>", "for run: of its jobs (default: low)").choices(priorities))
    .option("--stage <percent>", "for run: only that part of the items, always the same", integer(1, 100))
    .option("--tag <text>", "for run: what it is called")
    .option("--resume <id>", "for run: go on with one that was interrupted")
    .option("--follow", "for status: until nothing of it waits or runs")
    .option("--failed", "for status: with the items that failed")
    .option("--confirm <name>", "for rollback: the collection's name once more")
    .action(run(embedAll));
}

async function embedAll(
  session: Session,
  name: string,
  action: string,
  id: string | undefined,
  options: Options,
): Promise<Outcome> {
  const known = actions.find((one) => one === action);
  if (known === undefined) throw invalid(`say one of ${actions.join(", ")}; got ${action.slice(0, 80)}`);
  for (const given of Object.keys(options))
    if (!optionsOf[known].includes(given as keyof Options))
      throw invalid(
        `--${given.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}: is not for ${known}`,
      );
  if ((id !== undefined) !== (known === "status"))
    throw invalid(known === "status" ? "say which run: its id, or LATEST" : `${known}: takes no id`);
  const { deployment, collection } = await openCollection(session, name);
  if (collection.embedder === null)
    throw invalid(`collection ${name} has no embedder, and no items: its records come with vectors`);
  const world: BulkWorld = { ...deployment.jobs(), readChunks: readChunksOf(deployment) };
  const at: At = { session, world, collection };
  switch (known) {
    case "analyze":
      return look(at, options);
    case "run":
      return queue(at, options);
    case "status":
      return watch(at, id!, options);
    default:
      return goBack(at, options);
  }
}

interface At {
  readonly session: Session;
  readonly world: BulkWorld;
  readonly collection: Collection;
}

async function countItems({ world, collection }: At): Promise<number> {
  let count = 0;
  for await (const page of world.table.items(collection.id)) count += page.length;
  return count;
}

async function look(at: At, { price = null, batchSize }: Omit<Options, "price"> & { price?: number | null }) {
  if (price !== null && !(price >= 0)) throw invalid(`--price: must be dollars, 0 or more, got ${price}`);
  const batchItems = batchSize ?? batchItemsFor(await countItems(at));
  const found = await analyze(at.world, at.collection, { batchItems, pricePerMillion: price });
  const { inCall } = await readSettings(at.world.table);
  return analysisOutcome(at.collection, found, inCall.includes(at.collection.id));
}

async function queue(at: At, options: Options): Promise<Outcome> {
  const { session, world, collection } = at;
  const { dryRun = false, resume, tag = null } = options;
  if (tag !== null && (tag.length > tagChars || tag.trim() === ""))
    throw invalid(`--tag: must have 1 to ${tagChars} characters`);
  const run = resume === undefined ? await newRunOf(at, options, tag) : await resumed(at, resume, options);
  const total = await countItems(at);
  const progress = session.progress("items");
  try {
    const counts = await runBulk(world, collection, run, {
      dryRun,
      isInterrupted: () => session.interrupted.aborted,
      onProgress: ({ looked, queued }) => progress.update(looked, total, plural(queued, "job")),
    });
    if (!dryRun && counts.queued > 0)
      await note(at, `embed-all ${collection.name} run ${run.id}: ${plural(counts.queued, "job")}`);
    const isInterrupted = session.interrupted.aborted;
    return {
      ...runOutcome(run, counts, { dryRun, isInterrupted }),
      exitCode: isInterrupted ? exitCodes.interrupted : exitCodes.ok,
    };
  } catch (error) {
    if (!dryRun)
      session.remark(`interrupted; go on with: silt embed-all ${collection.name} run --resume ${run.id}`);
    throw error;
  } finally {
    progress.stop();
  }
}

const newRunOf = async (at: At, { batchSize, priority = "low", stage = 100 }: Options, tag: string | null) =>
  newRun(at.world, at.collection, {
    batchItems: batchSize ?? batchItemsFor(await countItems(at)),
    ...{ priority, tag, stagePercent: stage, by: who() },
  });

/** As it was begun; only the size of its batches may be another. */
async function resumed(at: At, id: string, { batchSize, priority, stage, tag }: Options): Promise<BulkRun> {
  if (priority !== undefined || stage !== undefined || tag !== undefined)
    throw invalid("--resume: goes on with the priority, stage and tag that the run was begun with");
  const run = await runNamed(at, id);
  return batchSize === undefined ? run : { ...run, batchItems: batchSize };
}

async function runNamed({ world, collection }: At, id: string): Promise<BulkRun> {
  const found =
    id === "LATEST"
      ? (await world.table.runs(collection.id, 1))[0]
      : await world.table.readRun(collection.id, id);
  if (found) return found;
  throw new SiltstoneError(
    "notFound",
    `collection ${collection.name} has no run ${id.slice(0, 80)}; it never was, or it ended long ago and is forgotten`,
  );
}

async function watch(at: At, id: string, { follow = false, failed = false }: Options): Promise<Outcome> {
  const { session, world, collection } = at;
  for (;;) {
    const status = await bulkStatus(world, collection, await runNamed(at, id));
    const outcome = statusOutcome(status, { failed });
    if (!follow || !isUnderWay(status)) return outcome;
    if (session.interrupted.aborted) return { ...outcome, exitCode: exitCodes.interrupted };
    session.write(outcome);
    await world.clock.sleep(followMs);
  }
}

async function goBack(at: At, { confirm }: Options): Promise<Outcome> {
  const { world, collection } = at;
  const { name } = collection;
  if (confirm !== undefined && confirm !== name)
    throw invalid(`--confirm: must be ${name}, the collection's name, once more`);
  const dryRun = confirm === undefined;
  const { cancelled } = await rollBack(world, collection, { who: who(), dryRun });
  if (!dryRun) await note(at, `embed-all ${name} rollback: ${plural(cancelled, "job")} cancelled`);
  return {
    value: { collection: name, inCall: !dryRun, cancelled: dryRun ? 0 : cancelled, count: cancelled },
    text: dryRun
      ? `${plural(cancelled, "job")} would be cancelled, and items be embedded in the call; nothing was changed`
      : `cancelled ${plural(cancelled, "job")}; items of ${name} are embedded in the call from now on`,
    next: dryRun
      ? [`to do it: silt embed-all ${name} rollback --confirm ${name}`]
      : [
          `what is not embedded: silt embed-all ${name} analyze`,
          `back to workers: silt embed-all ${name} run`,
        ],
  };
}

async function note({ world }: At, what: string): Promise<void> {
  await audit(world, await readSettings(world.table), { who: who(), what });
}
