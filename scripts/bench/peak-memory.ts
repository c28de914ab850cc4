/** The most memory that a process has had. */
import { existsSync, readFileSync } from "node:fs";

/**
 * Resident bytes. Linux counts into `maxRSS` what a process had before it became its program, as a copy of the one that started it,
 * which may be larger: there it is read elsewhere.
 */
export function peakBytes(): number {
  const status = "/proc/self/status";
  if (!existsSync(status)) return process.resourceUsage().maxRSS * 1024;
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(status, "utf8"))![1]) * 1024;
}
