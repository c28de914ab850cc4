/** silt dlq list | show | redrive | purge: messages that made no sense. They carry no data: deltas are found without them. */
import type { Command } from "commander";
import type { DeadLetter, DeadLetters } from "../../lib/aws/sqs-dead-letters.ts";
import { invalid, SiltstoneError } from "../../lib/core/model/errors.ts";
import { integer } from "./arguments.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { excerpt, moment, pairs, plural, table } from "./text.ts";

const listedDefault = 100;
const listedMax = 10_000;
const charsShown = 60;

export function addDlqCommands(program: Command, run: Runner): void {
  const dlq = program
    .command("dlq")
    .description("the dead-letter queue: messages that were no notifications, or came back too often");
  dlq
    .command("list")
    .description("its messages, oldest first, each with its reason; hides them from others for a moment")
    .option("--limit <n>", "at most so many", integer(1, listedMax), listedDefault)
    .action(run(list));
  dlq.command("show").description("one message in full").argument("<id>").action(run(show));
  dlq
    .command("redrive")
    .description("send messages to the compactor again; what still makes no sense comes back here")
    .argument("[id...]", "as listed; or")
    .option("--all", "every one that is there now")
    .option("--dry-run", "only list them")
    .action(run(redrive));
  dlq
    .command("purge")
    .description("delete every message; no data is in them")
    .option("--confirm <stage>", "the stage's name once more")
    .option("--dry-run", "only count them")
    .action(run(purge));
}

/** Those that `isWanted`, up to `max`: the queue gives them in no order; here they are in that of time. */
async function find(
  deadLetters: DeadLetters,
  interrupted: AbortSignal,
  max: number,
  isWanted: (message: DeadLetter) => boolean,
): Promise<DeadLetter[]> {
  const found: DeadLetter[] = [];
  await deadLetters.look(async (batch) => {
    found.push(...batch.filter(isWanted));
    return found.length < max && !interrupted.aborted;
  });
  return found.slice(0, max).sort((a, b) => a.sentMs - b.sentMs);
}

const sentAt = ({ sentMs }: DeadLetter): string => new Date(sentMs).toISOString();
const described = (message: DeadLetter) => {
  const { sentMs: _, ...rest } = message;
  return { ...rest, sentAt: sentAt(message) };
};
const noReason = "came back too often";

function listed(messages: readonly DeadLetter[]): string {
  return table(
    ["ID", "SENT", "REASON", "MESSAGE"],
    messages.map((message) => [
      message.id,
      moment(sentAt(message)),
      excerpt(message.reason ?? noReason, charsShown),
      excerpt(message.body, charsShown),
    ]),
  );
}

async function list(session: Session, { limit }: { limit: number }): Promise<Outcome> {
  const { deadLetters } = await session.open();
  const [messages, count] = [
    await find(deadLetters, session.interrupted, limit, () => true),
    await deadLetters.count(),
  ];
  const value = { count: Math.max(count, messages.length), messages: messages.map(described) };
  if (messages.length === 0) return { value, text: "the dead-letter queue is empty" };
  return {
    value,
    text: [listed(messages), `${messages.length} of ${value.count}`].join("\n\n"),
    next: [
      `one in full: silt dlq show ${messages[0]!.id}`,
      "send them again, once the sender or the compactor is mended: silt dlq redrive --all",
      "they carry no data; to delete all of them: silt dlq purge",
    ],
  };
}

async function show(session: Session, id: string): Promise<Outcome> {
  const { deadLetters } = await session.open();
  const [message] = await find(deadLetters, session.interrupted, 1, (one) => one.id === id);
  if (message === undefined) throw notThere([id]);
  const facts = pairs({
    id,
    sent: moment(sentAt(message)),
    reason: message.reason ?? noReason,
    receives: message.receives,
  });
  return { value: described(message), text: `${facts}\n\n${message.body}` };
}

const notThere = (ids: readonly string[]): SiltstoneError =>
  new SiltstoneError(
    "notFound",
    `the dead-letter queue has no message ${ids.slice(0, 3).join(", ")} (now): see \`silt dlq list\`; one that is being looked at is hidden for up to a minute`,
  );

async function redrive(
  session: Session,
  ids: readonly string[],
  { all, dryRun = false }: { all?: boolean; dryRun?: boolean },
): Promise<Outcome> {
  if (ids.length > 0 === (all === true)) throw invalid("say which: either the ids of messages, or --all");
  const { deadLetters, world } = await session.open();
  // What makes no sense may be back before this ends.
  const startMs = world.clock.nowMs();
  const wanted = new Set(ids);
  const moved: DeadLetter[] = [];
  await deadLetters.look(async (batch, move) => {
    for (const message of batch) {
      if (session.interrupted.aborted) return false;
      if (all === true ? message.sentMs > startMs : !wanted.has(message.id)) continue;
      if (!dryRun) await move(message);
      moved.push(message);
    }
    return all === true || moved.length < wanted.size;
  });
  const missing = ids.filter((id) => !moved.some((message) => message.id === id));
  if (missing.length > 0 && moved.length === 0 && !session.interrupted.aborted) throw notThere(missing);
  return {
    value: { dryRun, redriven: moved.map(described), missing },
    text: [
      ...(dryRun && moved.length > 0 ? [listed(moved), ""] : []),
      `${dryRun ? "would send" : "sent"} ${plural(moved.length, "message")} to the compactor again`,
      ...missing.map((id) => `${id} was not there`),
    ].join("\n"),
    next:
      moved.length > 0 && !dryRun
        ? ["what still makes no sense comes back with the next run: silt dlq list"]
        : [],
    exitCode: session.interrupted.aborted
      ? exitCodes.interrupted
      : missing.length > 0
        ? exitCodes.notFound
        : exitCodes.ok,
  };
}

async function purge(
  session: Session,
  { confirm, dryRun }: { confirm?: string; dryRun?: boolean },
): Promise<Outcome> {
  const { deadLetters, stage } = await session.open();
  if (confirm !== undefined && confirm !== stage)
    throw invalid(`--confirm: must be ${stage}, the name of the stage, once more`);
  const count = await deadLetters.count();
  if (dryRun === true || confirm === undefined)
    return {
      value: { purged: false, count },
      text: `about ${plural(count, "message")} would be deleted; nothing was changed`,
      next: count > 0 ? [`to do it: silt dlq purge --confirm ${stage}`] : [],
    };
  await deadLetters.purge();
  return {
    value: { purged: true, count },
    text: `deleted about ${plural(count, "message")}; SQS takes up to a minute for it`,
  };
}
