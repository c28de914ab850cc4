/**
 * silt events list | show | redrive | purge: events that did not reach the compactor, or whose run failed. Nothing waits for them, since the
 * next run does the work; they say what failed, and can be run at once.
 */
import type { Command } from "commander";
import type { HeldMessage, HeldMessages } from "../../lib/aws/sqs-held-messages.ts";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { exitCodeOfFailures } from "./each-shard.ts";
import { exitCodes } from "./exit-code.ts";
import {
  checkWhich,
  described,
  find,
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

/** The queue keeps them for an hour: two schedules have some seventy in it. */
const lookedMax = 10_000;

const failedEvents: Held = {
  command: "events",
  queue: "the queue of failed events",
  noun: "event",
  column: "EVENT",
  open: async (session) => (await session.open()).failedEvents(),
  reasonOf: (message) => message.reason ?? failureIn(message) ?? "unknown",
  excerptOf: (message) => jsonOf(eventIn(message) ?? message.body),
};

export function addEventCommands(program: Command, run: Runner): void {
  const events = program
    .command("events")
    .description("the queue of failed events: what did not reach the compactor, or failed there");
  events
    .command("list")
    .description("its events, oldest first, each with what failed; hides them from others for a moment")
    .option("--limit <n>", ...listLimit)
    .action(
      run(
        list(failedEvents, [
          "do their work now: silt events redrive --all",
          "the next run does it as well, and they are forgotten after an hour; to delete all of them: silt events purge",
        ]),
      ),
    );
  events
    .command("show")
    .description("one event in full")
    .argument("<id>")
    .action(run(show(failedEvents)));
  events
    .command("redrive")
    .description(
      "run the compactor with them, once for all that ask for the same; what succeeds is deleted here",
    )
    .argument("[id...]", "as listed; or")
    .option("--all", "every one that is there now")
    .option("--dry-run", "only list them")
    .action(run(redrive));
  events
    .command("purge")
    .description("delete every event; no data is in them")
    .option("--confirm <stage>", "the stage's name once more")
    .option("--dry-run", "only count them")
    .action(run(purge(failedEvents)));
}

type Json = Readonly<Record<string, unknown>>;

function parsed({ body }: HeldMessage): Json | null {
  try {
    const value = JSON.parse(body) as unknown;
    return typeof value === "object" && value !== null ? (value as Json) : null;
  } catch {
    return null;
  }
}

/** Lambda's record of a failed invocation holds the event; EventBridge Scheduler puts the event itself here. */
function eventIn(message: HeldMessage): Json | null {
  const record = parsed(message);
  const event = record?.requestPayload ?? record;
  return typeof event === "object" && event !== null ? (event as Json) : null;
}

/** Of bodies that others sent: what is nested too deep for the writing of JSON is named by its beginning. */
function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch {
    return "(nested too deep)";
  }
}

function failureIn(message: HeldMessage): string | null {
  const { responsePayload, requestContext } = (parsed(message) ?? {}) as {
    responsePayload?: { errorMessage?: unknown };
    requestContext?: { condition?: unknown };
  };
  const said = responsePayload?.errorMessage ?? requestContext?.condition;
  return said === undefined ? null : typeof said === "string" ? said : jsonOf(said);
}

async function redrive(
  session: Session,
  ids: readonly string[],
  { all, dryRun = false }: { all?: boolean; dryRun?: boolean },
): Promise<Outcome> {
  checkWhich(ids, all);
  const { call } = await session.open();
  const queue = await failedEvents.open(session);
  const wanted = new Set(ids);
  const found = await find(
    queue,
    session.interrupted,
    all === true ? lookedMax : wanted.size,
    ({ id }) => all === true || wanted.has(id),
  );
  const missing = ids.filter((id) => !found.some((message) => message.id === id));
  if (missing.length > 0 && found.length === 0 && !session.interrupted.aborted)
    throw notThere(failedEvents, missing);
  const runs = Map.groupBy(found, (message) => jsonOf(eventIn(message)));
  const failed: { event: string; error: SiltstoneError }[] = [];
  const done = new Set<string>();
  for (const [event, messages] of dryRun ? [] : runs) {
    if (session.interrupted.aborted) break;
    const asked = eventIn(messages[0]!);
    try {
      if (asked === null) throw new SiltstoneError("invalid", `message ${messages[0]!.id} holds no event`);
      await call("compactor", asked);
      for (const { id } of messages) done.add(id);
    } catch (error) {
      if (!(error instanceof SiltstoneError)) throw error;
      failed.push({ event, error });
    }
  }
  await removeAll(queue, done);
  const redriven = dryRun ? found : found.filter(({ id }) => done.has(id));
  const failures = failed.map(({ event, error: { kind, message } }) => ({ event, kind, message }));
  return {
    value: {
      dryRun,
      redriven: redriven.map(described),
      runs: runs.size - failed.length,
      missing,
      failed: failures,
    },
    text: [
      ...(dryRun && found.length > 0 ? [listed(failedEvents, found), ""] : []),
      `${dryRun ? "would do" : "did"} the work of ${plural(redriven.length, "event")}${dryRun ? `, in ${plural(runs.size, "run")}` : ""}`,
      ...failures.map(({ event, kind, message }) => `${event} failed again (${kind}): ${message}`),
      ...missing.map((id) => `${id} was not there`),
    ].join("\n"),
    next: failures.length > 0 ? ["what fails, and why: silt status; silt logs compactor"] : [],
    exitCode: session.interrupted.aborted
      ? exitCodes.interrupted
      : failures.length > 0
        ? exitCodeOfFailures(failures)
        : missing.length > 0
          ? exitCodes.notFound
          : exitCodes.ok,
  };
}

/** A run may take longer than a look hides messages: they are looked for again, and what is gone by itself is gone. */
async function removeAll(queue: HeldMessages, ids: ReadonlySet<string>): Promise<void> {
  const left = new Set(ids);
  if (left.size === 0) return;
  await queue.look(async (batch, remove) => {
    for (const message of batch) {
      if (!left.delete(message.id)) continue;
      await remove(message);
    }
    return left.size > 0;
  });
}
