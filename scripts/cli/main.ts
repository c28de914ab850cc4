/** The command line as a process: real streams, real deployments, and the exit code. */
import { onParentEnd } from "../end-with-parent.ts";
import { connect } from "./deployment.ts";
import { runCommandLine } from "./program.ts";

export async function main(): Promise<void> {
  // A reader that has seen enough (`silt … | head`) is no failure of ours.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  // silt.cjs has started this process on a newer Node, and was killed.
  if (process.env.SILTSTONE_CLI_RESTARTED !== undefined) onParentEnd(() => process.exit(1));
  const interruption = new AbortController();
  // The first Ctrl-C lets the step in hand finish; the second one finds Node's own handler again.
  process.once("SIGINT", () => interruption.abort());
  process.exitCode = await runCommandLine(process.argv.slice(2), {
    connect,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    interrupted: interruption.signal,
  });
}
