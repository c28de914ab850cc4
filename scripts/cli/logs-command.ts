/** silt logs: what the functions logged, and with --follow what they log. */
import { Argument, type Command, Option } from "commander";
import type { LogLine } from "../../lib/aws/function-logs.ts";
import { type FunctionName, functionNames } from "../../lib/contract/functions.ts";
import { instant } from "./arguments.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { moment } from "./text.ts";

const sinceDefaultMs = 10 * 60_000;
const lookMs = 1_000;

interface Options {
  readonly since?: number;
  readonly follow?: boolean;
}

export function addLogsCommand(program: Command, run: Runner): void {
  program
    .command("logs")
    .description("what the functions logged, oldest first")
    .addArgument(new Argument("[function]", "all by default").choices(functionNames))
    .addOption(new Option("--since <time>", "from then on (default: 10 minutes ago)").argParser(instant))
    .option("--follow", "go on until Ctrl-C")
    .action(run(logs));
}

async function logs(
  session: Session,
  wanted: FunctionName | undefined,
  { since, follow }: Options,
): Promise<Outcome> {
  const names = functionNames.filter((name) => wanted === undefined || name === wanted);
  const { world, configurations, logs } = await session.open();
  const sinceMs = since ?? world.clock.nowMs() - sinceDefaultMs;
  const tails = (await Promise.all(names.map(configurations))).flatMap((deployed, i) =>
    deployed.map((one, n) => ({
      name: n > 0 ? `${names[i]} group ${n - 1}` : names[i]!,
      tail: logs.tail(one.name, sinceMs),
    })),
  );
  for (;;) {
    const lines = await Promise.all(
      tails.map(async ({ name, tail }) => (await tail.next()).map((line) => ({ name, ...line }))),
    );
    for (const line of lines.flat().sort((a, b) => a.atMs - b.atMs)) write(session, line);
    if (follow !== true || session.interrupted.aborted) return { value: null, text: "" };
    await world.clock.sleep(lookMs);
  }
}

function write(session: Session, { name, atMs, text }: LogLine & { name: string }): void {
  const at = new Date(atMs).toISOString();
  session.writeLine(
    session.json ? JSON.stringify({ function: name, at, text }) : `${moment(at)} ${name.padEnd(9)} ${text}`,
  );
}
