/** silt quarantine list | show | retry: deltas that could not be read. */
import type { Command } from "commander";
import { decodeDelta } from "../../lib/core/format/delta.ts";
import { deltaBytesMax } from "../../lib/core/format/delta-header.ts";
import { quarantinedDeltaKey } from "../../lib/core/format/keys.ts";
import { invalid, SiltstoneError } from "../../lib/core/model/errors.ts";
import { type DeltaId, deltaId } from "../../lib/core/model/ids.ts";
import { isUlid } from "../../lib/core/model/ulid.ts";
import {
  listQuarantine,
  type Quarantined,
  retriedNameOf,
  retryQuarantined,
} from "../../lib/engine/shard/quarantine.ts";
import { type Opened, openCollection, shardOption, shardsOf } from "./arguments.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { bytes, excerpt, moment, pairs, plural, table } from "./text.ts";

/** Ids of an unreadable delta's rows that are shown. */
const idsShownMax = 10;
const reasonCharsMax = 100;

type Found = Quarantined & { readonly shard: number };

export function addQuarantineCommands(program: Command, run: Runner): void {
  const quarantine = program
    .command("quarantine")
    .description("deltas that could not be read and were put aside");
  quarantine
    .command("list")
    .description("what was put aside, and why")
    .argument("<name>")
    .addOption(shardOption())
    .action(run(list));
  quarantine
    .command("show")
    .description("one delta: the reason in full, and what can be read of it")
    .argument("<name>")
    .argument("<delta>")
    .action(run(show));
  quarantine
    .command("retry")
    .description("put deltas back into the backlog; what is still unreadable comes back here")
    .argument("<name>")
    .argument("[delta]")
    .option("--all", "every one of the collection")
    .action(run(retry));
}

async function findAll({ world, collection }: Opened, shard?: number): Promise<Found[]> {
  const found: Found[] = [];
  for (const one of shardsOf(collection, shard)) {
    const listed = await listQuarantine(world.store, { collection: collection.name, shard: one });
    for (const delta of listed) found.push({ shard: one, ...delta });
  }
  return found;
}

async function findOne(opened: Opened, delta: string): Promise<Found> {
  const found = (await findAll(opened)).find((one) => one.delta === delta);
  if (found) return found;
  const { name } = opened.collection;
  const again = isUlid(delta) ? await retriedName(opened, deltaId(delta)) : undefined;
  const where = again === undefined ? "" : ` (it was retried as ${again})`;
  throw new SiltstoneError(
    "notFound",
    `${name} has no quarantined delta ${delta}${where}; see \`silt quarantine list ${name}\``,
  );
}

async function retriedName({ world, collection }: Opened, delta: DeltaId): Promise<DeltaId | undefined> {
  for (const shard of shardsOf(collection, undefined)) {
    const again = await retriedNameOf(world.store, { collection: collection.name, shard }, delta);
    if (again !== undefined) return again;
  }
  return undefined;
}

async function list(session: Session, name: string, options: { shard?: number }): Promise<Outcome> {
  const deltas = await findAll(await openCollection(session, name), options.shard);
  if (deltas.length === 0) return { value: { deltas }, text: `${name} has no quarantined deltas` };
  const rows = deltas.map(({ shard, delta, bytes: size, at, reason }) => [
    `${name}/${shard}`,
    delta,
    bytes(size),
    at === "" ? "-" : moment(at),
    excerpt(reason, reasonCharsMax),
  ]);
  return {
    value: { deltas },
    text: table(["SHARD", "DELTA", "SIZE", "SINCE", "REASON"], rows),
    next: [
      `look into one: silt quarantine show ${name} ${deltas[0]!.delta}`,
      `try again: silt quarantine retry ${name} --all`,
    ],
  };
}

async function show(session: Session, name: string, given: string): Promise<Outcome> {
  const opened = await openCollection(session, name);
  const found = await findOne(opened, given);
  const { delta } = found;
  const key = quarantinedDeltaKey({ collection: name, shard: found.shard }, delta);
  // What was put aside may be of any size: it was copied by S3.
  const object = await opened.world.store.getBounded(key, deltaBytesMax);
  if (object.kind === "refused") throw object.error;
  if (object.kind === "absent")
    throw new SiltstoneError("conflict", `${key} is gone: another process put it back`);
  const content = object.kind === "found" ? readable(object.body, key, delta) : null;
  return {
    value: { ...found, key, content },
    text: pairs({
      delta,
      shard: `${name}/${found.shard}`,
      object: key,
      size: bytes(found.bytes),
      since: found.at === "" ? "-" : moment(found.at),
      reason: found.reason,
      content:
        content === null
          ? "unreadable"
          : `${plural(content.rows, "row")} by ${content.producer || "an unnamed producer"}: ${content.ids.join(", ")}${content.rows > content.ids.length ? ", …" : ""}`,
    }),
    next: [`when its cause is gone: silt quarantine retry ${name} ${delta}`],
  };
}

/** A delta may be whole and still not fit its collection: then its rows can be told. */
function readable(
  body: Buffer,
  key: string,
  delta: DeltaId,
): { producer: string; createdAtMs: number; rows: number; ids: string[] } | null {
  try {
    const { header, rows } = decodeDelta(body, { key, delta });
    const { producer, createdAtMs } = header;
    return { producer, createdAtMs, rows: rows.length, ids: rows.slice(0, idsShownMax).map(({ id }) => id) };
  } catch {
    return null;
  }
}

async function retry(
  session: Session,
  name: string,
  delta: string | undefined,
  options: { all?: boolean },
): Promise<Outcome> {
  if ((delta === undefined) !== (options.all === true)) throw invalid("name one delta, or give --all");
  const opened = await openCollection(session, name);
  const chosen = delta === undefined ? await findAll(opened) : [await findOne(opened, delta)];
  const retried = [];
  for (const { shard, delta: one } of chosen) {
    retried.push({
      shard,
      delta: one,
      again: await retryQuarantined(opened.world, { collection: name, shard }, one),
    });
  }
  return {
    value: { retried },
    text:
      retried.length === 0
        ? `${name} has no quarantined deltas`
        : `put back ${plural(retried.length, "delta")} of ${name}`,
    ...(retried.length > 0
      ? {
          next: [
            `ingest them: silt compact ${name}`,
            `what is still unreadable comes back: silt quarantine list ${name}`,
          ],
        }
      : {}),
  };
}
