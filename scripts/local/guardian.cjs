/**
 * Ends the stack's child processes when the stack itself was killed and cannot. A frozen sandbox is stopped and could
 * not even notice. Reads `+pid` and `-pid` lines; when its standard input ends, it kills what is left and exits.
 */
const pids = new Set();
const lines = require("node:readline").createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const pid = Number(line.slice(1));
  if (line.startsWith("+")) pids.add(pid);
  else pids.delete(pid);
});
lines.on("close", () => {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
