/**
 * Which DynamoDB emulator this machine runs: dynoxide (a static binary over SQLite) where its package is installed,
 * else dynalite (plain JavaScript over LevelDB). Both keep their tables on disk and survive a kill.
 */
import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

export interface DynamoDbCommand {
  readonly emulator: "dynoxide" | "dynalite";
  readonly command: string;
  readonly args: readonly string[];
}

export function dynamoDbCommand(folder: string, port: number): DynamoDbCommand {
  mkdirSync(folder, { recursive: true });
  const require = createRequire(import.meta.url);
  const dynoxide = dynoxidePath(require);
  if (dynoxide !== null) {
    const args = [
      "serve",
      "--host",
      "127.0.0.1",
      "--port",
      String(port),
      "--db-path",
      join(folder, "dynoxide.db"),
    ];
    return { emulator: "dynoxide", command: dynoxide, args };
  }
  const dynalite = join(dirname(require.resolve("dynalite/package.json")), "cli.js");
  const options = {
    host: "127.0.0.1",
    port,
    path: join(folder, "dynalite"),
    createTableMs: 0,
    deleteTableMs: 0,
  };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return { emulator: "dynalite", command: process.execPath, args: [dynalite, ...args] };
}

function dynoxidePath(require: NodeJS.Require): string | null {
  if (process.platform !== "linux" || process.arch !== "x64") return null;
  try {
    const path = join(dirname(require.resolve("@dynoxide/linux-x64/package.json")), "dynoxide");
    return existsSync(path) ? path : null;
  } catch {
    return null;
  }
}
