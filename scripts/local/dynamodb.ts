/**
 * Which DynamoDB emulator this machine runs: dynoxide (a static binary over SQLite) where its package is installed,
 * else dynalite (plain JavaScript over LevelDB). Both keep their tables on disk and survive a kill.
 *
 * dynoxide answers every web page that asks (`Access-Control-Allow-Origin: *`) and cannot be told otherwise. So it
 * listens on an address that no page can guess, one of the 16 million of the loopback network, and a guarded proxy
 * stands on the stack's port (guarded-proxy.ts). dynalite-main.ts guards its own port.
 */
import { randomInt } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { freePort } from "./ports.ts";

export interface DynamoDbCommand {
  readonly emulator: "dynoxide" | "dynalite";
  readonly command: string;
  readonly args: readonly string[];
  /** Where it listens; another address than the one asked for where a guarded proxy has to stand before it. */
  readonly host: string;
  readonly port: number;
}

export async function dynamoDbCommand(folder: string, port: number): Promise<DynamoDbCommand> {
  mkdirSync(folder, { recursive: true });
  const dynoxide = dynoxidePath();
  if (dynoxide !== null) {
    const host = `127.${randomInt(1, 255)}.${randomInt(256)}.${randomInt(1, 255)}`;
    // It refuses a port that anything listens on, on whatever address.
    const own = await freePort(0);
    const file = join(folder, "dynoxide.db");
    const args = ["serve", "--host", host, "--port", String(own), "--db-path", file];
    return { emulator: "dynoxide", command: dynoxide, args, host, port: own };
  }
  const settings = JSON.stringify({ folder: join(folder, "dynalite"), port });
  const args = [join(import.meta.dirname, "dynalite-main.ts"), settings];
  return { emulator: "dynalite", command: process.execPath, args, host: "127.0.0.1", port };
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
