/** silt dlq list | show | redrive | purge: messages that are not notifications. They carry no data: deltas are found without them. */
import type { Command } from "commander";
import type { HeldMessage } from "../../lib/aws/sqs-held-messages.ts";
import type { Deployment } from "./deployment.ts";
import { exitCodes } from "./exit-code.ts";
import {
  checkWhich,
  described,
  type Held,
  list,
  listed,
  listLimit,
  notThere,
  purge,
  show,
} from "./held-messages.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { plural } from "./text.ts";

/** A dead-letter queue, and who its messages are sent to again. */
interface DeadLetterQueue extends Held {
  readonly receiver: string;
  send(deployment: Deployment, body: string): Promise<void>;
}
const ofDeltas: DeadLetterQueue = {
  command: "dlq",
  queue: "the dead-letter queue",
  noun: "message",
  column: "MESSAGE",
  open: async (session) => (await session.open()).deadLetters,
  reasonOf: ({ reason }) => reason ?? "came back too often",
  excerptOf: ({ body }) => body,
  receiver: "the compactor",
  send: ({ world }, body) => world.queue.send(body),
};
/** Of the job queues: what it was for is not known any more, but for what a message says. */
export const ofJobs: DeadLetterQueue = {
  ...ofDeltas,
  command: "jobs dlq",
  open: async (session) => (await session.open()).jobs().deadLetters,
  receiver: "the embedder",
  send: (deployment, body) => deployment.jobs().wake.send("normal", [body]),
};

export function addDlqCommands(program: Command, run: Runner, deadLetters: DeadLetterQueue = ofDeltas): void {
  const { command, receiver } = deadLetters;
  const dlq = program
    .command("dlq")
    .description("the dead-letter queue: messages that were no notifications, or came back too often");
  dlq
    .command("list")
    .description("its messages, oldest first, each with its reason; hides them from others for a moment")
    .option("--limit <n>", ...listLimit)
    .action(
      run(
        list(deadLetters, [
          `send them again, once the sender or ${receiver} is mended: silt ${command} redrive --all`,
          `they carry no data; to delete all of them: silt ${command} purge`,
        ]),
      ),
    );
  dlq
    .command("show")
    .description("one message in full")
    .argument("<id>")
    .action(run(show(deadLetters)));
  dlq
    .command("redrive")
    .description(`send messages to ${receiver} again; what still makes no sense comes back here`)
    .argument("[id...]", "as listed; or")
    .option("--all", "every one that is there now")
    .option("--dry-run", "only list them")
    .action(run(redrive(deadLetters)));
  dlq
    .command("purge")
    .description("delete every message; no data is in them")
    .option("--confirm <stage>", "the stage's name once more")
    .option("--dry-run", "only count them")
    .action(run(purge(deadLetters)));
}

const redrive =
  (deadLetters: DeadLetterQueue) =>
  async (
    session: Session,
    ids: readonly string[],
    { all, dryRun = false }: { all?: boolean; dryRun?: boolean },
  ): Promise<Outcome> => {
    checkWhich(ids, all);
    const deployment = await session.open();
    const { world } = deployment;
    const queue = await deadLetters.open(session);
    // What makes no sense may be back before this ends.
    const startMs = world.clock.nowMs();
    const wanted = new Set(ids);
    const moved: HeldMessage[] = [];
    await queue.look(async (batch, remove) => {
      for (const message of batch) {
        if (session.interrupted.aborted) return false;
        if (all === true ? message.sentMs > startMs : !wanted.has(message.id)) continue;
        if (!dryRun) {
          // A crash between the two leaves the message in both queues: a notification that comes twice changes nothing.
          await deadLetters.send(deployment, message.body);
          await remove(message);
        }
        moved.push(message);
      }
      return all === true || moved.length < wanted.size;
    });
    const missing = ids.filter((id) => !moved.some((message) => message.id === id));
    if (missing.length > 0 && moved.length === 0 && !session.interrupted.aborted)
      throw notThere(deadLetters, missing);
    return {
      value: { dryRun, redriven: moved.map(described), missing },
      text: [
        ...(dryRun && moved.length > 0 ? [listed(deadLetters, moved), ""] : []),
        `${dryRun ? "would send" : "sent"} ${plural(moved.length, "message")} to ${deadLetters.receiver} again`,
        ...missing.map((id) => `${id} was not there`),
      ].join("\n"),
      next:
        moved.length > 0 && !dryRun
          ? [`what still makes no sense comes back with the next run: silt ${deadLetters.command} list`]
          : [],
      exitCode: session.interrupted.aborted
        ? exitCodes.interrupted
        : missing.length > 0
          ? exitCodes.notFound
          : exitCodes.ok,
    };
  };
