/** silt lease show | release */
import { type Command, Option } from "commander";
import { invalid, SiltstoneError } from "../../lib/core/model/errors.ts";
import { type Epoch, epoch } from "../../lib/core/model/ids.ts";
import { type LeaseKind, leaseKinds, leaseName, shardLeases } from "../../lib/engine/operate/status.ts";
import { integer, oneShard, openCollection, shardOption, shardsOf } from "./arguments.ts";
import { eachShard, exitCodeOfFailures, failureLine } from "./each-shard.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { duration, table } from "./text.ts";

interface ReleaseOptions {
  readonly shard?: number;
  readonly kind: LeaseKind;
  readonly owner?: string;
  readonly epoch?: number;
  readonly confirm?: string;
}

export function addLeaseCommands(program: Command, run: Runner): void {
  const lease = program.command("lease").description("who holds a shard's leases");
  lease
    .command("show")
    .description("the holders of a collection's leases")
    .argument("<name>")
    .addOption(shardOption())
    .action(run(show));
  lease
    .command("release")
    .description(
      "take a lease from the holder that `silt lease show` names; one that has run out needs no release",
    )
    .argument("<name>")
    .addOption(shardOption())
    .addOption(new Option("--kind <kind>", "which lease").choices(leaseKinds).default("ingest"))
    .option("--owner <id>", "its owner, as shown")
    .option("--epoch <n>", "its epoch, as shown", integer(0, Number.MAX_SAFE_INTEGER))
    .option(
      "--confirm <name>",
      "instead: the collection's name once more, for the lease whose holder is not known",
    )
    .action(run(release));
}

async function show(session: Session, name: string, options: { shard?: number }): Promise<Outcome> {
  const { world, collection } = await openCollection(session, name);
  const nowMs = world.clock.nowMs();
  const { done, failed } = await eachShard(shardsOf(collection, options.shard), async (shard) =>
    (await shardLeases(world, { collection: name, shard })).map((lease) => ({
      shard,
      ...lease,
      expired: lease.expiresAtMs <= nowMs,
    })),
  );
  const leases = done.flat();
  const rows = leases.map(({ shard, kind, owner, epoch, expiresAtMs, expired }) => [
    `${name}/${shard}`,
    kind,
    owner,
    epoch,
    expired ? `ran out ${duration(nowMs - expiresAtMs)} ago` : `for ${duration(expiresAtMs - nowMs)}`,
  ]);
  const held = leases.find(({ expired }) => !expired);
  return {
    value: { leases, failed },
    text: [
      rows.length === 0
        ? `no lease of ${name} is held`
        : table(["SHARD", "LEASE", "OWNER", "EPOCH", "HELD"], rows),
      ...failed.map((one) => failureLine({ collection: name, shard: one.shard }, one)),
    ].join("\n"),
    exitCode: exitCodeOfFailures(failed),
    ...(held
      ? {
          next: [
            "a holder that died loses its lease by itself within two minutes; to take it now (no data is at risk):",
            releaseCommand(name, held.shard, held),
          ],
        }
      : {}),
  };
}

const releaseCommand = (
  name: string,
  shard: number,
  lease: { kind: LeaseKind; owner: string; epoch: Epoch },
): string =>
  `silt lease release ${name} --shard ${shard} --kind ${lease.kind} --owner ${lease.owner} --epoch ${lease.epoch}`;

async function release(session: Session, name: string, options: ReleaseOptions): Promise<Outcome> {
  const { world, collection } = await openCollection(session, name);
  const shard = oneShard(collection, options.shard);
  const kind = options.kind;
  const lease = leaseName({ collection: name, shard }, kind);
  const holder = await world.leases.read(lease);
  if (holder === null) {
    return {
      value: { released: false, lease, holder: null },
      text: `${lease} is not held: there is nothing to release`,
    };
  }
  const { owner, epoch } = expectedHolder(options, name, { ...holder, kind }, shard);
  const released = await world.leases.forceRelease(lease, { owner, epoch });
  if (!released) {
    throw new SiltstoneError(
      "conflict",
      `${lease} is not held by ${owner} in epoch ${epoch}, or not any more; see \`silt lease show ${name}\``,
    );
  }
  return {
    value: { released, lease, holder: { owner, epoch } },
    text: `released ${lease}: ${owner} (epoch ${epoch}) cannot publish any more`,
    next: [`go on: silt compact ${name}`],
  };
}

function expectedHolder(
  options: ReleaseOptions,
  name: string,
  holder: { owner: string; epoch: Epoch; kind: LeaseKind },
  shard: number,
): { owner: string; epoch: Epoch } {
  const { owner, confirm } = options;
  if (owner !== undefined && options.epoch !== undefined) return { owner, epoch: epoch(options.epoch) };
  if (owner === undefined && options.epoch === undefined && confirm === name) return holder;
  throw invalid(`say whose lease you take; it is held now by: \`${releaseCommand(name, shard, holder)}\``);
}
