/**
 * silt promote, silt sync: a collection of one store is carried to another. What each side is, and what would happen, is said first; rows
 * that would be deleted are listed, and their number has to be said again before anything is written.
 */
import { type Command, Option } from "commander";
import { emptyManifest } from "../../lib/core/format/manifest.ts";
import { type Collection, checkCollectionName } from "../../lib/core/model/collection.ts";
import { invalid, isKind, SiltstoneError } from "../../lib/core/model/errors.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { canCopyFiles, promoteFiles } from "../../lib/engine/operate/promote-files.ts";
import { batchRowsMax, type CarryOptions, promoteRows } from "../../lib/engine/operate/promote-rows.ts";
import {
  checkSides,
  type PromotionOptions,
  type PromotionPlan,
  planPromotion,
  type Side,
} from "../../lib/engine/operate/promotion-plan.ts";
import { backlogOf, listDeltas } from "../../lib/engine/shard/deltas.ts";
import { readCollection, readHead } from "../../lib/engine/shard/head.ts";
import { integer } from "./arguments.ts";
import type { Deployment } from "./deployment.ts";
import { documentEmbedderOf } from "./embedding-estimate.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import { checkConfirmed, confirmations, filesLine, planLines } from "./promote-report.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { storeOf } from "./store-choice.ts";
import { bytes, duration, excerpt, plural } from "./text.ts";

interface PromoteArguments {
  readonly from: string;
  readonly to: string;
  readonly fromProfile?: string;
  readonly toProfile?: string;
  readonly as?: string;
  readonly dryRun?: boolean;
  readonly withoutVectors?: boolean;
  readonly batchSize: number;
  readonly confirmDeletions?: number;
  readonly confirmReturning?: number;
}

const countMax = Number.MAX_SAFE_INTEGER;

export function addPromoteCommands(program: Command, run: Runner): void {
  for (const [name, mirror, description] of [
    [
      "promote",
      false,
      "carry a collection's rows and deletes to another stage; what only the other has stays",
    ],
    [
      "sync",
      true,
      "carry a collection's rows and deletes to another stage, and delete there what the source does not have",
    ],
  ] as const) {
    program
      .command(name)
      .description(description)
      .argument("<name>")
      .requiredOption("--from <store>", "the source: local, local:DIR, a stage, or stack:NAME")
      .requiredOption("--to <store>", "the target, named likewise")
      .option("--as <name>", "the collection's name there, if it is another")
      .option("--dry-run", "say what would be carried and deleted; nothing is written")
      .option("--without-vectors", "leave vectors behind: the target's embedder makes them of the documents")
      .addOption(
        new Option("--batch-size <n>", "rows that are published at a time")
          .argParser(integer(1, batchRowsMax))
          .default(batchRowsMax),
      )
      .option("--confirm-deletions <n>", "delete that many rows, as the dry run said", integer(0, countMax))
      .option(
        "--confirm-returning <n>",
        "carry that many rows of which a delete may be forgotten there",
        integer(0, countMax),
      )
      .option("--from-profile <profile>", "who reads: a profile of the AWS configuration files")
      .option("--to-profile <profile>", "who writes")
      .action(
        run((session, collection: string, options: PromoteArguments) =>
          promote(session, collection, { ...options, mirror }),
        ),
      );
  }
}

type Options = PromoteArguments & { readonly mirror: boolean };

async function promote(session: Session, name: string, options: Options): Promise<Outcome> {
  const target = checkCollectionName(options.as ?? name);
  const source = storeOf(options.from, { option: "--from", profile: options.fromProfile });
  const goal = storeOf(options.to, { option: "--to", profile: options.toProfile });
  const direction = `${name} of ${source.name} → ${target} of ${goal.name}`;
  if (options.from === options.to && name === target)
    throw invalid(
      `--from and --to: both are ${direction.split(" → ")[0]}; say another store, or another name by --as`,
    );
  session.remark(direction);
  const [here, there] = [await session.openOther(source), await session.openOther(goal)];
  const from = await sideOf(here, await readCollection(here.world.store, name));
  const known = await collectionOf(there, target);
  const wanted: PromotionOptions = {
    withoutVectors: options.withoutVectors ?? false,
    mirror: options.mirror,
  };
  const collection = known ?? { ...from.collection, name: target };
  checkSides(from.collection, collection, wanted);
  const to = known === null ? nothingOf(there, collection) : await sideOf(there, known);
  const waiting = await countBacklog(from);
  const byFiles = !wanted.withoutVectors && canCopyFiles(from, to);
  const said = {
    collection: name,
    from: source.name,
    to: goal.name,
    as: target,
    exists: known !== null,
    notIngested: waiting,
  };
  const plan = byFiles ? null : await planned(session, from, to, wanted);
  const lines = plan === null ? [filesLine(from)] : planLines(plan, goal.name, options.mirror);
  if (waiting > 0)
    lines.push(`${plural(waiting, "delta")} of ${name} wait to be ingested, and are not carried now`);
  const value = { ...said, way: byFiles ? "files" : "rows", plan };
  if (options.dryRun) {
    const next = [`carry it: the same without --dry-run${confirmations(plan, options.mirror)}`];
    return { value: { ...value, dryRun: true }, text: [direction, ...lines].join("\n"), next };
  }
  if (plan !== null) checkConfirmed(plan, options, goal.name);
  const ready = known === null ? await sideOf(there, await created(there, collection)) : to;
  const startMs = performance.now();
  const done = byFiles
    ? await carryFiles(session, { here, there }, from, ready)
    : await carryRows(session, { from, to: ready, there }, options, wanted);
  const milliseconds = Math.round(performance.now() - startMs);
  return {
    value: { ...value, ...done, milliseconds },
    text: [direction, ...lines, `${done.text} in ${duration(milliseconds)}`].join("\n"),
    next: done.interrupted ? ["go on: the same command; what is there already is not carried again"] : [],
    exitCode: done.interrupted ? exitCodes.interrupted : exitCodes.ok,
  };
}

