/** `npm start` as it is typed: however npm is ended, nothing that it started goes on running. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { LocalState } from "../../scripts/local/state-file.ts";

const root = join(import.meta.dirname, "../..");
const startedMs = 120_000;
const endedMs = 15_000;

async function until<T>(limitMs: number, look: () => T | null | undefined | false): Promise<T> {
  for (let waitedMs = 0; waitedMs < limitMs; waitedMs += 100) {
    const found = look();
    if (found !== null && found !== undefined && found !== false) return found;
    await sleep(100);
  }
  throw new Error(`it did not happen within ${limitMs} ms`);
}

/** Processes, zombies apart, that were started with the folder in their arguments or as these pids. */
function running(stateDir: string, pids: readonly number[]): string[] {
  return readdirSync("/proc").flatMap((name) => {
    try {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
      const line = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ");
      return line !== "" && (line.includes(stateDir) || pids.includes(Number(name)))
        ? [`${name}: ${line}`]
        : [];
    } catch {
      return []; // It has ended meanwhile.
    }
  });
}

const onLinux = process.platform === "linux" ? test : test.skip;

onLinux.each([
  // npm hands it on.
  "SIGTERM",
  // npm is gone at once.
  "SIGKILL",
  "SIGINT",
  // Of a terminal that is closed; npm hands it on likewise.
  ...(process.env.WIDE ? (["SIGHUP"] as const) : []),
] as const)(
  "%s to npm ends the whole stack",
  async (signal) => {
    const stateDir = mkdtempSync(join(tmpdir(), "siltstone-npm-start-"));
    const { SILTSTONE_CLI_RESTARTED: _, ...inherited } = process.env;
    const env = { ...inherited, SILTSTONE_STATE_DIR: stateDir };
    const npm: ChildProcess = spawn("npm", ["start"], { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    npm.stdout!.on("data", (part: Buffer) => {
      said += part;
    });
    npm.stderr!.on("data", (part: Buffer) => {
      said += part;
    });
    try {
      await until(startedMs, () => said.includes("Running until") || npm.exitCode !== null);
      expect(said).toContain("Running until Ctrl-C");
      expect(said).toMatch(
        /items through the producer … \d+ are new[\s\S]*\d+ chunks embedded[\s\S]*\? How do I deploy it[\s\S]*docs\/deploy\.md/,
      );
      const state = JSON.parse(readFileSync(join(stateDir, "local.json"), "utf8")) as LocalState;
      const pids = [state.pid, ...state.childPids];
      expect(running(stateDir, pids).length).toBeGreaterThanOrEqual(pids.length);
      npm.kill(signal);
      await until(endedMs, () => running(stateDir, pids).length === 0).catch(() => {
        expect(running(stateDir, pids)).toEqual([]);
      });
    } finally {
      npm.kill("SIGKILL");
      rmSync(stateDir, { recursive: true, force: true });
    }
  },
  startedMs + endedMs + 5_000,
);
