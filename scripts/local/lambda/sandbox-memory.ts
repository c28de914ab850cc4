/** How much memory a process holds, in MB: its resident set. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

export function residentMegabytes(pid: number): number {
  try {
    if (process.platform !== "linux") {
      return Number(execFileSync("ps", ["-o", "rss=", "-p", String(pid)], { encoding: "utf8" })) / 1024;
    }
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024;
  } catch {
    // It ended in between.
    return 0;
  }
}
