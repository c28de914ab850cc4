/** What functions logged, for the command line: from CloudWatch Logs, by the log group that each function names. */
import { CloudWatchLogsClient, FilterLogEventsCommand } from "@aws-sdk/client-cloudwatch-logs";
import { requestBounds } from "../core/policy/time-bounds.ts";
import { failure } from "./failure.ts";
import { functionConfiguration } from "./function-configuration.ts";
import { patience } from "./request-handler.ts";

export interface LogLine {
  readonly atMs: number;
  readonly text: string;
}
/** The lines of one function, in the order in which they came. */
export interface LogTail {
  /** Those that came since the last call; of the first one, since the time that was asked for. */
  next(): Promise<readonly LogLine[]>;
}
export interface FunctionLogs {
  tail(functionName: string, sinceMs: number): LogTail;
}

const socketsMax = 8;
/** Events of one look: more are left to the next one. */
const pagesMax = 20;
/** CloudWatch shows an event some seconds late, behind younger ones: so far back is looked again. */
const lateMs = 30_000;

export class CloudWatchFunctionLogs implements FunctionLogs {
  readonly #logs = new CloudWatchLogsClient(patience(requestBounds.person, socketsMax));

  tail(functionName: string, sinceMs: number): LogTail {
    let startMs = sinceMs;
    let group: string | null = null;
    let seen = new Map<string, number>();
    return {
      next: async () => {
        group ??= (await functionConfiguration(functionName)).logGroup;
        const events = await this.#events(group, startMs);
        const fresh = events.filter(({ id }) => !seen.has(id));
        const newestMs = events.reduce((newest, { atMs }) => Math.max(newest, atMs), startMs);
        startMs = Math.max(startMs, newestMs - lateMs);
        const known = [...seen, ...fresh.map(({ id, atMs }) => [id, atMs] as const)];
        seen = new Map(known.filter(([, atMs]) => atMs >= startMs));
        return fresh.sort((a, b) => a.atMs - b.atMs).map(({ atMs, text }) => ({ atMs, text }));
      },
    };
  }

  async #events(logGroupName: string, startTime: number): Promise<(LogLine & { id: string })[]> {
    const found: (LogLine & { id: string })[] = [];
    let nextToken: string | undefined;
    // A page may be empty, and others follow it.
    for (let pages = 0; pages < pagesMax; ) {
      const command = new FilterLogEventsCommand({ logGroupName, startTime, nextToken });
      const answer = await this.#logs.send(command).catch((error: unknown) => {
        throw failure(error, {
          call: "CloudWatch Logs FilterLogEvents",
          subject: logGroupName,
          writes: false,
          permission: "logs:FilterLogEvents",
        });
      });
      for (const { eventId, timestamp, message } of answer.events ?? [])
        found.push({ id: eventId!, atMs: timestamp!, text: message!.trimEnd() });
      if ((answer.events ?? []).length > 0) pages++;
      nextToken = answer.nextToken;
      if (nextToken === undefined) break;
    }
    return found;
  }
}