async function collectionOf({ world }: Deployment, name: string): Promise<Collection | null> {
  try {
    return await readCollection(world.store, name);
  } catch (error) {
    if (isKind(error, "notFound")) return null;
    throw error;
  }
}

const shardsOf = ({ shards }: Collection): number[] => Array.from({ length: shards }, (_, shard) => shard);

async function sideOf({ world }: Deployment, collection: Collection): Promise<Side> {
  const heads = await Promise.all(
    shardsOf(collection).map((shard) => readHead(world.store, collection, shard)),
  );
  return { world, collection, manifests: heads.map(({ manifest }) => manifest) };
}

/** Of a collection that is not there yet. */
const nothingOf = ({ world }: Deployment, collection: Collection): Side => ({
  world,
  collection,
  manifests: shardsOf(collection).map((shard) => emptyManifest(collection, shard)),
});

/** As the source's is configured. */
async function created({ world }: Deployment, of: Collection): Promise<Collection> {
  const { format: _format, id: _id, createdAt: _createdAt, ...options } = of;
  return (await createCollection(world, options)).collection;
}

/** Deltas that are in no version yet. */
async function countBacklog({ world, collection, manifests }: Side): Promise<number> {
  const counted = await Promise.all(
    manifests.map(async (manifest) => {
      const ref = { collection: collection.name, shard: manifest.shard };
      return backlogOf(await listDeltas(world.store, ref, manifest.watermark), manifest).length;
    }),
  );
  return counted.reduce((sum, deltas) => sum + deltas, 0);
}

async function planned(
  session: Session,
  from: Side,
  to: Side,
  options: PromotionOptions,
): Promise<PromotionPlan> {
  const progress = session.progress("compare");
  const all = from.manifests.flatMap(({ segments }) => segments).reduce((sum, one) => sum + one.sum.rows, 0);
  try {
    return await planPromotion(from, to, options, (writes) =>
      progress.update(writes, all, `${writes} writes`),
    );
  } finally {
    progress.stop();
  }
}

interface Done {
  readonly text: string;
  readonly rows: number;
  readonly deletes: number;
  readonly segments: number;
  readonly interrupted: boolean;
}

async function carryFiles(
  session: Session,
  { here, there }: { here: Deployment; there: Deployment },
  from: Side,
  to: Side,
): Promise<Done> {
  const progress = session.progress("copy");
  const all = from.manifests
    .flatMap(({ segments }) => segments)
    .flatMap(({ files }) => Object.values(files))
    .reduce((sum, file) => sum + file.bytes, 0);
  try {
    const {
      rows,
      segments,
      bytes: size,
    } = await promoteFiles(from, to, {
      copy: there.copyFrom(here),
      onProgress: (copied) => progress.update(copied, all, `${bytes(copied)} of ${bytes(all)}`),
    });
    const text = `copied ${plural(segments, "segment")} with ${plural(rows, "row")}, ${bytes(size)}`;
    return { text, rows, deletes: 0, segments, interrupted: false };
  } finally {
    progress.stop();
  }
}

/** For a batch of documents: limits of the stage, and outages that pass, are waited for. */
const embedWaitMs = 15 * 60_000;

/** By the target's embedder, all or none of them. */
async function vectorsBy(there: Deployment, collection: Collection): Promise<CarryOptions["embed"]> {
  const embed = await documentEmbedderOf(there, collection);
  return async (documents) => {
    const { outcomes } = await embed(collection, documents, { waitMs: embedWaitMs });
    return outcomes.map((outcome, i) => {
      if (!(outcome instanceof SiltstoneError)) return outcome;
      throw new SiltstoneError(
        outcome.kind,
        `document ${JSON.stringify(excerpt(documents[i]!, 80))}: ${outcome.message}`,
      );
    });
  };
}

async function carryRows(
  session: Session,
  { from, to, there }: { from: Side; to: Side; there: Deployment },
  options: Options,
  wanted: PromotionOptions,
): Promise<Done> {
  const progress = session.progress("carry");
  const { interrupted } = session;
  const startMs = performance.now();
  try {
    const carried = await promoteRows(from, to, {
      ...wanted,
      batchRows: options.batchSize,
      interrupted,
      embed: wanted.withoutVectors ? await vectorsBy(there, to.collection) : null,
      onProgress: (rows) => {
        const seconds = Math.max(0.001, (performance.now() - startMs) / 1000);
        progress.update(0, 0, `${plural(rows, "write")}, ${Math.round(rows / seconds)}/s`);
      },
    });
    const { rows, deletes, segments } = carried;
    const said = carried.interrupted ? "interrupted: carried" : "carried";
    return {
      ...carried,
      text: `${said} ${plural(rows, "row")} and ${plural(deletes, "delete")} in ${plural(segments, "segment")}`,
    };
  } finally {
    progress.stop();
  }
}
