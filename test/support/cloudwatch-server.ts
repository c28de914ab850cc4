/**
 * CloudWatch and CloudWatch Logs as far as the command line asks them, over the protocols of the SDK's clients: DescribeAlarms in pages of two,
 * FilterLogEvents in pages of three, some of which are empty, as the services answer.
 */
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { StateValue } from "@aws-sdk/client-cloudwatch";
import { type AccessControl, type Asked, accessKeyOf } from "../../scripts/local/iam/access.ts";
import { listen } from "../../scripts/local/ports.ts";
import { accountId } from "../../scripts/local/resource-names.ts";
import type { AlarmDefinition } from "./cloudwatch.ts";

export interface ServedAlarm extends AlarmDefinition {
  readonly AlarmDescription?: string;
  readonly StateValue: StateValue;
  readonly StateReason: string;
}
export interface ServedEvent {
  readonly eventId: string;
  readonly timestamp: number;
  readonly message: string;
}
type Body = Readonly<Record<string, unknown>>;
class Refused extends Error {}

const alarmsOfPage = 2;
const eventsOfPage = 3;

export class CloudWatchServer {
  readonly #server: Server;
  readonly #region: string;
  readonly #access: () => AccessControl;
  alarms: readonly ServedAlarm[] = [];
  /** By log group. */
  readonly events = new Map<string, ServedEvent[]>();
  endpoint = "";

  constructor(region: string, access: () => AccessControl) {
    this.#region = region;
    this.#access = access;
    this.#server = createServer(async (request, response) => {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      const send = (status: number, value: object) =>
        response
          .writeHead(status, { "content-type": request.headers["content-type"]! })
          .end(JSON.stringify(value));
      try {
        send(200, this.#answer(request, JSON.parse(Buffer.concat(parts).toString()) as Body));
      } catch (error) {
        const __type = error instanceof Refused ? "AccessDeniedException" : "ResourceNotFoundException";
        send(400, { __type, message: (error as Error).message });
      }
    });
  }

  async start(): Promise<void> {
    this.endpoint = `http://127.0.0.1:${await listen(this.#server, 0)}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #answer(request: IncomingMessage, body: Body): object {
    const operation = String(request.headers["x-amz-target"]).split(".")[1];
    const group = String(body.logGroupName);
    const asked: Asked =
      operation === "DescribeAlarms"
        ? { action: "cloudwatch:DescribeAlarms", resource: "*" }
        : {
            action: `logs:${operation}`,
            resource: `arn:aws:logs:${this.#region}:${accountId}:log-group:${group}:*`,
          };
    const denial = this.#access().denialOf(accessKeyOf(request.headers.authorization), [asked]);
    if (denial !== null) throw new Refused(denial.message);
    return operation === "DescribeAlarms" ? this.#describeAlarms(body) : this.#filterLogEvents(group, body);
  }

  #describeAlarms({ NextToken }: Body): object {
    const start = Number(NextToken ?? 0);
    const next = start + alarmsOfPage;
    return {
      MetricAlarms: this.alarms.slice(start, next),
      ...(next < this.alarms.length ? { NextToken: String(next) } : {}),
    };
  }

  #filterLogEvents(group: string, { startTime = 0, nextToken }: Body): object {
    const events = this.events.get(group);
    if (events === undefined) throw new Error(`The specified log group does not exist: ${group}`);
    const found = events
      .filter(({ timestamp }) => timestamp >= Number(startTime))
      .toSorted((a, b) => a.timestamp - b.timestamp);
    // Of each two pages the first is empty: CloudWatch searches on, and has found nothing yet.
    const page = Number(nextToken ?? 0);
    const start = Math.floor(page / 2) * eventsOfPage;
    const shown = page % 2 === 0 ? [] : found.slice(start, start + eventsOfPage);
    const goesOn = page % 2 === 0 || start + eventsOfPage < found.length;
    return { events: shown, ...(goesOn ? { nextToken: String(page + 1) } : {}) };
  }
}
