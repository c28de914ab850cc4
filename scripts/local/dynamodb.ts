/**
 * DynamoDB: an emulator as a process of its own, and a guarded proxy on the stack's port before it (guarded-proxy.ts),
 * which judges requests by the template's access rules. Both emulators keep their tables on disk and survive a kill.
 *
 * - dynoxide (a static binary over SQLite), where its package is installed. It answers every web page that asks
 *   (`Access-Control-Allow-Origin: *`) and cannot be told otherwise, so it listens on an address that no page can guess:
 *   one of the 16 million of the loopback network.
 * - else dynalite (plain JavaScript over LevelDB), which dynalite-main.ts guards.
 */
import { randomInt } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import type { Server } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createGuardedProxy } from "./guarded-proxy.ts";
import { type AccessControl, accessKeyOf } from "./iam/access.ts";
import { askedOfDynamoDb, isOperation, type Tables } from "./iam/requests.ts";
import { freePort } from "./ports.ts";
import { accountId } from "./resource-names.ts";
import type { StackPlan } from "./stack-plan.ts";

export interface DynamoDbCommand {
  readonly emulator: "dynoxide" | "dynalite";
  readonly command: string;
  readonly args: readonly string[];
  /** Where it listens, behind the proxy. */
  readonly host: string;
  readonly port: number;
}

export async function dynamoDbCommand(folder: string): Promise<DynamoDbCommand> {
  mkdirSync(folder, { recursive: true });
  // Not the stack's port: dynoxide refuses one that anything listens on, on whatever address.
  const port = await freePort(0);
  const dynoxide = dynoxidePath();
  if (dynoxide !== null) {
    const host = `127.${randomInt(1, 255)}.${randomInt(256)}.${randomInt(1, 255)}`;
    const file = join(folder, "dynoxide.db");
    const args = ["serve", "--host", host, "--port", String(port), "--db-path", file];
    return { emulator: "dynoxide", command: dynoxide, args, host, port };
  }
  const settings = JSON.stringify({ folder: join(folder, "dynalite"), port });
  const args = [join(import.meta.dirname, "dynalite-main.ts"), settings];
  return { emulator: "dynalite", command: process.execPath, args, host: "127.0.0.1", port };
}

/** The server on the stack's own port. */
export function createDynamoDbProxy(
  behind: DynamoDbCommand,
  access: AccessControl,
  { region, planned }: { readonly region: string; readonly planned: StackPlan["tables"] },
): Server {
  const tables: Tables = {
    arn: (table) => `arn:aws:dynamodb:${region}:${accountId}:table/${table}`,
    partitionKey: (table) => {
      const keys = planned.find(({ name }) => name === table)?.properties.KeySchema;
      const schema = (keys ?? []) as readonly { readonly AttributeName: string; readonly KeyType: string }[];
      return schema.find(({ KeyType }) => KeyType === "HASH")?.AttributeName;
    },
  };
  return createGuardedProxy(behind, ({ headers }, body) => {
    const target = headers["x-amz-target"];
    if (typeof target !== "string") return null; // No operation: the emulator says what is wrong.
    // What cannot be judged is not handed on: the emulator might read it otherwise.
    const call = objectOf(body);
    if (call === null) return { __type: "com.amazon.coral.service#SerializationException" };
    const denial = access.denialOf(accessKeyOf(headers.authorization), askedOfDynamoDb(target, call, tables));
    if (denial === null) return null;
    const type = denial.kind === "unknownKey" ? "UnrecognizedClientException" : "AccessDeniedException";
    return { __type: `com.amazon.coral.service#${type}`, message: denial.message };
  });
}

function objectOf(body: Buffer): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(body.toString("utf8"));
    return isOperation(value) ? value : null;
  } catch {
    return null;
  }
}

function dynoxidePath(): string | null {
  if (process.platform !== "linux" || process.arch !== "x64") return null;
  const require = createRequire(import.meta.url);
  try {
    const path = join(dirname(require.resolve("@dynoxide/linux-x64/package.json")), "dynoxide");
    return existsSync(path) ? path : null;
  } catch {
    return null;
  }
}
