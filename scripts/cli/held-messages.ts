/** What `silt dlq` and `silt events` have in common: listing, showing and deleting the messages of a queue that holds them for people. */
import type { HeldMessage, HeldMessages } from "../../lib/aws/sqs-held-messages.ts";
import { invalid, SiltstoneError } from "../../lib/core/model/errors.ts";
import { integer } from "./arguments.ts";
import type { Outcome } from "./outcome.ts";
import type { Session } from "./session.ts";
import { excerpt, moment, pairs, plural, table } from "./text.ts";

const listedDefault = 100;
const listedMax = 10_000;
const charsShown = 60;

/** Of `--limit`. */
export const listLimit = ["at most so many", integer(1, listedMax), listedDefault] as const;

/** One of the queues, as its commands call it. */
export interface Held {
  /** silt NAME list. */
  readonly command: "dlq" | "events" | "jobs dlq";
  /** The queue as a subject: `the dead-letter queue`. */
  readonly queue: string;
  readonly noun: string;
  open(session: Session): Promise<HeldMessages>;
  /** Why it is there, and what it is about in a few words. */
  reasonOf(message: HeldMessage): string;
  excerptOf(message: HeldMessage): string;
  readonly column: string;
}

/** Those that `isWanted`, up to `max`: the queue gives them in no order; here they are in that of time. */
export async function find(
  messages: HeldMessages,
  interrupted: AbortSignal,
  max: number,
  isWanted: (message: HeldMessage) => boolean,
): Promise<HeldMessage[]> {
  const found: HeldMessage[] = [];
  await messages.look(async (batch) => {
    found.push(...batch.filter(isWanted));
    return found.length < max && !interrupted.aborted;
  });
  return found.slice(0, max).sort((a, b) => a.sentMs - b.sentMs);
}

const sentAt = ({ sentMs }: HeldMessage): string => new Date(sentMs).toISOString();
export const described = (message: HeldMessage) => {
  const { sentMs: _, ...rest } = message;
  return { ...rest, sentAt: sentAt(message) };
};

export const listed = (held: Held, messages: readonly HeldMessage[]): string =>
  table(
    ["ID", "SENT", "REASON", held.column],
    messages.map((message) => [
      message.id,
      moment(sentAt(message)),
      excerpt(held.reasonOf(message), charsShown),
      excerpt(held.excerptOf(message), charsShown),
    ]),
  );

/** `next`: what to do with them, after how to see one in full. */
export const list =
  (held: Held, next: readonly string[]) =>
  async (session: Session, { limit }: { limit: number }): Promise<Outcome> => {
    const queue = await held.open(session);
    const [messages, count] = [
      await find(queue, session.interrupted, limit, () => true),
      await queue.count(),
    ];
    const value = { count: Math.max(count, messages.length), messages: messages.map(described) };
    if (messages.length === 0) return { value, text: `${held.queue} is empty` };
    return {
      value,
      text: [listed(held, messages), `${messages.length} of ${value.count}`].join("\n\n"),
      next: [`one in full: silt ${held.command} show ${messages[0]!.id}`, ...next],
    };
  };

export const show =
  (held: Held) =>
  async (session: Session, id: string): Promise<Outcome> => {
    const queue = await held.open(session);
    const [message] = await find(queue, session.interrupted, 1, (one) => one.id === id);
    if (message === undefined) throw notThere(held, [id]);
    const facts = pairs({
      id,
      sent: moment(sentAt(message)),
      reason: held.reasonOf(message),
      receives: message.receives,
    });
    return { value: described(message), text: `${facts}\n\n${message.body}` };
  };

export const notThere = ({ queue, command }: Held, ids: readonly string[]): SiltstoneError =>
  new SiltstoneError(
    "notFound",
    `${queue} has no message ${ids.slice(0, 3).join(", ")} (now): see \`silt ${command} list\`; one that is being looked at is hidden for up to a minute`,
  );

/** Throws `invalid` unless it is one of the two. */
export function checkWhich(ids: readonly string[], all: boolean | undefined): void {
  if (ids.length > 0 === (all === true)) throw invalid("say which: either the ids of messages, or --all");
}

export const purge =
  (held: Held) =>
  async (session: Session, { confirm, dryRun }: { confirm?: string; dryRun?: boolean }): Promise<Outcome> => {
    const { stage } = await session.open();
    const queue = await held.open(session);
    if (confirm !== undefined && confirm !== stage)
      throw invalid(`--confirm: must be ${stage}, the name of the stage, once more`);
    const count = await queue.count();
    if (dryRun === true || confirm === undefined)
      return {
        value: { purged: false, count },
        text: `about ${plural(count, held.noun)} would be deleted; nothing was changed`,
        next: count > 0 ? [`to do it: silt ${held.command} purge --confirm ${stage}`] : [],
      };
    await queue.purge();
    return {
      value: { purged: true, count },
      text: `deleted about ${plural(count, held.noun)}; SQS takes up to a minute for it`,
    };
  };
