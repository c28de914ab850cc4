/**
 * kill -9 at random moments: sandboxes of the three functions while they work, the servers (which the stack starts
 * again on their ports), the library's processes, and now and then the whole stack. After a compactor's end an operator
 * may take its leases away, as `silt lease release` does; else they run out by themselves.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { awsNames, awsWorld } from "../../lib/aws/aws-world.ts";
import type { FunctionName } from "../../lib/contract/functions.ts";
import { shardName } from "../../lib/core/format/keys.ts";
import type { World } from "../../lib/engine/ports.ts";
import { collectLease, ingestLease, mergeLease } from "../../lib/engine/shard/lease.ts";
import { isAlive } from "../local/state-file.ts";
import type { FunctionCalls } from "./calls.ts";
import type { LibraryProcess } from "./library-process.ts";
import type { Random } from "./random.ts";
import type { KillKind, Tally } from "./report.ts";
import type { StackStarted } from "./stack-main.ts";
import { isRunning, killProcess, type StackProcess } from "./stack-process.ts";

export interface FaultOptions {
  readonly stack: StackProcess;
  readonly calls: FunctionCalls;
  readonly libraries: readonly LibraryProcess[];
  readonly collector: LibraryProcess;
  readonly random: Random;
  readonly tally: Tally;
  readonly say: (text: string) => void;
  /** Every shard of the drill, for the leases. */
  readonly shards: readonly { readonly collection: string; readonly shard: number }[];
}

/** The supervisor gives up a server that keeps dying young. */
const serverPauseMs = 12_000;
const stackPauseMs = 25_000;
const downMaxMs = 1_500;
const stealShare = 0.7;
/** Looks for a process that is at work, or for the end of one that was killed, and the wait between them. */
const looksMax = 40;
const lookMs = 15;

const weights: Record<KillKind, number> = {
  producer: 6,
  library: 3,
  compactorIngest: 5,
  compactorUpkeep: 6,
  collector: 2,
  query: 3,
  s3: 3,
  dynamodb: 2,
  sqs: 1,
  stack: 1,
};

export class Faults {
  readonly #options: FaultOptions;
  readonly #lastMs = new Map<KillKind, number>();

  constructor(options: FaultOptions) {
    this.#options = options;
  }

  /** Random kinds, one after the other, until it is over. */
  async run(
    isOver: () => boolean,
    pause: { readonly startMs: number; readonly limitMs: number },
  ): Promise<void> {
    const { random } = this.#options;
    while (!isOver()) {
      await sleep(random.between(pause.startMs, pause.limitMs));
      if (!isOver()) await this.kill(random.weighted(weights));
    }
  }

  /** Kills one of a kind; a kind that finds nothing at work, or came too soon again, kills nothing. */
  async kill(kind: KillKind): Promise<void> {
    const killed = await this.#killKind(kind);
    if (!killed) {
      this.#options.tally.count(`${kind} not at work`);
      return;
    }
    this.#options.tally.kills[kind] += 1;
    this.#options.say(`killed ${kind}`);
    this.#lastMs.set(kind, performance.now());
  }

  async #killKind(kind: KillKind): Promise<boolean> {
    const { random, libraries, collector } = this.#options;
    switch (kind) {
      case "producer":
      case "query":
        return (await this.#killSandboxes(kind)) > 0;
      case "compactorIngest":
        return this.#killCompactor("scheduled", random.between(0, 400));
      case "compactorUpkeep":
        return this.#killCompactor("upkeep", random.between(0, 1_500));
      case "library":
        return whenAtWork(() => random.pick(libraries).kill());
      case "collector":
        return whenAtWork(() => collector.kill());
      case "s3":
      case "dynamodb":
      case "sqs":
        return this.#killServer(kind);
      case "stack":
        return this.#killStack();
    }
  }

  /** Those that are at work now; a frozen one would miss nothing but its cache. */
  async #killSandboxes(role: FunctionName): Promise<number> {
    for (let look = 0; look < looksMax; look++) {
      const pids = await this.#options.stack.pids();
      const running = (pids?.functions[role] ?? []).filter(isRunning);
      const killed = await this.#options.calls.killing([role], async () => {
        const pids = running.filter(killProcess);
        for (let i = 0; i < looksMax && pids.some(isAlive); i++) await sleep(lookMs);
        return pids.length;
      });
      if (killed > 0) return killed;
      await sleep(lookMs);
    }
    return 0;
  }

  /** Counts when the run that was asked for here is the one that died; the schedule's own runs die beside it. */
  async #killCompactor(source: "scheduled" | "upkeep", afterMs: number): Promise<boolean> {
    const { calls, random, tally } = this.#options;
    const run = calls.invoke("compactor", { source });
    await sleep(afterMs);
    const killed = await this.#killSandboxes("compactor");
    const result = await run;
    const isOurs = result.kind === "failed" && result.errorKind === "Runtime.ExitError";
    tally.count("compactor runs of the schedule killed", Math.max(0, killed - (isOurs ? 1 : 0)));
    if (killed > 0 && random.chance(stealShare)) await this.releaseLeases();
    return isOurs;
  }

  async #killServer(name: "s3" | "dynamodb" | "sqs"): Promise<boolean> {
    if (this.#isTooSoon(name, serverPauseMs)) return false;
    const pid = (await this.#options.stack.pids())?.servers[name];
    return pid != null && killProcess(pid);
  }

  async #killStack(): Promise<boolean> {
    const { stack, random, calls } = this.#options;
    if (this.#isTooSoon("stack", stackPauseMs)) return false;
    await calls.killing(["producer", "compactor", "query"], () => stack.kill());
    await sleep(random.between(0, downMaxMs));
    await stack.start();
    return true;
  }

  #isTooSoon(kind: KillKind, pauseMs: number): boolean {
    return performance.now() - (this.#lastMs.get(kind) ?? Number.NEGATIVE_INFINITY) < pauseMs;
  }

  /** Takes every lease from its holder, dead or alive: a lease is not what keeps data safe. */
  async releaseLeases(): Promise<void> {
    const { leases, clock } = worldOf(this.#options.stack);
    for (const shard of this.#options.shards) {
      for (const name of [ingestLease, mergeLease, collectLease].map((lease) => lease(shardName(shard)))) {
        const held = await leases.read(name).catch(() => null);
        if (held === null || held.expiresAtMs <= clock.nowMs()) continue;
        if (await leases.forceRelease(name, held).catch(() => false))
          this.#options.tally.count("leases taken away");
      }
    }
  }
}

async function whenAtWork(kill: () => boolean): Promise<boolean> {
  for (let look = 0; look < looksMax; look++) {
    if (kill()) return true;
    await sleep(lookMs);
  }
  return false;
}

const worlds = new WeakMap<StackStarted, World>();

/** The world as the command line sees it, at the endpoints that the running stack has. */
export function worldOf({ current }: StackProcess): World {
  const known = worlds.get(current);
  if (known) return known;
  const { outputs } = current;
  const world = awsWorld(awsNames((name) => outputs[name]!));
  worlds.set(current, world);
  return world;
}
