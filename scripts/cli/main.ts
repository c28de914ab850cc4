/** The command line as a process: real streams, real deployments, and the exit code. */
import { connect } from "./deployment.ts";
import { runCommandLine } from "./program.ts";

export async function main(): Promise<void> {
  // A reader that has seen enough (`silt … | head`) is no failure of ours.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
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
